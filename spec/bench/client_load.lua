-- The load of raw_curl.c through the public client: client:chat in tasks, the request encoded to JSON and the answer
-- decoded, its text read. The body file is the request that is encoded anew for each call.
--
--   lua5.4 -l spec.helper spec/bench/client_load.lua URL BODY_FILE REQUESTS IN_FLIGHT [SUBMITTED_AT_ONCE]

local cjson = require "cjson"
local surefoot = require "surefoot"
local load = require "spec.bench.load"

local options = load.arguments()
local request = cjson.decode(options.body)

local function new_client()
  return surefoot.new {
    base_url = options.url, api_key = "sk-0123456789abcdef", http_version = "1.1",
    concurrency = { limit = options.in_flight, queue = 1000000 },
  }
end

local function ask(client, counted)
  local result, err = client:chat(request)
  if result and result.text:find("surefoot", 1, true) and result.finish_reason == "stop" then
    counted.good = counted.good + 1
  else
    load.bad(counted, "a call failed: " .. tostring(err or result.raw))
  end
end

local function run(client, requests, at_once)
  local counted, left = load.begin(), requests
  surefoot.run(function()
    for _ = 1, at_once do
      surefoot.spawn(function()
        while left > 0 do
          left = left - 1
          ask(client, counted)
        end
      end)
    end
  end)
  return counted
end

run(new_client(), 2 * options.in_flight, options.in_flight) -- warms connections up
local client = new_client()
load.report(run(client, options.requests, options.submitted), client:stats().latency)
