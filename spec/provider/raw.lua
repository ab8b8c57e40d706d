-- Raw bytes at chosen moments, for what a real server cannot be made to send: half a header, garbage instead of a
-- status line or of a TLS handshake, a reset after byte n, one byte every so often. A listener plays scripts, one per
-- connection.
-- Run by spec/support/raw.lua: lua5.4 raw.lua --ready FILE [--parent PID]. Control: JSON over HTTP, see README.md.

local root = (arg[0]:match "^(.*)spec/provider/[^/]*$" or "./")
package.path = root .. "?.lua;" .. package.path

local cjson = require "cjson.safe"
local socket = require "socket"
local process = require "spec.support.process"

local KEPT = 100
local listeners, tasks = {}, {}

-- A task is a coroutine that waits for its socket or for a moment; `pause` is how it waits.
local function pause(want, deadline)
  return coroutine.yield(want, deadline)
end

local function drop_task(task)
  tasks[task] = nil
  task.socket:close()
end

local function resume(task, event)
  local ok, want, deadline = coroutine.resume(task.thread, event)
  if not ok and not tostring(want):find("client left", 1, true) then
    io.stderr:write(tostring(want), "\n")
  end
  if coroutine.status(task.thread) == "dead" then
    if task.over then
      task.over()
    end
    return drop_task(task)
  end
  task.want, task.deadline = want, deadline
end

local function spawn(client, body, over)
  local task = { socket = client, thread = coroutine.create(body), over = over }
  client:settimeout(0)
  client:setoption("tcp-nodelay", true)
  tasks[task] = true
  resume(task)
end

local Peer = {}
Peer.__index = Peer

local function left(self)
  self.counters.aborted = self.counters.aborted + 1
  error("client left", 0)
end

function Peer:fill()
  local data, err, partial = self.socket:receive(65536)
  data = data or partial
  self.buffer = self.buffer .. data
  self.counters.bytes_in = self.counters.bytes_in + #data
  return err ~= "closed" or #data > 0
end

-- Waits for a moment while watching whether the client is still there.
function Peer:sleep(deadline)
  while not deadline or socket.gettime() < deadline do
    if pause("read", deadline) == "read" and not self:fill() then
      return left(self)
    end
  end
end

function Peer:send(data)
  local at = 1
  while at <= #data do
    local last, err, partial = self.socket:send(data, at)
    self.counters.bytes_out = self.counters.bytes_out + (last or partial) - at + 1
    at = (last or partial) + 1
    if err == "timeout" then
      pause "write"
    elseif err then
      return left(self)
    end
  end
end

-- Takes input until `found(buffer)` gives where it ends.
function Peer:take(found)
  local stop = found(self.buffer)
  while not stop do
    pause "read"
    if not self:fill() then
      return left(self)
    end
    stop = found(self.buffer)
  end
  local text = self.buffer:sub(1, stop)
  self.buffer = self.buffer:sub(stop + 1)
  return text
end

local function after(mark)
  return function(buffer)
    return (select(2, buffer:find(mark, 1, true)))
  end
end

local function whole_request(buffer)
  local _, stop = buffer:find("\r\n\r\n", 1, true)
  local length = stop and (buffer:sub(1, stop):lower():match "\r\ncontent%-length:%s*(%d+)" or 0)
  return stop and #buffer >= stop + length and stop + length
end

local STEPS = {
  send = function(peer, data, step)
    if not step.every then
      return peer:send(data)
    end
    for at = 1, #data, step.by or 1 do
      if at > 1 then
        peer:sleep(socket.gettime() + step.every)
      end
      peer:send(data:sub(at, at + (step.by or 1) - 1))
    end
  end,
  wait = function(peer, seconds)
    peer:sleep(socket.gettime() + seconds)
  end,
  hang = function(peer)
    peer:sleep(nil)
  end,
  read_request = function(peer)
    peer.keep(peer:take(whole_request))
  end,
  read_until_headers = function(peer)
    peer.keep(peer:take(after "\r\n\r\n"))
  end,
  read_until = function(peer, mark)
    peer.keep(peer:take(after(mark)))
  end,
  read = function(peer, bytes)
    peer.keep(peer:take(function(buffer)
      return #buffer >= bytes and bytes
    end))
  end,
  half_close = function(peer)
    peer.socket:shutdown "send"
  end,
  close = function(peer)
    peer.socket:close()
    return "over"
  end,
  reset = function(peer)
    peer.socket:setoption("linger", { on = true, timeout = 0 })
    peer.socket:close()
    return "over"
  end,
  again = function()
    return "again"
  end,
}

local function verb_of(step)
  for name in pairs(STEPS) do
    if step[name] ~= nil then
      return name
    end
  end
end

local function check_script(script)
  if type(script) ~= "table" then
    return nil, "a script is a list of steps"
  end
  for i, step in ipairs(script) do
    if type(step) ~= "table" or not verb_of(step) then
      return nil, ("step %d: unknown: %s"):format(i, tostring(cjson.encode(step)))
    end
  end
  return true
