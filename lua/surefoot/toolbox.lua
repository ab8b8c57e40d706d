--- The tools of client:run_tools: reading their definitions, and running what the model calls, side by side.
--
-- What goes wrong in a tool is the model's to hear: an unknown name, arguments that are no JSON object, nil and a
-- message, an error that was thrown. It gets {"error": "..."}, without positions in source files and without keys; the
-- record of the call keeps what was thrown (cause). Only cancellation ends it all: of the task, by the canceller, or a
-- tool that throws or returns an error of kind "cancelled".

local check = require "surefoot.config.check"
local errors = require "surefoot.errors"
local guarded = require("surefoot.guard").call
local json = require "surefoot.json"
local loop = require "surefoot.loop"
local schema = require "surefoot.config.schema"
local sorted = require "surefoot.sorted"
local tasks = require "surefoot.tasks"

local M = {}

local NAME = "^[%w_.:-]+$"
local LONGEST_NAME = 128
local TOLD = 1000 -- bytes of an error that the model is told
local COMPOSED = { "$ref", "anyOf", "oneOf", "allOf" }

---@class surefoot.Tool
---@field name string?         in a table of names the name there
---@field description string?  what it does and when to use it, for the model
---@field parameters table?    JSON Schema of its arguments, an object
---@field strict boolean?      the provider shall hold the model to the schema
---@field call fun(arguments: table, context: surefoot.ToolContext): any, any

---@class surefoot.ToolContext
---@field client surefoot.Client
---@field id string?       of the call
---@field name string
---@field round integer    from 1
---@field deadline number  seconds that are left for everything
---@field tags any         the option of that name

---@class surefoot.ToolCall  the record of a call
---@field id string?
---@field name string?
---@field arguments any     decoded; as they came where they are no JSON object
---@field outcome any       what the tool returned
---@field error string?     what the model was told instead
---@field cause any         what the tool threw, or returned beside nil
---@field latency number?   seconds; nil: it was not run

-- ------------------------------------------------------------------------------------------------------- definitions

local function check_parameters(parameters, path)
  if parameters.type == "object" or next(parameters) == nil then
    return
  end
  for _, key in ipairs(COMPOSED) do
    if parameters.type == nil and parameters[key] ~= nil then
      return
    end
  end
  check.fail(path .. ".parameters", 'expected the JSON Schema of an object: { type = "object", properties = {...} }')
end

local function read_tool(given, path, name)
  if type(given) ~= "table" then
    check.fail(path, "expected a tool, { description =, parameters = {...}, call = function }, got %s%s",
      check.show(given), type(given) == "function" and ": the model must be told what it does and takes" or "")
  end
  local tool = check.fields(schema.tool, given, path)
  if name and tool.name and tool.name ~= name then
    check.fail(path .. ".name", "is %s, but the tool stands under another name", check.show(tool.name))
  end
  tool.name = tool.name or name
  if not tool.name then
    check.fail(path .. ".name", "is required in a list of tools")
  elseif not tool.name:find(NAME) or #tool.name > LONGEST_NAME then
    check.fail(name and path or path .. ".name", "a tool's name is at most %d letters, digits, _ and -, got %s",
      LONGEST_NAME, check.show(tool.name))
  elseif tool.parameters then
    check_parameters(tool.parameters, path)
  end
  return tool
end

