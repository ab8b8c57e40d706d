--- A log of what calls do: to the user's function, to stderr, or to a file.
--
--   log = function(level, message, fields) end        hears everything
--   log = { level = "warn", write = function ... }    what is at least so grave
--   log = "debug", log = true                         on stderr; true: "info"
--
--   error  a call failed                       warn   an attempt failed and another follows, a circuit opened, a call
--   info   a call was answered, cancelled or          was refused before it was sent
--          hedged, a rate or circuit changed   debug  every step and every attempt of a call, probes
--
-- SUREFOOT_DEBUG=1 in the environment shows on stderr how every call and each of its attempts went, whatever `log`
-- says; "trace" every step as well; anything else is the path of a file that the same is appended to. No level shows
-- a request's or an answer's content, and keys appear nowhere.

local check = require "surefoot.config.check"
local errors = require "surefoot.errors"
local events = require "surefoot.events"
local trace = require "surefoot.trace"

local M = {}

local LEVELS = { debug = 1, info = 2, warn = 3, error = 4 }
local format, running = string.format, coroutine.running

--- The names of the levels, from the least grave on.
M.levels = { "debug", "info", "warn", "error" }

---@alias surefoot.LogLevel "debug" | "info" | "warn" | "error"

---@class surefoot.Config
---@field log boolean | surefoot.LogLevel | fun(level: surefoot.LogLevel, message: string, fields: table) |
--- { level: surefoot.LogLevel?, write: function? } | nil

---@class surefoot.Log
---@field steps boolean                   somebody hears of every step
---@field private client surefoot.Client
---@field private sinks { least: integer, write: function, steps: boolean }[]
---@field private least integer
---@field private within table<thread, true>   where something is being written
local Log = {}
Log.__index = Log

check.define("log", function(spec, value, path)
  if type(value) == "table" and getmetatable(value) == nil then
    return check.fields(spec.fields, value, path)
  end
  return check.check({ type = "either", { type = "function" }, { type = "boolean" },
    { type = "enum", values = M.levels } }, value, path)
end)

-- ------------------------------------------------------------------------------------------------------------- writing

local function value_text(value)
  local text = type(value) == "number" and format("%.6g", value) or tostring(value)
  return text:find "[%s\"=%c]" and format("%q", text):gsub("\\\n", "\\n") or text
end

