-- What gateway_bench.lua compares, each a process of its own before the same upstream: nginx with proxy_pass, the
-- gateway as `surefoot gateway` runs it (open, and with keys), Portkey's gateway from npm, LiteLLM's proxy from PyPI.
-- Each way knows the bytes that a caller sends it for each kind of answer.

local cjson = require "cjson"
local http = require "spec.support.http"
local nginx = require "spec.support.nginx"
local nginx_sites = require "spec.bench.nginx_sites"
local peers = require "spec.bench.peers"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local M = {}

local PORTKEY = "@portkey-ai/gateway@1.15.2"
local PORTKEY_PACKAGE = [[{ "dependencies": { "@portkey-ai/gateway": "1.15.2" },
  "overrides": { "@hono/node-server": "1.13.7" } }
]] -- with the newest release of its server, of 1.19, it answers streams with 500
local KEY = "sk-callers-0123456789"
local KEPT = 1100 -- connections to the upstream

-- ------------------------------------------------------------------------------------------------------- the upstream

-- Kinds of streams: a target of stream_server.c, seconds between events, seconds of the whole. `whole` answers come
-- from nginx.
M.STREAMS = {
  paced = { target = "chunks=116/delay_ms=50", every = 0.05, lasts = 6 },
  slow = { target = "chunks=8/delay_ms=1000", every = 1, lasts = 12 },
  burst = { target = "chunks=196" },
  burst16 = { target = "chunks=196/per_write=16" },
}

local function start_stream_server(dir)
  local path = dir .. "/stream_server"
  local pid = process.spawn({ "sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh",
    "build/lua5.4/test/bench/stream_server", "0", tostring(process.self()) }, { stdout = path })
  local port = process.wait_for(function()
    return tonumber((process.read(path) or ""):match "^(%d+)\n")
  end)
  return assert(port, "stream_server did not start: `make bench` builds it"), pid
end

---@param dir string for files
---@return table upstream { root = { [kind] = url }, pids, stop }
function M.upstream(dir)
  local whole = nginx.start(nginx_sites.upstream())
  local port, pid = start_stream_server(dir)
  local root = { whole = whole.url .. "/d0" }
  for kind, stream in pairs(M.STREAMS) do
    root[kind] = ("http://127.0.0.1:%d/%s"):format(port, stream.target)
  end
  return {
    root = root, pids = { whole:workers()[1], pid },
    stop = function()
      whole:stop()
      process.stop(pid)
    end,
  }
end

-- ----------------------------------------------------------------------------------------------------------- requests

local BODY = cjson.decode(nginx_sites.request)

local function body_of(kind, more)
  local body = { model = kind, stream = kind ~= "whole" or nil }
  for name, value in pairs(BODY) do
    body[name] = body[name] or value
  end
  for name, value in pairs(more or {}) do
    body[name] = value
  end
  return cjson.encode(body)
end

-- The bytes of one request.
local function request(url, body, headers)
  local all = { ["Content-Type"] = "application/json", Authorization = "Bearer " .. KEY, ["User-Agent"] = "bench" }
  for name, value in pairs(headers or {}) do
    all[name] = value
  end
  return http.format { url = url, body = body, headers = all }
end

local function requests(make)
  local all = { whole = make "whole" }
  for kind in pairs(M.STREAMS) do
    all[kind] = make(kind)
  end
  return all
end

-- A program that ends with this one, however that ends.
local KEEPER = [[
trap : INT TERM
ulimit -n $(ulimit -Hn)
%s >%s 2>&1 </dev/null &
pid=$!
echo $pid >%s
read -r _
kill -%s $pid 2>/dev/null
wait $pid 2>/dev/null
]]

local function keep(words, dir, name, signal)
  local log, pid_file = ("%s/%s.log"):format(dir, name), ("%s/%s.pid"):format(dir, name)
  local keeper = assert(io.popen(KEEPER:format(process.command(words), log, pid_file, signal), "w"))
  local pid = process.wait_for(function()
    return tonumber((process.read(pid_file) or ""):match "^(%d+)\n")
  end)
  return keeper, assert(pid, name .. " did not start"), log
