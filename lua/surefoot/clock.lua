--- The clock of a server against this machine's, by the Date header of its answers (RFC 9110, 5.6.7).

local M = {}

local MONTHS = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11,
  Dec = 12 }

-- Days since 1970-01-01 of a date of the Gregorian calendar; years begin in March, so that leap days end them.
local function days(year, month, day)
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  local leap = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return 365 * year + leap + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

--- Seconds since 1970 of a date as servers have to write it: "Sun, 06 Nov 1994 08:49:37 GMT".
---@param text string
---@return integer? nil: it is none
function M.parse(text)
  local day, name, year, hour, minute, second =
    text:match "^%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$"
  local month = MONTHS[name]
  if not month then
    return nil
  end
  return days(tonumber(year), month, tonumber(day)) * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60
    + tonumber(second)
end

--- Seconds that this machine's clock is ahead of a server's (negative: behind). Dates are whole seconds, so that half a
--- second or so says nothing.
---@param date string? the Date header of an answer that has just come
---@return number? nil: the server does not tell
function M.ahead(date)
  local told = date and M.parse(date)
  return told and os.time() - told
end

return M
