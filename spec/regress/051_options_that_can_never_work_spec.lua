--- Options were taken without a word though they could never do anything: a burst of a rate that was not given, a JSON
--- library without functions, names of models that no request can hold.

local surefoot = require "surefoot"

local URL = "https://localhost:9/v1"
local LONG = ("x"):rep(1000)

local REFUSED = {
  { { rate = { burst = 5 } }, "rate.burst: needs requests_per_second" },
  { { rate = { tokens_per_minute = 5, burst = 5 } }, "rate.burst: needs requests_per_second" },
  { { rate = { requests_per_second = 5, token_burst = 5 } }, "rate.token_burst: needs tokens_per_minute" },
  { { endpoints = { { url = URL, rate = { burst = 5 } } } }, "endpoints[1].rate.burst: needs requests_per_second" },
  { { json = {} }, "json: has neither encode nor decode" },
  { { json = { encoder = print } }, "json: has neither encode nor decode" },
  { { breaker = { max_recovery_timeout = 2 } }, "breaker.max_recovery_timeout: is below recovery_timeout (2 < 5)" },
  { { breaker = { recovery_timeout = 10 }, endpoints = { URL, { url = URL, breaker = { max_recovery_timeout = 6 } } } },
    "endpoints[2].breaker.max_recovery_timeout: is below recovery_timeout (6 < 10)" },
  { { model = "\255" }, "model: invalid UTF-8 at byte 1 of 1 (0xFF)" },
  { { fallbacks = { "n", "m\255" } }, "fallbacks[2]: invalid UTF-8 at byte 2 of 2 (0xFF)" },
  { { fallbacks = { { model = "\255" } } }, "fallbacks[1].model: invalid UTF-8 at byte 1 of 1 (0xFF)" },
  { { fallbacks = { "a\nb" } }, "fallbacks[1]: contains a line break or a NUL byte" },
  { { fallbacks = { "" } }, "fallbacks[1]: expected a model name" },
  { { endpoints = { { url = URL, models = { big = "\255" } } } },
    "endpoints[1].models.big: invalid UTF-8 at byte 1 of 1 (0xFF)" },
  { { endpoints = { { url = URL, models = { [1.5] = "m" } } } },
    "endpoints[1].models[1.5]: a model name is expected as the key" },
  { { preset = LONG }, ('preset: no preset "%s"...; known are'):format(("x"):rep(57)) },
  { { provider = LONG }, ('provider: no provider "%s"...; known are'):format(("x"):rep(57)) },
}

describe("options that can never work are refused:", function()
  for _, row in ipairs(REFUSED) do
    it(row[2], function()
      local configuration = { base_url = not row[1].endpoints and URL or nil, api_key = "k", model = "m" }
      for name, value in pairs(row[1]) do
        configuration[name] = value
      end
      local ok, problem = pcall(surefoot.new, configuration)
      assert.is_false(ok)
      assert.is_truthy(problem:find("surefoot.new: " .. row[2], 1, true), problem)
      assert.is_true(#problem < 1000)
    end)
  end

  it("and an endpoint of a request that there is none of, in few words", function()
    local client = surefoot.new { base_url = URL, api_key = "k" }
    local ok, problem = pcall(client.request, client, { path = "/x", endpoint = LONG })
    assert.is_false(ok)
    assert.is_truthy(problem:find(('endpoint: no endpoint is named "%s"...'):format(("x"):rep(57)), 1, true), problem)
    client:close()
  end)

  it("but not what only stands beside them", function()
    for _, more in ipairs { { rate = { requests_per_second = 5, burst = 5 } }, { rate = {} }, { rate = true },
      { breaker = { recovery_timeout = 120 } }, { breaker = { max_recovery_timeout = 5 } },
      { json = { encode = print } },
      { fallbacks = { "日本" } } } do
      more.base_url, more.api_key = URL, "k"
      surefoot.new(more):close()
    end
  end)
end)
