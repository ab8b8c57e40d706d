-- Starts spec/integration/proxy.c: real proxies (HTTP, SOCKS5, over TLS) on loopback ports, which lead every name to
-- 127.0.0.1 and tell what they were asked for. `build.clean()` of spec/support/build.lua takes the program away.

local build = require "spec.support.build"
local process = require "spec.support.process"

local M = {}

local Proxy = {}
Proxy.__index = Proxy

local program

---@class spec.proxy.Options
---@field user? string "name:password" that it wants
---@field refuse? integer what it answers instead: an HTTP status, or a reply code of SOCKS
---@field hang? boolean takes connections and says nothing
---@field tls? string[] certificate and key: it speaks TLS

---@param options? spec.proxy.Options
---@return table proxy { port, host, log, stop }
function M.start(options)
  options = options or {}
  program = program and process.read(program) and program or build.program "spec/integration/proxy.c"
  local words = { program, "--parent", process.self() }
  for _, name in ipairs { "user", "refuse" } do
    if options[name] then
      words[#words + 1], words[#words + 2] = "--" .. name, options[name]
    end
  end
  if options.hang then
    words[#words + 1] = "--hang"
  end
  if options.tls then
    words[#words + 1], words[#words + 2], words[#words + 3] = "--tls", options.tls[1], options.tls[2]
  end
  local self = setmetatable({ output = os.tmpname() }, Proxy)
  self.pid = process.spawn(words, { stdout = self.output })
  self.port = process.wait_for(function()
    return tonumber((process.read(self.output) or ""):match "^port (%d+)\n")
  end)
  assert(self.port, "the proxy did not start: " .. (process.read(self.output) or ""))
  self.host = "127.0.0.1:" .. self.port
  return self
end

---@return string[] what it was asked for: "connect api.example:443 user:password"; socks5 is an address, socks5h a name
function Proxy:log()
  local lines = {}
  for line in process.read(self.output):gmatch "[^\n]+" do
    if not line:find "^port " then
      lines[#lines + 1] = line:gsub(" +$", "")
    end
  end
  return lines
end

function Proxy:stop()
  process.stop(self.pid, "KILL")
  os.remove(self.output)
end

return M
