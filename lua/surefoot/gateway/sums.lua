--- Counters as plain tables: numbers that add up, strings that are the same wherever they are, and tables of those.

local M = {}

--- Adds counters to others.
---@param into table
---@param from table
---@return table into
function M.add(into, from)
  for name, value in pairs(from) do
    local kind = type(value)
    if kind == "number" then
      into[name] = (into[name] or 0) + value
    elseif kind == "table" then
      into[name] = M.add(into[name] or {}, value)
    else
      into[name] = value
    end
  end
  return into
end

--- What counters have grown by since they were `base`, as a table of its own. Buckets and slots (their names are
--- numbers) that have not grown are left out.
---@param counters table
---@param base table?
---@return table
function M.since(counters, base)
  local grown = {}
  for name, value in pairs(counters) do
    local kind, before = type(value), base and base[name]
    if kind == "number" then
      local difference = math.max(0, value - (before or 0))
      if difference ~= 0 or not name:find "^%d" then
        grown[name] = difference
      end
    elseif kind == "table" then
      grown[name] = M.since(value, before)
    else
      grown[name] = value
    end
  end
  return grown
end

--- Lifts counters to what they were before, wherever they are lower now.
---@param counters table changed
---@param before table?
---@return table counters
function M.lift(counters, before)
  for name, value in pairs(before or {}) do
    local now, kind = counters[name], type(value)
    if kind == "number" then
      counters[name] = math.max(now or 0, value)
    elseif kind == "table" then
      counters[name] = M.lift(now or {}, value)
    elseif now == nil then
      counters[name] = value
    end
  end
  return counters
end

return M
