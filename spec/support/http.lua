-- A blocking HTTP/1.1 client for specs, small enough to be believed: it tells how a response ended, too.
-- `ended` is "length", "chunked" or "close" when the framing is whole, else "cut", "reset", "timeout" or "extra".
-- It speaks plain HTTP to an address and a port, keeps no connection, follows nothing and decodes no content.

local socket = require "socket"

local M = {}

---@param url string
---@return string host, integer port, string path
function M.split(url)
  local host, port, path = url:match "^http://([^:/]+):?(%d*)(.*)$"
  if not host then
    error("not a plain http URL: " .. tostring(url), 2)
  end
  return host, tonumber(port) or 80, path == "" and "/" or path
end

local Connection = {}
Connection.__index = Connection

---@param host string
---@param port integer
---@param timeout? number seconds over the life of the connection, default 10
---@return table|nil connection, string? error "refused", "timeout"
function M.connect(host, port, timeout)
  local tcp = assert(socket.tcp4())
  local deadline = socket.gettime() + (timeout or 10)
  tcp:settimeout(timeout or 10)
  local ok, err = tcp:connect(host, port)
  if not ok then
    tcp:close()
    return nil, err == "connection refused" and "refused" or err
  end
  tcp:setoption("tcp-nodelay", true)
  tcp:settimeout(0)
  return setmetatable({ tcp = tcp, deadline = deadline, buffer = "", arrivals = {} }, Connection)
end

---@param data string
---@return boolean|nil ok, string? error
function Connection:send(data)
  local at = 1
  while at <= #data do
    local last, err, partial = self.tcp:send(data, at)
    at = (last or partial) + 1
    if err == "timeout" then
      socket.select(nil, { self.tcp }, math.max(0, self.deadline - socket.gettime()))
      if socket.gettime() >= self.deadline then
        return nil, "timeout"
      end
    elseif err then
      return nil, err
    end
  end
  return true
end

-- LuaSocket calls a reset "closed", too; but only after an orderly end can one still send.
function Connection:fill()
  while not self.over do
    local left = self.deadline - socket.gettime()
    if left <= 0 or not socket.select({ self.tcp }, nil, left)[1] then
      return nil, "timeout"
    end
    local data, err, partial = self.tcp:receive(65536)
    data = data or partial
    if data ~= "" then
      self.buffer = self.buffer .. data
      self.arrivals[#self.arrivals + 1] = { at = socket.gettime(), bytes = #data }
      return data
    elseif err == "closed" then
      self.over = self.tcp:send "\n" and "cut" or "reset"
    end
  end
  return nil, self.over
end

---@param bytes integer
---@return string|nil taken, string error, string partial
function Connection:take(bytes)
  local parts, have = { self.buffer }, #self.buffer
  while have < bytes do
    self.buffer = ""
    local data, err = self:fill()
    if not data then
      return nil, err, table.concat(parts)
    end
    parts[#parts + 1], have = data, have + #data
  end
  local all = table.concat(parts)
  self.buffer = all:sub(bytes + 1)
  return all:sub(1, bytes)
end

---@param mark string plain text
---@return string|nil text before the mark, string error, string partial
function Connection:take_until(mark)
  while true do
    local first, last = self.buffer:find(mark, 1, true)
    if first then
      local text = self.buffer:sub(1, first - 1)
      self.buffer = self.buffer:sub(last + 1)
      return text
    end
    local data, err = self:fill()
    if not data then
      return nil, err, self.buffer
    end
  end
end

function Connection:close()
  self.tcp:close()
end

local function parse_head(text)
  local status, reason = text:match "^HTTP/1%.%d (%d%d%d) ?([^\r\n]*)"
  if not status then
    return nil
  end
  local headers = {}
  for name, value in text:gmatch "\r\n([^:\r\n]+):[ \t]*([^\r\n]*)" do
    name = name:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
  return { status = tonumber(status), reason = reason, headers = headers, head = text }
end

local function read_chunked(connection)
  local parts = {}
  while true do
    local size, err = connection:take_until "\r\n"
    if not size then
      return table.concat(parts), err
    end
    local bytes = tonumber(size:match "^%x+", 16)
    if not bytes then
      return table.concat(parts), "bad chunk"
    end
    if bytes == 0 then
      local _, last = connection:take_until "\r\n"
      return table.concat(parts), last or "chunked"
    end
    local data, cut, partial = connection:take(bytes + 2)
    parts[#parts + 1] = data and data:sub(1, bytes) or partial
    if not data then
      return table.concat(parts), cut
    end
  end
end

local function read_to_end(connection)
  while connection:fill() do end
  local body = connection.buffer
  connection.buffer = ""
  local ended = connection.over or "timeout"
  return body, ended == "cut" and "close" or ended
end

local function read_body(connection, response, method)
  local length = tonumber(response.headers["content-length"])
  if method == "HEAD" or response.status == 204 or response.status == 304 then
    return "", "length"
  elseif (response.headers["transfer-encoding"] or ""):find("chunked", 1, true) then
    return read_chunked(connection)
  elseif not length then
    return read_to_end(connection)
  end
  local body, err, partial = connection:take(length)
  if not body then
    return partial, err
  end
  return body, #connection.buffer > 0 and "extra" or "length"
end

---Reads one response from a connection.
---@return table|nil response { status, reason, headers, head, body, ended, arrivals }
---@return string? error
---@return string? raw what came instead
function Connection:response(method)
  local head, err, raw = self:take_until "\r\n\r\n"
  if not head then
    return nil, err, raw
  end
  local response = parse_head(head)
  if not response then
    return nil, "malformed", head
  end
  response.body, response.ended = read_body(self, response, method)
  response.arrivals = self.arrivals
  return response
end

---@class spec.http.Request
---@field url string
---@field method? string default GET, or POST with a body
---@field headers? table<string, string>
---@field body? string
---@field timeout? number seconds, default 10

---Formats a request as it goes over the wire.
---@param options spec.http.Request
---@return string
function M.format(options)
  local host, port, path = M.split(options.url)
  local lines = {
    (options.method or (options.body and "POST" or "GET")) .. " " .. path .. " HTTP/1.1",
    ("Host: %s:%d"):format(host, port),
  }
  for name, value in pairs(options.headers or {}) do
    lines[#lines + 1] = name .. ": " .. value
  end
  if options.body then
    lines[#lines + 1] = "Content-Length: " .. #options.body
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (options.body or "")
end

---One request on a connection of its own.
---@param options spec.http.Request|string
---@return table|nil response { status, reason, headers, head, body, ended, arrivals, seconds }
---@return string? error "refused", "timeout", "cut" (closed without an answer), "reset", "malformed"
---@return string? raw what came instead of a response
function M.request(options)
  options = type(options) == "string" and { url = options } or options
  local began = socket.gettime()
  local host, port = M.split(options.url)
  local connection, err = M.connect(host, port, options.timeout)
  if not connection then
    return nil, err
  end
  local sent, why = connection:send(M.format(options))
  if not sent then
    connection:close()
    return nil, why
  end
  local response, failure, raw = connection:response(options.method)
  connection:close()
  if response then
    response.seconds = socket.gettime() - began
  end
  return response, failure, raw
end

return M
