--- surefoot bench: a load of one's own lines, with a table that lives while it lasts; also of each line alone, side by
--- side with all of them.

local asking = require "surefoot.cli.asking"
local inputs = require "surefoot.cli.inputs"
local interrupt = require "surefoot.cli.interrupt"
local json = require "surefoot.json"
local lines = require "surefoot.cli.lines"
local loads = require "surefoot.cli.load"
local mistakes = require "surefoot.cli.mistakes"
local numbers = require "surefoot.cli.numbers"
local outputs = require "surefoot.cli.outputs"
local report = require "surefoot.cli.load_report"
local settings = require "surefoot.cli.settings"
local surefoot = require "surefoot"
local tables = require "surefoot.cli.tables"

local fail = mistakes.fail

local M = {
  name = "bench",
  summary = "Make many calls, and tell how they went.",
  description = "Makes many calls and tells how they went: success, latency, attempts, refusals. The calls are real, "
    .. "and billed. With --compare each line is also asked directly, with one attempt a call, at the same time as all "
    .. "lines through surefoot, each with calls and workers of its own. Exit code 0: every call of the configured "
    .. "client was answered; 1: some were not.",
  examples = {
    "surefoot bench --calls 200 --concurrency 20",
    "surefoot bench --seconds 60 --rate 5 --stream --prompts prompts.txt",
    "surefoot bench --compare --calls 500 --svg lines.svg --json lines.json",
  },
}

local CALLS = 100 -- where neither calls nor seconds were given
local FRAME = 0.25 -- seconds between two states of the live table
local LINES = 10 -- seconds between two lines, where there is no terminal
local QUESTION, ANSWER_TOKENS = "Say hello in one word.", 16

local ABOVE, WHOLE = { above = 0 }, { least = 1, whole = true }

--- Adds the arguments.
---@param command table of argparse
function M.configure(command)
  command:option("-n --calls", "How many calls (default: 100, unless --seconds is given)."):argname("N")
    :convert(numbers.number("--calls", WHOLE))
  command:option("--seconds", "For how long calls begin."):argname("S"):convert(numbers.number("--seconds", ABOVE))
  command:option("-j --concurrency", "Calls at a time."):argname("N"):default("10")
    :convert(numbers.number("--concurrency", WHOLE))
  command:option("--rate", "Calls a second, due whether or not those before have ended (default: as fast as they can).")
    :argname("R"):convert(numbers.number("--rate", ABOVE))
  command:option("--deadline", "Seconds that a call may take."):argname("S")
    :convert(numbers.number("--deadline", ABOVE))
  command:flag("--stream", "Ask for streams, and tell the time to the first token.")
  command:option("-p --prompts", "File of questions, one a line: texts, or requests as JSON; asked in turn.")
    :argname "FILE"
  command:flag("--compare", "Also ask each line directly, with one attempt a call.")
  command:option("--json", "Write all numbers as JSON; - is standard output."):argname "FILE"
  command:option("--svg", "Draw which share was answered after which time."):argname "FILE"
  asking.options(command)
  settings.options(command)
end

-- ---------------------------------------------------------------------------------------------------------- questions

-- The request that a line of a file stands for.
local function request_of(line, place)
  local value = line
  if line:find '^[{"]' then
    value = json.decode(line) or fail("%s: this is no JSON", place)
  end
  if type(value) == "table" and value.prompt then
    value = value.prompt
  end
  if type(value) == "string" then
    return { messages = { { role = "user", content = value } } }
  elseif type(value.messages) ~= "table" then
    fail("%s: expected a text or a request with messages", place)
  end
  value.stream = nil
  return value
end

