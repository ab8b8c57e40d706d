-- Event streams for specs: cutting them into pieces, making them at random from a seed, and reading them in the
-- plainest way, straight from the standard's text.

local M = {}

---The same numbers on every Lua (Park and Miller's generator).
---@param seed integer 1 to 2^31 - 2
---@return fun(most: integer): integer from 1 to `most`
function M.random(seed)
  local state = seed
  return function(most)
    state = state * 16807 % 2147483647
    return state % most + 1
  end
end

---@param stream string
---@param random fun(most: integer): integer
---@param most integer bytes of a piece
---@return string[] pieces
function M.cut(stream, random, most)
  local pieces, at = {}, 1
  while at <= #stream do
    local size = random(most)
    pieces[#pieces + 1] = stream:sub(at, at + size - 1)
    at = at + size
  end
  return pieces
end

local COMMON = { "data: ", "data: ", "data:", "event: ", "event: ", "event:", ": ping", "id: " }
local RARE = { "data", "data:  ", "data : ", "Data: ", "datas: ", "dat", " data: ", ":data: ", "event", "event:  ",
  "id", "retry: ", ":", "x: ", "\239\187\191", "\239\187\191data: ", "data: x", "a" }
local VALUES = { "", "a", "bc", "longer than others to reach over them", "\226\128\168", "\0", '{"a":"b:c"}', " ", ":" }
local DIALECTS = { { "\n" }, { "\r\n" }, { "\r" }, { "\n", "\r", "\r\n" }, { "\n", "\r", "\r\n" } }

---A stream of whole lines: fields in every spelling, ends of one dialect or of all mixed.
---@param random fun(most: integer): integer
---@return string
function M.make(random)
  local function any(list)
    return list[random(#list)]
  end
  local ends, parts = any(DIALECTS), { random(4) == 1 and "\239\187\191" or "" }
  for _ = 1, random(60) do
    if random(4) > 1 then
      parts[#parts + 1] = any(random(3) > 1 and COMMON or RARE) .. any(VALUES)
    end
    parts[#parts + 1] = any(ends)
  end
  return table.concat(parts) .. "\n"
end

---The events of a whole stream.
---@param stream string
---@return { name: string|nil, data: string }[]
function M.read(stream)
  local events, name, data = {}, nil, nil
  stream = stream:gsub("^\239\187\191", ""):gsub("\r\n", "\n"):gsub("\r", "\n")
  for line in stream:gmatch "([^\n]*)\n" do
    local field, value = line:match "^([^:]*):? ?(.*)$"
    if line == "" then
      if name or data then
        events[#events + 1] = { name = name, data = data or "" }
      end
      name, data = nil, nil
    elseif field == "data" then
      data = data and data .. "\n" .. value or value
    elseif field == "event" then
      name = value ~= "" and value or nil
    end
  end
  return events
end

return M
