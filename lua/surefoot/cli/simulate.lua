--- surefoot simulate: fleets of clients on modelled lines that fail, on a virtual clock: how surefoot keeps its marks,
--- and how one's own settings would do beside its defaults.

local client_config = require "surefoot.config"
local configurations = require "surefoot.fleet.configurations"
local core = require "surefoot.binding"
local crew = require "surefoot.fleet.crew"
local interrupt = require "surefoot.cli.interrupt"
local mistakes = require "surefoot.cli.mistakes"
local numbers = require "surefoot.cli.numbers"
local outputs = require "surefoot.cli.outputs"
local report = require "surefoot.cli.simulate_report"
local scenarios = require "surefoot.fleet.scenarios"
local settings = require "surefoot.cli.settings"
local words = require "surefoot.cli.words"

local fail = mistakes.fail

local process = core.process

local M = {
  name = "simulate",
  summary = "Play outages on a virtual clock; with --config, how one's own settings would do.",
  examples = {
    "surefoot simulate --list",
    "surefoot simulate S1 S7 --quick",
    "surefoot simulate --config config.lua          # one's own settings in an outage",
    "surefoot simulate --svg plots --json table.json",
  },
}

M.description = "Plays fleets of clients on modelled lines that slow down, fail or run out of quota: the real engine "
  .. "on a virtual clock, without network and keys. Without --config surefoot's defaults and negative controls are "
  .. "held to their marks, which takes minutes. With it the policies of a configuration (timeout, retry with its "
  .. "budget, breaker, hedge, rate, concurrency with its queue, routing) are played beside surefoot's defaults and a "
  .. "client that never retries; then the marks are for them alone, and one that the "
  .. "defaults miss by as much does not count. Exit code 1: a mark was missed."

local QUICK = 0.1 -- of the seeds
local LINES = 10 -- seconds between two lines, where there is no terminal

local WHOLE = { least = 1, whole = true }

--- Adds the arguments.
---@param command table of argparse
function M.configure(command)
  command:argument("scenarios", "Which of them: S1 to S8 (default: all)."):args "*":argname "SCENARIO"
  command:option("-c --config", "Lua file whose policies are compared."):argname "FILE"
  command:option("--line", "Compare those of this line of it (default: its first)."):argname "NAME"
  command:option("--seeds", "Play each configuration with so many seeds (default: as many as its mark needs).")
    :argname("N"):convert(numbers.number("--seeds", WHOLE))
  command:flag("--quick", "A tenth of the seeds: a look, less sure.")
  command:option("-j --workers", "Processes (default: one for each processor)."):argname("N")
    :convert(numbers.number("--workers", WHOLE))
  command:option("--svg", "Draw plots into this folder."):argname "DIR"
  command:option("--json", "Write the table as JSON; - is standard output."):argname "FILE"
  command:flag("--list", "Only list the scenarios.")
end

-- ------------------------------------------------------------------------------------------------------ what is played

local function chosen(ids)
  local list, seen, known = {}, {}, {}
  for i, scenario in ipairs(scenarios.list) do
    known[i] = scenario.id
  end
  for _, id in ipairs(ids) do
    local scenario = scenarios.by_id[id:upper()]
    if not scenario then
      fail("unknown scenario %q; there are %s", id, table.concat(known, ", "))
    elseif not seen[scenario] then
      seen[scenario], list[#list + 1] = true, scenario
    end
  end
  return #list > 0 and list or scenarios.list
end

-- The user's policies, checked.
local function policies_of(args)
  if not args.config then
    return args.line and fail "--line needs --config FILE" or nil
  end
  local given, problem = settings.given({ config = args.config, line = args.line }, settings.without_keys)
  if not given then
    fail("%s", problem)
  end
  local ok, mistake = pcall(client_config.resolve, given, settings.without_keys)
  if not ok then
    fail("%s: %s", args.config, mistake)
  end
  return configurations.policies(given)
end

-- What there is to do: all processes find the same.
local function work_of(args)
  local work = { list = chosen(args.scenarios), own = policies_of(args), jobs = {}, few = args.quick or args.seeds }
  local seeds = { exactly = args.seeds, share = args.quick and QUICK or nil }
  for _, scenario in ipairs(work.list) do
    for _, job in ipairs((work.own and scenario.compared_jobs or scenario.jobs)(seeds)) do
      job.scenario = scenario.id
      work.jobs[#work.jobs + 1] = job
    end
  end
  return work
end

-- ----------------------------------------------------------------------------------------------------------------- run

local function teller(terminal, count, began)
  local told_at = began
  return function(done, job)
    local now = core.now()
    local scenario = scenarios.by_id[job.scenario]
    local note = ("%s %s, %s"):format(scenario.id, scenario.name, words.duration(math.max(1, now - began)))
    if terminal.error_is_tty then
      terminal:progress { done = done, total = count, text = note }
    elseif now - told_at >= LINES then
      told_at = now
      terminal:tell(("%d of %d: %s"):format(done, count, note))
    end
  end
end

-- Plays all jobs: nil, and the exit code, where that ended early.
local function play(terminal, work, count)
  process.catch_interrupts(true)
  local hands, results, tell = crew.start(count), {}, teller(terminal, #work.jobs, core.now())
  tell(0, work.jobs[1])
  for number, job in ipairs(work.jobs) do
    results[number] = hands.is_ready and hands:result(number) or nil
    if not results[number] then
      break
    end
    tell(number, job)
  end
  local interrupts, signal = process.interrupts()
  process.catch_interrupts(false)
  hands:stop()
  terminal:clear()
  if #results == #work.jobs then
    return results
  elseif interrupts == 0 then
    terminal:complain "a process that played has ended before its work was done"
    return nil, 1
  end
  return nil, interrupt.exit_code(signal)
end

local function check_outputs(args)
  local ok, problem = true, nil
  if args.svg then
    ok, problem = outputs.check_folder(args.svg)
  end
  if ok and args.json and args.json ~= "-" then -- which may lie in that folder
    ok, problem = outputs.check(args.json)
  end
  return ok or fail("%s", problem)
end

local function give_out(terminal, args, work, results, seconds)
  local rows = report.rows(work, results)
  local document = report.document(work, rows, results, seconds)
  if args.json == "-" then
    terminal:json(document)
  else
    report.print(terminal, work, rows, document)
  end
  local problems = {}
  if args.json and args.json ~= "-" then
    local _, problem = outputs.write(args.json, report.encoded(document))
    problems[1] = problem
  end
  for _, picture in ipairs(args.svg and report.pictures(work, results) or {}) do
    local _, problem = outputs.write(("%s/%s.svg"):format(args.svg, picture.name), picture.svg)
    problems[#problems + 1] = problem
  end
  for _, problem in ipairs(problems) do
    terminal:complain(problem)
  end
  return document.missed == 0 and #problems == 0 and 0 or 1
end

local function be_worker(terminal, work, index, count)
  crew.work(work, index, count, function(line)
    terminal:print(line)
    return terminal:flush()
  end)
  return 0
end

local function run(args, terminal)
  if args.list then
    report.list(terminal)
    return 0
  end
  local work = work_of(args)
  local index, count = crew.role()
  if index then
    return be_worker(terminal, work, index, count)
  end
  check_outputs(args)
  local began = core.now()
  local results, code = play(terminal, work, math.min(args.workers or crew.processors(), #work.jobs))
  return code or give_out(terminal, args, work, results, core.now() - began)
end

--- Runs it.
---@type fun(args: table, terminal: surefoot.Terminal): integer
M.run = mistakes.told(run)

return M
