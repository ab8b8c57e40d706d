--- Numbers on a command line: read, and refused with the name of their option.

local M = {}

--- A converter for argparse.
---@param name string of the option
---@param bounds { least: number?, above: number?, most: number?, whole: boolean? }
---@return fun(given: string): number?, string?
function M.number(name, bounds)
  local expected = ("%s: expected a %s"):format(name, bounds.whole and "whole number" or "number")
    .. (bounds.above and (" above %g"):format(bounds.above)
      or bounds.most and (" from %g to %.0f"):format(bounds.least, bounds.most) or (" from %g on"):format(bounds.least))
  return function(given)
    local number = tonumber(given)
    local fits = number and number < math.huge and (not bounds.whole or number % 1 == 0)
      and (not bounds.above or number > bounds.above) and (not bounds.least or number >= bounds.least)
      and (not bounds.most or number <= bounds.most)
    if fits then
      return number
    end
    return nil, ("%s, got %s"):format(expected, given)
  end
end

return M
