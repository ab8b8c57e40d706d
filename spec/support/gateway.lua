-- A gateway as people run it: `surefoot gateway` on a configuration that the spec writes. It ends with the process that
-- began it, however that ends; `stop` throws what its error.log complains about, and what it leaves behind.
--
--   local g = gateway.start { config = [[return { base_url = "http://...", gateway = {} }]] }
--   g:get("/health").body    g:configure(text)    g:reload()    g:stop()
--
-- Standard output is the access log (`g:requests()` decodes it), standard error the error log (`g:log()`).

local cjson = require "cjson"
local http = require "spec.support.http"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local M = {}

local quote = process.quote

---@class spec.gateway.Options
---@field config string          Lua that returns the configuration
---@field workers? integer       default 1
---@field arguments? string[]    further words for the command line
---@field env? table<string, string>
---@field user? string           default: whoever runs the spec

local Gateway = {}
Gateway.__index = Gateway

-- Runs it until whoever holds the other end of its standard input closes it, or is gone.
local KEEPER = [[
trap : HUP INT TERM
D=%s
%s >"$D/access.log" 2>"$D/error.log" </dev/null &
pid=$!
echo $pid >"$D/starting" && mv "$D/starting" "$D/started"
read -r _
kill -TERM $pid 2>/dev/null
wait $pid 2>/dev/null
echo $? >"$D/status"
]]

