--- What commands that ask a model have in common: fields of the request by --set, and what is told of an answer.

local json = require "surefoot.json"
local figures = require "surefoot.cli.figures"

local M = {}

local OWN = { messages = "the question itself", stream = "--no-stream", model = "--model" } -- not by --set
local RESULT = {
  "text", "message", "tool_calls", "parsed", "reasoning", "finish_reason", "truncated", "usage", "cost", "model", "id",
  "request_id", "endpoint", "status", "latency", "time_to_first_token", "attempts", "headers", "body",
}
local ERROR = {
  "kind", "message", "status", "code", "phase", "retryable", "retry_after", "retry_at", "sent", "endpoint",
  "request_id", "attempts",
}

-- What fields that everybody knows hold; of others the line decides.
local KINDS = {}
for kind, names in pairs {
  number = "temperature top_p presence_penalty frequency_penalty",
  ["whole number"] = "max_tokens max_completion_tokens n seed top_k top_logprobs",
  boolean = "logprobs parallel_tool_calls store", object = "response_format logit_bias metadata stream_options",
  list = "tools",
} do
  for name in names:gmatch "%S+" do
    KINDS[name] = kind
  end
end

local HOLDS = {
  number = function(value) return type(value) == "number" end,
  ["whole number"] = function(value) return type(value) == "number" and value % 1 == 0 end,
  boolean = function(value) return type(value) == "boolean" end,
  object = function(value) return type(value) == "table" and value[1] == nil end,
  list = function(value) return type(value) == "table" and (value[1] ~= nil or next(value) == nil) end,
}
local WORDS = { boolean = "true or false", object = "a JSON object", list = "a JSON list" }

-- "temperature=0.2" -> its name and value. What is no JSON is taken for a text, where it is a plain word.
local function assignment(given)
  local name, value = given:match "^([%w_]+)=(.+)$"
  if not name then
    return nil, ("--set: expected name=value, got %q"):format(given)
  elseif OWN[name] then
    return nil, ("--set: %s is set by %s"):format(name, OWN[name])
  end
  local decoded, kind = json.decode(value)
  if decoded == nil and kind then
    if not value:find "^%a[%w_%-%.]*$" then
      return nil, ("--set: the value of %s is neither JSON nor a plain word: %s"):format(name, value)
    end
    decoded = value
  end
  local expected = KINDS[name]
  if expected and decoded ~= json.null and not HOLDS[expected](decoded) then
    return nil, ("--set: %s: expected %s, got %s"):format(name, WORDS[expected] or "a " .. expected, value)
  end
  return { name = name, value = decoded }
end

--- Adds --set and --system.
---@param command table of argparse
function M.options(command)
  command:option("-s --system", "System message."):argname "TEXT"
  command:option("--set", "Field of the request, as JSON: --set temperature=0.2. May be given several times.")
    :argname("NAME=JSON"):count("*"):convert(assignment)
end

--- The fields of a request that --set gave.
---@param args table
---@return table
function M.fields(args)
  local fields = {}
  for _, set in ipairs(args.set) do
    fields[set.name] = set.value
  end
  return fields
end

--- A text of a provider's as a terminal may show it: without sequences that steer terminals.
---@param terminal surefoot.Terminal
---@param text string
---@param stream "stdout" | "stderr"
---@return string
function M.shown(terminal, text, stream)
  local is_terminal = terminal.is_tty
  if stream == "stderr" then
    is_terminal = terminal.error_is_tty
  end
  if not is_terminal then
    return text
  end
  return (text:gsub("[%z\1-\8\11-\31\127]", ""):gsub("\194[\128-\159]", ""))
end

local function picked(from, names)
  local document = {}
  for _, name in ipairs(names) do
    document[name] = from[name]
  end
  return document
end

--- An answer as a table for JSON: everything but its raw bytes.
---@param result surefoot.Result
---@return table
function M.result_document(result)
  return picked(result, RESULT)
end

--- The same for a failure: { error = {...}, partial = what had come }.
---@param err surefoot.Error
---@return table
function M.error_document(err)
  return { error = picked(err, ERROR), partial = err.partial and picked(err.partial, { "text", "usage", "cost" }) }
end

local function failed_attempt(attempt, number)
  return ("  attempt %d on %s: %s%s%s after %s"):format(number, attempt.endpoint, attempt.kind,
    attempt.phase and " (" .. attempt.phase .. ")" or "", attempt.status and " " .. attempt.status or "",
    figures.time(attempt.latency))
end

--- Tells how an answer came: its line, attempts, tokens, cost and time.
---@param terminal surefoot.Terminal
---@param outcome surefoot.Result | surefoot.Error
function M.tell(terminal, outcome)
  local attempts, parts = outcome.attempts or {}, {}
  local usage = outcome.usage or outcome.partial and outcome.partial.usage
  for number, attempt in ipairs(attempts) do
    if attempt.kind ~= "ok" then
      terminal:tell(terminal:colour("dim", failed_attempt(attempt, number), "stderr"))
    end
  end
  local function add(text)
    parts[#parts + 1] = text
  end
  add(outcome.endpoint)
  add(outcome.model)
  add(figures.plural(#attempts, "attempt"))
  add(usage and ("%s + %s tokens%s"):format(figures.count(usage.input_tokens), figures.count(usage.output_tokens),
    usage.estimated and " (estimated)" or ""))
  add(outcome.cost and figures.money(outcome.cost))
  add(outcome.latency and figures.time(outcome.latency) .. (outcome.time_to_first_token
    and (" (first token after %s)"):format(figures.time(outcome.time_to_first_token)) or ""))
  terminal:tell(terminal:colour("dim", table.concat(parts, ", "), "stderr"))
end

--- Says what a person should know of an answer beyond its text.
---@param terminal surefoot.Terminal
---@param result surefoot.Result
function M.remark(terminal, result)
  if result.truncated then
    terminal:tell "surefoot: the answer was cut by its limit of tokens; --set max_tokens=N sets another"
  end
  for _, call in ipairs(result.tool_calls or {}) do
    local called = ("surefoot: the model calls a tool: %s %s"):format(call["function"].name, call["function"].arguments)
    terminal:tell(M.shown(terminal, called, "stderr"))
  end
end

return M
