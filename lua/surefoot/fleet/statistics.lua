-- What samples say, and how surely: means, quantiles and shares with their 95 % confidence intervals, Jain's fairness,
-- autocorrelation. Intervals: normal for means, by order statistics for quantiles (no assumption on the distribution),
-- Wilson's for shares.

local M = {}

local Z = 1.959964 -- of the normal distribution, 95 %, two-sided

local function sorted(values)
  local copy = {}
  for i, value in ipairs(values) do
    copy[i] = value
  end
  table.sort(copy)
  return copy
end

--- The mean, and its interval.
---@param values number[]
---@return number mean
---@return number low
---@return number high
function M.mean(values)
  local n, sum = #values, 0
  for _, value in ipairs(values) do
    sum = sum + value
  end
  local mean, squares = sum / n, 0
  for _, value in ipairs(values) do
    squares = squares + (value - mean) ^ 2
  end
  local margin = n > 1 and Z * math.sqrt(squares / (n - 1) / n) or 0
  return mean, mean - margin, mean + margin
end

--- A quantile, and its interval: the ranks between which it lies in 95 % of all samples.
---@param values number[] math.huge is a value
---@param q number
---@return number quantile
---@return number low
---@return number high
function M.quantile(values, q)
  local list = sorted(values)
  local n = #list
  local function at(rank)
    return list[math.max(1, math.min(n, rank))]
  end
  local spread = Z * math.sqrt(n * q * (1 - q))
  return at(math.ceil(n * q)), at(math.floor(n * q - spread)), at(math.ceil(n * q + spread) + 1)
end

--- A share, and Wilson's interval.
---@param count integer
---@param n integer
---@return number share
---@return number low
---@return number high
function M.share(count, n)
  local p, z2 = count / n, Z * Z
  local middle = (p + z2 / (2 * n)) / (1 + z2 / n)
  local spread = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
  return p, math.max(0, middle - spread), math.min(1, middle + spread)
end

--- The normal distribution's share below z (Abramowitz and Stegun 26.2.17, within 7.5e-8).
---@param z number
---@return number
function M.normal(z)
  if z < 0 then
    return 1 - M.normal(-z)
  end
  local t = 1 / (1 + 0.2316419 * z)
  local sum = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
  return 1 - math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * sum
end

--- Jain's fairness: 1 = all the same, 1/n = one has all.
---@param values number[]
---@return number
function M.fairness(values)
  local sum, squares = 0, 0
  for _, value in ipairs(values) do
    sum, squares = sum + value, squares + value * value
  end
  return squares > 0 and sum * sum / (#values * squares) or 1
end

--- Autocorrelation of a series at a lag.
---@param values number[]
---@param lag integer
---@return number
function M.autocorrelation(values, lag)
  local n, mean = #values, (M.mean(values))
  local covariance, variance = 0, 0
  for i = 1, n do
    variance = variance + (values[i] - mean) ^ 2
    if i + lag <= n then
      covariance = covariance + (values[i] - mean) * (values[i + lag] - mean)
    end
  end
  return variance > 0 and covariance / variance or 0
end

--- A series without its slow changes: each value less the mean of those within `reach` places of it.
---@param values number[]
---@param reach integer
---@return number[]
function M.detrended(values, reach)
  local sums, list, n = { [0] = 0 }, {}, #values
  for i, value in ipairs(values) do
    sums[i] = sums[i - 1] + value
  end
  for i, value in ipairs(values) do
    local first, last = math.max(1, i - reach), math.min(n, i + reach)
    list[i] = value - (sums[last] - sums[first - 1]) / (last - first + 1)
  end
  return list
end

return M
