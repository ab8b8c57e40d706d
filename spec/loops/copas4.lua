-- Stands in for copas 4, of which Debian has none: what its documentation promises, as far as surefoot asks for it, on
-- LuaSocket's select. A copas that is checked out somewhere is tried as well (COPAS_CHECKOUT, see copas_spec.lua).

local socket = require "socket"

local copas = { _VERSION = "Copas 4 (stand-in)", running = false }

local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield

local READING, SLEEPING = {}, {}
local readers, order = {}, {} -- object -> who waits for it; the objects
local asleep = setmetatable({}, { __mode = "k" }) -- for ever: forgotten when nobody else holds them
local due, runnable = {}, {} -- thread -> when; those that go on in the next turn
local threads, removed = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" })

local function on_error(message, co)
  print(message, co)
end

function copas.seterrorhandler(handler)
  on_error = handler
end

local function _doTick(co, ...)
  if removed[co] then
    removed[co], threads[co] = nil, nil
    return
  end
  local ok, what, queue = resume(co, ...)
  if not ok then
    on_error(what, co)
  elseif queue == READING then
    readers[what], order[#order + 1] = co, what
  elseif queue == SLEEPING and what < 0 then
    asleep[co] = true
  elseif queue == SLEEPING then
    due[co] = socket.gettime() + what
  elseif coroutine.status(co) ~= "dead" then
    on_error("user-code cannot yield to Copas", co)
  end
end

function copas.addthread(handler, ...)
  local co = create(function(...)
    copas.pause()
    return handler(...)
  end)
  threads[co] = true
  _doTick(co, ...)
  return co
end

function copas.removethread(co)
  removed[co] = threads[co]
end

function copas.pause(seconds)
  yield(seconds and seconds > 0 and seconds or 0, SLEEPING)
end

function copas.pauseforever()
  yield(-1, SLEEPING)
end

function copas.wakeup(co)
  if asleep[co] or due[co] then
    asleep[co], due[co] = nil, nil
    runnable[#runnable + 1] = co
  end
end

function copas.receive(client, pattern, part)
  while true do
    local data, err
    data, err, part = client:receive(pattern, part)
    if math.random(10) == 1 then -- as the real one
      copas.pause()
    end
    if data or err ~= "timeout" then
      return data, err, part
    end
    yield(client, READING)
  end
end

local function stop_reading(object)
  local co = readers[object]
  readers[object] = nil
  for i, other in ipairs(order) do
    if other == object then
      table.remove(order, i)
      break
    end
  end
  return co
end

function copas.step(timeout)
  local now = socket.gettime()
  for _, at in pairs(due) do
    timeout = math.min(timeout or math.huge, math.max(0, at - now))
  end
  local ready = socket.select(order, nil, runnable[1] and 0 or timeout)
  for _, object in ipairs(ready) do
    _doTick(stop_reading(object), object)
  end
  now = socket.gettime()
  for co, at in pairs(due) do
    if at <= now then
      due[co], runnable[#runnable + 1] = nil, co
    end
  end
  local list = runnable
  runnable = {}
  for _, co in ipairs(list) do
    _doTick(co)
  end
  return ready[1] ~= nil or list[1] ~= nil
end

function copas.finished()
  return order[1] == nil and runnable[1] == nil and next(due) == nil
end

function copas.loop()
  copas.running = true
  repeat
    copas.step()
  until copas.finished()
  copas.running = false
end

function copas.cancelall()
  due, runnable = {}, {}
  while order[1] do
    local object = order[1]
    object:close()
    stop_reading(object)
  end
end

return copas
