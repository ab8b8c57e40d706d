--- surefoot doctor: does every line work, and what has to be changed where one does not?

local figures = require "surefoot.cli.figures"
local lines = require "surefoot.cli.lines"
local settings = require "surefoot.cli.settings"
local surefoot = require "surefoot"
local tables = require "surefoot.cli.tables"

local M = {
  name = "doctor",
  summary = "Tell whether each line works, and what to change where one does not.",
  description = "Asks every line for its models, once with each key and over a new connection, and tells of each step: "
    .. "DNS, connect, TLS, first byte, key, model, the machine's clock and the proxy in use. Exit code 0: all is well; "
    .. "1: a line does not work, or does not list the model, even if it answers; 2: the configuration is wrong.",
  examples = {
    "surefoot doctor",
    "surefoot doctor --base-url https://llm.example.com/v1",
    "surefoot doctor --line hk --ask",
    "surefoot doctor --json | jq '.endpoints[] | select(.ok | not)'",
  },
}

local SKEW = 60 -- seconds that a clock may be wrong
local QUESTION = { { role = "user", content = "Say hello." } }
local ANSWER_TOKENS = 16 -- some services refuse less

--- Adds the arguments.
---@param command table of argparse
function M.configure(command)
  command:flag("--ask", "Also ask the model of each line a short question, which costs a few tokens.")
  command:flag("--json", "Print the report as JSON.")
  settings.options(command)
end

-- ---------------------------------------------------------------------------------------------------------- findings

