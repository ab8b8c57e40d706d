-- What workers share: a profile per line, numbers per line, and a log of the last 1000 requests per line.
-- A worker decodes a profile once per version; a request costs a few dictionary operations and no JSON.

local cjson = require "cjson.safe"
local rules = require "sim.profile"

local M = {}

local dict = ngx.shared.sim
local LOG = 1000
local BODY = 64 * 1024

local names = setmetatable({}, {
  __index = function(all, line)
    local mine = setmetatable({}, {
      __index = function(t, name)
        t[name] = line .. "." .. name
        return t[name]
      end,
    })
    all[line] = mine
    return mine
  end,
})

local cache = {}

---@param line string
---@return table profile compiled
function M.profile(line)
  local version = dict:get(names[line].version) or 0
  local cached = cache[line]
  if not cached or cached.version ~= version then
    local profile = cjson.decode(dict:get(names[line].profile) or "{}")
    cached = { version = version, profile = rules.compile(profile) }
    cache[line] = cached
  end
  return cached.profile
end

---@param line string
---@param json string an expanded profile
function M.set_profile(line, json)
  local k = names[line]
  dict:set(k.profile, json)
  for _, name in ipairs { "draw", "step", "rate", "tokens", "admitted" } do
    dict:delete(k[name])
  end
  dict:incr(k.version, 1, 0)
end

function M.profile_json(line)
  return dict:get(names[line].profile) or "{}"
end

---@return integer number of the next draw, or of the next step of a sequence
function M.next(line, what)
  return dict:incr(names[line][what], 1, 0)
end

function M.get(line, what)
  return dict:get(names[line][what])
end

function M.set(line, what, value)
  dict:set(names[line][what], value)
end

function M.add(line, what, amount)
  dict:incr(names[line][what], amount, 0)
end

---A request begins.
---@param key string|nil that it came with
---@return integer generation; counters of an older one are gone
function M.begin(line, var, key)
  local k = names[line]
  dict:incr(k["count.requests"], 1, 0)
  local in_flight = dict:incr(k["count.in_flight"], 1, 0)
  if in_flight > (dict:get(k["count.peak"]) or 0) then
    dict:set(k["count.peak"], in_flight)
  end
  if var.connection_requests == "1" then
    dict:incr(k["count.connections"], 1, 0)
  end
  ngx.update_time() -- nginx remembers when its turn began: on a busy machine that is long ago
  local kept = dict:lpush(k.log, ("%.3f\t%s\t%s\t%s"):format(ngx.now(), var.http_x_request_id or "",
    var.http_idempotency_key or "", key or ""))
  if kept and kept > LOG then
    dict:rpop(k.log)
  end
  return dict:get(k.generation) or 0
end

---@param head string raw request head, or a JSON object of headers (HTTP/2)
---@param body string
function M.remember(line, head, body)
  dict:set(names[line].head, head)
  dict:set(names[line].body, #body <= BODY and body or body:sub(1, BODY))
end

local function current(ctx)
  return ctx.generation == (dict:get(names[ctx.line].generation) or 0)
end

---A stream has gone on; `bytes_out` is true while it lasts.
---@param ctx { line: string, generation: integer, sent: integer|nil }
---@param bytes integer that the system took
function M.sent(ctx, bytes)
  if current(ctx) then
    ctx.sent = (ctx.sent or 0) + bytes
    dict:incr(names[ctx.line]["count.bytes_out"], bytes, 0)
  end
end

---A request is over, in whatever way.
---@param ctx { line: string, generation: integer, done: boolean, fault: string|nil, sent: integer|nil }
function M.finish(ctx, status, bytes_in, bytes_out)
  local k = names[ctx.line]
  if not current(ctx) then
    return
  end
  dict:incr(k["count.in_flight"], -1, 0)
  dict:incr(k["count.bytes_in"], bytes_in, 0)
  dict:incr(k["count.bytes_out"], bytes_out - (ctx.sent or 0), 0)
  if not ctx.done then
    dict:incr(k["count.aborted"], 1, 0)
  elseif ctx.answered then
    dict:incr(k["status." .. status], 1, 0)
  end
  if ctx.fault then
    dict:incr(k["fault." .. ctx.fault], 1, 0)
  end
end

local function prefixed(line, prefix)
  local found = {}
  local start = line .. "." .. prefix
  for _, key in ipairs(dict:get_keys(0)) do
    if key:sub(1, #start) == start then
      found[key:sub(#start + 1)] = key
    end
  end
  return found
end

local function values(line, prefix)
  local out = {}
  for name, key in pairs(prefixed(line, prefix)) do
    out[name] = dict:get(key)
  end
  return out
end

-- The head of HTTP/1 is kept as it came, since parsing it at every request would be dear.
local function headers_of(head)
  if not head or head:sub(1, 1) == "{" then
    return cjson.decode(head or "{}")
  end
  local headers = {}
  for name, value in head:gmatch "\r\n([^:\r\n]+):[ \t]*([^\r\n]*)" do
    name = name:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
  return headers
end

local function read_log(line)
  local k = names[line].log
  local entries = {}
  -- A dictionary list can only be read at its ends: one turn of it, oldest first, ends where it began.
  for i = 1, dict:llen(k) or 0 do
    entries[i] = dict:rpop(k)
    dict:lpush(k, entries[i])
  end
  return entries
end

local COUNTS = { "requests", "in_flight", "peak", "connections", "bytes_in", "bytes_out", "aborted", "dns_queries" }

---@param line string
---@return table counters as the README of this folder describes them
function M.counters(line)
  local k = names[line]
  local out = { status = values(line, "status."), faults = values(line, "fault.") }
  for _, name in ipairs(COUNTS) do
    out[name] = dict:get(k["count." .. name]) or 0
  end
  out.last_headers = headers_of(dict:get(k.head))
  out.last_body = dict:get(k.body)
  out.request_ids, out.idempotency_keys, out.starts, out.keys = {}, {}, {}, {}
  for i, entry in ipairs(read_log(line)) do
    local at, id, idempotency, key = entry:match "^(.-)\t(.-)\t(.-)\t(.*)$"
    out.starts[i], out.request_ids[i], out.idempotency_keys[i] = tonumber(at), id, idempotency
    if key ~= "" then
      out.keys[key] = (out.keys[key] or 0) + 1
    end
  end
  return out
end

---Forgets the numbers of a line; requests in flight no longer count.
function M.reset(line)
  for _, prefix in ipairs { "count.", "status.", "fault." } do
    for _, key in pairs(prefixed(line, prefix)) do
      dict:delete(key)
    end
  end
  local k = names[line]
  dict:delete(k.log)
  dict:delete(k.head)
  dict:delete(k.body)
  dict:incr(k.generation, 1, 0)
end

return M
