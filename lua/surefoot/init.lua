--- surefoot makes calls to LLM HTTP APIs arrive: quickly, once, whole, within a deadline.
--
--   local surefoot = require "surefoot"
--   local client = surefoot.new { preset = "openai", model = "gpt-4o-mini" }
--   local result, err = client:chat "Hello"
--
-- Durations are seconds, sizes bytes, money US dollars. Misuse throws; what the world does comes back as nil, err.

local binding = require "surefoot.binding"
local canceller = require "surefoot.canceller"
local certificates = require "surefoot.config.certificates"
local client = require "surefoot.client"
local config = require "surefoot.config"
local ids = require "surefoot.ids"
local json = require "surefoot.json"
local loop = require "surefoot.loop"
local native = require "surefoot.loop.native"
local record = require "surefoot.record"
local replay = require "surefoot.replay"
local simulate = require "surefoot.simulate"

local M = {}

--- The version of surefoot.
M._VERSION = require "surefoot.version"

--- What carries the bytes: libcurl's version and its parts.
M.libcurl = binding.libcurl

--- JSON's null, to be put where a request needs one.
M.null = json.null
M.array = json.array
M.object = json.object

M.run = loop.run
M.spawn = loop.spawn
M.all = loop.all
M.sleep = loop.sleep
M.now = loop.now
M.pollfd = loop.pollfd
M.step = loop.step
M.use = loop.use
M.canceller = canceller.new

---@class surefoot.Config
---@field preset string?
---@field provider string?
---@field base_url string?
---@field api_key string | string[] | (fun(): string) | nil
---@field model string?
---@field endpoints table[]?
---@field fallbacks (string | table)[]?
---@field timeout table?
---@field retry table?
---@field rate table | boolean | nil
---@field concurrency table?
---@field breaker table | boolean | nil
---@field routing string | table | nil
---@field limits table?
---@field headers table<string, string>?
---@field proxy string?
---@field tls { ca_file: string?, cert: string?, key: string?, verify: boolean? }?
---@field dns { hosts: table<string, string>?, doh_url: string?, ip_version: 4 | 6 | nil, cache: number? }?
---@field http_version "auto" | "1.1" | "2" | nil
---@field keepalive table?
---@field allow_plaintext boolean?
---@field json table?
---@field shared string?
---@field prices boolean | table<string, surefoot.Price> | nil  true: the built-in table

---@class surefoot.CallOptions
---@field deadline number?         seconds from now for the whole call
---@field timeout table?
---@field priority "high" | "normal" | "low" | nil
---@field idempotency_key string?
---@field validate (fun(result: surefoot.Result): boolean, string?)?
---@field fallbacks (string | table)[]?
---@field headers table<string, string>?
---@field on_event fun(name: string, data: table)?
---@field tags any
---@field cancel surefoot.Canceller?
---@field estimate integer?

local host = { scheduler = native.scheduler, new_id = ids.new }

--- Makes a client. Throws when the configuration is wrong, and says where.
---@param configuration surefoot.Config
---@return surefoot.Client
function M.new(configuration)
  local ok, resolved = pcall(config.resolve, configuration)
  local problem = not ok and resolved
  if ok then
    ok, problem = pcall(certificates.check, resolved, configuration)
  end
  if not ok then
    error("surefoot.new: " .. tostring(problem):gsub("^surefoot%.new: ", ""), 2)
  end
  local made, new = pcall(client.new, resolved, host)
  if not made then
    error("surefoot.new: " .. tostring(new), 2)
  end
  return new
end

--- Writes all that a client hears from now on into a file, for surefoot.replay. See surefoot.record's head.
---@param given surefoot.Client | surefoot.Config a client, or the configuration of one to be made
---@param path string a new file; one that is there is replaced
---@return surefoot.Client client
function M.record(given, path)
  local made = given
  if type(given) ~= "table" or type(path) ~= "string" then
    error("surefoot.record: expected a client or its configuration, and the path of a file", 2)
  elseif (getmetatable(given) or {}).__name ~= "surefoot.client" then
    local ok
    ok, made = pcall(M.new, given)
    if not ok then
      error("surefoot.record: " .. tostring(made):gsub("^.-surefoot%.new: ", ""), 2)
    end
  end
  local recorder, problem = record.new(made, path)
  if not recorder then
    error("surefoot.record: " .. problem, 2)
  end
  made.recorder = recorder
  return made
end

--- Makes a client that answers from a recording, without a network.
---@param path string
---@param options surefoot.ReplayOptions?
---@return surefoot.Client client
---@return surefoot.Simulation sim whose clock it lives by
function M.replay(path, options)
  local ok, made, sim = pcall(replay.new, path, options)
  if not ok then
    error("surefoot.replay: " .. tostring(made), 2)
  end
  return made, sim
end

--- Makes a simulation: the real engine on a scripted network and a virtual clock. See surefoot.simulate's head.
---@param options surefoot.SimulationOptions
---@return surefoot.Simulation
function M.simulate(options)
  return (simulate.new(options))
end

return M
