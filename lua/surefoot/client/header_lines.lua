--- Headers as the core takes them: lines "name: value", in order.

---@param headers table<string, string>
---@return string
return function(headers)
  local lines = {}
  for name, value in pairs(headers) do
    lines[#lines + 1] = name .. ": " .. value .. "\n"
  end
  table.sort(lines)
  return table.concat(lines)
end
