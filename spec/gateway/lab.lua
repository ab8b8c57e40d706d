-- What the specs of the gateway share: a gateway in an nginx, before a simulated provider, and what its callers do.

local cjson = require "cjson"
local http = require "spec.support.http"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"

local M = {}

local INIT = [[
  package.loaded.the_gateway = require("surefoot.gateway").new(%s)
]]

---Starts a gateway in an nginx.
---@param config string Lua: the table of surefoot.gateway.new
---@param options? spec.nginx.Options
---@return table nginx
function M.start(config, options)
  local all = {
    init = INIT:format(config), init_worker = [[require("the_gateway"):start()]],
    http = "lua_shared_dict surefoot_gateway 1m; client_max_body_size 50m; client_body_buffer_size 64k;",
    locations = { ["/"] = {
      content = [[require("the_gateway"):serve()]], log = [[require("the_gateway"):log()]],
      more = "lua_http10_buffering off;",
    } },
  }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  return nginx.start(all)
end

---Asks the gateway; a body that is a table goes as JSON. The response has `json`, its body decoded where it is JSON.
---@param n table nginx
---@param path string
---@param body? table | string
---@param headers? table<string, string>
---@param timeout? number
---@return table response
function M.ask(n, path, body, headers, timeout)
  local all = { Connection = "close" }
  if body then
    all["Content-Type"] = "application/json"
  end
  for name, value in pairs(headers or {}) do
    all[name] = value
  end
  local response = assert(http.request {
    url = n.url .. path, body = type(body) == "table" and cjson.encode(body) or body, headers = all,
    timeout = timeout or 20 * nginx.pace,
  })
  local ok, document = pcall(cjson.decode, response.body)
  response.json = ok and document or nil
  return response
end

---A question in OpenAI's shape.
---@param text? string
---@param more? table fields
---@return table
function M.question(text, more)
  local request = { model = "m", messages = { { role = "user", content = text or "hello" } } }
  for name, value in pairs(more or {}) do
    request[name] = value
  end
  return request
end

---The events of a stream's body: { name, data, json }.
---@param body string
---@return table[]
function M.events(body)
  local events = {}
  for block in body:gmatch "(.-)\n\n" do
    local name = block:match "^event: ([^\n]*)" or block:match "\nevent: ([^\n]*)"
    local event = { name = name, data = block:match "data: (.*)$" }
    if event.data then
      local ok, document = pcall(cjson.decode, event.data)
      event.json = ok and type(document) == "table" and document or nil
      events[#events + 1] = event
    end
  end
  return events
end

---The text that the events of a chat stream add up to, and the last finish_reason.
---@param body string
---@return string text, string? finish_reason
function M.text(body)
  local parts, reason = {}, nil
  for _, event in ipairs(M.events(body)) do
    local choice = event.json and event.json.choices and event.json.choices[1]
    if choice then
      parts[#parts + 1] = type(choice.delta.content) == "string" and choice.delta.content or ""
      reason = type(choice.finish_reason) == "string" and choice.finish_reason or reason
    end
  end
  return table.concat(parts), reason
end

---Waits until nothing is in flight at the provider.
---@param p table
---@param line string
---@return table? counters
function M.at_rest(p, line)
  return p:wait(line, function(c)
    return c.in_flight == 0
  end, 5 * nginx.pace)
end

---Opens a connection, sends a request, and leaves the answer unread.
---@return table connection
function M.open(n, path, body, headers)
  local connection = assert(http.connect("127.0.0.1", n.port, 10 * nginx.pace))
  assert(connection:send(http.format { url = n.url .. path, body = cjson.encode(body), headers = headers }))
  return connection
end

M.pace, M.wait_for = nginx.pace, process.wait_for

return M
