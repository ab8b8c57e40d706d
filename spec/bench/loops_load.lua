-- The load of core_load.lua through the waits of a loop: calls of surefoot's core, without JSON, made by coroutines of
-- the home, which wait by surefoot's adapter for it; "engine" is the core alone, without any coroutine.
--
--   INTERPRETER -l spec.helper spec/bench/loops_load.lua URL BODY_FILE REQUESTS IN_FLIGHT HOME
--   INTERPRETER -l spec.helper spec/bench/loops_load.lua URL BODY_FILE 0 IN_FLIGHT HOME SECONDS
--
-- Without requests the calls are left pending, and what that costs is measured for so many seconds: CPU, the steps of
-- the engine and the wake-ups of the process. Homes: engine, tasks, use, cqueues, copas, luv, neovim.

-- luacheck: read globals vim

local load = require "spec.bench.load"
local loops = require "surefoot.loop"
local surefoot = require "surefoot"
local tasks = require "surefoot.tasks"

local SETTLING = 0.5 -- seconds: libcurl looks once more 200 ms after it began to connect

local options, home_name, seconds = load.arguments(), arg[5], tonumber(arg[6])
local scheduler = loops.scheduler()
local engine = scheduler.engine

local function new_client()
  return surefoot.new {
    base_url = options.url, api_key = "sk-0123456789abcdef", http_version = "1.1",
    concurrency = { limit = options.in_flight },
  }.core
end

-- ------------------------------------------------------------------------------------------------------------ a call

local client, plan

local function submit()
  return client:submit(engine, plan, {
    deadline = 300, variant = 1, method = "POST", path = "", variant_headers = "content-type: application/json\n",
    body = options.body,
  })
end

-- Answers what the call asks: true when it has settled.
local function look(call, counted)
  while true do
    local question, attempt, _, _, status, _, body = call:next()
    if question == "wait" then
      return false
    elseif question == "response" then
      local good = status == 200 and #body > 1000
      call:answer(attempt, good and "accept" or nil, nil, nil, nil, good and 212 or nil)
    else
      if question == "settled" and attempt then -- it is `ok` now
        counted.good = counted.good + 1
      else
        load.bad(counted, "a call failed: " .. tostring(call:info().message))
      end
      call:free()
      return true
    end
  end
end

local function ask(counted)
  local call = submit()
  local id, task = call:id(), tasks.current()
  while not look(call, counted) do
    scheduler:wait(id, task)
  end
end

-- ------------------------------------------------------------------------------------------------------------- homes

-- homes[name](functions): runs them as coroutines of the home, until all have ended.
local homes = {}

function homes.tasks(functions)
  surefoot.run(function()
    for _, f in ipairs(functions) do
      surefoot.spawn(f)
    end
  end)
end

-- A loop of one's own around poll, as examples/own_loop.lua.
function homes.use(functions)
  local select, fd = require("socket").select, surefoot.pollfd()
  local watched = { { getfd = function() return fd end, dirty = function() return false end } }
  local waiting, alive = {}, #functions
  surefoot.use {
    wait = function(token)
      waiting[token] = coroutine.running()
      coroutine.yield()
    end,
    wake = function(token)
      local co = waiting[token]
      waiting[token] = nil
      assert(coroutine.resume(co))
    end,
  }
  for _, f in ipairs(functions) do
    assert(coroutine.resume(coroutine.create(function()
      f()
      alive = alive - 1
    end)))
  end
  while alive > 0 do
    select(watched, nil)
    surefoot.step()
  end
end

function homes.cqueues(functions)
  local loop = require("cqueues").new()
  for _, f in ipairs(functions) do
    loop:wrap(f)
  end
  assert(loop:loop())
end

function homes.copas(functions)
  local copas, left = require "copas", #functions
  for _, f in ipairs(functions) do
    copas.addthread(function()
      f()
      left = left - 1
    end)
  end
  while left > 0 do -- copas.loop of copas 1 has no end
    copas.step()
  end
end

local function begin_all(functions)
  local state = { left = #functions }
  for _, f in ipairs(functions) do
    assert(coroutine.resume(coroutine.create(function()
      f()
      state.left = state.left - 1
    end)))
  end
  return state
end

function homes.luv(functions)
  local uv = require "luv"
  begin_all(functions)
  uv.run()
end

function homes.neovim(functions)
  local state = begin_all(functions)
  assert(vim.wait(600000, function() return state.left == 0 end, 1000), "it did not end")
end

-- The core alone: no coroutine waits, the loop looks at each call that has news.
local function run_engine(counted, requests)
  local calls, left, open = {}, requests, 0
  local function begin()
    if left > 0 then
      left, open = left - 1, open + 1
      local call = submit()
      calls[call:id()] = call
    end
  end
  for _ = 1, options.in_flight do
    begin()
  end
  while open > 0 do
    engine:wait(10)
    local id = engine:ready()
    while id do
      local call = calls[id]
      if call and look(call, counted) then
        calls[id], open = nil, open - 1
        begin()
      end
      id = engine:ready()
    end
  end
end

-- Some loops swallow what their coroutines throw.
local function must_wait()
  if scheduler:blocks() then
    io.stderr:write "calls block here, instead of waiting in the loop\n"
    os.exit(1)
  end
end

local function run_home(counted, requests)
  local functions, left = {}, requests
  for i = 1, options.in_flight do
    functions[i] = function()
      must_wait()
      while left > 0 do
        left = left - 1
        ask(counted)
      end
    end
  end
  homes[home_name](functions)
end

local function run(requests)
  client = new_client()
  plan = client:plan { { route = 1, endpoint = 1, variant = 1, model = "sim-large" } }
  local counted = load.begin()
  if home_name == "engine" then
    run_engine(counted, requests)
  else
    run_home(counted, requests)
  end
  return counted
end

-- -------------------------------------------------------------------------------------------------------------- idle

local steps = 0

-- Counts how often the engine is turned, by whatever way.
local function count_steps()
  for _, name in ipairs { "step", "pump" } do
    local method = scheduler[name]
    scheduler[name] = function(...)
      steps = steps + 1
      return method(...)
    end
  end
end

local function wakeups()
  local file = assert(io.open "/proc/self/status")
  local text = file:read "*a"
  file:close()
  return tonumber(text:match "\nvoluntary_ctxt_switches:%s*(%d+)")
end

local function watch(wait)
  wait(SETTLING)
  local cpu, before, woken = os.clock(), steps, wakeups()
  wait(seconds)
  io.stdout:write(('{"cpu_ms":%.3f,"steps":%d,"wakeups":%d}\n'):format((os.clock() - cpu) * 1000, steps - before,
    wakeups() - woken))
  io.stdout:flush()
  os.exit(0) -- what is pending ends with the process
end

local function idle()
  client = new_client()
  plan = client:plan { { route = 1, endpoint = 1, variant = 1, model = "sim-large" } }
  if home_name == "engine" then
    for _ = 1, options.in_flight do
      submit()
    end
    return watch(function(time)
      local until_then = engine:now() + time
      while engine:now() < until_then do
        steps = steps + 1
        engine:wait(until_then - engine:now())
      end
    end)
  end
  count_steps()
  local functions = {}
  for i = 1, options.in_flight do
    functions[i] = function()
      must_wait()
      ask {}
    end
  end
  functions[#functions + 1] = function() watch(surefoot.sleep) end
  homes[home_name](functions)
end

if seconds then
  idle()
else
  run(2 * options.in_flight) -- warms connections up
  load.report(run(options.requests), client:stats().latency)
end