--- Reads the definitions of tools, a list or a table of names. Throws a message without a position.
---@param given any
---@return table<string, surefoot.Tool> tools by name
---@return surefoot.Tool[] list as the model is shown them: in the order given, else of their names
function M.read(given)
  if type(given) ~= "table" then
    check.fail("tools", "expected a list of tools, or a table of them by name, got %s", check.show(given))
  end
  local tools, list = {}, {}
  local function add(tool, path)
    if tools[tool.name] then
      check.fail(path .. ".name", "%q names another tool already", tool.name)
    end
    tools[tool.name], list[#list + 1] = tool, tool
  end
  if given[1] ~= nil then
    check.list(given, "tools", function(item, path)
      add(read_tool(item, path), path)
    end)
    return tools, list
  end
  for name, item in pairs(given) do
    local path = check.join("tools", name)
    if type(name) ~= "string" then
      check.fail(path, "a name is expected as the key")
    end
    add(read_tool(item, path, name), path)
  end
  table.sort(list, function(a, b)
    return a.name < b.name
  end)
  return tools, list
end

--- A tool as requests name it.
---@param tool surefoot.Tool
---@return table
function M.declaration(tool)
  return { type = "function", ["function"] = {
    name = tool.name, description = tool.description, parameters = tool.parameters, strict = tool.strict,
  } }
end

--- The name of a tool in a request, or of what a model's call calls.
---@param entry any
---@return string?
function M.name_of(entry)
  if type(entry) ~= "table" then
    return nil
  end
  for _, key in ipairs { "function", "custom" } do
    local body = entry[key]
    if type(body) == "table" and type(body.name) == "string" then
      return body.name
    end
  end
  return type(entry.name) == "string" and entry.name or nil
end

-- ------------------------------------------------------------------------------------------- what the model is told

local function bounded(text)
  if #text > TOLD then
    text = text:sub(1, TOLD)
    text = text:sub(1, (json.invalid_utf8(text) or TOLD + 1) - 1) .. "..."
  end
  local bad = json.invalid_utf8(text)
  return bad and text:sub(1, bad - 1) or text
end

-- Where in a source file something was thrown is nothing for a model. Bounded first: long words make patterns slow.
local function without_positions(text)
  text = bounded(text):gsub("\nstack traceback:.*", "")
  text = text:gsub('%[string "[^\n]-"%]:%d+: ', ""):gsub("%(command line%):%d+: ", "")
  text = text:gsub("^[^\n:]-%.lua:%d+: ", ""):gsub("[^%s:]+%.lua:%d+: ", "")
  return (text:gsub("^[^%s:]+:%-?%d+: ", ""))
end

-- What was thrown, or returned beside nil, in words.
local function words_of(problem)
  if errors.is(problem) then
    return problem.kind .. ": " .. problem.message
  elseif type(problem) == "table" then
    local mt = getmetatable(problem)
    local ok, text = pcall(type(mt) == "table" and mt.__tostring or error, problem)
    return ok and type(text) == "string" and text or type(problem.message) == "string" and problem.message
      or "the tool failed"
  end
  return tostring(problem)
end

local function told(problem, scrub)
  local text = without_positions(scrub(words_of(problem)))
  return text ~= "" and text or "the tool failed"
end

-- The text of an outcome, or nil and why there is none.
local function content_of(value, codec)
  if type(value) == "string" then
    local bad = json.invalid_utf8(value)
    if bad then
      return nil, ("the tool returned text that is no valid UTF-8 (byte %d)"):format(bad)
    end
    return value
  elseif value == nil then
    return "null"
  end
  local ok, text, problem = pcall(codec.encode, value)
  if ok and text then
    return text
  end
  return nil, "what the tool returned cannot be written as JSON: "
    .. without_positions(tostring(ok and problem or text))
end

-- ------------------------------------------------------------------------------------------------------- one call

-- The arguments as a table, or nil and what is wrong with them. Servers leave them out where there are none.
local function arguments_of(text, codec)
  if type(text) == "table" then
    return text
  elseif text == nil or text == json.null or type(text) == "string" and not text:find "%S" then
    return {}
  elseif type(text) ~= "string" then
    return nil, "the arguments are no JSON object"
  end
  local value, _, message = codec.decode(text)
  if type(value) == "table" and text:find "^%s*{" then
    return value
  end
  return nil, "the arguments are no JSON object" .. (message and ": " .. message or "")
end

---@class surefoot.ToolItem  a call that is to be run
---@field record surefoot.ToolCall
---@field tool surefoot.Tool?
---@field call table?       as the model wrote it
---@field problem string?   why it cannot be run
---@field began number?
---@field content string?   what the model is told; nil: it was not run to its end

local function unknown(name, tools)
  local known = sorted(tools)
  return ("there is no tool %s; there are %s"):format(name and check.show(name) or "without a name",
    table.concat(known, ", "))
end

--- Reads a call of the model's.
---@param call table
---@param tools table<string, surefoot.Tool>
---@param codec surefoot.Codec
---@return surefoot.ToolItem
function M.item(call, tools, codec)
  local name, body = M.name_of(call), type(call["function"]) == "table" and call["function"] or {}
  local arguments, problem = arguments_of(body.arguments, codec)
  local item = {
    call = call, tool = tools[name], problem = problem,
    record = {
      id = type(call.id) == "string" and call.id or nil, name = name, arguments = arguments or body.arguments,
    },
  }
  if not item.tool then
    item.problem = unknown(name, tools)
  end
  return item
end

---@class surefoot.ToolRun  the calls of one round
---@field items surefoot.ToolItem[]
---@field client table
---@field rounds surefoot.Rounds
---@field round integer
---@field on_tool function?
---@field options table              the checked options of the calls
---@field package list surefoot.Task[]?
---@field package stopped surefoot.Error?  why it ended early
---@field package thrown table?            what on_tool threw

-- Ends what still runs; the first reason counts.
local function stop(run, reason)
  run.stopped = run.stopped or reason
  local me = tasks.current()
  for _, task in ipairs(run.list or {}) do
    if task ~= me and not task:done() then
      task:cancel()
    end
  end
end

-- Notes what a tool returned, or threw; gives back the error that cancels all of them, if it is one.
local function note(run, item, ok, value, problem)
  local record, client = item.record, run.client
  record.latency = run.rounds:elapsed() - item.began
  if not ok then
    value, problem = nil, value == nil and "the tool failed" or value
  end
  if value == nil and problem ~= nil then
    record.cause, record.error = problem, told(problem, client.scrub)
    return errors.is(problem) and problem.kind == "cancelled" and problem or nil
  end
  item.content, record.error = content_of(value, client.codec)
  record[item.content and "outcome" or "cause"] = value
end

-- What has become of a call: the model is told later, the observer now.
local function settle(run, item, cancelled)
  local record = item.record
  if cancelled then
    return stop(run, cancelled)
  elseif record.error then
    item.content = json.encode { error = record.error }
  end
  if run.on_tool then
    local ok, thrown = guarded(run.on_tool, record.name, record.arguments, record.outcome, record.error)
    if not ok then
      run.thrown = run.thrown or { thrown }
      stop(run)
    end
  end
end

local function perform(run, item)
  if run.stopped or run.thrown then
    return
  end
  local record = item.record
  if item.problem then
    record.error = bounded(item.problem)
    return settle(run, item)
  end
  item.began = run.rounds:elapsed()
  settle(run, item, note(run, item, guarded(item.tool.call, record.arguments, {
    client = run.client, id = record.id, name = record.name, round = run.round, deadline = run.rounds:left(),
    tags = run.options.tags,
  })))
end

-- ------------------------------------------------------------------------------------------------------- all of them

-- Waits until all have ended; at the deadline, or when the waiting task is cancelled, they are.
local function join(run)
  for _, task in ipairs(run.list) do
    while not task:done() do
      local limit = not run.stopped and math.max(0, run.rounds:left()) or nil
      local _, problem = task:wait(limit)
      if not task:done() and problem then
        stop(run, problem.kind == "timeout" and run.rounds:too_late "tools ran" or problem)
      end
    end
    task.observed = true
    if task.thrown then
      run.thrown = run.thrown or { task.thrown.kind == "error" and task.thrown.cause or task.thrown }
      stop(run)
    end
  end
end

local function run_all(run)
  local functions = {}
  for i, item in ipairs(run.items) do
    functions[i] = function()
      perform(run, item)
    end
  end
  run.list = loop.begin(run.client.host.scheduler(), functions)
  if run.list then
    if run.stopped or run.thrown then -- by one that ran at once
      stop(run, run.stopped)
    end
    return join(run)
  end
  for _, f in ipairs(functions) do -- nothing can run beside the caller, and waiting blocks
    f()
  end
end

--- Runs calls until all have ended, each in a task of its own where a loop can turn.
---@async
---@param run surefoot.ToolRun
---@return surefoot.Error? err why it ended early
function M.run(run)
  local cancel = run.options.cancel
  local switch = { cancel = function()
    stop(run, errors.new { kind = "cancelled", message = "its canceller was used", attempts = {} })
  end }
  if tasks.take_interrupt(tasks.current()) then
    return errors.new { kind = "cancelled", message = "the task was cancelled", attempts = {} }
  elseif cancel and cancel:cancelled() then
    switch.cancel()
    return run.stopped
  elseif cancel then
    cancel:add(switch)
  end
  local ok, problem = guarded(run_all, run)
  if cancel then
    cancel:remove(switch)
  end
  if not ok then
    error(problem, 0)
  elseif run.thrown then
    error(run.thrown[1], 0)
  end
  return run.stopped
end

return M