local function read_requests(path)
  local list = {}
  local well, problem = inputs.lines(path, function(line, place)
    list[#list + 1] = request_of(line, ("%s:%d"):format(path, place))
  end)
  if not well then
    fail("%s", problem)
  elseif #list == 0 then
    fail("%s: there is no question in it", path)
  end
  return list
end

local function requests_of(args)
  local list = args.prompts and read_requests(args.prompts)
    or { { messages = { { role = "user", content = QUESTION } }, max_tokens = ANSWER_TOKENS } }
  local fields = asking.fields(args)
  for _, request in ipairs(list) do
    if args.system then
      table.insert(request.messages, 1, { role = "system", content = args.system })
    end
    for name, value in pairs(fields) do
      request[name] = value
    end
  end
  return list
end

-- ------------------------------------------------------------------------------------------------------------ clients

local function clients_of(args)
  local all, problem = settings.client(args)
  if not all then
    fail("%s", problem)
  end
  local list = {}
  if args.compare then
    for _, endpoint in ipairs(all.config.endpoints) do
      local client, mistake = lines.alone(args, endpoint.name, function(given)
        given.concurrency = { limit = math.max(100, args.concurrency), queue = args.concurrency }
      end)
      if not client then
        fail("%s", mistake)
      end
      list[#list + 1] = { name = endpoint.name .. " alone", client = client }
    end
  end
  list[#list + 1] = { name = args.line or "surefoot", client = all }
  return list
end

local function plan_of(args)
  return {
    requests = requests_of(args), concurrency = args.concurrency, seconds = args.seconds, rate = args.rate,
    calls = args.calls or not args.seconds and CALLS or nil, stream = args.stream, deadline = args.deadline,
  }
end

-- ---------------------------------------------------------------------------------------------------------------- run

-- Shows how far it is: a table that is drawn over itself, or a line now and then.
local function watcher(terminal, load, live)
  local told_at = 0
  return function()
    if terminal.error_is_tty then
      live:draw(report.live(terminal, load), terminal:measure())
    elseif load:elapsed() - told_at >= LINES then
      told_at = load:elapsed()
      terminal:tell(report.line(load))
    end
  end
end

-- Runs the load: the exit code of an interrupt, if there was one.
local function perform(terminal, load)
  local live, code = tables.live(terminal.stderr), nil
  local release = interrupt.catch(function(_, signal)
    code = interrupt.exit_code(signal)
    load:stop()
  end)
  local ok, problem = pcall(surefoot.run, load.run, load, watcher(terminal, load, live), FRAME)
  release()
  live:clear()
  if not ok then
    local mistake = tostring(problem):match "client:%a+: (.*)" -- a field of --set, or of the file
    if mistake then
      fail("%s", mistake)
    end
    error(problem, 0)
  end
  return code
end

local function check_outputs(args)
  for _, path in ipairs { args.json and args.json ~= "-" and args.json or args.svg, args.svg } do
    local ok, problem = outputs.check(path)
    if not ok then
      fail("%s", problem)
    end
  end
end

-- What cannot be written in spite of that is told after everything else.
local function give_out(terminal, args, load)
  local function write(path, text)
    local ok, problem = outputs.write(path, text)
    if not ok then
      terminal:complain(problem)
    end
    return ok
  end
  if args.json == "-" then
    terminal:json(report.document(load))
  else
    report.print(terminal, load)
  end
  local written = true
  if args.json and args.json ~= "-" then
    written = write(args.json, assert(json.encode(report.document(load))) .. "\n")
  end
  local svg = args.svg and report.svg(load)
  if svg then
    written = write(args.svg, svg) and written
  elseif args.svg then
    terminal:complain(("%s: not written: no call was answered"):format(args.svg))
  end
  return written
end

local function run(args, terminal)
  local plan = plan_of(args)
  check_outputs(args)
  local clients = clients_of(args)
  local load = loads.new(plan, clients)
  local code = perform(terminal, load)
  local written = give_out(terminal, args, load)
  for _, one in ipairs(clients) do
    one.client:close()
  end
  local own = load.groups[#load.groups].samples
  return code or own.succeeded == own.calls and own.calls > 0 and written and 0 or 1
end

--- Runs it.
---@type fun(args: table, terminal: surefoot.Terminal): integer
M.run = mistakes.told(run)

return M