end

local function wait_until_it_answers(name, port, log, path, seconds)
  local there = process.wait_for(function()
    local response = http.request(("http://127.0.0.1:%d%s"):format(port, path))
    return response and response.status == 200
  end, seconds or 30)
  if not there then
    error(("%s does not answer:\n%s"):format(name, process.read(log) or ""), 0)
  end
end

-- ---------------------------------------------------------------------------------------------------------- the ways

---@class spec.bench.Front
---@field key string
---@field name string
---@field port integer
---@field pids integer[]
---@field requests table<string, string>  bytes by kind of answer
---@field stop fun()
---@field lingers boolean?  it goes on reading streams whose callers have left
---@field slow boolean?  it cannot bear what the others are asked for

local function port_of(url)
  return tonumber(url:match ":(%d+)")
end

---The upstream itself; only whole answers.
---@return spec.bench.Front
function M.direct(upstream)
  local url = upstream.root.whole
  return {
    key = "direct", name = "no gateway", port = port_of(url), pids = { upstream.pids[1] },
    requests = { whole = request(url .. "/v1/chat/completions", body_of "whole") }, stop = function() end,
  }
end

local PROXY = [[
  proxy_pass http://%s/%s/;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Authorization "Bearer sk-0123456789abcdef";
  proxy_read_timeout 3600s;
]]

