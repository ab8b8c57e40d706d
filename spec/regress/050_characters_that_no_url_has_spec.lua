--- A URL or a path with a character beyond ASCII was refused as having one of three faults, without the place and
--- without a word about what to write instead.

local surefoot = require "surefoot"

local REFUSED = {
  { "https://x.com/é", "contains a character beyond ASCII at byte 15: it is written as %C3%A9" },
  { "https://x.com/\233", "contains a character beyond ASCII at byte 15: it is written as %E9" },
  { "https://x.com/日本", "contains a character beyond ASCII at byte 15: it is written as %E6%97%A5" },
  { "https://exämple.com/v1", "the host contains a character beyond ASCII: it is written as in DNS (xn--...)" },
  { "https://u:pä@x.com", "has credentials before the host" },
  { "https://x.com/a b", "contains a space at byte 16: it is written as %20" },
  { "https://x.com/a\tb", "contains a control character at byte 16" },
  { " https://x.com", "begins with a space" },
  { "https://x.com/v1 ", "ends with a space" },
}

local function refused(message, configuration)
  configuration.api_key, configuration.model = "k", "m"
  local ok, problem = pcall(surefoot.new, configuration)
  assert.is_false(ok)
  assert.is_truthy(problem:find("surefoot.new: " .. message, 1, true), problem)
end

describe("what stands in no URL is told with its place, and how it is written:", function()
  for _, row in ipairs(REFUSED) do
    it(row[1], function()
      refused("base_url: " .. row[2], { base_url = row[1] })
      refused("endpoints[1].url: " .. row[2], { endpoints = { row[1] } })
    end)
  end

  it("in paths", function()
    local base_url = "https://x.com"
    refused("health.path: contains a character beyond ASCII at byte 2: it is written as %C3%A9",
      { base_url = base_url, health = { path = "/é" } })
    refused('health.path: expected a path that begins with /, without spaces, got "v1"',
      { base_url = base_url, health = { path = "v1" } })
    refused("dns.doh_url: contains a space at byte 18: it is written as %20",
      { base_url = base_url, dns = { doh_url = "https://1.1.1.1/q q" } })
    local client = surefoot.new { base_url = base_url, api_key = "k", model = "m" }
    for path, message in pairs { ["/é"] = "contains a character beyond ASCII at byte 2: it is written as %C3%A9",
      ["/a#b"] = "contains a #, which begins a fragment: it is written as %23", a = "expected a path that begins" } do
      assert.error_matches(function() client:request { path = path } end, "client:request: path: " .. message, 1, true)
    end
    client:close()
  end)

  it("and of proxies without showing them", function()
    refused("proxy: contains a space, a control character or a character beyond ASCII: in a password they are written "
      .. "as %XX, in a host's name as in DNS (xn--...)", { base_url = "https://x.com", proxy = "http://u:pä@x.com" })
  end)
end)
