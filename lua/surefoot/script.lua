--- What a script of a simulation returned: checked, and in the words of the core. What is wrong is thrown as a string
--- that says which script it was, and what would be right.

local check = require "surefoot.config.check"
local json = require "surefoot.json"
local schema = require "surefoot.config.schema"

local M = {}

---@class surefoot.Script
---@field after number?
---@field status integer?
---@field headers table<string, string | string[]>?
---@field body string | table | nil
---@field text string?
---@field events { at: number, data: string | table }[]?
---@field fault "hang" | "reset" | "cut" | nil
---@field connect number?
---@field fail "resolve" | "connect" | "tls" | nil
---@field reused boolean?

local JSON, EVENTS = "content-type: application/json\r\n", "content-type: text/event-stream\r\n"

check.define("script_data", function(_, value, path)
  if type(value) ~= "string" and type(value) ~= "table" then
    check.fail(path, "expected a string, or a table (JSON), got %s", check.show(value))
  end
  return value
end)

local function header_line(name, value, path)
  if type(value) ~= "string" and type(value) ~= "number" then
    check.fail(path, "expected a string, a number, or a list of those, got %s", check.show(value))
  end
  value = tostring(value)
  if value:find "[%z\r\n]" then
    check.fail(path, "contains a line break or a NUL byte")
  end
  return name .. ": " .. value .. "\r\n"
end

-- To the lines of an answer, and whether they say of what type its body is.
check.define("script_headers", function(_, value, path)
  if type(value) ~= "table" then
    check.fail(path, "expected a table of header names and values, got %s", check.show(value))
  end
  local lines, is_typed = {}, false
  for name, given in pairs(value) do
    local at = check.join(path, name)
    if type(name) ~= "string" or name == "" or name:find "[%c%s:]" then
      check.fail(at, "is no header name")
    end
    name = name:lower()
    is_typed = is_typed or name == "content-type"
    if type(given) == "table" then
      for i, one in ipairs(given) do
        lines[#lines + 1] = header_line(name, one, check.join(at, i))
      end
    else
      lines[#lines + 1] = header_line(name, given, at)
    end
  end
  return { text = table.concat(lines), is_typed = is_typed }
end)

-- ------------------------------------------------------------------------------------------------------------- bodies

-- The answer of a provider that says `text`.
local function completion(text, request)
  local bad = json.invalid_utf8(text)
  if bad then
    check.fail("text", "invalid UTF-8 at byte %d of %d (0x%02X)", bad, #text, text:byte(bad))
  end
  local model = type(request.json) == "table" and request.json.model or nil
  local input, output = math.ceil(#(request.body or "") / 4), math.ceil(#text / 4)
  return {
    id = "sim", object = "chat.completion", model = model,
    choices = { { index = 0, finish_reason = "stop", message = { role = "assistant", content = text } } },
    usage = { prompt_tokens = input, completion_tokens = output, total_tokens = input + output },
  }
end

local function encoded(value, path)
  local text, problem = json.encode(value)
  return text or error(path .. (problem:find "^%[" and "" or problem:find "^[%a_][%w_.%[%]]*:" and "." or ": ")
    .. problem, 0)
end

local function is_payload(data)
  return type(data) == "table" or data == "[DONE]" or data:find "^%s*{.*}%s*$" ~= nil
end

-- Why a table cannot stand for an event among these; nil: it can.
local function hindrance(events, headers, request)
  local streams = type(request.json) == "table" and request.json.stream or request.url:find("stream", 1, true)
  if not streams or not headers:find("text/event-stream", 1, true) then
    return "the request asks for no stream"
  end
  for _, event in ipairs(events) do
    if not is_payload(event.data) then
      return "it stands for an event where all of them do"
    end
  end
end

-- Events that say what is in them, and not how it is sent, are put into the stream's framing.
local function sent_events(events, headers, request)
  local why = hindrance(events, headers, request)
  local sent = {}
  for i, event in ipairs(events) do
    local data, path = event.data, ("events[%d].data"):format(i)
    if why and type(data) == "table" then
      check.fail(path, "expected a string, got a table: %s", why)
    elseif not why then
      data = type(data) == "table" and encoded(data, path) or data:gsub("\r?\n", "\ndata: ")
      data = "data: " .. data .. "\n\n"
    end
    sent[i] = { at = event.at, data = data }
  end
  return sent
end

-- ------------------------------------------------------------------------------------------------------------- reading

local function read(given, request)
  local script = check.fields(schema.script, given, "")
  if (script.body and 1 or 0) + (script.text and 1 or 0) + (script.events and 1 or 0) > 1 then
    error("give one of body, text and events", 0)
  end
  local headers, body = script.headers, script.body
  local type_line = not (headers and headers.is_typed) and (script.events and EVENTS or JSON) or ""
  if script.text then
    body = completion(script.text, request)
  end
  script.headers = (headers and headers.text or "") .. type_line
  script.body, script.text = type(body) == "table" and encoded(body, "body") or body, nil
  script.events = script.events and sent_events(script.events, script.headers, request)
  return script
end

--- The script as the core takes it: a body that is a string, headers that are lines and say what it is.
---@param given surefoot.Script
---@param request table
---@param name string of the line
---@param number integer of the request
---@return table
function M.read(given, request, name, number)
  local ok, script = pcall(read, given, request)
  if not ok then
    error(("surefoot.simulate: the script of %q, request %d: %s"):format(name, number, tostring(script)), 0)
  end
  return script
end

return M