--- An entry as one line of text.
---@param level surefoot.LogLevel
---@param message string
---@param fields table<string, any>
---@return string
function M.line(level, message, fields)
  local parts = {}
  for name, value in pairs(fields) do
    parts[#parts + 1] = name .. "=" .. value_text(value)
  end
  table.sort(parts)
  return format("%s surefoot %s: %s  %s\n", os.date "!%Y-%m-%dT%H:%M:%SZ", level, message:gsub("%c", " "),
    table.concat(parts, " "))
end

local function to_stderr(level, message, fields)
  io.stderr:write(M.line(level, message, fields))
end

-- Opened for each entry: the processes that write into it may be many, and come and go.
local function to_file(path)
  return function(level, message, fields)
    local file = assert(io.open(path, "a"))
    file:write(M.line(level, message, fields))
    file:close()
  end
end

-- What a writer asks of the client itself is not written: it would be told of that, and ask again, without end.
local function unheard(within, write)
  return function(...)
    within[running()] = true
    write(...)
  end
end

local function sink_of(given)
  if type(given) == "table" and getmetatable(given) == nil then
    return { least = LEVELS[given.level or "info"], write = given.write or to_stderr, steps = true }
  elseif given == true or LEVELS[given] then
    return { least = LEVELS[given] or LEVELS.info, write = to_stderr, steps = true }
  end
  return { least = LEVELS.debug, write = given, steps = true }
end

local function sink_of_environment()
  local value = os.getenv "SUREFOOT_DEBUG"
  if not value or value == "" or value == "0" then
    return nil
  end
  local on_stderr = value == "1" or value == "trace"
  if not on_stderr then
    local file, problem = io.open(value, "a")
    if not file then
      io.stderr:write("surefoot: SUREFOOT_DEBUG: ", problem, "\n")
      return nil
    end
    file:close()
  end
  return { least = LEVELS.debug, write = on_stderr and to_stderr or to_file(value), steps = value == "trace" }
end

--- Makes the log of a client; nil where nobody listens.
---@param client surefoot.Client
---@return surefoot.Log?
function M.new(client)
  local self = setmetatable({ client = client, sinks = {}, least = math.huge, steps = false,
    within = setmetatable({}, { __mode = "k" }) }, Log)
  self.sinks[1] = client.config.log and sink_of(client.config.log) or nil
  self.sinks[#self.sinks + 1] = sink_of_environment()
  for _, sink in ipairs(self.sinks) do
    self.least = math.min(self.least, sink.least)
    self.steps = self.steps or sink.steps and sink.least < LEVELS.error
    sink.write = unheard(self.within, sink.write)
  end
  return #self.sinks > 0 and self or nil
end

-- is_step: not for those who want only how it went.
local function write(self, level, message, fields, is_step)
  local grave = LEVELS[level]
  if grave < self.least or self.within[running() or self] then
    return
  end
  message, fields = self.client.scrub(message), self.client.scrub(fields)
  for _, sink in ipairs(self.sinks) do
    if grave >= sink.least and (sink.steps or not is_step) then
      events.apart(self.client, "log", sink.write, level, message, fields)
    end
  end
end

-- ------------------------------------------------------------------------------------------------------------- entries

local steps = {}

function steps.queued()
  return "debug", "waits"
end

function steps.attempt_started(data)
  return "debug", format("attempt %d on %s", data.attempt, data.endpoint)
end

function steps.first_token(data)
  return "debug", format("first token from %s after %.3g s", data.endpoint, data.wait)
end

function steps.retried(data)
  return "warn", format("asks %s again after %s", data.endpoint, data.kind)
end

function steps.failed_over(data)
  return "warn", format("goes over to %s after %s", data.endpoint, data.kind)
end

function steps.hedged(data)
  return "info", "asks " .. data.endpoint .. " as well"
end

function steps.breaker_changed(data)
  return data.breaker == "open" and "warn" or "info", format("the circuit of %s is %s", data.endpoint, data.breaker)
end

function steps.rate_changed(data)
  return "info", format("the rate of %s is %.3g requests per second", data.endpoint, data.rate)
end

--- Takes an event of a call.
---@param job surefoot.Job
---@param name string
---@param data table
function Log:event(job, name, data)
  local step = steps[name]
  if not step or not self.steps then
    return
  end
  local level, message = step(data)
  if job.is_probe and name ~= "breaker_changed" then
    level = "debug"
  end
  if LEVELS[level] < self.least then
    return
  end
  local fields = { event = name, model = job.routes[1].model }
  for key, value in pairs(data) do
    fields[key] = value
  end
  write(self, level, job.work.name .. " " .. message, fields, true)
end

local ATTEMPT = {
  "endpoint", "model", "status", "kind", "phase", "cause", "waited", "latency", "first_byte", "dns", "tcp", "tls",
  "address", "hedge", "reused", "message",
}

local function attempts(self, job, answer)
  if self.least > LEVELS.debug then
    return
  end
  for number, attempt in ipairs(answer.attempts or {}) do
    local fields = { request_id = job.request_id, attempt = number }
    for _, name in ipairs(ATTEMPT) do
      fields[name] = attempt[name]
    end
    write(self, "debug", format("%s attempt %d on %s: %s", job.work.name, number, tostring(attempt.endpoint),
      tostring(attempt.kind)), fields)
  end
end

local function fields_of(job, answer)
  local usage = answer and answer.usage or {}
  return {
    operation = job.work.name, model = job.routes[1].model, request_id = job.request_id,
    trace_id = trace.id(job.options), endpoint = answer and answer.endpoint, latency = answer and answer.latency,
    time_to_first_token = answer and answer.time_to_first_token, input_tokens = usage.input_tokens,
    output_tokens = usage.output_tokens, cost = answer and answer.cost,
    finish_reason = answer and answer.finish_reason, status = answer and answer.status,
  }
end

local QUIET = { cancelled = "info", closed = "info" }

--- Takes the end of a call.
---@param job surefoot.Job
---@param result surefoot.Result?
---@param err surefoot.Error?
function Log:settled(job, result, err)
  local name = job.work.name
  attempts(self, job, result or err)
  if result then
    local fields = fields_of(job, result)
    return write(self, "info", format("%s answered by %s in %.3g s", name, result.endpoint, result.latency), fields)
  end
  local fields = fields_of(job, err.partial)
  fields.kind, fields.status, fields.code, fields.endpoint = err.kind, err.status, err.code, err.endpoint
  fields.attempts, fields.phase = errors.sent(err.attempts), err.phase
  if job.is_probe then
    return write(self, "debug", "probe: " .. (job.is_well and "the line is well" or tostring(err)), fields)
  end
  write(self, QUIET[err.kind] or "error", name .. " failed: " .. tostring(err), fields)
end

--- Takes a line that is put aside for a call.
---@param job surefoot.Job
---@param attempt surefoot.Attempt
function Log:left_out(job, attempt)
  write(self, "warn", format("%s leaves %s out: %s", job.work.name, attempt.endpoint, attempt.message),
    { operation = job.work.name, model = attempt.model, endpoint = attempt.endpoint, kind = attempt.kind })
end

--- Takes a call that was refused before anything was sent.
---@param job surefoot.Job
---@param err surefoot.Error
function Log:refused(job, err)
  local fields = fields_of(job)
  fields.kind, fields.code, fields.retry_after = err.kind, err.code, err.retry_after
  write(self, QUIET[err.kind] or "warn", job.work.name .. " refused: " .. tostring(err), fields)
end

return M