end

local function play(peer, script)
  local result
  repeat
    result = nil
    for _, step in ipairs(script) do
      local verb = verb_of(step)
      result = STEPS[verb](peer, step[verb], step)
      if result then
        break
      end
    end
  until result ~= "again"
end

local function new_counters()
  return { connections = 0, open = 0, aborted = 0, bytes_in = 0, bytes_out = 0, requests = {} }
end

local function serve(listener, client)
  local counters = listener.counters
  counters.connections, counters.open = counters.connections + 1, counters.open + 1
  local scripts = listener.scripts
  local script = scripts[math.min(listener.played + 1, #scripts)]
  listener.played = listener.played + 1
  local peer = setmetatable({ socket = client, buffer = "", counters = counters }, Peer)
  function peer.keep(text)
    local requests = counters.requests
    requests[#requests + 1] = text
    if #requests > KEPT then
      table.remove(requests, 1)
    end
  end
  spawn(client, function()
    return play(peer, script)
  end, function()
    counters.open = counters.open - 1
  end)
end

local function put_listener(name, body)
  local scripts = body and (body.scripts or (body.script and { body.script }))
  if not scripts or #scripts == 0 then
    return 400, { error = "script or scripts expected" }
  end
  for _, script in ipairs(scripts) do
    local ok, err = check_script(script)
    if not ok then
      return 400, { error = err }
    end
  end
  local listener = listeners[name]
  if not listener then
    listener = { socket = assert(socket.bind("127.0.0.1", 0, 1024)), counters = new_counters() }
    listener.socket:settimeout(0)
    listener.port = tonumber((select(2, listener.socket:getsockname())))
    listeners[name] = listener
  end
  listener.scripts, listener.played = scripts, 0
  return 200, { port = listener.port }
end

local CONTROL = {
  ["PUT "] = put_listener,
  ["GET counters"] = function(name)
    return 200, listeners[name].counters
  end,
  ["DELETE "] = function(name)
    listeners[name].socket:close()
    listeners[name] = nil
    return 200, {}
  end,
}

local function answer_control(request)
  local method, name, what = request:match "^(%u+) /listeners/([%w_%-]+)/?(%w*) "
  local action = method and CONTROL[method .. " " .. what]
  if not action or (method ~= "PUT" and not listeners[name]) then
    return 404, { error = "no such thing" }
  end
  return action(name, cjson.decode(request:match "\r\n\r\n(.*)$"))
end

local function control(client)
  local peer = setmetatable({ socket = client, buffer = "", counters = new_counters() }, Peer)
  spawn(client, function()
    local status, body = answer_control(peer:take(whole_request))
    local text = cjson.encode(body)
    peer:send(("HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s")
      :format(status, #text, text))
  end)
end

local function accept_all(server, with)
  local client = server:accept()
  while client do
    with(client)
    client = server:accept()
  end
end

local function interests(server)
  local reading, writing, owner, next_at = { server }, {}, {}, socket.gettime() + 0.5
  for _, listener in pairs(listeners) do
    reading[#reading + 1] = listener.socket
    owner[listener.socket] = listener
  end
  for task in pairs(tasks) do
    local list = task.want == "write" and writing or reading
    list[#list + 1] = task.socket
    owner[task.socket] = task
    next_at = math.min(next_at, task.deadline or next_at)
  end
  return reading, writing, owner, next_at
end

local function turn(server)
  local reading, writing, owner, next_at = interests(server)
  local readable, writable = socket.select(reading, writing, math.max(0, next_at - socket.gettime()))
  for _, ready in ipairs(readable) do
    local what = owner[ready]
    if ready == server then
      accept_all(server, control)
    elseif what.scripts then
      accept_all(ready, function(client)
        serve(what, client)
      end)
    elseif tasks[what] then
      resume(what, "read")
    end
  end
  for _, ready in ipairs(writable) do
    if tasks[owner[ready]] then
      resume(owner[ready], "write")
    end
  end
  local now, due = socket.gettime(), {}
  for task in pairs(tasks) do
    if task.deadline and task.deadline <= now then
      due[#due + 1] = task
    end
  end
  for _, task in ipairs(due) do
    resume(task, "due")
  end
end

local function main()
  local options = {}
  for i = 1, #arg, 2 do
    options[arg[i]] = arg[i + 1]
  end
  local parent = tonumber(options["--parent"])
  local started = parent and process.started(parent)
  local server = assert(socket.bind("127.0.0.1", 0, 1024))
  server:settimeout(0)
  process.write(options["--ready"] .. ".new", tostring((select(2, server:getsockname()))))
  assert(os.rename(options["--ready"] .. ".new", options["--ready"]))
  local look_at = 0
  while true do
    turn(server)
    if parent and socket.gettime() >= look_at then
      look_at = socket.gettime() + 0.5
      if not process.alive(parent, started) then
        process.remove_dir((options["--ready"]:gsub("/[^/]*$", "")))
        os.exit(0)
      end
    end
  end
end

main()
