--- surefoot chat: one question and its answer, or a conversation. The answer goes to standard output as it comes;
--- everything about it to standard error.

local asking = require "surefoot.cli.asking"
local interrupt = require "surefoot.cli.interrupt"
local numbers = require "surefoot.cli.numbers"
local process = require("surefoot.binding").process
local settings = require "surefoot.cli.settings"
local surefoot = require "surefoot"

local M = {
  name = "chat",
  summary = "Ask a question, or have a conversation.",
  description = "Asks a question and prints the answer as it comes. The question is the words, where - stands for "
    .. "standard input; without words it is standard input, and on a terminal a conversation begins. Ctrl-C cancels "
    .. "an answer: what had come stays.",
  examples = {
    "surefoot chat Why do careful people try again?",
    "git diff --staged | surefoot chat 'A commit message for:' - --set temperature=0",
    "surefoot chat --system 'Answer in French.' --model gpt-4o --line hk -v",
    "surefoot chat --json 'Name a river.' | jq -r .usage.total_tokens",
  },
}

--- Adds the arguments.
---@param command table of argparse
function M.configure(command)
  command:argument("words", "The question; - is standard input."):args "*"
  command:flag("--json", "Print the whole result as JSON, when it is there.")
  command:flag("--no-stream", "Ask for the answer as a whole.")
  command:flag("-v --verbose", "Tell line, attempts, tokens, cost and time.")
  command:option("--deadline", "Seconds that an answer may take, with all attempts."):argname("SECONDS")
    :convert(numbers.number("--deadline", { above = 0 }))
  asking.options(command)
  settings.options(command)
end

-- ----------------------------------------------------------------------------------------------------------- question

local function read_input()
  return (io.read "*a" or ""):gsub("%s+$", "")
end

-- The text that is asked; nil where a person is to be asked for it.
local function question_of(args)
  if #args.words == 0 then
    if process.is_terminal(0) then
      return nil
    end
    return read_input()
  end
  local parts, input = {}, nil
  for i, word in ipairs(args.words) do
    if word == "-" then
      input = input or read_input()
      parts[i] = "\n\n" .. input .. "\n\n"
    else
      parts[i] = word
    end
  end
  return (table.concat(parts, " "):gsub(" ?\n\n ?", "\n\n"):gsub("^%s+", ""):gsub("%s+$", ""))
end

-- ------------------------------------------------------------------------------------------------------------- answers

-- Shows the pieces of an answer as they come, as long as somebody takes them.
local function show(terminal, stream)
  local last = "\n"
  for chunk in stream:chunks() do
    if chunk.text and chunk.text ~= "" and chunk.index == 1 then
      terminal:write(asking.shown(terminal, chunk.text, "stdout"))
      if not terminal:flush() then
        stream:close()
        return
      end
      last = chunk.text:sub(-1)
    end
  end
  if last ~= "\n" then
    terminal:write "\n"
    terminal:flush()
  end
end

local function streamed(terminal, conversation, question, options)
  local stream, err = conversation:stream(question, options)
  if not stream then
    return nil, err
  end
  show(terminal, stream)
  return stream:result()
end

--- Asks, and shows the answer.
---@param terminal surefoot.Terminal
---@param conversation surefoot.Conversation
---@param question string
---@param args { json: boolean?, no_stream: boolean?, deadline: number?, verbose: boolean? }
---@param cancel surefoot.Canceller
---@return surefoot.Result? result
---@return surefoot.Error? err
function M.answer(terminal, conversation, question, args, cancel)
  local options = { cancel = cancel, deadline = args.deadline }
  local result, err
  if args.json or args.no_stream then
    result, err = conversation:send(question, options)
  else
    result, err = streamed(terminal, conversation, question, options)
  end
  if args.json then
    terminal:json(result and asking.result_document(result) or asking.error_document(err))
  elseif result and args.no_stream and result.text and result.text ~= "" then
    terminal:print(asking.shown(terminal, result.text:gsub("\n$", ""), "stdout"))
  end
  if result then
    asking.remark(terminal, result)
  elseif terminal.unwritten then
    return nil, err
  elseif err.kind == "cancelled" then
    terminal:tell "cancelled"
  else
    terminal:complain(asking.shown(terminal, tostring(err), "stderr"))
  end
  if args.verbose then
    asking.tell(terminal, result or err)
  end
  return result, err
end

-- One question.
local function ask(terminal, conversation, question, args)
  local cancel, code = surefoot.canceller(), nil
  local release = interrupt.catch(function(_, signal)
    code = interrupt.exit_code(signal)
    cancel:cancel()
  end)
  local result = M.answer(terminal, conversation, question, args, cancel)
  release()
  return result and 0 or code or 1
end

-- --------------------------------------------------------------------------------------------------------------- run

-- Misuse is thrown by what is asked first: it is told like the rest of a configuration's mistakes.
local function checked(f, ...)
  local ok, first = pcall(f, ...)
  if ok then
    return first
  end
  local mistake = tostring(first):match "client:conversation: (.*)" or tostring(first):match "conversation:%a+: (.*)"
  return nil, mistake or error(first, 0)
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
  local question = question_of(args)
  if question == "" then
    terminal:complain "there is no question: give it in words, or on standard input"
    return 2
  end
  local conversation = client:conversation { system = args.system, request = asking.fields(args) }
  local code, mistake = checked(function()
    if question then
      return ask(terminal, conversation, question, args)
    end
    return require("surefoot.cli.talk").run(terminal, conversation, args)
  end)
  client:close()
  if mistake then
    terminal:complain(mistake)
    return 2
  end
  return code
end

return M
