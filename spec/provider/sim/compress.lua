-- Content codings by the zlib that nginx is linked with: a zlib stream is "deflate", and without its head and tail it
-- is the data of "gzip".

local ffi = require "ffi"

ffi.cdef [[
unsigned long compressBound(unsigned long bytes);
int compress2(unsigned char *out, unsigned long *out_bytes, const char *in, unsigned long bytes, int level);
]]

local M = {}

local function little_endian(n)
  return string.char(n % 256, math.floor(n / 256) % 256, math.floor(n / 65536) % 256, math.floor(n / 16777216) % 256)
end

---@param text string
---@return string
function M.deflate(text)
  local room = ffi.C.compressBound(#text)
  local out, size = ffi.new("unsigned char[?]", room), ffi.new("unsigned long[1]", room)
  assert(ffi.C.compress2(out, size, text, #text, 6) == 0)
  return ffi.string(out, size[0])
end

---@param text string
---@return string
function M.gzip(text)
  local deflated = M.deflate(text):sub(3, -5)
  return "\31\139\8\0\0\0\0\0\0\255" .. deflated .. little_endian(ngx.crc32_long(text)) .. little_endian(#text)
end

return M
