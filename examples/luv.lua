--- Questions at a prompt that never waits: luv reads lines while answers come in, several side by side. Ctrl-C cancels
--- what is under way; the end of the input ends the program, after the last answer. Needs luv (Debian: apt install
--- lua-luv).
---   lua5.4 examples/luv.lua [PRESET or URL] [MODEL]

local uv = require "luv"
local surefoot = require "surefoot"

local where, model = arg[1] or "openai", arg[2] or "gpt-4o-mini"
local is_url = where:find "^https?://" ~= nil
local ok, client = pcall(surefoot.new, {
  preset = not is_url and where or nil, base_url = is_url and where or nil, model = model,
})
if not ok then -- no key in the environment ...
  io.stderr:write(client, "\n")
  os.exit(2)
end

local canceller = surefoot.canceller()
local asked, under_way = 0, 0

local interrupt = uv.new_signal()
interrupt:start("sigint", function()
  print(("-- cancelling %d"):format(under_way))
  canceller:cancel()
  canceller = surefoot.canceller()
end)

local dots = uv.new_timer()
dots:start(500, 500, function()
  if under_way > 0 then
    io.stderr:write "."
  end
end)

uv.unref(interrupt) -- these two keep no loop from ending; answers that are under way do
uv.unref(dots)

local function answer(number, question)
  local pieces = 0
  local stream, err = client:stream(question, { cancel = canceller })
  local result
  if stream then
    while stream:read() do
      pieces = pieces + 1
    end
    result, err = stream:result()
  end
  under_way = under_way - 1
  if result then
    print(("%d. %s\n-- %d pieces in %.2f s"):format(number, result.text, pieces, result.latency))
  else
    print(("%d. failed: %s"):format(number, tostring(err)))
  end
end

local function ask(question)
  if question:find "%S" then
    asked, under_way = asked + 1, under_way + 1
    coroutine.wrap(answer)(asked, question) -- a coroutine waits for the call; the loop goes on
  end
end

local kind, input = uv.guess_handle(0), nil
if kind == "tty" then
  input = uv.new_tty(0, true)
elseif kind == "pipe" then
  input = uv.new_pipe(false)
  input:open(0)
end

if not input then
  for line in io.lines() do
    ask(line)
  end
else
  local rest = ""
  input:read_start(function(err, data)
    assert(not err, err)
    rest = (rest .. (data or "\n")):gsub("([^\n]*)\n", function(line)
      ask(line)
      return ""
    end)
    if not data then
      input:close()
    end
  end)
end

uv.run()
client:close()
