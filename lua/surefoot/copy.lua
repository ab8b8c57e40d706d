--- A copy of the outermost table, with its metatable, and with what is to be different in it.

local NOTHING = {}

---@generic T: table
---@param t T
---@param changes table?
---@return T
return function(t, changes)
  local made = {}
  for key, value in next, t do
    made[key] = value
  end
  for key, value in next, changes or NOTHING do
    made[key] = value
  end
  return setmetatable(made, getmetatable(t))
end
