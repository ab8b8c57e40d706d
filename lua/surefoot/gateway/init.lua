--- The gateway: one nginx in front of many lines. Any client of OpenAI's or Anthropic's API points its base URL at it.
--
--   local gateway = require("surefoot.gateway").new {
--     endpoints = {...},                                   -- as in surefoot.new
--     gateway = { keys = {...}, models = {...} },          -- lua/surefoot/gateway/config.lua
--   }
--   gateway:start()   in init_worker      gateway:serve()   in content      gateway:log()   in log
--   gateway:leave()   in exit_worker
--
-- `surefoot gateway config.lua` writes an nginx configuration that does this, and runs it.

local gateway_config = require "surefoot.gateway.config"
local keys = require "surefoot.gateway.keys"
local surefoot = require "surefoot"

local M = {}

---@class surefoot.Gateway
---@field client surefoot.Client
---@field config table                checked `gateway`
---@field routes surefoot.gateway.Routes
---@field keys table?                 the book of virtual keys; nil: nobody needs one
---@field tally table
---@field started_at number           unix seconds
---@field max_timeout number          seconds
---@field forwarded table<string, string>  header -> variable of nginx
---@field counts_usage boolean        somebody counts tokens or money: streams are asked for their usage
---@field loopback_only boolean       that is what keeps others out where there are no keys
---@field listed { names: string[], at: number }?  models of the lines, where the configuration names none
---@field logs boolean                nginx has variables for the access log
---@field is_unwatched boolean?       it was said that nginx does not tell who leaves
---@field hears_ends boolean?          log() is called where requests end
local Gateway = {}
local mt = { __index = Gateway, __name = "surefoot.gateway" }

local function without_gateway(given)
  local copy = {}
  for key, value in pairs(given) do
    copy[key] = value
  end
  copy.gateway = nil
  return copy
end

local function counts_usage(config, client)
  for _, key in ipairs(config.keys or {}) do
    if key.budget or key.rate and key.rate.tokens_per_minute then
      return true
    end
  end
  return client.config.prices ~= nil or client.config.rate ~= nil and client.config.rate.tokens_per_minute ~= nil
end

local function make(given, listen)
  if type(given) ~= "table" then
    error("expected a table of configuration, got a " .. type(given), 0)
  end
  local config = gateway_config.check(given.gateway, listen)
  local client = surefoot.new(without_gateway(given))
  gateway_config.check_budgets(config, client.config)
  local forwarded = {}
  for _, name in ipairs(config.forward_headers) do
    forwarded[name] = "http_" .. name:gsub("-", "_")
  end
  local self = setmetatable({
    client = client, config = config, started_at = os.time(), forwarded = forwarded,
    max_timeout = config.max_timeout or client.config.timeout.total,
    routes = require("surefoot.gateway.routes").new(client, config.models),
    tally = require("surefoot.gateway.tally").new(), counts_usage = counts_usage(config, client), logs = false,
    loopback_only = not config.public and gateway_config.is_loopback_port(listen),
  }, mt)
  if config.keys then
    self.keys = keys.new(config.keys, { shared = client.config.shared })
  end
  return self
end

--- Makes a gateway. Throws when the configuration is wrong, and says where.
---@param given surefoot.Config with `gateway`
---@param listen string? the address, where it is known
---@return surefoot.Gateway
function M.new(given, listen)
  local ok, gateway = pcall(make, given, listen)
  if not ok then
    error("surefoot.gateway: " .. tostring(gateway):gsub("^surefoot%.new: ", ""), 2)
  end
  return gateway
end

--- In init_worker: begins to publish the numbers, and opens the connections.
function Gateway:start()
  require("surefoot.gateway.metrics").start(self)
end

--- In the content phase: answers the request.
---@async
function Gateway:serve()
  require("surefoot.gateway.paths").serve(self)
end

--- In the log phase: cancels and counts what nginx ended.
function Gateway:log()
  local exchange = ngx.ctx.surefoot
  self.hears_ends = self.hears_ends or exchange ~= nil
  if exchange and not exchange.ended then
    if exchange.cancel then
      exchange.cancel:cancel()
    end
    require("surefoot.gateway.exchange").settle(exchange)
  end
end

--- In exit_worker: publishes the last numbers.
function Gateway:leave()
  require("surefoot.gateway.metrics").leave(self)
end

-- ---------------------------------------------------------------------------- the one gateway of a written nginx.conf

local the_gateway

--- In init: reads a configuration file, which returns a table. Throws what is wrong with it.
---@param path string
---@param listen string?
---@return surefoot.Gateway
function M.load(path, listen)
  local chunk, problem = loadfile(path)
  if not chunk then
    error("surefoot.gateway: " .. tostring(problem), 0)
  end
  local given = chunk()
  if type(given) ~= "table" then
    error(("surefoot.gateway: %s returned a %s, not a table of configuration"):format(path, type(given)), 0)
  end
  if given.shared == nil then
    given.shared = "gateway-" .. (listen or "default"):gsub("[^%w.-]", "_"):sub(1, 40)
  end
  the_gateway = M.new(given, listen)
  the_gateway.logs = true
  return the_gateway
end

-- The collector goes through all that lives each time that so much more has been made: the less that is, the rarer it
-- can come. KiB; between twice and ten times of what lives.
local ROOM, LEAST_PAUSE, MOST_PAUSE = 65536, 200, 1000

local function pace_collector()
  local pause = 100 + 100 * ROOM / collectgarbage "count"
  collectgarbage("setpause", math.floor(math.max(LEAST_PAUSE, math.min(pause, MOST_PAUSE))))
end

--- In init_worker.
function M.start()
  the_gateway:start()
  pace_collector()
  local ok, problem = ngx.timer.every(1, pace_collector)
  if not ok then
    ngx.log(ngx.WARN, "surefoot.gateway: the collector keeps its pace, for there is no timer: ", problem)
  end
end

--- In the content phase.
---@async
function M.serve()
  the_gateway:serve()
end

--- In the log phase.
function M.log()
  the_gateway:log()
end

--- In exit_worker.
function M.leave()
  the_gateway:leave()
end

return M
