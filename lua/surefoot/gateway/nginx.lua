--- The configuration of a gateway's nginx, as text: pure. What the machine has for it is found by surefoot.cli.nginx.
--
-- The access log has one line of JSON a request, where what is not known is null; what the gateway knows is in one
-- variable. nginx escapes all or nothing there: what is not surefoot's own has no character that would have to be.
-- Bodies, queries, headers and keys are in no log.

local access = require "surefoot.gateway.access"

local M = {}

-- Where nginx itself refuses a request. 494: headers that are too large. `early`: its line was not read to the end, so
-- that there is no URL yet with which a named location could be asked.
local REFUSALS = {
  { status = 400, kind = "invalid_request_error", message = "The request is not HTTP as it should be.", early = true },
  { status = 405, kind = "invalid_request_error", message = "The method is not allowed." },
  { status = 408, kind = "invalid_request_error", message = "The request took too long to arrive." },
  { status = 413, kind = "invalid_request_error", message = "The request is larger than this gateway takes.",
    code = "request_too_large" },
  { status = 414, kind = "invalid_request_error", message = "The URL is too long.", early = true },
  { status = 431, also = 494, kind = "invalid_request_error", message = "The headers are too large." },
  { status = 500, kind = "server_error", message = "The gateway failed; its log tells more.", code = "gateway_error" },
  { status = 501, kind = "invalid_request_error", message = "The transfer encoding is not known here." },
  { status = 503, kind = "server_error", message = "The gateway is not ready.", code = "gateway_error" },
  { status = 505, kind = "invalid_request_error", message = "The version of HTTP is not known here.", early = true },
}

-- ----------------------------------------------------------------------------------------------------- configuration

--- A path as nginx's configuration has it. Variables, quotes and the marks of package.path cannot be written there.
---@param text string
---@param what string whose path it is
---@return string
function M.path(text, what)
  if text:find "[%c\"'\\$;?{}]" then
    error(("%s: nginx cannot take a path with quotes, backslashes, $, ;, ?, braces or control characters: %s")
      :format(what, text:gsub("%c", "?")), 0)
  end
  return '"' .. text .. '"'
end

local path = M.path

local function lua_string(text)
  return (("%q"):format(text):gsub("\\\n", "\\n"))
end

local function each(list, format)
  local lines = {}
  for i, value in ipairs(list or {}) do
    lines[i] = format(value)
  end
  return table.concat(lines, "\n")
end

-- nginx has no variables without a source: that of serve is a map that maps nothing.
local VARIABLES = ([[
  map $request_uri $surefoot_uri {
    "~^(?<surefoot_path>[!#-\[\]-~]+?)(\?|[^!#-\[\]-~]|$)" '"$surefoot_path"'; default null; }
  map $request_method $surefoot_method { "" null; default '"$request_method"'; }
  map "" $surefoot_members { default '%s'; }]]):format(access.members(nil, {}))

local LOG_FORMAT = [[
  log_format surefoot escape=none
    '{"time":"$time_iso8601","remote_addr":"$remote_addr","method":$surefoot_method,"uri":$surefoot_uri,'
    '"status":$status,"bytes":$body_bytes_sent,"request_time":$request_time,$surefoot_members}';]]

-- Errors of nginx's own, in the shape that OpenAI's and Anthropic's clients both read.
local function refusals()
  local lines = {}
  for _, one in ipairs(REFUSALS) do
    local status = one.status
    local place = (one.early and "/surefoot-refusal-%d" or "@surefoot-refusal-%d"):format(status)
    local body = ('{"type":"error","error":{"type":"%s","message":"%s","param":null,"code":%s}}'):format(
      one.kind, one.message, one.code and '"' .. one.code .. '"' or "null")
    lines[#lines + 1] = ("    error_page %s %s;"):format(
      one.also and ("%d %d =%d"):format(status, one.also, status) or status, place)
    lines[#lines + 1] = ("    location %s { internal; return %d '%s'; }"):format(
      one.early and "= " .. place or place, status, body)
  end
  return table.concat(lines, "\n")
end

-- What nginx itself keeps to is said here once: a reload does not write it anew.
local INIT = [[
    local ok, loaded = pcall(require("surefoot.gateway").load, %s, %s)
    if not ok then
      error("surefoot gateway: " .. tostring(loaded) .. " (what runs already goes on as before)", 0)
    elseif loaded.config.max_body_bytes > %s then
      ngx.log(ngx.WARN, "surefoot gateway: gateway.max_body_bytes counts from the next start on; until then it is %s")
    end]]

-- Before nginx listens anywhere, it has told whether it would.
local TRIAL = [[
    local ok, problem = pcall(function() require("surefoot.gateway").load(%s, %s) end)
    io.stdout:write(ok and "well" or "problem: " .. tostring(problem))
    io.stdout:flush()
    os.exit(ok and 0 or 1)]]

