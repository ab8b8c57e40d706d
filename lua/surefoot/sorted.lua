--- What a table is keyed by, in order: so that the same table is told in the same way in every process.

---@generic K
---@param map table<K, any> with keys that can be compared
---@return K[]
return function(map)
  local keys, n = {}, 0
  for key in next, map do
    n = n + 1
    keys[n] = key
  end
  table.sort(keys)
  return keys
end
