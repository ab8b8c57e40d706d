--- W3C trace context: calls carry the traceparent, and the tracestate, of whom they belong to.
--
-- The option `trace` of a call is a traceparent, or { traceparent =, tracestate = }, or true: a trace of its own
-- begins. Given as headers they are passed on as well. All attempts of a call bear the same; surefoot makes no spans
-- of its own. Events and log entries of the call name the trace (trace_id).

local check = require "surefoot.config.check"
local ids = require "surefoot.ids"
local words = require "surefoot.config.text"

local M = {}

local LONGEST_STATE = 512 -- characters

---@class surefoot.CallOptions
---@field trace boolean | string | { traceparent: string, tracestate: string? } | nil

local function hexadecimal()
  return (ids.new():gsub("%-", ""))
end

local function parts_of(traceparent)
  local version, trace, parent, rest = traceparent:match "^(%x%x)%-(%x+)%-(%x+)%-%x%x(.*)$"
  local whole = version and #trace == 32 and #parent == 16 and traceparent == traceparent:lower()
    and trace:find "[^0]" and parent:find "[^0]" and version ~= "ff"
    and (rest == "" or version ~= "00" and rest:find "^%-")
  return whole and trace or nil
end

local function checked_parent(value, path)
  if type(value) ~= "string" or not parts_of(value) then
    check.fail(path, "expected a traceparent like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, got %s",
      check.show(value))
  end
  return value
end

check.define("trace", function(spec, value, path)
  if value == true then
    local id = hexadecimal()
    return { traceparent = ("00-%s-%s-01"):format(id, hexadecimal():sub(-16)) }
  elseif value == false then
    return nil
  elseif type(value) == "string" then
    return { traceparent = checked_parent(value, path) }
  elseif type(value) ~= "table" then
    check.fail(path, "expected %s, got %s", words.describe(spec), check.show(value))
  end
  local fields = check.fields(spec.fields, value, path)
  checked_parent(fields.traceparent, path .. ".traceparent")
  if fields.tracestate and (#fields.tracestate > LONGEST_STATE or fields.tracestate:find "[%c\127-\255]") then
    check.fail(path .. ".tracestate", "expected at most %d printable characters", LONGEST_STATE)
  end
  return fields
end)

--- Puts the checked option among the headers of its call.
---@param options table checked; changed
function M.apply(options)
  local given = options.trace
  if given then
    local headers = {}
    for name, value in pairs(options.headers or {}) do
      headers[name] = value
    end
    headers.traceparent, headers.tracestate = given.traceparent, given.tracestate
    options.headers, options.trace = headers, nil
  end
end

--- The id of the trace that a call belongs to.
---@param options table checked
---@return string? trace_id 32 hexadecimal digits
function M.id(options)
  local traceparent = options.headers and options.headers.traceparent
  return traceparent and parts_of(traceparent)
end

return M
