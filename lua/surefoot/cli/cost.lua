--- surefoot cost: what tokens cost, what a month will, and what another line would save.

local figures = require "surefoot.cli.figures"
local book = require "surefoot.cli.offers"
local mistakes = require "surefoot.cli.mistakes"
local numbers = require "surefoot.cli.numbers"
local prices = require "surefoot.prices"
local surefoot = require "surefoot"
local tables = require "surefoot.cli.tables"
local usage_file = require "surefoot.cli.usage"

local fail = mistakes.fail

local M = {
  name = "cost",
  summary = "Show prices, a month's cost, and what another line would save.",
  description = "Without numbers: the prices of the configured lines and the built-in table, with their sources. With "
    .. "numbers, or with files of answers (JSON lines of surefoot batch, OpenAI's batches, surefoot chat --json), what "
    .. "a month costs at each line that sells the model, and what that saves against the provider's own price. Exit "
    .. "code 0: all is told; 1: no price is known of a model that a month's cost was asked for; 2: the configuration "
    .. "or a file is wrong.",
  examples = {
    "surefoot cost",
    "surefoot cost --calls 300000 --input 900 --output 250 -m claude-sonnet-5 -m gpt-4.1",
    "surefoot cost out.jsonl --days 7 --rate 7.2",
    "surefoot cost out.jsonl --calls 1000000 --json",
  },
}

local MONTH = 30 -- days

--- Adds the arguments.
---@param command table of argparse
function M.configure(command)
  command:argument("files", "Files of answers, one a line; - is standard input."):args "*"
  command:option("-n --calls", "Calls a month."):argname("N")
    :convert(numbers.number("--calls", { least = 1 }))
  command:option("--input", "Tokens of a call's input."):argname("T")
    :convert(numbers.number("--input", { least = 0 }))
  command:option("--cached", "How many of these come from the cache."):argname("T")
    :convert(numbers.number("--cached", { least = 0 }))
  command:option("--output", "Tokens of a call's output."):argname("T")
    :convert(numbers.number("--output", { least = 0 }))
  command:option("--days", "How many days the files are of: the month is taken from that."):argname("D")
    :convert(numbers.number("--days", { least = 0.01 }))
  command:option("--rate", "Yuan that a dollar costs: shows yuan as well."):argname("R")
    :convert(numbers.number("--rate", { least = 0.01 }))
  command:option("-m --model", "Model; may be given several times."):argname("NAME"):count "*"
  command:option("-c --config", "Lua file that returns the configuration."):argname "FILE"
  command:flag("--json", "Print it as JSON.")
end

-- -------------------------------------------------------------------------------------------------------------- costs

---@class surefoot.ModelCost
---@field model string
---@field calls number
---@field input number   tokens
---@field output number
---@field offers surefoot.Offer[]  each with its cost: dollars of these calls

local function new_model(config, model, rate)
  local offers = book.of(config, model, rate)
  for _, offer in ipairs(offers) do
    offer.cost = 0
  end
  return { model = model, calls = 0, input = 0, output = 0, offers = offers }
end

local function count(entry, usage, calls)
  entry.calls = entry.calls + calls
  entry.input, entry.output = entry.input + usage.input_tokens * calls, entry.output + usage.output_tokens * calls
  for _, offer in ipairs(entry.offers) do
    offer.cost = offer.cost + prices.cost(offer.price, usage) * (offer.per_dollar or 1) * calls
  end
end

-- The models to tell of: those that were named, else the configured ones, else all whose price is known.
local function models_of(args, config)
  return #args.model > 0 and args.model or book.models(config)
end

