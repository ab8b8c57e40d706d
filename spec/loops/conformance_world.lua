-- What the scenarios of spec/loops/conformance*.lua find around them: the simulated provider, driven by surefoot itself
-- (so that no other library has to wait in the home), clients of its lines, and what scenarios share.

local surefoot = require "surefoot"

local M = {}

---@class spec.loops.World
---@field client fun(config: table?): surefoot.Client of the lines a and b, a first; `lines` names others
---@field profile fun(line: string, profile: table)
---@field counters fun(line: string): table
---@field eventually fun(check: fun(): any)
---@field close fun() ends the clients of a scenario

local NOBODY = "http://127.0.0.1:1/v1" -- where nobody listens

---@param description table the provider's: lines and control_url
---@param prefix string of the names of this home's lines
---@return spec.loops.World
function M.new(description, prefix)
  local world, clients = {}, {}
  local control = surefoot.new {
    base_url = description.control_url, retry = { max_attempts = 1 }, timeout = { total = 20 }, breaker = false,
  }

  local function ask(method, path, body)
    local reply, err = control:request { method = method, path = path, json = body }
    return reply and reply.body or error("the provider's control: " .. tostring(err), 0)
  end

  local function path_of(line, what)
    return ("/lines/%s%s/%s"):format(prefix, line, what)
  end

  function world.profile(line, profile)
    ask("PUT", path_of(line, "profile"), profile)
  end

  function world.counters(line)
    return ask("GET", path_of(line, "counters"))
  end

  function world.eventually(check)
    local deadline = surefoot.now() + 10
    while not check() do
      if surefoot.now() > deadline then
        error("what was waited for has not come", 2)
      end
      surefoot.sleep(0.01)
    end
  end

  function world.client(config)
    local all = {
      model = "m", api_key = "sk-test-0123456789", endpoints = {}, breaker = false, routing = "priority",
      retry = { base_delay = 0.01, throttled_base_delay = 0.01, max_delay = 0.05 }, timeout = { total = 20 },
    }
    for i, line in ipairs(config and config.lines or { "a", "b" }) do
      local known = description.lines[prefix .. line]
      all.endpoints[i] = { name = line, url = known and known.url or NOBODY, priority = i }
    end
    for key, value in pairs(config or {}) do
      if key ~= "lines" then
        all[key] = value
      end
    end
    local client = surefoot.new(all)
    clients[#clients + 1] = client
    return client
  end

  function world.reset()
    ask("POST", path_of("a", "reset"))
    ask("POST", path_of("b", "reset"))
  end

  function world.close()
    for i = #clients, 1, -1 do
      clients[i]:close()
      clients[i] = nil
    end
  end

  function world.leave()
    world.close()
    control:close()
  end

  return world
end

-- ----------------------------------------------------------------------------------------------- what scenarios share

---@param code integer
---@param headers table<string, string>?
---@return table profile
function M.fail_with(code, headers)
  return { status = { code = code, headers = headers } }
end

---@param text string
---@return table request
function M.user(text)
  return { messages = { { role = "user", content = text } } }
end

---Reads a stream to its end.
---@param stream surefoot.Stream
---@return string text that was shown
---@return integer pieces
---@return surefoot.Result?
---@return surefoot.Error?
function M.read_all(stream)
  local texts, pieces = {}, 0
  repeat
    local chunk = stream:read()
    if chunk then
      pieces = pieces + 1
      texts[#texts + 1] = chunk.text
    end
  until not chunk
  return table.concat(texts), pieces, stream:result()
end

---@param began number
---@param seconds number
---@return string whether it took at least so long
function M.lasted(began, seconds)
  return surefoot.now() - began >= seconds and "waited" or "did not wait"
end

---What all functions gave; what one threw ends the scenario.
---@param functions function[]
---@return table[] outcomes
function M.side_by_side(functions)
  local outcomes = surefoot.all(functions)
  for i = 1, #outcomes do
    if outcomes[i].kind then
      error(outcomes[i], 0)
    end
  end
  return outcomes
end

---A call beside something that disturbs it, once the provider works on it: what the call came to.
---@param world spec.loops.World
---@param ask fun(): surefoot.Result?, surefoot.Error?
---@param disturb fun()
---@return surefoot.Result?
---@return surefoot.Error?
function M.disturbed(world, ask, disturb)
  local outcomes = M.side_by_side {
    ask,
    function()
      world.eventually(function() return world.counters("a").in_flight == 1 end)
      disturb()
    end,
  }
  return outcomes[1][1], outcomes[1][2]
end

---Waits until the provider has noticed that nobody waits for it any more.
---@param world spec.loops.World
---@return string
function M.left_alone(world)
  local counters
  world.eventually(function()
    counters = world.counters "a"
    return counters.aborted > 0 and counters.in_flight == 0
  end)
  return ("aborted %d"):format(counters.aborted)
end

---@param world spec.loops.World
---@return table<string, surefoot.Tool> tools that wait
function M.tools_of(world)
  local asking = world.client()
  return {
    weather = {
      description = "The weather.", parameters = { type = "object", properties = { city = { type = "string" } } },
      call = function()
        surefoot.sleep(0.02)
        return { celsius = 7 }
      end,
    },
    ask = {
      description = "Asks the line itself.",
      call = function(_, context) return assert(asking:chat("Hi", { deadline = context.deadline })).text end,
    },
  }
end

return M
