--- surefoot batch: the requests of a file, asked many at a time; their answers into another file. Ctrl-C lets what is
-- in flight end and leaves what only waits, a second one cancels all; the same command goes on where it was stopped.

local interrupt = require "surefoot.cli.interrupt"
local numbers = require "surefoot.cli.numbers"
local settings = require "surefoot.cli.settings"
local surefoot = require "surefoot"
local tasks = require "surefoot.tasks"
local words = require "surefoot.cli.words"

local M = {
  name = "batch",
  summary = "Ask many requests from a file, and write their answers into another.",
  description = "Asks the requests of a file in OpenAI's batch format, many at a time, and writes their answers into "
    .. "another. Lines may also be plain requests ({\"messages\": [...]}), {\"prompt\": \"...\"} or a JSON string. "
    .. "Stopped or killed, the same command goes on where it was: nothing is lost, and nothing asked twice but what "
    .. "was in flight.",
  examples = {
    "surefoot batch in.jsonl -o out.jsonl",
    "surefoot batch in.jsonl -o out.jsonl --retry-failed",
    "surefoot batch in.jsonl -o out.jsonl --model gpt-4o-mini -j 20 --json",
  },
}

local TICK = 0.2 -- seconds between two looks at the bar
local LINES = 10 -- seconds between two lines, where there is no terminal
local WINDOW = 15 -- seconds over which the rate is taken

--- Adds the arguments.
---@param command table of argparse
function M.configure(command)
  command:argument("input", "File of requests, one a line."):argname "IN"
  command:option("-o --output", "File for the answers. Beside it are OUT.journal and the rows that failed.")
    :argname("OUT"):count(1)
  command:option("--failed", "File for the rows that failed, an input in turn (default: out.failed.jsonl).")
    :argname "FILE"
  command:flag("--retry-failed", "Ask again what failed before.")
  command:option("-j --concurrency", "Rows at a time (default, and at most: the client's concurrency.limit).")
    :argname("N"):convert(numbers.number("--concurrency", { least = 1, most = 100000, whole = true }))
  command:option("--patience", "Stop when no row could be sent, and no answer came, for so long (default: 600).")
    :argname("SECONDS"):convert(numbers.number("--patience", { least = 0, most = 86400 }))
  command:option("--give-up-after", "Stop when so many rows have failed one after the other because of the line or the "
    .. "account (default: 20; 0: never)."):argname("N")
    :convert(numbers.number("--give-up-after", { least = 0, most = 1000, whole = true }))
  command:flag("--accept-changed-input", "Go on though lines were added to the input.")
  command:flag("--accept-repeated-ids", "Ask rows that have the same custom_id as well.")
  command:flag("--json", "Print the summary as JSON.")
  command:flag("-q --quiet", "Show no progress.")
  settings.options(command)
end

-- -------------------------------------------------------------------------------------------------------------- words

local grouped, duration, money = words.grouped, words.duration, words.money

local function rows_of(number)
  return grouped(number) .. (number == 1 and " row" or " rows")
end

local function short(number)
  if number < 1e4 then
    return grouped(number)
  elseif number < 1e6 then
    return ("%.0fk"):format(number / 1e3)
  end
  return ("%.1fM"):format(number / 1e6)
end

local function pace(rate)
  return (rate < 10 and "%.1f/s" or "%.0f/s"):format(rate)
end

-- ----------------------------------------------------------------------------------------------------------- progress

-- What is shown while it works: on a terminal a bar, elsewhere a line now and then.
---@class surefoot.BatchDisplay
---@field latest surefoot.FileProgress?
---@field note string?            instead of the time that is left: in flight, %d
---@field private terminal surefoot.Terminal
---@field private quiet boolean?
---@field private samples number[][]  times, and how many rows were done
---@field private began number
---@field private told_at number
local Display = {}
Display.__index = Display

--- Makes a display.
---@param terminal surefoot.Terminal
---@param quiet boolean? shows nothing
---@return surefoot.BatchDisplay
function M.display(terminal, quiet)
  local now = surefoot.now()
  return setmetatable({
    terminal = terminal, quiet = quiet, samples = {}, began = now, told_at = now, latest = nil, note = nil,
  }, Display)