---@return spec.bench.Front
function M.proxy(upstream)
  local backends, locations = {}, {}
  for kind, url in pairs(upstream.root) do
    local address, target = url:match "^http://([^/]+)/(.*)$"
    backends[#backends + 1] = ("upstream %s { server %s; keepalive %d; keepalive_requests 1000000000; }")
      :format(kind, address, KEPT)
    locations["/" .. kind .. "/"] = {
      more = PROXY:format(kind, target) .. (kind ~= "whole" and "proxy_buffering off;" or ""),
    }
  end
  local server = nginx.start { http = table.concat(backends, "\n"), locations = locations }
  return {
    key = "proxy", name = "nginx, proxy_pass", port = server.port, pids = server:workers(),
    requests = requests(function(kind)
      return request(("%s/%s/v1/chat/completions"):format(server.url, kind), body_of(kind))
    end),
    stop = function()
      server:stop()
    end,
  }
end

local CONFIG = [[
return {
  api_key = "sk-0123456789abcdef", http_version = "1.1", concurrency = { limit = 4000 },
  timeout = { total = 3600, attempt = 3600 },
  endpoints = { %s },
  gateway = { %s },
}
]]

local KEYS = [[keys = { {
  name = "bench", key = "%s", models = { "whole", "paced", "slow", "burst*" }, concurrency = 4000,
  rate = { requests_per_second = 1000000, burst = 1000000, tokens_per_minute = 1e12 },
} }]]

local function start_gateway(upstream, dir, name, with_keys)
  local endpoints = {}
  for kind, url in pairs(upstream.root) do
    endpoints[#endpoints + 1] = ("{ name = %q, url = %q, models = { %q } }"):format(kind, url .. "/v1", kind)
  end
  local config = ("%s/%s.lua"):format(dir, name)
  process.write(config, CONFIG:format(table.concat(endpoints, ",\n"), with_keys and KEYS:format(KEY) or ""))
  local port = provider.free_ports(1)[1]
  local user = process.capture { "id", "-un" }:match "%S+"
  local keeper, pid, log = keep({ "build/surefoot", "gateway", config, "--listen", "127.0.0.1:" .. port,
    "--workers", "1", "--user", user }, dir, name, "TERM")
  wait_until_it_answers(name, port, log, "/health")
  local workers = {}
  for child in (process.read(("/proc/%d/task/%d/children"):format(pid, pid)) or ""):gmatch "%d+" do
    workers[#workers + 1] = tonumber(child)
  end
  return port, workers, function()
    keeper:close()
  end
end

---The gateway, as `surefoot gateway` runs it; and the same with callers of another format.
---@return spec.bench.Front open
---@return spec.bench.Front translated
function M.gateway(upstream, dir)
  local port, pids, stop = start_gateway(upstream, dir, "gateway")
  local root = "http://127.0.0.1:" .. port
  local open = {
    key = "gateway", name = "surefoot gateway", port = port, pids = pids, stop = stop,
    requests = requests(function(kind)
      return request(root .. "/v1/chat/completions", body_of(kind))
    end),
  }
  local translated = {
    key = "translated", name = "the same, callers of Anthropic's API", port = port, pids = pids, stop = function() end,
    requests = requests(function(kind)
      return request(root .. "/v1/messages", body_of(kind))
    end),
  }
  return open, translated
end

---The gateway with a key that has limits.
---@return spec.bench.Front
function M.keyed(upstream, dir)
  local port, pids, stop = start_gateway(upstream, dir, "keyed", true)
  return {
    key = "keyed", name = "the same, with keys and limits", port = port, pids = pids, stop = stop,
    requests = requests(function(kind)
      return request(("http://127.0.0.1:%d/v1/chat/completions"):format(port), body_of(kind))
    end),
  }
end

---Portkey's gateway.
---@return spec.bench.Front? front
---@return string? why there is none
function M.portkey(upstream, dir)
  local folder, missing = peers.node("portkey", PORTKEY_PACKAGE)
  if not folder then
    return nil, ("without %s: %s"):format(PORTKEY, missing)
  end
  local program = folder .. "/node_modules/@portkey-ai/gateway/build/start-server.js"
  local port = provider.free_ports(1)[1]
  local keeper, pid, log = keep({ "env", "NODE_ENV=production", "node", program, "--port=" .. port, "--headless" }, dir,
    "portkey", "KILL")
  wait_until_it_answers(PORTKEY, port, log, "/")
  return {
    key = "portkey", name = PORTKEY .. ", node", port = port, pids = { pid }, lingers = true,
    requests = requests(function(kind)
      return request(("http://127.0.0.1:%d/v1/chat/completions"):format(port), body_of(kind), {
        ["x-portkey-provider"] = "openai", ["x-portkey-custom-host"] = upstream.root[kind] .. "/v1",
      })
    end),
    stop = function()
      keeper:close()
    end,
  }
end

local LITELLM = [[
model_list:
  - model_name: whole
    litellm_params: { model: openai/whole, api_base: "%s/v1", api_key: sk-0123456789abcdef }
general_settings: { master_key: %s }
]]

---LiteLLM's proxy with one worker; only whole answers.
---@return spec.bench.Front? front
---@return string? why there is none
function M.litellm(upstream, dir)
  local folder, missing = peers.python(peers.LITELLM)
  if not folder then
    return nil, ("without %s: %s"):format(peers.LITELLM, missing)
  end
  local config, port = dir .. "/litellm.yaml", provider.free_ports(1)[1]
  process.write(config, LITELLM:format(upstream.root.whole, KEY))
  local keeper, pid, log = keep({ "env", "LITELLM_LOCAL_MODEL_COST_MAP=True", folder .. "/bin/litellm", "--config",
    config, "--host", "127.0.0.1", "--port", tostring(port), "--telemetry", "False" }, dir, "litellm", "KILL")
  wait_until_it_answers(peers.LITELLM, port, log, "/health/liveliness", 120)
  local url = ("http://127.0.0.1:%d/v1/chat/completions"):format(port)
  for _ = 1, 20 do -- the first ones load what it needs
    http.request { url = url, body = body_of "whole", timeout = 60,
      headers = { ["Content-Type"] = "application/json", Authorization = "Bearer " .. KEY } }
  end
  return {
    key = "litellm", name = peers.LITELLM .. ", python", port = port, pids = { pid }, slow = true,
    requests = { whole = request(url, body_of "whole") },
    stop = function()
      keeper:close()
    end,
  }
end

return M
