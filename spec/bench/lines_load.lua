-- The load of one row of lines_bench.lua by a client of surefoot: workers that ask, as many starts a second as the job
-- allows, every answer checked. Times in the output are real seconds.
--
--   lua5.4 -l spec.helper spec/bench/lines_load.lua JOB.json      (lines_run.lua writes the job)

local cjson = require "cjson"
local process = require "spec.support.process"
local scenarios = require "spec.bench.lines_scenarios"
local surefoot = require "surefoot"

local job = cjson.decode((assert(process.read(arg[1]), "no job at " .. arg[1])))
local chosen = scenarios.clients[job.client]

-- A client for the lines of the job, or for another address.
local function new_client(url)
  local config = scenarios.configuration(chosen.config, job.timeout, job.scale)
  config.model, config.api_key, config.endpoints = "sim-large", "sk-bench", {}
  for i, line in ipairs(url and { { name = "warm", url = url } } or job.lines) do
    config.endpoints[i] = { name = line.name, url = line.url }
  end
  return surefoot.new(config)
end

local FILLER = (" Whoever wants every answer keeps count of them all."):rep(3)

local calls = { start = {}, latency = {}, outcome = {} }
local kept = not chosen.fresh and new_client() or nil

-- "ok": the whole answer to this very question; "false": taken for an answer, but it is none.
local function outcome_of(question, result, err)
  if not result then
    return err.kind
  end
  return result.text == "echo: " .. question and result.finish_reason == "stop" and "ok" or "false"
end

local function ask(number, began)
  local question = ("call %d of %s."):format(number, job.name) .. FILLER
  local client = kept or new_client()
  local start = surefoot.now()
  local result, err = client:chat(question)
  calls.latency[number] = surefoot.now() - start
  calls.start[number] = start - began
  calls.outcome[number] = outcome_of(question, result, err)
end

local WARM_UP = 100

-- What happens at the first calls only (loading, compiling) is over when the clock starts; the lines hear none of it.
surefoot.run(function()
  local client = new_client(job.warm_url)
  for _ = 1, WARM_UP do
    assert(client:chat "warm")
  end
end)

local began = surefoot.now()
local next_start, number = began, 0

local function worker()
  while number < job.calls do
    number = number + 1
    local mine, at = number, math.max(surefoot.now(), next_start)
    if job.starts then
      next_start = at + 1 / job.starts
      surefoot.sleep(math.max(0, at - surefoot.now()))
    end
    ask(mine, began)
  end
end

process.write(job.output .. ".begun", "")
surefoot.run(function()
  for _ = 1, job.workers do
    surefoot.spawn(worker)
  end
end)
calls.wall = surefoot.now() - began

if kept then
  local stats = kept:stats()
  calls.stats = { attempts = stats.attempts, retries = stats.retries, hedges = stats.hedges, timeouts = stats.timeouts,
    errors = stats.errors, retry_budget = stats.retry_budget }
end
process.write(job.output, cjson.encode(calls))
