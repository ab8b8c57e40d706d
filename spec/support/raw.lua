-- Drives spec/provider/raw.lua: listeners that answer each connection with a script of raw bytes and moments.
-- And two ports for which no script is needed: one that refuses, one that never accepts.

local cjson = require "cjson.safe"
local socket = require "socket"
local http = require "spec.support.http"
local process = require "spec.support.process"

local M = {}

local HELPER = (debug.getinfo(1, "S").source:match "^@(.*)support/[^/]*$" or "./spec/") .. "provider/raw.lua"

local Server = {}
Server.__index = Server

---@return table server
function M.start()
  local self = setmetatable({ dir = process.temp_dir "surefoot-raw", count = 0 }, Server)
  local ready = self.dir .. "/port"
  local interpreter = os.getenv "SUREFOOT_LUA" or process.which "lua5.4" or "lua"
  self.log = self.dir .. "/log"
  self.pid = process.spawn(
    { "env", "-u", "LD_PRELOAD", interpreter, HELPER, "--ready", ready, "--parent", process.self() },
    { stdout = self.log }
  )
  local port = process.wait_for(function()
    return process.read(ready)
  end)
  if not port then
    local log = process.read(self.log) or ""
    self:stop()
    error("the raw helper did not start: " .. log, 2)
  end
  self.control_url = "http://127.0.0.1:" .. port
  return self
end

function Server:stop()
  if self.pid then
    process.stop(self.pid)
    process.remove_dir(self.dir)
    self.pid = nil
  end
end

local function control(self, method, path, body)
  local response, err = http.request {
    url = self.control_url .. path, method = method, body = body and cjson.encode(body) or nil,
  }
  if not response or response.status ~= 200 then
    error(response and response.body or "the raw helper does not answer: " .. err, 3)
  end
  return cjson.decode(response.body)
end

local Listener = {}
Listener.__index = Listener

---@class spec.raw.Step exactly one verb
---@field send? string bytes; with `every` (seconds) they go out `by` (1) at a time
---@field wait? number seconds
---@field hang? boolean until the client leaves
---@field read_request? boolean a whole request: head and Content-Length body
---@field read_until_headers? boolean
---@field read_until? string
---@field read? integer bytes
---@field half_close? boolean
---@field close? boolean
---@field reset? boolean
---@field again? boolean from the first step, on the same connection

-- A list of lists is one script per connection; the last one serves all that follow.
local function scripts_of(script)
  local first = script[1]
  return { scripts = first and first[1] and script or { script } }
end

---Opens a port that plays a script.
---@param script spec.raw.Step[]|spec.raw.Step[][]
---@return table listener { port, url }
function Server:listen(script)
  self.count = self.count + 1
  local name = "raw" .. self.count
  local answer = control(self, "PUT", "/listeners/" .. name, scripts_of(script))
  local port = math.floor(answer.port) -- JSON numbers are floats, ports are not
  return setmetatable({
    server = self, name = name, port = port,
    url = ("http://127.0.0.1:%d/v1"):format(port), tls_url = ("https://127.0.0.1:%d/v1"):format(port),
  }, Listener)
end

---@param script spec.raw.Step[]|spec.raw.Step[][]
function Listener:set(script)
  control(self.server, "PUT", "/listeners/" .. self.name, scripts_of(script))
end

---@return table counters { connections, open, aborted, bytes_in, bytes_out, requests = { text, ... } }
function Listener:counters()
  return control(self.server, "GET", "/listeners/" .. self.name .. "/counters")
end

---Waits until the counters satisfy a check.
---@return table|nil counters
function Listener:wait(check, seconds)
  return process.wait_for(function()
    local counters = self:counters()
    return check(counters) and counters
  end, seconds)
end

---Stops listening; the port refuses from now on.
function Listener:close()
  control(self.server, "DELETE", "/listeners/" .. self.name)
end

local Port = {}
Port.__index = Port

local function port_of(sockets)
  local port = tonumber((select(2, sockets[1]:getsockname())))
  return setmetatable({ sockets = sockets, port = port, url = ("http://127.0.0.1:%d/v1"):format(port) }, Port)
end

function Port:close()
  for _, one in ipairs(self.sockets) do
    one:close()
  end
end

local function bound()
  local one = assert(socket.tcp4())
  assert(one:bind("127.0.0.1", 0))
  return one
end

---A port that is taken, but where nobody listens: connections are refused.
---@return table port { port, url, close }
function M.refusing()
  return port_of { bound() }
end

---A port whose queue is full: connections are neither accepted nor refused.
---@return table port { port, url, close }
function M.silent()
  local sockets = { bound() }
  assert(sockets[1]:listen(0))
  local port = port_of(sockets)
  for _ = 1, 4 do
    local filler = assert(socket.tcp4())
    filler:settimeout(0)
    filler:connect("127.0.0.1", port.port)
    sockets[#sockets + 1] = filler
  end
  return port
end

return M
