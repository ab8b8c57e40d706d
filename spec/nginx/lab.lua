-- What the specs of nginx share: an nginx before a simulated provider, and in its workers the module "lab":
--   lab.client            a client of the provider's line a
--   lab.tell(call(...))   prints the text of an answer, or "kind: message" of an error
--   lab.seen              what a spec noted in one place to read it in another, as GET /seen
-- GET /stats tells what the client has in flight, GET /sound does it once more, GET /anew makes another client.

local cjson = require "cjson"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"

local M = {}

local MODULE = [[
local surefoot = require "surefoot"
local lab = { surefoot = surefoot, seen = {} }

function lab.new(config)
  config.api_key, config.model = "sk-test-0123456789", "m"
  return surefoot.new(config)
end

function lab.anew()
  if lab.client then
    lab.client:close()
  end
  lab.client = lab.new { base_url = "{{url}}", {{config}} }
end

lab.anew()

function lab.said(result, err)
  return result and (result.text or "no text") or err.kind .. ": " .. err.message
end

function lab.tell(...)
  ngx.print(lab.said(...))
end

return lab
]]

local LOCATIONS = {
  ["= /stats"] = [[
    local stats = require("lab").client:stats()
    ngx.print(require("cjson").encode { in_flight = stats.in_flight, queue = stats.queue, requests = stats.requests })
  ]],
  ["= /seen"] = [[ngx.print(require("cjson").encode(require("lab").seen))]],
  ["= /anew"] = [[require("lab").anew()]],
  ["= /sound"] = [[local lab = require "lab" lab.tell(lab.client:chat "sound")]],
}

---@param p table the provider
---@param options spec.nginx.Options and `config`, Lua: further fields of the client's configuration
---@return table nginx
function M.start(p, options)
  local values = { url = p.lines.a.url, config = options.config or "" }
  options.modules = options.modules or {}
  options.modules.lab = MODULE:gsub("{{(%w+)}}", values)
  options.init = options.init or [[require "lab"]]
  for path, code in pairs(LOCATIONS) do
    options.locations[path] = code
  end
  return nginx.start(options)
end

---@return table what GET /stats or GET /seen tells
function M.ask(n, path)
  local response = assert(n:get(path))
  assert(response.status == 200, response.status)
  return cjson.decode(response.body)
end

---Waits until the client of the one worker has nothing in flight any more.
---@param seconds? number
---@return boolean
function M.settled(n, seconds)
  return process.wait_for(function()
    local stats = M.ask(n, "/stats")
    return stats.in_flight == 0 and stats.queue == 0
  end, seconds or 2 * nginx.pace) or false
end

---Fails when calls are still in flight after a test, and ends them: they shall not fail the tests after it, too.
---@param allowed? string[] as for n:assert_clean
---@param seconds? number
function M.assert_settled(n, allowed, seconds)
  if M.settled(n, seconds) then
    return
  end
  local left = M.ask(n, "/stats")
  assert(n:get "/anew")
  M.settled(n)
  pcall(n.assert_clean, n, allowed) -- what those that were ended complain about
  error(("%d calls are in flight, %d of them wait"):format(left.in_flight, left.queue), 2)
end

---Waits until something was noted.
---@param name string
---@param seconds? number
---@return any
function M.seen(n, name, seconds)
  return process.wait_for(function()
    return M.ask(n, "/seen")[name]
  end, seconds or 5 * nginx.pace)
end

return M