local TEMPLATE = [[
# Written by `surefoot gateway`. It is read again at SIGHUP, together with {{config}}
{{modules}}
{{user}}
daemon off;
worker_processes {{workers}};
{{files}}
pid {{pid}};
lock_file {{lock}};
error_log {{error_log}} {{level}};
{{environment}}
events {
  worker_connections {{connections}};
}
http {
{{variables}}
{{log_format}}
  access_log {{access_log}};
  default_type application/json;
  server_tokens off;
  gzip off;

  client_body_temp_path {{body}};
  proxy_temp_path {{temp}};
  fastcgi_temp_path {{temp}};
  uwsgi_temp_path {{temp}};
  scgi_temp_path {{temp}};

  client_max_body_size {{max_body_bytes}};
  client_body_buffer_size 8m;
  client_header_buffer_size 4k;
  large_client_header_buffers 4 32k;
  client_header_timeout 30s;
  client_body_timeout 60s;
  send_timeout 60s;
  keepalive_timeout 75s;
  keepalive_requests 100000;

  lua_package_path {{lua_path}};
  lua_package_cpath {{lua_cpath}};
  lua_shared_dict surefoot_gateway 16m;
  lua_check_client_abort on;
  lua_http10_buffering off;
  lua_max_pending_timers 4096;
  lua_max_running_timers 1024;

  init_by_lua_block {
{{init}}
  }
  init_worker_by_lua_block {
    require("surefoot.gateway").start()
  }
  exit_worker_by_lua_block {
    require("surefoot.gateway").leave()
  }

  server {
    listen {{listen}};
    location / {
      content_by_lua_block {
        require("surefoot.gateway").serve()
      }
      log_by_lua_block {
        require("surefoot.gateway").log()
      }
    }
{{refusals}}
  }
}
]]

---@class surefoot.gateway.Nginx
---@field config string           absolute path of the configuration file
---@field listen string           as M.address gives it
---@field directory string        absolute path: pid and temporary files
---@field workers integer | "auto" | nil
---@field modules string[]?       to load
---@field user string?            of the workers, where the master is root's: "name group"
---@field lua_path string?        before nginx's own
---@field lua_cpath string?
---@field fallback_path string?   after nginx's own
---@field files integer?          a worker may open so many (default: as it is)
---@field connections integer?    of one worker
---@field environment string[]?   names of variables that workers see, too
---@field max_body_bytes integer?
---@field access_log string?      path, "syslog:...", or "off" (default: standard output)
---@field error_log string?       path (default: standard error)
---@field log_level string?       default "warn"
---@field is_trial boolean?        it only loads the configuration, and says "well" or "problem: ..." on standard output

local function access_log(target)
  if target == "off" then
    return "off"
  elseif target:find "^syslog:" then
    return path(target, "the access log") .. " surefoot"
  end
  return path(target, "the access log") .. " surefoot buffer=4k flush=200ms" -- what goes into a pipe in one piece
end

local function listen(address)
  local more = address:find "^unix:" and "" or " so_keepalive=60s:15s:4"
  return path(address, "the address") .. " backlog=4096" .. more
end

--- Writes the configuration of nginx. Throws where a path cannot be written there.
---@param options surefoot.gateway.Nginx
---@return string
function M.write(options)
  local function inside(name)
    return path(options.directory .. "/" .. name, "the directory")
  end
  local most = ("%d"):format(options.max_body_bytes or 50 * 2 ^ 20)
  local values = {
    config = options.config:gsub("%c", "?"),
    modules = each(options.modules, function(file) return "load_module " .. path(file, "a module") .. ";" end),
    user = options.user and "user " .. options.user .. ";" or "",
    workers = tostring(options.workers or "auto"),
    files = options.files and ("worker_rlimit_nofile %d;"):format(options.files) or "",
    connections = tostring(options.connections or 512),
    pid = inside "nginx.pid", lock = inside "nginx.lock", body = inside "body", temp = inside "temp",
    error_log = options.error_log and path(options.error_log, "the error log") or "stderr",
    level = options.log_level or "warn",
    environment = each(options.environment, function(name) return "env " .. name .. ";" end),
    variables = VARIABLES, log_format = LOG_FORMAT, refusals = refusals(),
    access_log = access_log(options.access_log or "/dev/stdout"),
    max_body_bytes = most,
    lua_path = ("'%s;;%s'"):format(options.lua_path and options.lua_path .. ";" or "", options.fallback_path or ""),
    lua_cpath = ("'%s;;'"):format(options.lua_cpath and options.lua_cpath .. ";" or ""),
    init = (options.is_trial and TRIAL or INIT):format(lua_string(options.config), lua_string(options.listen), most,
      most),
    listen = listen(options.listen),
  }
  local text = TEMPLATE:gsub("{{([%w_]+)}}", function(name)
    return (assert(values[name], name))
  end)
  return (text:gsub("\n\n+", "\n\n"))
end

-- ------------------------------------------------------------------------------------------------------ address

---@class surefoot.gateway.Address
---@field text string    as nginx and surefoot.gateway.config take it
---@field host string?   nil: a socket of this machine
---@field port string?
---@field url string     for people

--- Reads an address to listen on: "127.0.0.1:8080", "8080", "[::1]:8080", "*:8080", "localhost:8080", "unix:/path".
---@param given string
---@return surefoot.gateway.Address?
---@return string? problem
function M.address(given)
  local expected = "expected an address like 127.0.0.1:8080, [::1]:8080, *:8080, 8080 or unix:/path, got " .. given
  if given:find "^unix:/." then
    return { text = given, url = given }
  end
  local host, port = given:match "^%[([%x:.]+)%]:(%d+)$"
  local is_v6 = host ~= nil
  if not host then
    host, port = given:match "^([%w*._-]*):(%d+)$"
  end
  if not host then
    host, port = "127.0.0.1", given:match "^%d+$"
  end
  if not port then
    return nil, expected
  elseif tonumber(port) == 0 then
    return nil, "port 0 stands for any free one, and nginx would not tell which: choose one from 1 to 65535"
  elseif tonumber(port) > 65535 then
    return nil, ("the port is out of range: got %s, allowed are 1 to 65535"):format(port)
  elseif host == "" or host == "*" then
    host = "0.0.0.0"
  elseif host == "localhost" then
    host = "127.0.0.1" -- by its name nginx would listen on ::1 as well, and fail where there is none
  end
  local text = (is_v6 and "[" .. host .. "]" or host) .. ":" .. ("%d"):format(port)
  return { text = text, host = host, port = ("%d"):format(port), url = "http://" .. text }
end

return M
