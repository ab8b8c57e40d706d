-- The machine behind the capacity scenarios: a fleet of small clients on one line that loses a part of its speed for a
-- while, or gets more calls than it can serve. Its queue holds more work (12.5 s) than an attempt waits for (10 s): a
-- full one turns all work into waste. That is what makes real systems stay down after the trigger is gone.

local configurations = require "surefoot.fleet.configurations"
local fleet = require "surefoot.fleet"
local server = require "surefoot.fleet.server"

local M = {}

M.SLOTS, M.QUEUE, M.CLIENTS = 20, 250, 10
M.FASTER = 12 -- than a real line
M.TIMEOUT = { attempt = 120 / M.FASTER, total = 300 / M.FASTER } -- the defaults'
M.WINDOW, M.SHARE = 5, 0.95 -- recovered: of the calls of every such window this share is answered

local PREFILL, ITL, TOKENS = 0.2, 0.02, 40

local function tokens(draws)
  return math.ceil(draws:exponential(TOKENS))
end

-- The mean of exponential tokens that are rounded up.
M.CAPACITY = M.SLOTS / (PREFILL + ITL / (1 - math.exp(-1 / TOKENS)))

--- Runs a fleet on one line.
---@param options { configuration: string, own: table?, seed: integer, arrivals: table, speed: table?,
---  clients: integer? }
---@return table world
function M.run(options)
  local line = server.new {
    slots = M.SLOTS, queue = M.QUEUE, prefill = PREFILL, itl = ITL, speed = options.speed,
  }
  local world = fleet.run {
    seed = options.seed, clients = options.clients or M.CLIENTS, arrivals = options.arrivals, tokens = tokens,
    config = configurations.with(options.configuration, M.TIMEOUT, options.own, M.FASTER),
    lines = { line = function(now, call) return (line:serve(now, call.tokens)) end },
    waiting = function(now) return line:waiting(now) end,
  }
  world.line = line
  return world
end

--- The dip: half the speed from `from` to `to`, steady calls until the end.
---@param options { configuration: string, own: table?, seed: integer, load: number, from: number, to: number,
---  ends: number, clients: integer? }
---@return table world
---@return number recovery seconds; math.huge: it never recovered
function M.dip(options)
  local world = M.run {
    configuration = options.configuration, own = options.own, seed = options.seed, clients = options.clients,
    arrivals = { { from = 0, rate = options.load * M.CAPACITY }, { from = options.ends, rate = 0 } },
    speed = { { from = options.from, factor = 0.5 }, { from = options.to, factor = 1 } },
  }
  return world, fleet.recovery(world, options.to, options.ends, {
    from = options.from, window = M.WINDOW, share = M.SHARE,
  })
end

--- Tokens that were made for nothing, of all that were made.
---@param world table
---@return number
function M.wasted(world)
  return 1 - world.useful_tokens / world.line.tokens
end

return M
