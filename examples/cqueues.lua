--- Questions and a story side by side in one controller of cqueues: a coroutine for each, and another that tells how it
--- goes, and cancels all on Ctrl-C. Needs cqueues (Debian: apt install lua-cqueues).
---   lua5.4 examples/cqueues.lua [PRESET or URL] [MODEL]

local cqueues = require "cqueues"
local signal = require "cqueues.signal"
local surefoot = require "surefoot"

local where, model = arg[1] or "openai", arg[2] or "gpt-4o-mini"
local is_url = where:find "^https?://" ~= nil
local ok, client = pcall(surefoot.new, {
  preset = not is_url and where or nil, base_url = is_url and where or nil, model = model,
  timeout = { attempt = 30, total = 60 },
})
if not ok then -- no key in the environment ...
  io.stderr:write(client, "\n")
  os.exit(2)
end

local controller, canceller, under_way = cqueues.new(), surefoot.canceller(), 0

local function begin(f, ...)
  under_way = under_way + 1
  controller:wrap(function(...)
    f(...)
    under_way = under_way - 1
  end, ...)
end

local function ask(question)
  local result, err = client:chat(question, { cancel = canceller })
  print(("%s\n  %s"):format(question, result and result.text or tostring(err)))
end

local function tell(wish)
  local pieces = 0
  local stream, err = client:stream(wish, { cancel = canceller })
  local result
  if stream then
    while stream:read() do
      pieces = pieces + 1
    end
    result, err = stream:result()
  end
  print(("%s\n  %s (%d pieces)"):format(wish, result and result.text or tostring(err), pieces))
end

begin(ask, "Name a river.")
begin(ask, "Name a mountain.")
begin(ask, "Name a lake.")
begin(tell, "Tell a story of three sentences.")

controller:wrap(function()
  signal.block(signal.SIGINT)
  local interrupts, began = signal.listen(signal.SIGINT), cqueues.monotime()
  while under_way > 0 do
    if interrupts:wait(0.2) then
      canceller:cancel()
    end
    io.stderr:write(("%.1f s, %d under way\n"):format(cqueues.monotime() - began, under_way))
  end
end)

assert(controller:loop())
client:close()
