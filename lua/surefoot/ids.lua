--- Request ids: UUIDs of version 4 from the system's random source, drawn anew after a fork.

local M = {}

local POOL = 4096

local pool, at, owner = "", 1, nil

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

local function draw(process)
  if owner ~= process or at + 15 > #pool then
    local source = io.open("/dev/urandom", "rb")
    pool, at, owner = source and source:read(POOL) or makeshift(), 1, process
    if source then
      source:close()
    end
  end
  at = at + 16
  return pool:byte(at - 16, at - 1)
end

--- A new id.
---@param process any something that is another thing after a fork
---@return string uuid
function M.new(process)
  local a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p = draw(process)
  return ("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x"):format(
    a, b, c, d, e, f, 64 + g % 16, h, 128 + i % 64, j, k, l, m, n, o, p)
end

return M
