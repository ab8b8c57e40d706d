-- The two nginx of nginx_bench.lua, as spec/support/nginx.lua starts them: an upstream that answers at once, after 20
-- or 200 ms, never, or in pieces; and the front under test, which asks it by proxy_pass, by a plain cosocket, and by
-- surefoot. Each way sends the same POST of 455 bytes and gets the same 1 KB, over connections that are kept.

local cjson = require "cjson"

local M = {}

M.DELAYS = { 0, 20, 200 } -- milliseconds
M.PIECES, M.GAP = 200, 0.01 -- of a stream: how many, seconds between them

local KEPT = 1100 -- connections that each way keeps

local function filled(bytes, make)
  local empty = #cjson.encode(make "")
  return cjson.encode(make(("surefoot "):rep(128):sub(1, bytes - empty)))
end

M.request = filled(455, function(text)
  return {
    model = "sim-large", messages = { { role = "user", content = text } }, temperature = 0.7, max_tokens = 256,
  }
end)

M.answer = filled(1028, function(text)
  return {
    id = "chatcmpl-bench", object = "chat.completion", created = 1700000000, model = "sim-large",
    choices = { { index = 0, message = { role = "assistant", content = text }, finish_reason = "stop" } },
    usage = { prompt_tokens = 16, completion_tokens = 196, total_tokens = 212 },
  }
end)

-- ---------------------------------------------------------------------------------------------------------- upstream

local ANSWER = [[
local body = %q
local M = {}
function M.after(seconds)
  ngx.req.read_body()
  ngx.sleep(seconds)
  ngx.header["Content-Length"] = #body
  ngx.print(body)
end
return M
]]

