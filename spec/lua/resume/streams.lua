-- Streams that break off and those that do not, and a laboratory of lines that send them.

local json = require "surefoot.json"
local sim = require "spec.support.sim"

local SSE = { ["content-type"] = "text/event-stream" }
local null = json.null

local function event(delta, reason)
  return "data: " .. json.encode { id = "c", model = "m-1", choices = { { index = 0, delta = delta,
    finish_reason = reason or null } } } .. "\n\n"
end

local DONE = "data: [DONE]\n\n"
local USAGE = "data: " .. json.encode { choices = json.array {},
  usage = { prompt_tokens = 10, completion_tokens = 4, total_tokens = 14 } } .. "\n\n"
local OVERLOADED = 'data: {"error":{"type":"overloaded_error","message":"too busy"}}\n\n'

-- A list of words as a stream, a second apart; a table among them is a delta, and data is data. It breaks off.
local function cut(words, more)
  local events, at = {}, 0
  for i, word in ipairs(words) do
    at = at + 1
    local data = type(word) == "string" and word:find "^data:" and word
    events[i] = { at = at, data = data or event(type(word) == "table" and word or { content = word }) }
  end
  local script = { after = 0.5, headers = SSE, events = events }
  for key, value in pairs(more or {}) do
    script[key] = value
  end
  return script
end

-- The same, but it ends well.
local function whole(words, reason)
  local script = cut(words)
  script.events[#script.events + 1] = { at = #words + 1, data = event({}, reason or "stop") .. USAGE .. DONE }
  return script
end

local function silent(words)
  local script = cut(words)
  script.events[#script.events + 1] = { at = 1000, data = DONE }
  return script
end

local function fails(status, message)
  return { after = 0.5, status = status, body = { error = { message = message or "refused" } } }
end

-- A laboratory whose lines are of a preset that takes up answers, unless told otherwise.
local function lab_of(lines, config)
  local all, names = { endpoints = {} }, {}
  for name in pairs(lines) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    all.endpoints[i] = { name = name, preset = config and config.preset or "vllm" }
  end
  for key, value in pairs(config or {}) do
    all[key] = key ~= "preset" and value or nil
  end
  return sim.lab(lines, all)
end

local function asked(lab, n)
  return json.decode(lab.log[n].request.body)
end

-- What a reader sees of a stream, and how it ends.
local function watch(lab, options, request, open)
  local shown = {}
  local stream, failure = (open or lab.client.stream)(lab.client, request or "Count", options)
  if not stream then
    return nil, nil, failure
  end
  local chunk = stream()
  while chunk do
    shown[#shown + 1] = chunk.text or chunk.reasoning and "(" .. chunk.reasoning .. ")" or chunk.finish_reason
      or chunk.tool_calls and "call" or chunk.error and chunk.error.kind or not chunk.usage and "?" or nil
    chunk = stream()
  end
  local result, err = stream:result()
  return table.concat(shown, "|"), result, err
end

local CONTINUE, RESTART, AUTO = { resume = "continue" }, { resume = "restart" }, { resume = "auto" }
local MESSAGES = { messages = { { role = "user", content = "Count" } } }

local function request_with(more)
  local request = { messages = MESSAGES.messages }
  for key, value in pairs(more) do
    request[key] = value
  end
  return request
end

return {
  SSE = SSE, event = event, OVERLOADED = OVERLOADED, cut = cut, whole = whole, silent = silent, fails = fails,
  lab_of = lab_of, asked = asked, watch = watch, CONTINUE = CONTINUE, RESTART = RESTART, AUTO = AUTO,
  request_with = request_with,
}
