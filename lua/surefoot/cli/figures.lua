--- Measured numbers as people read them: with the digits that matter, and a dash for what is not known (nil).

local words = require "surefoot.cli.words"

local M = {}

local NONE = "-"

--- A whole number, its thousands apart.
---@param number number?
---@return string
function M.count(number)
  return number and words.grouped(number) or NONE
end

--- A time, with the three digits that matter.
---@param seconds number?
---@return string
function M.time(seconds)
  if not seconds then
    return NONE
  elseif seconds < 0.00095 then
    return ("%.2f ms"):format(seconds * 1e3)
  elseif seconds < 0.00995 then
    return ("%.1f ms"):format(seconds * 1e3)
  elseif seconds < 0.9995 then
    return ("%.0f ms"):format(seconds * 1e3)
  elseif seconds < 9.995 then
    return ("%.2f s"):format(seconds)
  elseif seconds < 99.95 then
    return ("%.1f s"):format(seconds)
  end
  return words.duration(seconds)
end

--- US dollars, or what another sign stands for; of small sums more digits.
---@param amount number?
---@param sign string?
---@return string
function M.money(amount, sign)
  if not amount then
    return NONE
  end
  sign = sign or "$"
  local size = math.abs(amount)
  if size > 0 and size < 0.095 then
    return (size < 0.00095 and "%s%.6f" or "%s%.4f"):format(sign, amount)
  end
  local whole, cents = ("%.2f"):format(size):match "^(%d+)(%.%d+)$"
  return (amount < 0 and "-" or "") .. sign .. M.count(tonumber(whole)) .. cents
end

--- A share from 0 to 1; 100 % and 0 % are only what is exactly that.
---@param share number?
---@param digits integer?
---@return string
function M.percent(share, digits)
  if not share then
    return NONE
  end
  digits = digits or 2
  local least = 10 ^ -digits
  local percent = share * 100
  if share < 1 then
    percent = math.min(percent, 100 - least)
  end
  if share > 0 then
    percent = math.max(percent, least)
  end
  return ((share == 1 or share == 0) and "%.0f %%" or "%." .. digits .. "f %%"):format(percent)
end

--- A number of something.
---@param number number
---@param noun string
---@return string
function M.plural(number, noun)
  return M.count(number) .. " " .. noun .. (number == 1 and "" or "s")
end

return M
