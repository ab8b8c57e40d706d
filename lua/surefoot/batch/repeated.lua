--- Rows of an input that call themselves by the same name: their answers could not be told apart. It is found out
--- before anything is asked, in the rows that come first; in memory are their names, for as long as that takes.

local binding = require "surefoot.binding"
local lines = require "surefoot.batch.lines"
local rows = require "surefoot.batch.rows"

local M = {}

local MOST = 100000 -- rows that are looked at
local LONGEST = 2 ^ 20 -- bytes of a line that is
local AT_ONCE = 5000 -- lines before others may run
local TOLD = 5

-- "in lines 3, 9 and 12"
local function places(list)
  local last = table.remove(list)
  return ("in lines %s and %d"):format(table.concat(list, ", "), last)
end

local function told(path, order, by_name)
  local parts = {}
  for i = 1, math.min(TOLD, #order) do
    parts[i] = ("%s %s"):format(order[i], places(by_name[order[i]]))
  end
  return ("%s: rows have the same custom_id: %s%s. Their answers could not be told apart (accept_repeated_ids)"):format(
    path, table.concat(parts, "; "), #order > TOLD and ("; and %d more"):format(#order - TOLD) or "")
end

-- Every name that stands there more than once, with its lines.
local function find(reader, codec, pause)
  local first, order, by_name = {}, {}, {}
  for count = 1, MOST do
    local text = reader:next()
    if not text then
      break
    end
    local id = not reader.cut and text:find('id"', 1, true) and rows.own_id(codec.decode(text))
    local name = id and (type(id) == "string" and ("%q"):format(id) or tostring(id))
    if name and not first[name] then
      first[name] = reader.number
    elseif name then
      if not by_name[name] then
        order[#order + 1], by_name[name] = name, { first[name] }
      end
      table.insert(by_name[name], reader.number)
    end
    if count % AT_ONCE == 0 then
      pause()
    end
  end
  return order, by_name
end

--- Looks for names that repeat.
---@param path string of the input
---@param codec surefoot.Codec
---@param pause fun() lets others run
---@return string? problem
function M.find(path, codec, pause)
  local file = binding.file(path, "read")
  local status = file and file:status()
  if not status or not status.is_regular then
    return nil -- who opens it for good tells why
  end
  local order, by_name = find(lines.new(file, LONGEST), codec, pause)
  file:close()
  return order[1] and told(path, order, by_name) or nil
end

return M