local function from_files(args, config)
  local entries, by_model, without = {}, {}, 0
  for _, path in ipairs(args.files) do
    local missing, problem = usage_file.read(path, function(model, usage)
      local entry = by_model[model]
      if not entry then
        entry = new_model(config, model, args.rate)
        by_model[model], entries[#entries + 1] = entry, entry
      end
      count(entry, usage, 1)
    end)
    if not missing then
      fail("%s", problem)
    end
    without = without + missing
  end
  if #entries == 0 then
    fail("no row of the files tells what it used")
  end
  table.sort(entries, function(a, b) return a.calls > b.calls or a.calls == b.calls and a.model < b.model end)
  return entries, without
end

local function from_numbers(args, config)
  local usage = {
    input_tokens = args.input or 0, output_tokens = args.output or 0, cached_input_tokens = args.cached,
  }
  if (args.cached or 0) > usage.input_tokens then
    fail("--cached: more than --input")
  end
  local entries = {}
  for i, model in ipairs(models_of(args, config)) do
    entries[i] = new_model(config, model, args.rate)
    count(entries[i], usage, args.calls)
  end
  return entries
end

-- By what the costs of the files are to be multiplied for a month; nil: nobody said.
local function scale_of(args, entries)
  if #args.files == 0 then
    return 1
  elseif args.calls then
    local calls = 0
    for _, entry in ipairs(entries) do
      calls = calls + entry.calls
    end
    return args.calls / calls
  end
  return args.days and MONTH / args.days
end

local function compare(entries, scale)
  for _, entry in ipairs(entries) do
    book.compare(entry.offers)
    for _, offer in ipairs(entry.offers) do
      offer.month = scale and offer.cost * scale
    end
  end
end

-- ------------------------------------------------------------------------------------------------------------- report

local function right(title)
  return { title = title, right = true }
end

local function per_million(value)
  return value and (value < 0.1 and "$%.3f" or "$%.2f"):format(value) or "-"
end

local function print_sources(terminal, entries)
  local seen = {}
  for _, entry in ipairs(entries) do
    for _, offer in ipairs(entry.offers) do
      local source = offer.source and ("%s: %s, %s"):format(offer.line, offer.source, offer.date)
      if source and not seen[source] then
        seen[source] = true
        terminal:print(terminal:colour("dim", source))
      end
    end
  end
end

-- Prices alone.
local function print_prices(terminal, entries)
  local columns = {
    { title = "$ per million tokens" }, { title = "line" }, right "input", right "cached", right "output",
  }
  local rows = {}
  for _, entry in ipairs(entries) do
    for _, offer in ipairs(entry.offers) do
      local price, factor = offer.price, offer.per_dollar or 1
      rows[#rows + 1] = {
        entry.model, offer.line, per_million((price.input or 0) * factor),
        per_million((price.cached_input or price.input or 0) * factor), per_million((price.output or 0) * factor),
      }
    end
  end
  tables.print(terminal, columns, rows)
end

local function saving_text(terminal, offer)
  if not offer.saving then
    return "-"
  end
  local text = ("%.0f %%"):format(100 * offer.saving)
  return terminal:colour(offer.saving > 0 and "green" or offer.saving < 0 and "red" or "dim", text)
end

local function cost_row(terminal, entry, offer, args)
  local row = {
    entry.model, offer.line, figures.count(entry.calls), figures.money(offer.cost / entry.calls),
    figures.money(offer.cost),
  }
  if offer.month and #args.files > 0 then
    row[#row + 1] = figures.money(offer.month)
  end
  if args.rate then
    row[#row + 1] = figures.money((offer.month or offer.cost) * args.rate, "¥")
  end
  row[#row + 1] = saving_text(terminal, offer)
  return row
end

local function print_costs(terminal, entries, args, scale)
  local of_files = #args.files > 0
  local columns = {
    { title = "model" }, { title = "line" }, right "calls", right "a call", right(of_files and "these" or "a month"),
  }
  if scale and of_files then
    columns[#columns + 1] = right "a month"
  end
  if args.rate then
    columns[#columns + 1] = right(scale and "a month" or "these")
  end
  columns[#columns + 1] = right "saves"
  local rows, unknown = {}, {}
  for _, entry in ipairs(entries) do
    for _, offer in ipairs(entry.offers) do
      rows[#rows + 1] = cost_row(terminal, entry, offer, args)
    end
    unknown[#unknown + 1] = #entry.offers == 0 and entry.model or nil
  end
  tables.print(terminal, columns, rows)
  if #unknown > 0 then
    terminal:complain(("no price is known of %s: `prices` of the configuration can tell it"):format(
      table.concat(unknown, ", ")))
  end
end

-- Whether there is a model whose cost cannot be told.
local function has_unpriced(entries)
  for _, entry in ipairs(entries) do
    if #entry.offers == 0 then
      return true
    end
  end
  return false
end

local function document_of(entries, args)
  local models = surefoot.array {}
  for i, entry in ipairs(entries) do
    local offers = surefoot.array {}
    for n, offer in ipairs(entry.offers) do
      local price = offer.price
      offers[n] = {
        line = offer.line, price = { input = price.input, output = price.output, cached_input = price.cached_input },
        dollars_per_price_dollar = offer.per_dollar or 1, note = offer.note, source = offer.source, date = offer.date,
        cost = entry.calls > 0 and offer.cost or nil, month = entry.calls > 0 and offer.month or nil,
        month_yuan = args.rate and offer.month and offer.month * args.rate or nil, saving = offer.saving,
      }
    end
    models[i] = {
      model = entry.model, calls = entry.calls, input_tokens = entry.input, output_tokens = entry.output,
      offers = offers,
    }
  end
  return { models = models, yuan_per_dollar = args.rate }
end

local function prices_of(args, config)
  local entries = {}
  for i, model in ipairs(models_of(args, config)) do
    entries[i] = new_model(config, model, args.rate)
    if #entries[i].offers == 0 and #args.model > 0 then
      fail("no price is known of %s: `prices` of the configuration can tell it", model)
    end
  end
  return entries
end

local function run(args, terminal)
  local config, problem = book.configuration(args.config)
  if problem then
    fail("%s", problem)
  end
  local has_numbers = args.calls or args.input or args.output
  if has_numbers and #args.files == 0 and not (args.calls and (args.input or args.output)) then
    fail("a month's cost needs --calls, and --input or --output")
  end
  local entries, without, scale
  if #args.files > 0 then
    entries, without = from_files(args, config)
  elseif has_numbers then
    entries = from_numbers(args, config)
  else
    entries = prices_of(args, config)
  end
  scale = (has_numbers or #args.files > 0) and scale_of(args, entries) or nil
  compare(entries, scale)
  local code = scale and has_unpriced(entries) and 1 or 0
  if args.json then
    terminal:json(document_of(entries, args))
    return code
  elseif has_numbers or #args.files > 0 then
    print_costs(terminal, entries, args, scale)
  else
    print_prices(terminal, entries)
  end
  print_sources(terminal, entries)
  if (without or 0) > 0 then
    terminal:tell(("left out, since they tell no usage: %s"):format(figures.plural(without, "row")))
  end
  return code
end

--- Runs it.
---@type fun(args: table, terminal: surefoot.Terminal): integer
M.run = mistakes.told(run)

return M
