--- A server in copas that passes each line on to a model, and the answer back as it comes; "?" is answered at once, by
--- how many wait. Try `nc 127.0.0.1 7000` in several terminals. Needs copas (Debian, for LuaJIT: apt install lua-copas;
--- for others: luarocks install copas).
---   luajit examples/copas.lua [PRESET or URL] [MODEL] [PORT]

local copas = require "copas"
local socket = require "socket"
local surefoot = require "surefoot"

local where, model, port = arg[1] or "openai", arg[2] or "gpt-4o-mini", tonumber(arg[3] or 7000)
local is_url = where:find "^https?://" ~= nil
local ok, client = pcall(surefoot.new, {
  preset = not is_url and where or nil, base_url = is_url and where or nil, model = model,
})
if not ok then -- no key in the environment ...
  io.stderr:write(client, "\n")
  os.exit(2)
end

local waiting = 0

local function answer(peer, question)
  waiting = waiting + 1
  local stream, err = client:stream(question)
  if stream then
    local chunk = stream:read()
    while chunk do
      if not copas.send(peer, chunk.text or "") then
        stream:close() -- nobody listens any more
      end
      chunk = stream:read()
    end
    err = select(2, stream:result())
  end
  waiting = waiting - 1
  return err
end

local function serve(peer)
  local line = copas.receive(peer)
  while line do
    if line == "?" then
      copas.send(peer, waiting .. " waiting\n")
    else
      local err = answer(peer, line)
      copas.send(peer, err and ("failed: %s\n"):format(tostring(err)) or "\n")
    end
    line = copas.receive(peer)
  end
  peer:close() -- copas before 4 does not, in a handler that has waited for something else
end

copas.addserver(assert(socket.bind("127.0.0.1", port)), serve)
print(("answering at 127.0.0.1:%d"):format(port))
io.stdout:flush()
copas.loop()
