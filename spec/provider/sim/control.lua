-- The control port: profiles in, counters out, as JSON over plain HTTP.
-- GET / | GET, PUT /lines/NAME/profile | GET /lines/NAME/counters | POST /lines/NAME/reset | POST /reset | POST /stop

local cjson = require "cjson.safe"
local rules = require "sim.profile"
local store = require "sim.store"
local watch = require "sim.watch"

local M = {}

local description, known = {}, {}

---@param path string file that says which lines there are; sent as it is to who asks for /
function M.load(path)
  local file = assert(io.open(path, "rb"))
  description = assert(cjson.decode(file:read "*a"))
  file:close()
  for name in pairs(description.lines) do
    known[name] = true
  end
end

local function say(status, body)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  ngx.print(type(body) == "table" and cjson.encode(body) or body, "\n")
end

local function put_profile(line)
  ngx.req.read_body()
  local profile, err = cjson.decode(ngx.req.get_body_data() or "{}")
  local ok = false
  if type(profile) == "table" then
    ok, err = rules.check(profile)
  end
  if not ok then
    return say(400, { error = err or "a profile is a JSON object" })
  end
  store.set_profile(line, cjson.encode(rules.expand(profile)))
  return say(200, {})
end

local function reset(line)
  store.set_profile(line, "{}")
  store.reset(line)
end

local LINE = {
  ["PUT profile"] = put_profile,
  ["GET profile"] = function(line)
    return say(200, store.profile_json(line))
  end,
  ["GET counters"] = function(line)
    return say(200, store.counters(line))
  end,
  ["POST reset"] = function(line)
    reset(line)
    return say(200, {})
  end,
}

local ROOT = {
  ["GET /"] = function()
    return say(200, description)
  end,
  ["POST /reset"] = function()
    for line in pairs(known) do
      reset(line)
    end
    return say(200, {})
  end,
  ["POST /stop"] = function()
    say(200, {})
    ngx.eof()
    watch.stop()
  end,
}

function M.content()
  local method, uri = ngx.req.get_method(), ngx.var.uri
  local line, what = uri:match "^/lines/([%w_%-]+)/(%w+)$"
  local action = line and known[line] and LINE[method .. " " .. what] or ROOT[method .. " " .. uri]
  if not action then
    return say(404, { error = "no such thing: " .. method .. " " .. uri })
  end
  return action(line)
end

return M
