--- client:run_tools: asks, runs the tools that the model calls, tells it the outcomes, asks again, until it answers.
--
--   local result, err = client:run_tools("What is the weather in Oslo?", {
--     get_weather = {
--       description = "The weather in a city now.",
--       parameters = { type = "object", properties = { city = { type = "string" } }, required = { "city" } },
--       call = function(arguments) return { celsius = measure(arguments.city) } end,   -- or nil, message
--     },
--   })
--
-- The model's messages go back as they came. One deadline is over all rounds and tools; each request is a call of its
-- own, with the options given. Tools that the request itself declares stay: a call to one of those is the caller's to
-- answer, and ends the loop (result.pending_calls). A tool_choice that forces a call counts for the first round only;
-- `validate` judges answers, not calls. surefoot.toolbox says what a tool's errors do.
--
-- With { stream = true } it returns a stream: the chunks of all rounds in turn, and { tool = record } after each tool.

local continue = require "surefoot.continue"
local check = require "surefoot.config.check"
local copy = require "surefoot.copy"
local errors = require "surefoot.errors"
local json = require "surefoot.json"
local rounds = require "surefoot.rounds"
local schema = require "surefoot.config.schema"
local streams = require "surefoot.stream"
local toolbox = require "surefoot.toolbox"

local M = {}

---@class surefoot.ToolOptions: surefoot.CallOptions
---@field max_rounds integer?  requests to the model, at most (default 10)
---@field on_tool (fun(name: string, arguments: any, outcome: any, problem: string?))?  after each call of a tool
---@field stream boolean?      return a stream of all rounds

---@class surefoot.ToolRound
---@field result surefoot.Result
---@field calls surefoot.ToolCall[]

---@class surefoot.Result
---@field rounds surefoot.ToolRound[]?  of run_tools; then usage, cost and latency are those of all rounds
---@field messages table[]?             the conversation, to go on with
---@field pending_calls table[]?        calls of the last message that nobody has answered

---@class surefoot.Chunk
---@field tool surefoot.ToolCall?  a tool has run; then all else but index is nil

-- ----------------------------------------------------------------------------------------------------------- reading