end

-- Rows a second of late; nil where that is not known yet.
---@private
function Display:rate()
  local now, progress, samples = surefoot.now(), self.latest, self.samples
  local last = samples[#samples]
  if not last or now - last[1] >= 1 then
    samples[#samples + 1] = { now, progress.done }
    while now - samples[1][1] > WINDOW do
      table.remove(samples, 1)
    end
  end
  local first = samples[1]
  return now > first[1] and (progress.done - first[2]) / (now - first[1]) or nil
end

-- The parts of a line, what matters most first.
---@private
function Display:parts()
  local progress, rate = self.latest, self:rate()
  local total = (progress.is_exact and "" or "~") .. grouped(progress.total)
  local parts = { ("%s of %s"):format(grouped(progress.done), total) }
  local function add(text)
    parts[#parts + 1] = text
  end
  if self.note then
    add(self.note:format(progress.in_flight))
  end
  add(rate and pace(rate))
  if progress.failed > 0 then
    add(grouped(progress.failed) .. " failed")
  end
  if progress.waits then
    add("waiting: " .. progress.error.kind)
  elseif not self.note and rate and rate > 0 and progress.done < progress.total then
    add(duration((progress.total - progress.done) / rate) .. " left")
  end
  add(short(progress.tokens) .. " tokens")
  add(progress.cost > 0 and money(progress.cost) or nil)
  return parts
end

-- What there is to say before there is any progress.
---@private
function Display:draw_beginning(now)
  local terminal, text = self.terminal, "no answer yet, " .. duration(now - self.began)
  if terminal.error_is_tty and now - self.began >= 1 then
    terminal:status(text)
  elseif now - self.told_at >= LINES then
    self.told_at = now
    terminal:tell(text)
  end
end

--- Shows how far it is.
function Display:draw()
  local terminal, progress, now = self.terminal, self.latest, surefoot.now()
  if self.quiet then
    return
  elseif not progress then
    self:draw_beginning(now)
  elseif terminal.error_is_tty then
    terminal:progress { done = progress.done, total = progress.total, text = table.concat(self:parts(), ", ") }
  elseif now - self.told_at >= LINES then
    self.told_at = now
    terminal:tell(table.concat(self:parts(), ", "))
  else
    self:rate() -- takes a sample
  end
end

-- ------------------------------------------------------------------------------------------------------------ summary

local function kinds_of(errors)
  local names = {}
  for kind in pairs(errors) do
    names[#names + 1] = kind
  end
  table.sort(names, function(a, b)
    return errors[a] > errors[b] or errors[a] == errors[b] and a < b
  end)
  for i, kind in ipairs(names) do
    names[i] = grouped(errors[kind]) .. " " .. kind
  end
  return table.concat(names, ", ")
end

local ENDS = {
  stopped = "Stopped; the same command goes on where it was.",
  cancelled = "Cancelled; the same command goes on where it was.",
}

local function print_summary(terminal, summary)
  local asked = summary.succeeded + summary.failed - summary.earlier
  terminal:print(("%s answered, %s failed%s%s"):format(rows_of(summary.succeeded), grouped(summary.failed),
    summary.complete and "" or (", %s%s open"):format(summary.is_exact and "" or "about ",
      grouped(math.max(0, summary.total - summary.succeeded - summary.failed))),
    summary.earlier > 0 and (" (%s before this run)"):format(grouped(summary.earlier)) or ""))
  if asked > 0 then
    terminal:print(("%s in %s: %s, %s tokens%s"):format(rows_of(asked), duration(summary.seconds),
      pace(asked / math.max(summary.seconds, 0.001)), grouped(summary.tokens),
      summary.cost > 0 and ", " .. money(summary.cost) or ""))
  end
  if next(summary.errors) then
    terminal:print("Failures of this run: " .. kinds_of(summary.errors))
  end
  if summary.failed > 0 then
    terminal:print(("What failed is in %s; --retry-failed asks it again."):format(summary.failed_file))
  end
  if summary.reason then
    local why = summary.silence and ("no row could be sent for %s (--patience)"):format(duration(summary.silence))
      or "one row after the other failed"
    terminal:complain(("gave up, since %s: %s"):format(why, tostring(summary.reason)))
    terminal:tell "surefoot doctor tells what is wrong; then the same command goes on."
  elseif ENDS[summary.ended] then
    terminal:print(ENDS[summary.ended])
  end
end

local function document_of(summary, err)
  local document = {}
  for _, name in ipairs { "complete", "total", "is_exact", "succeeded", "failed", "earlier", "seconds", "tokens",
    "cost", "ended", "failed_file" } do
    document[name] = summary[name]
  end
  document.errors = surefoot.object(summary.errors)
  local reason = err or summary.reason
  document.reason = reason and tostring(reason) or nil
  return document
end

-- ---------------------------------------------------------------------------------------------------------------- run

local function options_of(args, display, stop, cancel)
  return {
    input = args.input, output = args.output, failed = args.failed, concurrency = args.concurrency,
    retry_failed = args.retry_failed, accept_changed_input = args.accept_changed_input, patience = args.patience,
    give_up_after = args.give_up_after, accept_repeated_ids = args.accept_repeated_ids, stop = stop, cancel = cancel,
    on_progress = function(progress)
      display.latest = progress
    end,
  }
end

-- The batch, and beside it the one who draws.
local function perform(client, options, display)
  local ended = false
  local ticker = surefoot.spawn(function()
    while not ended do
      display:draw()
      surefoot.sleep(TICK)
    end
  end)
  local ok, summary, err = tasks.guarded(client.batch_file, client, options)
  ended = true
  ticker:cancel()
  return ok, summary, err
end

-- Ctrl-C: the first begins nothing more, the second cancels what is in flight.
local function catch(display, terminal, stop, cancel)
  local caught = {}
  local release = interrupt.catch(function(count, signal)
    caught.signal = signal
    if count > 1 then
      cancel:cancel()
    else
      stop:cancel()
      display.note = "finishing %d in flight (Ctrl-C again: cancel)"
      if not terminal.error_is_tty then
        terminal:tell "finishing what is in flight"
      end
    end
    display:draw()
  end)
  return caught, release
end

local function exit_code(summary, err, caught)
  if err then
    return err.summary and 1 or 2
  elseif caught.signal and not summary.complete then
    return interrupt.exit_code(caught.signal)
  end
  return summary.complete and summary.failed == 0 and 0 or 1
end

-- Says so where the batch would not live to see the first circuit close.
local function tell_of_patience(terminal, client, patience)
  local shortest = math.huge
  for _, endpoint in ipairs(client.config.endpoints) do
    shortest = math.min(shortest, endpoint.breaker and endpoint.breaker.recovery_timeout or 0)
  end
  if patience and patience > 0 and patience < shortest then
    terminal:tell(("--patience %s is shorter than a circuit stays open (%s, breaker.recovery_timeout): when all are, "
      .. "the batch gives up before a line is tried again"):format(duration(patience), duration(shortest)))
  end
end

-- What the program says (accept_changed_input) is a flag here.
local function as_flags(message)
  return (message:gsub("%((accept)_(%l+)_(%l+)%)", "(--%1-%2-%3)"))
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
  end
  tell_of_patience(terminal, client, args.patience)
  local display = M.display(terminal, args.quiet)
  local stop, cancel = surefoot.canceller(), surefoot.canceller()
  local caught, release = catch(display, terminal, stop, cancel)
  local ok, summary, err = surefoot.run(perform, client, options_of(args, display, stop, cancel), display)
  release()
  terminal:clear()
  if not ok then
    local mistake = tostring(summary):match "client:batch_file: (.*)" or error(summary, 0)
    terminal:complain(mistake)
    return 2
  elseif err then
    terminal:complain(as_flags(err.message))
  end
  summary = summary or err.summary
  if summary and args.json then
    terminal:json(document_of(summary, err))
  elseif summary then
    print_summary(terminal, summary)
  end
  client:close()
  return exit_code(summary, err, caught)
end

return M
