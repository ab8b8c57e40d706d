-- Plays one row of lines_bench.lua: sets the lines up, lets a load program ask in a process of its own, changes a line
-- when its time has come, and gathers what the program and the provider have counted. Times become the story's.

local cjson = require "cjson"
local peers = require "spec.bench.peers"
local process = require "spec.support.process"
local scenarios = require "spec.bench.lines_scenarios"
local socket = require "socket"
local surefoot = require "surefoot"

local M = {}

M.PEERS = { sdk = peers.OPENAI, litellm = peers.LITELLM }

local PATIENCE = 1200 -- real seconds for one round

-- ------------------------------------------------------------------------------------------------------------ clients

-- Each gives the words that start the peer's load program; nil and why it is not to be had here.
local programs = {}

function programs.sdk()
  local folder, why = peers.node("openai", peers.OPENAI)
  return folder and { "node", "spec/bench/lines_openai.mjs", folder }, why
end

function programs.litellm()
  local folder, why = peers.python(peers.LITELLM)
  return folder and { folder .. "/bin/python", "spec/bench/lines_litellm.py" }, why
end

local found = {}

---The words that start a client's load program; nil, and why it is not to be had here.
---@param client table
---@return string[]|nil words, string? why
function M.program(client)
  local peer = client.peer
  if peer then
    found[peer] = found[peer] or { programs[peer]() }
    return found[peer][1], found[peer][2]
  end
  local config = scenarios.configuration(client.config, 1, 1)
  config.base_url, config.api_key = "http://127.0.0.1:1/v1", "sk-bench"
  surefoot.new(config):close() -- what is wrong with it is told before the lines are set up
  return { "lua5.4", "-l", "spec.helper", "spec/bench/lines_load.lua" }
end

-- -------------------------------------------------------------------------------------------------------------- round

-- Changes of the profiles at their moments; gives the unix time of each.
local function play_changes(provider, scenario, round, running)
  local began, times = socket.gettime(), {}
  for i, change in ipairs(scenario.changes or {}) do
    while running() and socket.gettime() < began + change.at * scenario.scale do
      socket.sleep(0.01)
    end
    provider:profile(change.line, scenarios.profile(change.profile, scenario.scale, round))
    times[i] = socket.gettime()
  end
  return times
end

local function names_of(lines)
  local names = {}
  for name in pairs(lines) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

-- Attempts by line and by fault, as the provider counts them, and when each of the last thousand began.
local function gather(provider, scenario)
  local seen = { attempts = 0, by_line = {}, starts = {} }
  for _, name in ipairs(names_of(scenario.lines)) do
    local counters = provider:counters(name)
    seen.attempts = seen.attempts + counters.requests
    seen.by_line[name] = { attempts = counters.requests, statuses = counters.status, faults = counters.faults,
      aborted = counters.aborted }
    seen.starts[name] = counters.starts
  end
  return seen
end

local function job_of(provider, scenario, key, calls, round)
  local names, lines = scenarios.clients[key].lines or names_of(scenario.lines), {}
  for i, name in ipairs(names) do
    lines[i] = { name = name, url = provider.lines[name].url }
  end
  return {
    client = key, name = ("%s-%s-%d"):format(scenario.key, key, round), lines = lines, timeout = scenario.timeout,
    scale = scenario.scale, warm_url = provider.lines.a.bench_url, calls = calls, workers = scenarios.WORKERS,
    starts = scenario.starts and scenario.starts / scenario.scale, output = provider.dir .. "/load.json",
    options = scenarios.clients[key].options,
  }
end

local function start(words, job)
  local path, messages = job.output:gsub("load", "job"), job.output .. ".messages"
  os.remove(job.output)
  os.remove(job.output .. ".begun")
  process.write(path, cjson.encode(job))
  local argv = table.move(words, 1, #words, 1, {})
  argv[#argv + 1] = path
  local pid = process.spawn(argv, { stdout = messages })
  local ticks = process.started(pid)
  local function running()
    return process.alive(pid, ticks)
  end
  process.wait_for(function()
    return process.read(job.output .. ".begun") or not running()
  end, 60)
  return pid, running, function()
    error(("%s: the load ended without a result:\n%s"):format(job.name, process.read(messages) or ""), 0)
  end
end

-- How the attempts divide among the lines while one is bad: { from, to, bad, all } in seconds since it began.
local EDGES = { 0, 0.5, 1, 2, 5, 20 }

local function shares(bad, starts, since, scale)
  local windows = {}
  for i = 1, #EDGES - 1 do
    windows[i] = { from = EDGES[i], to = EDGES[i + 1], bad = 0, all = 0 }
  end
  for name, list in pairs(starts) do
    for _, at in ipairs(list) do
      local age = (at - since) / scale
      for _, window in ipairs(windows) do
        if age >= window.from and age < window.to then
          window.all = window.all + 1
          window.bad = window.bad + (name == bad.line and 1 or 0)
        end
      end
    end
  end
  return windows
end

local function story_time(list, scale)
  for i, seconds in ipairs(list) do
    list[i] = seconds / scale
  end
  return list
end

---One round: { start, latency, outcome (lists by call), wall, stats, attempts, by_line, shares }, times of the story.
---@param provider table
---@param scenario table
---@param key string of the client
---@param words string[] that start its load program
---@param round integer
---@return table
function M.round(provider, scenario, key, words, round)
  provider:reset()
  for name, profile in pairs(scenario.lines) do
    provider:profile(name, scenarios.profile(profile, scenario.scale, round))
  end
  local job = job_of(provider, scenario, key, scenario.calls[key] or scenario.calls.all, round)
  local pid, running, fail = start(words, job)
  local times = play_changes(provider, scenario, round, running)
  local middle = scenario.bad and gather(provider, scenario)
  if not process.wait_for(function() return not running() end, PATIENCE) then
    process.stop(pid, "KILL")
    fail()
  end
  local calls = cjson.decode(process.read(job.output) or fail())
  local seen = gather(provider, scenario)
  calls.wall = calls.wall / scenario.scale
  story_time(calls.start, scenario.scale)
  story_time(calls.latency, scenario.scale)
  calls.attempts, calls.by_line = seen.attempts, seen.by_line
  local config = scenarios.clients[key].config
  calls.configuration = config and scenarios.configuration(config, scenario.timeout, scenario.scale)
  calls.shares = middle and shares(scenario.bad, middle.starts, times[1], scenario.scale)
  return calls
end

return M
