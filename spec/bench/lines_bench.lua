-- The story's benchmark: the same calls by a client that tries once, by OpenAI's SDK, by LiteLLM's Router and by
-- surefoot, over lines that behave as the story's did, simulated by nginx on loopback: latencies, hangs, faults and
-- limits are injected, nothing is measured on a real network. 50 workers, paced starts; latencies are over verified
-- answers: whole, and the answer to that very question. Attempts are counted by the provider. Goals are reported, not
-- enforced.
--
--   make bench-lines            or: lua5.4 -l spec.helper spec/bench/lines_bench.lua [options]
--   --quick                     few calls on a fast clock: proves that the bench runs, measures nothing
--   --only NAME,...             of overseas overseas120 regional brownout limited unannounced
--   --clients NAME,...          of naive sdk sdk_turn litellm retries paced hedge95 hedge75 paced_hedge
--   --calls N                   instead of the scenario's own number
--   --clock SCALE               real seconds for a second of the story, instead of the scenario's own
--   --out FOLDER                for lines.json and the plots (default: build/bench-lines)

local process = require "spec.support.process"
local provider = require "spec.support.provider"
local report = require "spec.bench.lines_report"
local run = require "spec.bench.lines_run"
local scenarios = require "spec.bench.lines_scenarios"
local surefoot = require "surefoot"

local VALUED = {
  ["--only"] = "text", ["--clients"] = "text", ["--calls"] = "number", ["--clock"] = "number", ["--out"] = "text",
}

local function options_of(words)
  local options, i = { out = "build/bench-lines" }, 1
  while words[i] do
    local word = words[i]
    if word == "--quick" then
      options.quick = true
    elseif VALUED[word] and words[i + 1] and (VALUED[word] == "text" or tonumber(words[i + 1])) then
      options[word:sub(3)] = words[i + 1]
      i = i + 1
    else
      error(("lines_bench: what is %q? The head of the file lists the options"):format(word), 0)
    end
    i = i + 1
  end
  return options
end

-- The names in a list, nil for all; an unknown one ends the run.
local function chosen(list, known)
  if not list then
    return nil
  end
  local set = {}
  for name in list:gmatch "[^,]+" do
    if not known[name] then
      error(("lines_bench: %q is not known"):format(name), 0)
    end
    set[name] = true
  end
  return set
end

local function by_key(list)
  local found = {}
  for _, one in ipairs(list) do
    found[one.key] = one
  end
  return found
end

local function progress(...)
  io.stderr:write(("%s %s, round %d of %d\n"):format(...))
end

local function play(simulated, scenario, clients)
  local done = { scenario = scenario, rows = {}, skipped = {} }
  for _, key in ipairs(scenario.clients) do
    local client = scenarios.clients[key]
    local words, why
    if not clients or clients[key] then
      words, why = run.program(client)
    end
    if why then
      done.skipped[#done.skipped + 1] = ("skipped: %s (%s)"):format(client.name, why)
      io.stderr:write(done.skipped[#done.skipped], "\n")
    elseif words then
      local rounds, count = {}, scenario.rounds and (scenario.rounds[key] or scenario.rounds.all) or 1
      local played = scenarios.at_clock_of(client, scenario)
      for round = 1, count do
        progress(scenario.key, key, round, count)
        rounds[round] = run.round(simulated, played, key, words, round)
      end
      done.rows[#done.rows + 1] = report.row(scenario, key, client, rounds)
    end
  end
  return done
end

local function about(options)
  local versions = { surefoot = surefoot.version, sdk = run.PEERS.sdk, litellm = run.PEERS.litellm }
  versions.node = process.which "node" and process.capture({ "node", "--version" }):match "%S+" or nil
  return { versions = versions, workers = scenarios.WORKERS, clients = scenarios.clients, quick = options.quick,
    note = "simulated lines on loopback; times in the story's seconds; scale: real seconds per second of the story" }
end

local function written(value)
  if type(value) ~= "table" then
    return tostring(value)
  end
  local parts = {}
  for key, field in pairs(value) do
    parts[#parts + 1] = key .. " = " .. written(field)
  end
  table.sort(parts)
  return "{ " .. table.concat(parts, ", ") .. " }"
end

local function print_clients()
  print "clients (all times follow the clock, their defaults too):"
  for _, key in ipairs(scenarios.order) do
    local client = scenarios.clients[key]
    local what = client.peer and run.PEERS[client.peer] .. ", its own retries"
      .. (client.options and ", " .. written(client.options) or "") or next(client.config) and written(client.config)
    print(("  %s: %s%s"):format(client.name, what or "the defaults", client.fresh and ", a new client per call" or ""))
  end
end

io.stdout:setvbuf "line"
local options = options_of(arg)
local list = options.quick and scenarios.quick() or scenarios.scenarios
local only = chosen(options.only, by_key(list))
local clients = chosen(options.clients, scenarios.clients)

local simulated = provider.start { lines = { "a", "b", "c" } }
local finished, problem = pcall(function()
  print(("Simulated lines on loopback; %d workers; latencies in ms over verified answers; attempts as the provider "
    .. "counts them."):format(scenarios.WORKERS))
  print "Times are the story's: at clock x 0.2 one of its seconds takes 0.2 s here, for lines and clients alike."
  print_clients()
  local done = {}
  for _, scenario in ipairs(list) do
    if not only or only[scenario.key] then
      if options.calls then
        scenario.calls = { all = tonumber(options.calls) }
      end
      scenario.scale = tonumber(options.clock) or scenario.scale
      done[#done + 1] = play(simulated, scenario, clients)
      report.print(scenario, done[#done].rows, done[#done].skipped)
    end
  end
  print ""
  for _, path in ipairs(report.save(options.out, done, about(options))) do
    print("written: " .. path)
  end
  local complaints = simulated:errors()
  if #complaints > 0 then
    error("the provider complained: " .. complaints[1], 0)
  end
end)
simulated:stop()
if not finished then
  error(problem, 0)
end
