-- Answers that call tools and those that do not, tools, and what the model was told.

local json = require "surefoot.json"

local EXPECTED = "expected a tool, { description =, parameters = {...}, call = function }, got "
local NOTHING = { type = "object", properties = {} }

-- An answer that calls tools: { name, arguments, name, arguments ... }.
local function calls(list, more)
  local message = { role = "assistant", content = json.null, tool_calls = {} }
  for i = 1, #list, 2 do
    message.tool_calls[#message.tool_calls + 1] = { id = ("call_%d"):format((i + 1) / 2), type = "function",
      ["function"] = { name = list[i], arguments = list[i + 1] } }
  end
  for key, value in pairs(more or {}) do
    message[key] = value
  end
  return { after = 1, body = {
    id = "c", model = "m-1", choices = { { index = 0, finish_reason = "tool_calls", message = message } },
    usage = { prompt_tokens = 10, completion_tokens = 5, total_tokens = 15 },
  } }
end

local function says(text)
  return { after = 1, body = {
    id = "t", model = "m-1", choices = { { index = 0, finish_reason = "stop",
      message = { role = "assistant", content = text } } },
    usage = { prompt_tokens = 20, completion_tokens = 7, total_tokens = 27 },
  } }
end

local function tool(f, more)
  local made = { description = "does it", parameters = NOTHING, call = f }
  for key, value in pairs(more or {}) do
    made[key] = value
  end
  return made
end

-- What the requests said, decoded.
local function asked(lab, n)
  return json.decode(lab.log[n].request.body)
end

-- The contents of the tool messages of the nth request.
local function told(lab, n)
  local list = {}
  for _, message in ipairs(asked(lab, n).messages) do
    if message.role == "tool" then
      list[#list + 1] = message.content
    end
  end
  return list
end

-- Runs f as a task of the laboratory's, and gives back what it returned.
local function task(lab, f)
  local running = lab.sim:spawn(f)
  lab.sim:run()
  return running:wait()
end

return {
  EXPECTED = EXPECTED, NOTHING = NOTHING, calls = calls, says = says, tool = tool, asked = asked, told = told,
  task = task,
}
