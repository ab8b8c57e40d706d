--- An answer in the terminal as it arrives; Ctrl-C ends the process, and with it the call.
---   lua5.4 examples/stream.lua [PRESET or URL] [MODEL] [QUESTION]
---   lua5.4 examples/stream.lua anthropic claude-sonnet-4-5 "Tell me a short story about a bridge."

local surefoot = require "surefoot"

local where, model = arg[1] or "openai", arg[2] or "gpt-4o-mini"
local question = arg[3] or "Tell me a short story about a bridge."
local is_url = where:find "^https?://" ~= nil

local ok, client = pcall(surefoot.new, {
  preset = not is_url and where or nil, base_url = is_url and where or nil, model = model,
  timeout = { first_token = 20, idle = 15, total = 120 },
})
if not ok then -- no key in the environment ...
  io.stderr:write(client, "\n")
  os.exit(2)
end

local stream, err = client:stream(question)
if not stream then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end

for chunk in stream:chunks() do
  io.write(chunk.text or "")
  io.flush()
end
print ""

local result, failure = stream:result()
if failure then -- the reader has seen the beginning, and err.partial has it too
  io.stderr:write(("\n-- %s; %d bytes had come\n"):format(tostring(failure), #failure.partial.text))
  os.exit(1)
end
local cut = result.truncated and ", cut by its limit" or ""
print(("-- %s by %s: first words after %.2f s, all after %.2f s, %d tokens%s"):format(result.model, result.endpoint,
  result.time_to_first_token, result.latency, result.usage.total_tokens, cut))
