-- A world for policy specs: a clock that stands until it is moved, a random function that gives what it is told, and a
-- seeded generator for properties.
local M = {}

---@return { now: number, draw: number, clock: fun(): number, random: fun(): number }
function M.world(now)
  local world = { now = now or 0, draw = 0 }
  function world.clock()
    return world.now
  end
  function world.random()
    return world.draw
  end
  return world
end

---Options with the world's clock and random.
function M.with(world, options)
  local copy = { clock = world.clock, random = world.random }
  for key, value in pairs(options or {}) do
    copy[key] = value
  end
  return copy
end

---Park and Miller's generator: the same numbers on every Lua. Returns a function: () in [0, 1), (n) in 1..n.
function M.generator(seed)
  local state = seed % 2147483646 + 1
  return function(n)
    state = state * 48271 % 2147483647
    local unit = (state - 1) / 2147483646
    return n and math.floor(unit * n) + 1 or unit
  end
end

return M