local own, all_options = {}, {}
for _, field in ipairs(schema.run_tools) do
  own[field.name] = true
  all_options[#all_options + 1] = field
end
for _, field in ipairs(schema.options) do
  all_options[#all_options + 1] = field
end

--- Checks options, those of the calls included. Throws a message without a position.
---@param given any
---@param path string
---@return table options
function M.check_options(given, path)
  if type(given) ~= "table" then
    check.fail(path == "" and "options" or path, "expected a table, got %s", check.show(given))
  end
  return check.fields(all_options, given, path)
end

-- The request with the tools in it, and the names of those that it declared itself.
local function with_tools(request, tools, list)
  local whole, theirs, declared = copy(request), {}, {}
  whole.messages = check.list(request.messages, "messages", function(message, path)
    if type(message) ~= "table" then
      check.fail(path, "expected a message, got %s", check.show(message))
    end
    return message
  end)
  if request.tools ~= nil and request.tools ~= json.null then
    if type(request.tools) ~= "table" then
      check.fail("request.tools", "expected a list, got %s", check.show(request.tools))
    end
    declared = check.list(request.tools, "request.tools", function(tool, path)
      local name = toolbox.name_of(tool)
      if name and tools[name] then
        check.fail(path, "%q is among the tools to be run already", name)
      elseif name then
        theirs[name] = true
      end
      return tool
    end)
  end
  for _, tool in ipairs(list) do
    declared[#declared + 1] = toolbox.declaration(tool)
  end
  whole.tools = #declared > 0 and declared or nil
  return whole, theirs
end

local function read_request(request, streams_it)
  if type(request) == "string" then
    return { messages = { { role = "user", content = request } } }
  elseif type(request) ~= "table" then
    check.fail("request", "expected a request table or a text, got %s", check.show(request))
  elseif type(request.messages) ~= "table" then
    check.fail("messages", "expected a list, got %s", check.show(request.messages))
  elseif request.stream and request.stream ~= json.null and not streams_it then
    check.fail("stream", "give it as an option: client:run_tools(request, tools, { stream = true })")
  end
  return request
end

-- The calls of an answer that are ours to run: all that the request did not declare, where we have tools at all.
local function is_ours(self, call)
  return next(self.tools) ~= nil and type(call) == "table" and not self.theirs[toolbox.name_of(call) or ""]
end

local function has_ours(self, result)
  for _, call in ipairs(result.tool_calls or {}) do
    if is_ours(self, call) then
      return true
    end
  end
  return false
end

---@class surefoot.ToolLoop: surefoot.Source
---@field private client table
---@field private tools table<string, surefoot.Tool>
---@field private theirs table<string, true>       tools that the request declares itself
---@field private request table                    without what has been said since
---@field private job surefoot.Job?                the first, until it is begun
---@field private rounds surefoot.Rounds
---@field private messages table[]                 all that was said
---@field private record surefoot.ToolRound[]
---@field private pending table[]?                 calls that nobody has answered
---@field private calling boolean?              those of the last answer are to be run now
---@field private inner surefoot.Source?           the running round
---@field private shown surefoot.Chunk[]           tools that have run, to be shown
---@field private outcome table?                   { result } or { nil, err }, once nothing is left but to show it
---@field private options table                    run_tools' own
---@field private call_options table               those of its calls, checked
local Loop = {}
Loop.__index = Loop

--- Reads the arguments of run_tools. Throws a message without a position.
---@param client table
---@param request any
---@param definitions any
---@param options any
---@return surefoot.ToolLoop? loop
---@return surefoot.Error? err
function M.read(client, request, definitions, options)
  options = options == nil and {} or options
  M.check_options(options, "")
  local mine, of_calls = {}, {}
  for key, value in pairs(options) do
    (own[key] and mine or of_calls)[key] = value
  end
  mine = check.fill_fields(schema.run_tools, mine)
  local tools, list = toolbox.read(definitions)
  request = read_request(request, mine.stream)
  local self = setmetatable({ client = client, tools = tools, options = mine, record = {}, shown = {} }, Loop)
  self.request, self.theirs = with_tools(request, tools, list)
  self.messages = self.request.messages
  local validate = of_calls.validate
  if validate then
    of_calls.validate = function(result)
      if has_ours(self, result) then
        return true
      end
      return validate(result)
    end
  end
  local job, problem
  if mine.stream then
    job, problem = client:stream_job(self.request, of_calls)
  else
    job, problem = client:chat_job(self.request, of_calls)
  end
  self.job = job
  return job and self, problem
end

-- ----------------------------------------------------------------------------------------------------------- rounds

-- What forces a call would force one for ever.
local function unforced(choice)
  if type(choice) == "table" and choice.type == "allowed_tools" and type(choice.allowed_tools) == "table" then
    choice = copy(choice)
    choice.allowed_tools = copy(choice.allowed_tools)
    choice.allowed_tools.mode = "auto"
    return choice
  end
  local kind = type(choice) == "table" and choice.type or choice
  if choice == nil or choice == json.null or kind == "auto" or kind == "none" then
    return choice
  end
  return "auto"
end

local function next_request(self)
  local request = copy(self.request)
  request.messages, request.tool_choice = self.messages, unforced(request.tool_choice)
  return request
end

local function decorate(self, result)
  result.rounds, result.messages = self.record, self.messages
  result.pending_calls = self.pending and #self.pending > 0 and self.pending or nil
  return result
end

-- The error that ends the loop, with what there is.
local function failed(self, err)
  local last = self.record[#self.record]
  if last then
    err = self.rounds:failed(err)
    err.partial = decorate(self, self.rounds:whole(err.partial or last.result, err.partial ~= nil))
  end
  return err
end

local function too_many(self)
  local names = {}
  for i, call in ipairs(self.pending) do
    names[i] = toolbox.name_of(call) or "?"
  end
  return errors.new {
    kind = "rejected", code = "max_rounds", retryable = false, sent = true, attempts = {},
    message = ("the model still calls tools after %d round%s (max_rounds): %s"):format(#self.record,
      #self.record == 1 and "" or "s", table.concat(names, ", ")),
  }
end

-- Takes the answer of a round. Afterwards there is an outcome, or there are calls to be run.
local function take(self, result)
  self.rounds:add(result)
  self.record[#self.record + 1] = { result = result, calls = {} }
  self.messages[#self.messages + 1] = result.message or { role = "assistant", content = result.text }
  self.pending = result.tool_calls and copy(result.tool_calls) or {}
  if not has_ours(self, result) then
    self.outcome = { decorate(self, self.rounds:whole(result)) }
  elseif #self.record >= self.options.max_rounds then
    self.outcome = { nil, failed(self, too_many(self)) }
  else
    self.calling = true
  end
end

-- Tells the model, and the reader of a stream, what came of the calls.
local function tell(self, items)
  for _, item in ipairs(items) do
    if item.content then
      self.messages[#self.messages + 1] = { role = "tool", tool_call_id = item.record.id, content = item.content }
      if self.options.stream then
        self.shown[#self.shown + 1] = { tool = item.record, index = 1 }
      end
    else
      self.pending[#self.pending + 1] = item.call
    end
  end
end

-- Runs the calls of the last answer.
local function run_calls(self)
  local round = self.record[#self.record]
  local items, calls = {}, self.pending
  self.calling, self.pending = nil, {}
  for _, call in ipairs(calls) do
    if is_ours(self, call) then
      local item = toolbox.item(call, self.tools, self.client.codec)
      items[#items + 1], round.calls[#round.calls + 1] = item, item.record
    else
      self.pending[#self.pending + 1] = call
    end
  end
  local asked = #self.pending > 0
  local stopped = toolbox.run {
    items = items, client = self.client, rounds = self.rounds, round = #self.record, on_tool = self.options.on_tool,
    options = self.call_options,
  }
  tell(self, items)
  if stopped then
    self.outcome = { nil, failed(self, stopped) }
  elseif asked then -- the caller has a word
    self.outcome = { decorate(self, self.rounds:whole(round.result)) }
  end
end

local function open_next(self)
  local job, problem = self.job, nil
  self.job = nil
  if not job then
    job, problem = self.rounds:follow(next_request(self), "tools ran")
  end
  if not job then
    return nil, problem
  end
  return continue.source(job)
end

function Loop:read(task)
  if self.calling then
    run_calls(self)
  end
  if #self.shown > 0 then
    return table.remove(self.shown, 1), false
  elseif self.outcome then
    return nil, true, self.outcome[1], self.outcome[2]
  elseif not self.inner then
    local problem
    self.inner, problem = open_next(self)
    if not self.inner then
      return nil, true, nil, failed(self, problem)
    end
  end
  local chunk, over, result, err = self.inner:read(task)
  if not over then
    return chunk, false
  end
  self.inner = nil
  if not result then
    return chunk, true, nil, failed(self, err)
  end
  take(self, result)
  if self.outcome then
    return chunk, true, self.outcome[1], self.outcome[2]
  end
  return chunk, false
end

function Loop:cancel()
  local inner, result, err = self.inner, nil, nil
  self.inner = nil
  if inner then
    result, err = inner:cancel()
  end
  if result then
    take(self, result)
  end
  if self.outcome then
    return self.outcome[1], self.outcome[2]
  end
  return nil, failed(self, err or errors.new { kind = "cancelled", attempts = {} })
end

--- The loop as a source of pieces.
---@param loop surefoot.ToolLoop
---@return surefoot.Source
function M.source(loop)
  loop.rounds, loop.call_options = rounds.new(loop.job, "round"), loop.job.options
  return loop
end

--- Runs the loop to its end, or as a stream up to its first content.
---@async
---@param loop surefoot.ToolLoop
---@return surefoot.Result | surefoot.Stream | nil
---@return surefoot.Error?
function M.run(loop)
  local source = M.source(loop)
  if loop.options.stream then
    return streams.open(source)
  end
  return streams.drain(source)
end

return M