local function command(self, options)
  local words = { "env" }
  for name, value in pairs(options.env or {}) do
    words[#words + 1] = name .. "=" .. value
  end
  for _, word in ipairs { "build/surefoot", "gateway", self.dir .. "/config.lua", "--listen", "127.0.0.1:" .. self.port,
    "--workers", tostring(options.workers or 1) } do
    words[#words + 1] = word
  end
  if process.capture { "id", "-u" }:match "%d+" == "0" then -- the checkout may be root's alone
    words[#words + 1], words[#words + 2] = "--user", options.user or "root"
  end
  for _, word in ipairs(options.arguments or {}) do
    words[#words + 1] = word
  end
  return process.command(words)
end

local function launch(self, options)
  self.port = provider.free_ports(1)[1]
  self.url = "http://127.0.0.1:" .. self.port
  self:configure(options.config)
  self.keeper = assert(io.popen(KEEPER:format(quote(self.dir), command(self, options)), "w"))
  self.pid = assert(process.wait_for(function()
    return tonumber((process.read(self.dir .. "/started") or ""):match "%d+")
  end), "the shell did not start")
  return process.wait_for(function()
    return not process.alive(self.pid) or #self:workers() == self.count and self:get "/health"
  end, 10 * pace)
end

---What processes share by the port's name is nobody's any more. For those that are gone; stop does it itself.
function Gateway:forget()
  self.keeper:close()
  self.keeper = nil
  process.capture(("rm -f /dev/shm/surefoot-*-gateway-127.0.0.1_%d"):format(self.port))
  process.remove_dir(self.dir)
end

---Starts a gateway; throws when it does not come up.
---@param options spec.gateway.Options
---@return table gateway { url, port, pid, dir, folder: of nginx's files, where it goes with it }
function M.start(options)
  local said
  for _ = 1, 5 do -- somebody else may take the port meanwhile
    local self = setmetatable({ dir = process.temp_dir "surefoot-gateway-spec", count = options.workers or 1 }, Gateway)
    if launch(self, options) and process.alive(self.pid) then
      self.folder = self:log():match "nginx [%d.]+ in ([^\n]*/surefoot%-gateway%-%w%w%w%w%w%w)\n"
      return self
    end
    said = self:log()
    self:forget()
    if not said:find("Address already in use", 1, true) then
      break
    end
  end
  error("surefoot gateway did not start: " .. said, 2)
end

---Writes the configuration that a reload will read.
---@param config string Lua
function Gateway:configure(config)
  process.write(self.dir .. "/config.lua", config)
end

---@param path string
---@param options? spec.http.Request
---@return table|nil response, string? error as spec.support.http has them
function Gateway:get(path, options)
  local request = { url = self.url .. path, headers = { Connection = "close" } }
  for name, value in pairs(options or {}) do
    request[name] = value
  end
  return http.request(request)
end

---@return integer[] pids of the workers, those that are about to leave included
function Gateway:workers()
  local pids = {}
  for pid in (process.read(("/proc/%d/task/%d/children"):format(self.pid, self.pid)) or ""):gmatch "%d+" do
    pids[#pids + 1] = tonumber(pid)
  end
  return pids
end

local function leaves(pid)
  return (process.read(("/proc/%d/cmdline"):format(pid)) or "shutting down"):find("shutting down", 1, true) ~= nil
end

---Reads the configuration again, and waits until new workers serve alone.
---@return integer[] old pids of the workers before, which may still be ending
function Gateway:reload()
  local old, before = self:workers(), {}
  for _, pid in ipairs(old) do
    before[pid] = true
  end
  process.signal(self.pid, "HUP")
  assert(process.wait_for(function()
    local fresh = 0
    for _, pid in ipairs(self:workers()) do
      if before[pid] and not leaves(pid) then
        return nil
      end
      fresh = fresh + (before[pid] and 0 or 1)
    end
    return fresh == self.count and self:get "/health"
  end, 5 * pace), "no new workers")
  return old
end

---@return string what was written to standard error
function Gateway:log()
  return process.read(self.dir .. "/error.log") or ""
end

---@return table[] the lines of the access log, decoded
function Gateway:requests()
  local list = {}
  for line in (process.read(self.dir .. "/access.log") or ""):gmatch "([^\n]+)\n" do
    list[#list + 1] = cjson.decode(line)
  end
  return list
end

---@param allowed? string[] plain texts: lines with one of them are as they should be
---@return string[] what nginx or surefoot complained about
function Gateway:complaints(allowed)
  local found = {}
  for line in self:log():gmatch "[^\n]+" do
    local is_complaint = line:find "%[%l+%] %d+#%d+:" or line:find("nginx: ", 1, true) == 1
    for _, text in ipairs(allowed or {}) do
      is_complaint = is_complaint and not line:find(text, 1, true)
    end
    found[#found + 1] = is_complaint and line or nil
  end
  return found
end

---@param allowed? string[]
function Gateway:assert_clean(allowed)
  local found = self:complaints(allowed)
  assert(#found == 0, "error.log:\n" .. table.concat(found, "\n"))
end

---Waits until it has ended.
---@param seconds? number
---@return integer|nil status its exit code, nil: it has not
function Gateway:ended(seconds)
  local function over()
    return not process.alive(self.pid)
  end
  if not process.wait_for(over, (seconds or 5) * pace) then
    return nil
  end
  self.keeper:write "\n"
  self.keeper:flush()
  return process.wait_for(function()
    return tonumber((process.read(self.dir .. "/status") or ""):match "%d+")
  end, 5 * pace)
end

-- A worker that is ended while it is about to leave complains of what it holds.
local function is_at_rest(self)
  for _, pid in ipairs(self:workers()) do
    if leaves(pid) then
      return false
    end
  end
  return true
end

---Ends it; throws what its error.log complains about, and what is left of its folder and its workers.
---@param allowed? string[] plain texts that may be there
---@param signal? string default "TERM"; "QUIT" lets it finish first
function Gateway:stop(allowed, signal)
  if not self.keeper then
    return
  end
  process.wait_for(function() return is_at_rest(self) end, 10 * pace)
  local workers = self:workers()
  process.signal(self.pid, signal or "TERM")
  local status = self:ended()
  local found, folder = self:complaints(allowed), self.folder
  for _, pid in ipairs(workers) do
    if process.alive(pid) then
      process.signal(pid, "KILL")
      found[#found + 1] = ("the worker %d was left behind"):format(pid)
    end
  end
  self:forget()
  local gone = not folder or process.wait_for(function()
    local _, code = process.capture { "test", "-e", folder }
    return code ~= 0
  end, 5 * pace)
  assert(status == 0, ("it ended with status %s"):format(tostring(status)))
  assert(#found == 0, "error.log:\n" .. table.concat(found, "\n"))
  assert(gone, "its folder is left behind: " .. tostring(folder))
end

return M
