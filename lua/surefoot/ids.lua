--- Request ids: UUIDs of version 4 from the system's random source. Every id is read anew, so that forked processes
-- share - nothing.

local M = {}

-- Where there is no /dev/urandom (a bare chroot): unique, though guessable.
local counter = 0
local function makeshift()
  counter = counter + 1
  local text = ("%s %s %.17g %d"):format(tostring({}), tostring(makeshift), os.time() + os.clock(), counter)
  local a, b = 5381, 52711
  local bytes = {}
  for i = 1, 16 do
    for j = 1, #text do
      a = (a * 33 + text:byte(j) + i) % 4294967296
      b = (b * 31 + a) % 4294967296
    end
    bytes[i] = string.char(math.floor(b / 65536) % 256)
  end
  return table.concat(bytes)
end

local function random_bytes()
  local source = io.open("/dev/urandom", "rb")
  if not source then
    return makeshift()
  end
  source:setvbuf "no"
  local bytes = source:read(16)
  source:close()
  return bytes
end

--- A new id.
---@return string uuid
function M.new()
  local a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p = random_bytes():byte(1, 16)
  return ("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x"):format(
    a, b, c, d, e, f, 64 + g % 16, h, 128 + i % 64, j, k, l, m, n, o, p)
end

return M