-- Every piece carries the moment at which it was sent: T<seconds>.<microseconds>;
local STREAM = [[
local ffi = require "ffi"
ffi.cdef "struct bench_time { long seconds, micros; }; int gettimeofday(struct bench_time *time, void *zone);"
local time = ffi.new "struct bench_time"
local M = {}
function M.send(count, gap)
  ngx.req.read_body()
  ngx.header["Content-Type"] = "text/event-stream"
  for _ = 1, count do
    ngx.sleep(gap)
    ffi.C.gettimeofday(time, nil)
    ngx.print(('data: {"choices":[{"index":0,"delta":{"content":"T%d.%06d;"}}]}\n\n'):format(tonumber(time.seconds),
      tonumber(time.micros)))
    ngx.flush(true)
  end
  ngx.print('data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
end
return M
]]

---@return spec.nginx.Options
function M.upstream()
  local locations = {
    ["/d0/"] = { more = ("return 200 '%s';"):format(M.answer) },
    ["/hang/"] = [[require("answer").after(3600)]],
    ["/stream/"] = ([[require("stream").send(%d, %g)]]):format(M.PIECES, M.GAP),
    ["= /status"] = { more = "stub_status;" },
  }
  for _, delay in ipairs(M.DELAYS) do
    if delay > 0 then
      locations[("/d%d/"):format(delay)] = ([[require("answer").after(%g)]]):format(delay / 1000)
    end
  end
  return { modules = { answer = ANSWER:format(M.answer), stream = STREAM }, locations = locations }
end

-- ------------------------------------------------------------------------------------------------------------- front

-- HTTP/1.1 as an application writes it: status, headers, a body by its length or in chunks, connections kept.
local COSOCKET = [[
local PORT, BODY, KEPT = %d, %q, %d
local HEAD = " HTTP/1.1\r\nHost: 127.0.0.1:" .. PORT .. "\r\nAuthorization: Bearer sk-0123456789abcdef\r\n"
  .. "Content-Type: application/json\r\nContent-Length: " .. #BODY .. "\r\n\r\n"
local M = {}

local function connect(path)
  local socket = ngx.socket.tcp()
  socket:settimeouts(10000, 60000, 3600000)
  assert(socket:connect("127.0.0.1", PORT, { pool_size = KEPT }))
  assert(socket:send { "POST ", path, HEAD, BODY })
  return socket
end

local function read_head(socket)
  local status = assert(socket:receive "*l"):match "^HTTP/1%%.[01] (%%d%%d%%d)"
  local headers, line = {}, assert(socket:receive "*l")
  while line ~= "" do
    local name, value = line:match "^([^:%%s]+):%%s*(.-)%%s*$"
    headers[assert(name, "malformed"):lower()] = value
    line = assert(socket:receive "*l")
  end
  return tonumber(status), headers
end

local function next_chunk(socket)
  local size = tonumber(assert(socket:receive "*l"):match "^%%x+", 16)
  local data = size > 0 and assert(socket:receive(size)) or nil
  assert(socket:receive "*l" == "")
  return data
end

local function finish(socket, headers)
  if headers.connection == "close" then
    return socket:close()
  end
  assert(socket:setkeepalive(60000, KEPT))
end

function M.call(path)
  local socket = connect(path)
  local status, headers = read_head(socket)
  local body
  if headers["content-length"] then
    body = assert(socket:receive(tonumber(headers["content-length"])))
  else
    local parts = {}
    for data in next_chunk, socket do
      parts[#parts + 1] = data
    end
    body = table.concat(parts)
  end
  finish(socket, headers)
  ngx.status = status
  ngx.print(body)
end

function M.stream(path)
  local socket = connect(path)
  local _, headers = read_head(socket)
  for data in next_chunk, socket do
    ngx.print(data)
    ngx.flush(true)
  end
  finish(socket, headers)
end

return M
]]

local SUREFOOT = [[
local cjson = require "cjson"
local surefoot = require "surefoot"
local PORT, BODY = %d, %q
local REQUEST, HEADERS = cjson.decode(BODY), { ["content-type"] = "application/json" }
local clients = setmetatable({}, { __index = function(all, name)
  all[name] = surefoot.new {
    base_url = "http://127.0.0.1:" .. PORT .. "/" .. name .. "/v1", api_key = "sk-0123456789abcdef",
    model = "sim-large", http_version = "1.1", concurrency = { limit = 2000 },
    timeout = { attempt = 3600, first_byte = 3600, total = 3600 },
  }
  return all[name]
end })
local M = {}

local function failed(err)
  ngx.status = 502
  ngx.log(ngx.ERR, tostring(err))
  ngx.print(tostring(err))
end

-- The transport alone: the body is written already, and the answer is handed on as it is.
function M.request(name)
  local reply, err = clients[name]:request { path = "/chat/completions", body = BODY, headers = HEADERS }
  if not reply then
    return failed(err)
  end
  ngx.print(reply.body)
end

-- JSON both ways.
function M.chat(name)
  local result, err = clients[name]:chat(REQUEST)
  if not result then
    return failed(err)
  end
  ngx.print(result.text)
end

function M.stream(name)
  local stream, err = clients[name]:stream(REQUEST)
  if not stream then
    return failed(err)
  end
  local chunk
  repeat
    chunk, err = stream:read()
    if chunk and chunk.text then
      ngx.print(chunk.text, "\n")
      ngx.flush(true)
    end
  until not chunk
  if err then
    failed(err)
  end
end

return M
]]

local PROXY = [[
    proxy_pass http://backend/;
    proxy_http_version 1.1;
    proxy_method POST;
    proxy_set_header Connection "";
    proxy_set_header Authorization "Bearer sk-0123456789abcdef";
    proxy_set_header Content-Type application/json;
    proxy_set_body '%s';
    proxy_read_timeout 3600s;
    proxy_ignore_client_abort on;
]]

---@param port integer of the upstream
---@return spec.nginx.Options
function M.front(port)
  local proxy = PROXY:format(M.request)
  return {
    check_client_abort = false, -- the end of a run leaves its calls be: connections stay warm for the next one
    http = ("upstream backend { server 127.0.0.1:%d; keepalive %d; keepalive_requests 1000000000; }"):format(port,
      KEPT),
    init = [[require "surefoot"]],
    modules = { cosocket = COSOCKET:format(port, M.request, KEPT), ours = SUREFOOT:format(port, M.request) },
    locations = {
      ["/proxy/"] = { more = proxy },
      ["/proxy_stream/"] = { more = proxy .. "proxy_buffering off;" },
      ["/cosocket/"] = [[require("cosocket").call(ngx.var.uri:match "^/cosocket(/.*)$")]],
      ["/cosocket_stream/"] = [[require("cosocket").stream(ngx.var.uri:match "^/cosocket_stream(/.*)$")]],
      ["/request/"] = [[require("ours").request(ngx.var.uri:match "^/request/(%w+)")]],
      ["/chat/"] = [[require("ours").chat(ngx.var.uri:match "^/chat/(%w+)")]],
      ["/chat_stream/"] = [[require("ours").stream(ngx.var.uri:match "^/chat_stream/(%w+)")]],
    },
  }
end

return M
