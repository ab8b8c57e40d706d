-- The official clients of OpenAI and Anthropic for node, unmodified, before the gateway; behind it a provider that
-- speaks every format. The programs in sdk/ hold the tests; each that fails is told. The SDKs come from npm into
-- build/npm/sdk; where they cannot be had, nothing is tested, and that is said.

local cjson = require "cjson"
local env = require "spec.support.env"
local lab = require "spec.gateway.lab"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local FOLDER = "build/npm/sdk"
local SDKS = { ["openai"] = "6.49.0", ["@anthropic-ai/sdk"] = "1.12.0" }
local PROGRAMS = { "openai_chat", "openai_responses", "anthropic" }

local CONFIG = [[{
  api_key = "sk-upstream-0123456789", http_version = "1.1", breaker = false, retry = { max_attempts = 1 },
  timeout = { first_byte = 20, first_token = 20, idle = 20, total = 30 },
  endpoints = {
    { name = "openai", url = "%s", models = { "gpt-x", "secret-x" } },
    { name = "hasty", url = "%s", models = { "hasty-x" }, timeout = { first_byte = 0.2 } },
    { name = "anthropic", url = "%s", provider = "anthropic", models = { "claude-x" } },
    { name = "gemini", url = "%s", provider = "gemini", models = { "gemini-x" } },
    { name = "responses", url = "%s", provider = "responses", models = { "items-x" } },
    { name = "azure", url = "%s", provider = "azure", api_version = "2024-10-21", models = { "azure-x" } },
  },
  gateway = {
    keys = { {
      name = "callers", key = "sk-callers-0123456789",
      models = { "gpt-x", "hasty-x", "claude-x", "gemini-x", "items-x", "azure-x", "nowhere" },
    } },
    models = {
      ["gpt-x"] = true, ["hasty-x"] = true, ["secret-x"] = true, ["claude-x"] = true, ["gemini-x"] = true,
      ["items-x"] = true, ["azure-x"] = true,
    },
  },
}]]

-- Nil, and why, where there is nothing to test with.
local function install()
  if not process.which "node" or not process.which "npm" then
    return nil, "node and npm were not found"
  end
  local wanted, there = {}, true
  for name, version in pairs(SDKS) do
    wanted[#wanted + 1] = name .. "@" .. version
    local package = process.read(("%s/node_modules/%s/package.json"):format(FOLDER, name)) or ""
    there = there and package:find('"version": "' .. version .. '"', 1, true) ~= nil
  end
  if there then
    return true
  end
  table.sort(wanted)
  local result = env.run(("mkdir -p %s && timeout 120 npm install --prefix %s --no-audit --no-fund --silent "
    .. "--fetch-retries=0 --fetch-timeout=20000 %s"):format(FOLDER, FOLDER, table.concat(wanted, " ")))
  if result.status ~= 0 then
    return nil, "npm could not install " .. table.concat(wanted, " and ") .. ": " .. result.stderr
  end
  return true
end

-- Runs a program: what went wrong in its tests, and how many there are.
local function run(name, place)
  local folder = process.capture({ "pwd" }):match "%S+" .. "/" .. FOLDER
  local result = env.run { "timeout", tostring(math.ceil(120 * lab.pace)), "node",
    ("spec/gateway/sdk/%s.mjs"):format(name), folder, cjson.encode(place) }
  local problems, count = {}, 0
  for line in result.stdout:gmatch "[^\n]+" do
    local test = cjson.decode(line)
    count = count + 1
    if test.problem ~= cjson.null then
      problems[#problems + 1] = test.name .. ": " .. test.problem
    end
  end
  assert(result.status == 0 and count > 0, ("%s: status %d\n%s"):format(name, result.status, result.stderr))
  return problems, count
end

describe("the official SDKs #once", function()
  local ok, missing = install()
  local p, n

  if ok then
    setup(function()
      p = provider.start { lines = { "a" } }
      local line = p.lines.a
      n = lab.start(CONFIG:format(line.url, line.url, line.url, line.gemini_url, line.url, line.azure_url))
    end)

    teardown(function()
      n:stop { "buffered to a temporary file" }
      assert.same({}, p:errors())
      p:stop()
    end)
  end

  for _, name in ipairs(PROGRAMS) do
    it("take the gateway for the provider: " .. name, function()
      if not ok then
        return pending("not tested with OpenAI's and Anthropic's SDKs: " .. missing)
      end
      local problems, count = run(name, { gateway = n.url, control = p.control_url, pace = lab.pace })
      assert(#problems == 0, ("%d of %d failed\n\n%s"):format(#problems, count, table.concat(problems, "\n\n")))
    end)
  end
end)
