-- Named lines, in seconds and shares of all requests: what a far endpoint, a near one and a failing one are like.
-- A preset is laid under the rest of a profile; `scale` multiplies its times.

local M = {
  overseas = {
    latency = { median = 0.362, sigma = 0.60, tail = { p = 0.0195, min = 1.5, alpha = 1.8, cap = 10 } },
    faults = {
      hang = 0.082, reset = 0.009, close = 0.004, truncate = 0.004, short_json = 0.003, malformed = 0.002,
      status = { ["500"] = 0.004, ["502"] = 0.005, ["503"] = 0.010, ["529"] = 0.004 },
    },
  },
  regional = {
    latency = { median = 0.0363, sigma = 0.37, tail = { p = 0.012, min = 0.108, alpha = 2.0, cap = 0.6 } },
    faults = { hang = 0.001, reset = 0.0005, short_json = 0.0002, status = { ["503"] = 0.0008, ["502"] = 0.0005 } },
  },
  brownout = {
    latency = { median = 1.0, sigma = 0.8, tail = { p = 0.05, min = 3, alpha = 1.5, cap = 10 } },
    faults = { hang = 0.50, reset = 0.10, status = { ["503"] = 0.25, ["500"] = 0.05 } },
  },
}

return M
