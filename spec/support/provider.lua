-- Starts, drives and stops a simulated LLM provider (spec/provider/): nginx on loopback ports, one or more lines.
-- Several may run side by side; each has its folder under the temporary one, and ends with the process that began it.

local cjson = require "cjson.safe"
local socket = require "socket"
local http = require "spec.support.http"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local raw = require "spec.support.raw"

local M = {}

local HERE = (debug.getinfo(1, "S").source:match "^@(.*)support/[^/]*$" or "./spec/") .. "provider"

local function absolute(path)
  return (process.capture { "readlink", "-f", path }:gsub("%s+$", ""))
end

---@return integer[] ports free at this moment
function M.free_ports(count)
  local held, ports = {}, {}
  for i = 1, count do
    held[i] = assert(socket.bind("127.0.0.1", 0))
    ports[i] = tonumber((select(2, held[i]:getsockname())))
  end
  for _, one in ipairs(held) do
    one:close()
  end
  return ports
end

local OPENSSL = [[
cd %s &&
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 30 \
  -subj '/CN=surefoot simulated CA' -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=keyCertSign' &&
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr \
  -subj '/CN=localhost' &&
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' > server.ext &&
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext -out server.pem
]]

local function make_certificates(dir)
  local output, code = process.capture("{ " .. OPENSSL:format(process.quote(dir)) .. "} 2>&1")
  if code ~= 0 then
    return nil, "openssl could not make the certificates: " .. output
  end
  return true
end

