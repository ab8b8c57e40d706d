--- A conversation in the terminal: answers as they arrive, and a history that outlives the process.
---   lua5.4 examples/conversation.lua [PRESET or URL] [MODEL] [FILE]      one line per turn; Ctrl-D ends it
---   lua5.4 examples/conversation.lua ollama llama3.2 talk.json

local json = require "surefoot.json"
local surefoot = require "surefoot"

local where, model, path = arg[1] or "openai", arg[2] or "gpt-4o-mini", arg[3]
local is_url = where:find "^https?://" ~= nil

local ok, client = pcall(surefoot.new, {
  preset = not is_url and where or nil, base_url = is_url and where or nil, model = model,
})
if not ok then -- no key in the environment ...
  io.stderr:write(client, "\n")
  os.exit(2)
end

local function stored()
  local file = path and io.open(path)
  if not file then
    return nil
  end
  local text = file:read "*a"
  file:close()
  return assert(json.decode(text))
end

local function store(messages)
  if path then
    local file = assert(io.open(path, "w"))
    file:write(assert(json.encode(messages)), "\n")
    file:close()
  end
end

local talk = client:conversation {
  system = "Answer in one or two sentences.", messages = stored(),
  max_messages = 40,                                       -- the oldest turns are forgotten
  options = { deadline = 120, continue_on_length = 3 },    -- a cut answer is carried on
}

for line in io.lines() do
  local stream, err = talk:stream(line)
  if stream then
    for chunk in stream:chunks() do
      io.write(chunk.text or "")
      io.flush()
    end
    err = select(2, stream:result())
    print ""
  end
  if err then -- the history is as it was: the next line may be the same again
    io.stderr:write("-- ", tostring(err), "\n")
  else
    store(talk.messages)
  end
end
print(("-- %d messages"):format(#talk.messages))
client:close()