-- What is seen of the key that was sent.
local function key_state(endpoint, entry)
  if entry.keys then
    local good = 0
    for _, key in ipairs(entry.keys) do
      good = good + (key.ok and 1 or 0)
    end
    return ("%d of %d"):format(good, #entry.keys)
  elseif entry.kind == "unauthorized" then
    return "refused"
  elseif entry.kind == "forbidden" then
    return "no right"
  elseif entry.kind == "quota" then
    return "spent"
  elseif type(endpoint.keys) == "table" and #endpoint.keys == 0 then
    return "none"
  end
  return entry.ok and "good" or "-"
end

local function model_state(model, entry)
  if not entry.ok or not entry.models then
    return "-"
  elseif entry.advice then -- of a line that works it is about a model
    return "not there"
  end
  return model and "there" or figures.plural(entry.models, "model")
end

local function clock_text(ahead)
  if not ahead then
    return "-"
  elseif math.abs(ahead) <= 2 then -- dates are whole seconds
    return "right"
  end
  return figures.time(math.abs(ahead)) .. (ahead > 0 and " ahead" or " behind")
end

-- Who is to set a clock: this machine, where most lines say so.
local function clock_advice(report)
  local wrong, told = {}, 0
  for _, entry in ipairs(report.endpoints) do
    told = told + (entry.clock and 1 or 0)
    if entry.clock and math.abs(entry.clock) > SKEW then
      wrong[#wrong + 1] = entry
    end
  end
  if #wrong == 0 then
    return nil
  elseif 2 * #wrong > told then
    return ("set this machine's clock: it is %s of %s's"):format(clock_text(wrong[1].clock), wrong[1].endpoint)
  end
  return ("the clock of %s is wrong, not this machine's: the waits that it asks for as a date are wrong, too")
    :format(wrong[1].endpoint)
end

-- Whether a question would tell more: where there is no list of models, calls may work all the same.
local function can_be_asked(entry)
  return entry.ok or entry.kind == "not_found"
end

-- One question to a line, by a client of its own.
local function ask(args, name)
  local client, problem = lines.alone(args, name)
  if not client then
    return { ok = false, message = problem }
  end
  local result, err = client:chat({ messages = QUESTION, max_tokens = ANSWER_TOKENS })
  client:close()
  if not result then
    return { ok = false, kind = err.kind, message = err.message }
  end
  return { ok = true, latency = result.latency, model = result.model, cost = result.cost }
end

local function ask_all(args, report)
  local functions = {}
  for i, entry in ipairs(report.endpoints) do
    functions[i] = function()
      if can_be_asked(entry) then
        entry.answer = ask(args, entry.endpoint)
      end
    end
  end
  for _, outcome in ipairs(surefoot.all(functions)) do
    if outcome.kind then
      error(outcome.cause or outcome, 0)
    end
  end
end

local function examine(client, args)
  local report = client:verify()
  if args.ask then
    ask_all(args, report)
  end
  report.advice = clock_advice(report)
  local all_well = true
  for i, entry in ipairs(report.endpoints) do
    entry.key = key_state(client.config.endpoints[i], entry)
    entry.model = model_state(client.config.model, entry)
    entry.well = not (entry.ok and entry.advice)
    if entry.answer then -- which proves more than that there is no list
      entry.well = entry.well and entry.answer.ok
    else
      entry.well = entry.well and entry.ok
    end
    all_well = all_well and entry.well
  end
  report.ok = all_well
  return report
end

-- ------------------------------------------------------------------------------------------------------------- report

local COLUMNS = {
  { title = "line" }, { title = "state" }, { title = "DNS", right = true }, { title = "connect", right = true },
  { title = "TLS", right = true }, { title = "first byte", right = true }, { title = "key" }, { title = "model" },
  { title = "clock" },
}

local function has(report, field)
  for _, entry in ipairs(report.endpoints) do
    if entry[field] then
      return true
    end
  end
  return false
end

local function state_of(terminal, entry)
  if entry.well then
    return terminal:colour("green", "well")
  elseif entry.ok and not (entry.answer and not entry.answer.ok) then
    return terminal:colour("yellow", "check")
  end
  return terminal:colour("red", "fails")
end

local function row_of(terminal, entry)
  local phases = entry.phases or {}
  return {
    entry.endpoint, state_of(terminal, entry), figures.time(phases.dns), figures.time(phases.tcp),
    figures.time(phases.tls), figures.time(phases.first_byte), entry.key, entry.model, clock_text(entry.clock),
  }
end

local function print_table(terminal, report)
  local columns, rows = {}, {}
  for i, column in ipairs(COLUMNS) do
    columns[i] = column
  end
  local answers, proxies = has(report, "answer"), has(report, "proxy")
  if answers then
    columns[#columns + 1] = { title = "answer", right = true }
  end
  if proxies then
    columns[#columns + 1] = { title = "proxy" }
  end
  for i, entry in ipairs(report.endpoints) do
    local row = row_of(terminal, entry)
    if answers then
      row[#row + 1] = figures.time(entry.answer and entry.answer.latency)
    end
    if proxies then
      row[#row + 1] = entry.proxy or "none"
    end
    rows[i] = row
  end
  tables.print(terminal, columns, rows)
end

local function print_findings(terminal, report)
  local function finding(name, message, advice)
    terminal:print ""
    terminal:print(terminal:colour("bold", name), message and ": " .. message or "")
    if advice then
      terminal:print("  -> ", advice)
    end
  end
  for _, entry in ipairs(report.endpoints) do
    if not entry.well and (not entry.ok or entry.advice) then
      finding(entry.endpoint, entry.message, entry.advice)
    end
    if entry.answer and not entry.answer.ok then
      finding(entry.endpoint, "asked a question: " .. entry.answer.message)
    end
  end
  if report.advice then
    finding("clock", nil, report.advice)
  end
end

-- In one sentence.
local function verdict(report)
  local all, well = #report.endpoints, 0
  for _, entry in ipairs(report.endpoints) do
    well = well + (entry.well and 1 or 0)
  end
  if all == 1 then
    return report.ok and "The line is well." or "The line is not well."
  end
  return report.ok and ("All %d lines are well."):format(all) or ("%d of %d lines are well."):format(well, all)
end

local function print_report(terminal, report)
  print_table(terminal, report)
  print_findings(terminal, report)
  terminal:print ""
  terminal:print(verdict(report))
end

--- Runs it.
---@param args table
---@param terminal surefoot.Terminal
---@return integer exit_code
function M.run(args, terminal)
  local client, problem = settings.client(args)
  if not client then
    terminal:complain(problem)
    return 2
  elseif args.ask and not client.config.model then
    terminal:complain "--ask: which model? --model names one"
    return 2
  end
  terminal:status(("asking %s ..."):format(figures.plural(#client.config.endpoints, "line")), true)
  local report = surefoot.run(examine, client, args)
  client:close()
  terminal:clear()
  if args.json then
    terminal:json(report)
  else
    print_report(terminal, report)
  end
  return report.ok and 0 or 1
end

return M