local function bench_body()
  local body = {
    id = "chatcmpl-bench", object = "chat.completion", created = 1700000000, model = "sim-large",
    choices = { { index = 0, message = { role = "assistant", content = "" }, finish_reason = "stop" } },
    usage = { prompt_tokens = 16, completion_tokens = 196, total_tokens = 212 }, system_fingerprint = "bench",
  }
  body.choices[1].message.content = ("surefoot "):rep(128):sub(1, 1028 - #cjson.encode(body))
  return cjson.encode(body)
end

local function fill(text, values)
  return (text:gsub("{{([%w_]+)}}", function(name)
    return (assert(values[name], name))
  end))
end

local function configuration(self, options, modules)
  local template = assert(process.read(HERE .. "/nginx.conf.template"))
  local head, block, foot = template:match "^(.-)#{{each line}}\n(.-)#{{end}}\n(.*)$"
  local loads = {}
  for i, path in ipairs(modules) do
    loads[i] = "load_module " .. path .. ";"
  end
  local root = process.capture { "id", "-u" }:match "%d+" == "0"
  local parent = options.detached and "nil" or process.self()
  local values = {
    modules = table.concat(loads, "\n"), user = root and "user root;" or "", workers = options.workers or 1,
    dir = self.dir, code = absolute(HERE), parent = parent,
    parent_started = options.detached and "nil" or process.started(parent),
    control_port = self.control_port, bench = bench_body(), connections = nginx.connections(16384),
  }
  values.socket = options.send_buffer and " sndbuf=" .. options.send_buffer or ""
  local parts = { fill(head, values) }
  for _, name in ipairs(self.names) do
    local line = self.lines[name]
    values.line, values.port = name, line.port
    values.tls = line.tls_port and ([[listen 127.0.0.1:%d ssl http2 backlog=4096%s;
    ssl_certificate %s/server.pem;
    ssl_certificate_key %s/server.key;]]):format(line.tls_port, values.socket, self.dir, self.dir) or ""
    parts[#parts + 1] = fill(block, values)
  end
  parts[#parts + 1] = fill(foot, values)
  return table.concat(parts)
end

local function assign_ports(self, tls)
  local ports = M.free_ports(1 + #self.names * 2)
  self.control_port = ports[1]
  self.control_url = "http://127.0.0.1:" .. ports[1]
  for i, name in ipairs(self.names) do
    local line = { name = name, port = ports[2 * i], tls_port = tls and ports[2 * i + 1] or nil }
    line.url = ("http://127.0.0.1:%d/v1"):format(line.port)
    line.gemini_url = ("http://127.0.0.1:%d/v1beta"):format(line.port)
    line.azure_url = ("http://127.0.0.1:%d"):format(line.port)
    line.bench_url = ("http://127.0.0.1:%d/bench"):format(line.port)
    local tls_root = tls and "https://127.0.0.1:" .. line.tls_port
    line.tls_url = tls and tls_root .. "/v1" or nil
    line.tls_gemini_url = tls and tls_root .. "/v1beta" or nil
    line.tls_azure_url = tls and tls_root or nil
    line.tls_bench_url = tls and tls_root .. "/bench" or nil
    self.lines[name] = line
  end
end

-- Ports without a server, for lines that cannot be reached.
M.refusing, M.silent = raw.refusing, raw.silent

---Takes an event stream apart.
---@param text string
---@return { name: string|nil, data: string, value: any }[] events `value` is the data decoded, nil where it is no JSON
function M.events(text)
  local events = {}
  for block in (text:gsub("\r\n", "\n")):gmatch "(.-)\n\n" do
    local data = block:match "^data: (.*)$" or block:match "\ndata: (.*)$"
    if data then
      events[#events + 1] = { name = block:match "event: ([^\n]+)", data = data, value = cjson.decode(data) }
    end
  end
  return events
end

local Provider = {}
Provider.__index = Provider

-- As many files as may be open; no sanitizer of the one who starts it.
local LAUNCH = [[ulimit -n $(ulimit -Hn); N=%s D='%s'
env -u LD_PRELOAD "$N" -p "$D" -c "$D/nginx.conf" -e "$D/error.log" 2>&1]]

local function launch(self, options, path, modules)
  local output
  for _ = 1, 5 do
    os.remove(self.dir .. "/error.log") -- of an attempt whose port was taken meanwhile
    assign_ports(self, options.tls)
    process.write(self.dir .. "/provider.json", cjson.encode {
      lines = self.lines, control_url = self.control_url, ca_file = self.ca_file, dir = self.dir,
    })
    process.write(self.dir .. "/nginx.conf", configuration(self, options, modules))
    local code
    output, code = process.capture(LAUNCH:format(process.quote(path), self.dir))
    if code == 0 then
      self.pid = process.wait_for(function()
        return tonumber((process.read(self.dir .. "/nginx.pid") or ""):match "%d+")
      end)
      return self
    elseif not output:find("Address already in use", 1, true) then
      break
    end
  end
  return nil, "nginx did not start: " .. output
end

---@class spec.provider.Line
---@field url string root of OpenAI's and Anthropic's APIs: http://127.0.0.1:PORT/v1
---@field gemini_url string of Gemini's: .../v1beta
---@field azure_url string of Azure OpenAI's: the server itself
---@field bench_url string
---@field port integer
---@field tls_url? string with `tls`; likewise tls_gemini_url, tls_azure_url, tls_bench_url, tls_port

---@class spec.provider.Options
---@field lines? string[] names, default { "a" }
---@field tls? boolean each line also on a TLS port (HTTP/2 and 1.1), with a CA of its own
---@field workers? integer default 1; limits are exact with one only
---@field send_buffer? integer bytes that the system holds for a client that does not read; megabytes unless told
---@field detached? boolean goes on when this process ends
---@field profiles? table<string, table>

---Starts a provider; throws when the machine cannot run one.
---@param options? spec.provider.Options
---@return table provider { lines = { [name] = spec.provider.Line }, ca_file, control_url, dir, pid }
function M.start(options)
  options = options or {}
  local path, modules = nginx.find()
  if not path then
    error(modules, 2)
  end
  local self = setmetatable({ lines = {}, names = options.lines or { "a" } }, Provider)
  for _, name in ipairs(self.names) do
    assert(name:find "^[%w_%-]+$", "line names are letters, digits, _ and -")
  end
  self.dir = process.temp_dir "surefoot-provider"
  self.ca_file = options.tls and self.dir .. "/ca.pem" or nil
  local ok, err = true, nil
  if options.tls then
    ok, err = make_certificates(self.dir)
  end
  if ok then
    ok, err = launch(self, options, path, modules)
  end
  if not ok then
    process.remove_dir(self.dir)
    error(err, 2)
  end
  for name, profile in pairs(options.profiles or {}) do
    self:profile(name, profile)
  end
  return self
end

---Takes hold of a provider that runs already.
---@param control_url string
---@return table|nil provider, string? error
function M.attach(control_url)
  local response, err = http.request(control_url .. "/")
  if not response then
    return nil, err
  end
  local self = setmetatable(cjson.decode(response.body), Provider)
  self.names = {}
  for name, line in pairs(self.lines) do
    self.names[#self.names + 1] = name
    line.port = math.floor(line.port) -- JSON numbers are floats, ports are not
    line.tls_port = line.tls_port and math.floor(line.tls_port)
  end
  table.sort(self.names)
  self.pid = tonumber((process.read(self.dir .. "/nginx.pid") or ""):match "%d+")
  return self
end

local function control(self, method, path, body)
  local response, err = http.request {
    url = self.control_url .. path, method = method, headers = { Connection = "close" },
    body = body and cjson.encode(body) or (method ~= "GET" and "" or nil),
  }
  if not response then
    error("the provider does not answer: " .. err, 3)
  elseif response.status ~= 200 then
    error(response.body, 3)
  end
  return cjson.decode(response.body)
end

---Sets how a line behaves from its next request on; what is not said is as a healthy line has it.
---@param line string
---@param profile table fields: spec/provider/README.md
function Provider:profile(line, profile)
  control(self, "PUT", "/lines/" .. line .. "/profile", profile)
end

---@param line string
---@return table counters fields: spec/provider/README.md
function Provider:counters(line)
  return control(self, "GET", "/lines/" .. line .. "/counters")
end

---Makes a line, or all, healthy again and forgets its numbers.
---@param line? string
function Provider:reset(line)
  control(self, "POST", line and "/lines/" .. line .. "/reset" or "/reset")
end

---Waits until a counter of a line satisfies a check: `p:wait("a", function(c) return c.aborted == 1 end)`.
---@param line string
---@param check fun(counters: table): any
---@param seconds? number default 10
---@return table|nil counters
function Provider:wait(line, check, seconds)
  return process.wait_for(function()
    local counters = self:counters(line)
    return check(counters) and counters
  end, seconds)
end

---Opens a port that answers with raw bytes: scripts as spec/support/raw.lua describes them.
---@param script spec.raw.Step[]|spec.raw.Step[][]
---@return table listener { port, url, tls_url, set, counters, wait, close }
function Provider:raw(script)
  self.raw_server = self.raw_server or raw.start()
  return self.raw_server:listen(script)
end

local BAD = { error = true, crit = true, alert = true, emerg = true }

---@return string[] what nginx complained about
function Provider:errors()
  local found = {}
  for text in (process.read(self.dir .. "/error.log") or ""):gmatch "[^\n]+" do
    local level = text:match "%[(%l+)%] %d+#%d+:"
    if BAD[level] and not nginx.is_of_machine(text) then
      found[#found + 1] = text
    end
  end
  return found
end

---Ends the provider and removes its folder.
function Provider:stop()
  if self.raw_server then
    self.raw_server:stop()
    self.raw_server = nil
  end
  if self.pid then
    process.stop(self.pid, "TERM")
    self.pid = nil
    process.remove_dir(self.dir)
  end
end

return M
