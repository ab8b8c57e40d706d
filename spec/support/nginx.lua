-- A real nginx with surefoot in its workers, made of parts for a spec, with a configuration, a folder and a port of its
-- own; started, reloaded and ended by looking at it, never by waiting a while. It ends with the process that began it,
-- however that ends, and `stop` throws what its error.log complains about.
--
--   local n = nginx.start {
--     init = [[require "surefoot"]],
--     modules = { lab = [[return { client = require("surefoot").new { ... } }]] },     -- for require "lab"
--     locations = { ["/chat"] = [[ngx.print(require("lab").client:chat("x").text)]] },  -- as content_by_lua
--   }
--   n:get("/chat").body      n:reload()      n:workers()      n:stop()
--
-- SUREFOOT_NGINX_BUILD names another build for LuaJIT, SUREFOOT_NGINX_PRELOAD a library that must come first for it
-- (a sanitizer's). What a worker uses is told by spec/support/usage.lua.

local http = require "spec.support.http"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local socket = require "socket"

local M = {}

local quote = process.quote

---The folder whose surefoot/core.so the workers load.
M.build = os.getenv "SUREFOOT_NGINX_BUILD" or "build/luajit"

---True where they run under a sanitizer.
M.sanitized = os.getenv "SUREFOOT_NGINX_PRELOAD" ~= nil

---How much longer things take in there than in a plain run.
M.pace = M.sanitized and 3 or pace

---@return string|nil path of nginx
---@return string[]|string modules to load; why there is none
function M.find()
  local path = os.getenv "SUREFOOT_NGINX" or process.which "nginx"
  if not path then
    return nil, "nginx was not found: install the packages nginx and libnginx-mod-http-lua"
  end
  local version = process.capture { "sh", "-c", quote(path) .. " -V 2>&1" }
  if version:find "lua%-nginx%-module" or version:find "ngx_lua" then
    return path, {}
  end
  local folders = {
    os.getenv "SUREFOOT_NGINX_MODULES" or "", version:match "%-%-modules%-path=(%S+)" or "",
    "/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules",
  }
  for _, folder in ipairs(folders) do
    if folder ~= "" and process.read(folder .. "/ngx_http_lua_module.so") then
      return path, { folder .. "/ndk_http_module.so", folder .. "/ngx_http_lua_module.so" }
    end
  end
  return nil, "nginx has no Lua module: install the package libnginx-mod-http-lua"
end

---A root without capabilities may be told so by nginx, at each start of a worker; it goes on.
---@param line string of an error.log
---@return boolean that it is about this machine, and nobody's fault
function M.is_of_machine(line)
  return line:find("initgroups(", 1, true) ~= nil
end

---As many connections as a worker may have here: nginx warns where they are more than the files that it may open.
---@param wanted integer
---@return integer
function M.connections(wanted)
  local allowed = tonumber((process.capture "ulimit -Hn"))
  return math.floor(math.min(wanted, allowed or wanted)) -- "unlimited" is no number
end

-- ----------------------------------------------------------------------------------------------------- configuration

---@class spec.nginx.Location
---@field rewrite? string Lua, as access, content, header_filter, body_filter and log
---@field more? string directives

---@class spec.nginx.Options
---@field workers? integer default 1
---@field code_cache? boolean default true
---@field check_client_abort? boolean default true
---@field shutdown_timeout? string as worker_shutdown_timeout has it; none unless given
---@field init? string Lua for init_by_lua
---@field init_worker? string
---@field modules? table<string, string> Lua modules by name
---@field locations table<string, string | spec.nginx.Location> Lua for the content, or for several phases
---@field http? string directives
---@field listen? string parameters of the socket
---@field env? table<string, string> environment of nginx, kept for the workers
---@field template? string a whole configuration instead, with the names in double braces that TEMPLATE has

local PHASES = { "rewrite", "access", "content", "header_filter", "body_filter", "log" }

local function block(directive, code)
  return code and ("%s_by_lua_block {\n%s\n}\n"):format(directive, code) or ""
end

local function location(path, given)
  local parts = { "location ", path, " {\n" }
  if type(given) == "string" then
    given = { content = given }
  end
  for _, phase in ipairs(PHASES) do
    parts[#parts + 1] = block(phase, given[phase])
  end
  parts[#parts + 1] = given.more or ""
  parts[#parts + 1] = "\n}\n"
  return table.concat(parts)
end

local function on_or_off(value, default)
  if value == nil then
    value = default
  end
  return value and "on" or "off"
end

local TEMPLATE = [[
{{modules}}
{{user}}
daemon off;
worker_processes {{workers}};
{{shutdown_timeout}}
pid {{dir}}/nginx.pid;
error_log {{dir}}/error.log warn;
{{environment}}
events {
  worker_connections {{connections}};
}
http {
  access_log off;
  default_type text/plain;
  keepalive_timeout 3600s;
  keepalive_requests 1000000000;
  client_body_temp_path {{dir}}/body;
  proxy_temp_path {{dir}}/proxy;
  fastcgi_temp_path {{dir}}/fastcgi;
  uwsgi_temp_path {{dir}}/uwsgi;
  scgi_temp_path {{dir}}/scgi;
  lua_package_path '{{dir}}/lua/?.lua;{{root}}/lua/?.lua;{{root}}/lua/?/init.lua;;';
  lua_package_cpath '{{root}}/{{build}}/?.so;;';
  lua_code_cache {{code_cache}};
  lua_check_client_abort {{check_client_abort}};
  {{http}}
  {{init}}
  {{init_worker}}
  server {
    listen 127.0.0.1:{{port}} backlog=4096 {{listen}};
    {{harness}}
    {{locations}}
  }
}
]]

local function sorted(map)
  local names = {}
  for name in pairs(map or {}) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function each_line(map, format)
  local lines = {}
  for i, name in ipairs(sorted(map)) do
    lines[i] = format(name, map[name])
  end
  return table.concat(lines, "\n")
end

local function configuration(self, options, modules)
  local loads = {}
  for i, path in ipairs(modules) do
    loads[i] = "load_module " .. path .. ";"
  end
  local values = {
    modules = table.concat(loads, "\n"), dir = self.dir, port = tostring(self.port), build = M.build,
    root = (process.capture { "readlink", "-f", "." }:gsub("%s+$", "")),
    user = process.capture { "id", "-u" }:match "%d+" == "0" and "user root;" or "",
    workers = tostring(options.workers or 1), connections = tostring(M.connections(4096)), http = options.http or "",
    listen = options.listen or "", harness = "location = /harness { content_by_lua_block { ngx.print 'ready' } }",
    shutdown_timeout = options.shutdown_timeout and "worker_shutdown_timeout " .. options.shutdown_timeout .. ";" or "",
    environment = each_line(options.env, function(name) return ("env %s;"):format(name) end),
    code_cache = on_or_off(options.code_cache, true),
    check_client_abort = on_or_off(options.check_client_abort, true),
    init = block("init", options.init), init_worker = block("init_worker", options.init_worker),
    locations = each_line(options.locations, location),
  }
  return ((options.template or TEMPLATE):gsub("{{([%w_]+)}}", function(name)
    return (assert(values[name], name))
  end))
end

-- ------------------------------------------------------------------------------------------------------------- nginx

local Nginx = {}
Nginx.__index = Nginx

-- Runs nginx until whoever holds the other end of its standard input closes it, or is gone.
local KEEPER = [[
trap : HUP INT TERM
D=%s; ulimit -n $(ulimit -Hn)
env -u LD_PRELOAD %s %s -p "$D" -c "$D/nginx.conf" -e "$D/error.log" >"$D/output" 2>&1 </dev/null &
pid=$!
echo $pid >"$D/starting" && mv "$D/starting" "$D/started"
read -r _
kill -TERM $pid 2>/dev/null
wait $pid 2>/dev/null
rm -rf "$D"
]]

local function free_port()
  local held = assert(socket.bind("127.0.0.1", 0))
  local port = tonumber((select(2, held:getsockname())))
  held:close()
  return port
end

local function environment(options)
  local words = {}
  for _, name in ipairs(sorted(options.env)) do
    words[#words + 1] = quote(name .. "=" .. options.env[name])
  end
  if M.sanitized then
    words[#words + 1] = quote("LD_PRELOAD=" .. os.getenv "SUREFOOT_NGINX_PRELOAD")
    words[#words + 1] = "ASAN_OPTIONS=detect_leaks=0:log_path=\"$D/sanitizer\""
    words[#words + 1] = "UBSAN_OPTIONS=print_stacktrace=1:log_path=\"$D/sanitizer\""
  end
  return table.concat(words, " ")
end

local function launch(self, options, path, modules)
  self.port = free_port()
  self.url = "http://127.0.0.1:" .. self.port
  process.write(self.dir .. "/nginx.conf", configuration(self, options, modules))
  self.keeper = assert(io.popen(KEEPER:format(quote(self.dir), environment(options), quote(path)), "w"))
  self.pid = assert(process.wait_for(function()
    return tonumber((process.read(self.dir .. "/started") or ""):match "%d+")
  end), "the shell did not start")
  return process.wait_for(function()
    return not process.alive(self.pid) or #self:workers() == (options.workers or 1) and self:get("/harness")
  end, 10 * M.pace)
end

local function remove(self)
  self.keeper:close()
  self.keeper = nil
end

---Starts an nginx; throws when the machine cannot run one, or it refuses its configuration.
---@param options spec.nginx.Options
---@return table nginx { url, port, pid, dir }
function M.start(options)
  local path, modules = M.find()
  if not path then
    error(modules, 2)
  end
  local output
  for _ = 1, 5 do -- somebody else may take the port meanwhile
    local self = setmetatable({ dir = process.temp_dir "surefoot-nginx", options = options, told = {} }, Nginx)
    process.capture { "mkdir", self.dir .. "/lua" }
    for name, text in pairs(options.modules or {}) do
      process.write(("%s/lua/%s.lua"):format(self.dir, name), text)
    end
    if launch(self, options, path, modules) and process.alive(self.pid) then
      return self
    end
    output = (process.read(self.dir .. "/output") or "") .. (process.read(self.dir .. "/error.log") or "")
    remove(self)
    if not output:find("Address already in use", 1, true) then
      break
    end
  end
  error("nginx did not start: " .. output, 2)
end

---@param path string
---@param options? spec.http.Request
---@return table|nil response, string? error as spec.support.http has them
function Nginx:get(path, options)
  local request = { url = self.url .. path, headers = { Connection = "close" } }
  for name, value in pairs(options or {}) do
    request[name] = value
  end
  return http.request(request)
end

---A connection that has sent a request and not read the answer: `:fill()`, `:response()`, `:close()`.
---@param path string
---@param headers? table<string, string>
---@param timeout? number seconds
function Nginx:open(path, headers, timeout)
  local connection = assert(http.connect("127.0.0.1", self.port, timeout))
  assert(connection:send(http.format { url = self.url .. path, headers = headers }))
  return connection
end

-- --------------------------------------------------------------------------------------------------------- processes

---@return integer[] pids of the workers, those that are about to leave included
function Nginx:workers()
  local pids = {}
  local children = process.read(("/proc/%d/task/%d/children"):format(self.pid, self.pid)) -- not every kernel has it
  for pid in (children or process.capture { "pgrep", "-P", tostring(self.pid) }):gmatch "%d+" do
    pids[#pids + 1] = tonumber(pid)
  end
  return pids
end

local function leaves(pid)
  return (process.read(("/proc/%d/cmdline"):format(pid)) or "shutting down"):find("shutting down", 1, true) ~= nil
end

---Waits until other workers than these serve, as many as there shall be.
---@param old integer[]
---@param seconds? number
---@return integer[] pids
function Nginx:renewed(old, seconds)
  local before = {}
  for _, pid in ipairs(old) do
    before[pid] = true
  end
  return assert(process.wait_for(function()
    local fresh = {}
    for _, pid in ipairs(self:workers()) do
      if not before[pid] and not leaves(pid) then
        fresh[#fresh + 1] = pid
      elseif before[pid] and not leaves(pid) then
        return nil
      end
    end
    return #fresh == (self.options.workers or 1) and self:get("/harness") and fresh
  end, seconds or 5 * M.pace), "no new workers")
end

---Reloads the configuration, and waits until the new workers serve alone.
---@return integer[] old pids of the workers before, which may still be ending
---@return integer[] new
function Nginx:reload()
  local old = self:workers()
  process.signal(self.pid, "HUP")
  return old, self:renewed(old)
end

---Waits until processes are gone.
---@param pids integer[]
---@param seconds? number
---@return number|nil seconds that it took
function Nginx.gone(_, pids, seconds)
  local began = socket.gettime()
  local all = process.wait_for(function()
    for _, pid in ipairs(pids) do
      if process.alive(pid) then
        return nil
      end
    end
    return true
  end, seconds or 5 * M.pace)
  return all and socket.gettime() - began
end

-- --------------------------------------------------------------------------------------------------------------- log

---@return string whole error.log
function Nginx:log()
  return process.read(self.dir .. "/error.log") or ""
end

---@param allowed? string[] plain texts: lines with one of them are as they should be
---@return string[] what nginx, surefoot or a sanitizer complained about
function Nginx:complaints(allowed)
  local found = {}
  local function note(line)
    for _, text in ipairs(allowed or {}) do
      if line:find(text, 1, true) then
        return
      end
    end
    found[#found + 1] = line
  end
  for line in self:log():gmatch "[^\n]+" do
    -- without the code cache nginx warns of that, at every start
    local is_usual = line:find("lua_code_cache is off", 1, true) or M.is_of_machine(line)
    if line:find "%[%l+%] %d+#%d+:" and not is_usual then
      note(line)
    end
  end
  local report = process.capture(("cat %s/sanitizer.* 2>/dev/null"):format(quote(self.dir)))
  if report ~= "" then
    note(report)
  end
  return found
end

-- Throws what has come since the last time: a complaint is one test's failure, not that of all after it.
local function throw_news(self, found)
  local news = {}
  for _, line in ipairs(found) do
    news[#news + 1] = not self.told[line] and line or nil
    self.told[line] = true
  end
  assert(#news == 0, "error.log:\n" .. table.concat(news, "\n"))
end

---@param allowed? string[]
function Nginx:assert_clean(allowed)
  throw_news(self, self:complaints(allowed))
end

---Ends it, and everything that it has made; throws what its error.log complains about.
---@param allowed? string[] plain texts that may be there
---@param signal? string default "TERM"; "QUIT" lets it finish first
function Nginx:stop(allowed, signal)
  if not self.keeper then
    return
  end
  local function at_rest()
    for _, pid in ipairs(self:workers()) do
      if leaves(pid) then
        return nil
      end
    end
    return true
  end
  process.wait_for(at_rest, 2 * M.pace) -- a worker that is ended while it is about to leave complains of what it holds
  local pids = self:workers()
  local went = process.stop(self.pid, signal or "TERM", 5 * M.pace)
  for _, pid in ipairs(pids) do
    if process.alive(pid) then -- its master left it behind
      process.signal(pid, "KILL")
      went = false
    end
  end
  local found = self:complaints(allowed)
  remove(self)
  assert(went, "nginx did not end by itself")
  throw_news(self, found)
end

return M
