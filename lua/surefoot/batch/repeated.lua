--- Rows of an input that call themselves by the same name: their answers could not be told apart. It is found out
--- before anything is asked, in the rows that come first. In memory is a number for each of them, for as long as that
--- takes; the file is read again where two are the same.

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

-- A number for a name: two names hardly have the same.
local function digest(name)
  local a, b = 1, 7
  for i = 1, #name do
    local byte = name:byte(i)
    a, b = (a * 257 + byte) % 4294967291, (b * 65599 + byte) % 2097143
  end
  return a * 2097152 + b
end

-- Calls `each` with the names that rows give themselves, and their lines.
local function names_of(file, codec, pause, each)
  local reader = lines.new(file, LONGEST)
  for count = 1, MOST do
    local text = reader:next()
    if not text then
      return
    end
    local id = not reader.cut and text:find('id"', 1, true) and rows.own_id(codec.decode(text))
    if id then
      each(type(id) == "string" and ("%q"):format(id) or tostring(id), reader.number)
    end
    if count % AT_ONCE == 0 then
      pause()
    end
  end
end

-- Numbers of names that may stand there more than once; nil: none does.
local function suspects(file, codec, pause)
  local digests, found = {}, nil
  names_of(file, codec, pause, function(name)
    digests[#digests + 1] = digest(name)
  end)
  table.sort(digests)
  for i = 2, #digests do
    if digests[i] == digests[i - 1] then
      found = found or {}
      found[digests[i]] = true
    end
  end
  return found
end

-- The names among those that do, in order, and the lines of each.
local function repeated(file, codec, pause, found)
  local order, by_name = {}, {}
  names_of(file, codec, pause, function(name, number)
    local list = found[digest(name)] and (by_name[name] or {})
    if list then
      by_name[name], list[#list + 1] = list, number
      order[#order + 1] = #list == 2 and name or nil
    end
  end)
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
  local found, problem = suspects(file, codec, pause), nil
  if found then
    local order, by_name = repeated(file, codec, pause, found)
    problem = order[1] and told(path, order, by_name)
  end
  file:close()
  return problem or nil
end

return M
