-- One list of scenarios, played by any interpreter in any home that surefoot's calls can wait in, unchanged:
--
--   INTERPRETER -l spec.helper spec/loops/conformance.lua HOME PROVIDER_JSON PREFIX REPORT
--
-- or as a chunk with these arguments, where the home is a program of its own (Neovim, nginx). PROVIDER_JSON describes a
-- simulated provider that runs, PREFIX begins the names of this home's lines, REPORT is the file of what came out, the
-- same in every home: lines of JSON with "scenario", "kind" (ok, or an error's), "text" and "attempts" (kinds, in
-- order). The last one is written when the home's loop has ended by itself: nothing of surefoot's keeps it going.

local home_name, provider_json, prefix, report_path = ...

-- luacheck: read globals ngx vim

local cjson = require "cjson"
local core = require "surefoot.binding"
local guard = require "surefoot.guard"
local loops = require "surefoot.loop"
local surefoot = require "surefoot"
local worlds = require "spec.loops.conformance_world"

local PATIENCE = 20 -- seconds without any news: then a wake-up was lost

-- ------------------------------------------------------------------------------------------------------------ report

local report = assert(io.open(report_path, "w"))

local function quoted(list)
  local words = {}
  for i, text in ipairs(list) do
    words[i] = cjson.encode(text)
  end
  return table.concat(words, ",")
end

local function write(name, kind, text, attempts)
  report:write(('{"scenario":%s,"kind":%s,"text":%s,"attempts":[%s]}\n'):format(cjson.encode(name), cjson.encode(kind),
    cjson.encode(text), quoted(attempts)))
  report:flush()
end

local function kinds_of(outcome)
  local kinds = {}
  for i, attempt in ipairs(outcome and outcome.attempts or {}) do
    kinds[i] = attempt.kind or "?"
  end
  return kinds
end

-- Notes what a call came to: its result, or its error. A text that is given counts more than the result's.
local function note(name, result, err, text)
  local outcome = type(result) == "table" and result or err
  write(name, err and err.kind or "ok", text or type(result) == "table" and result.text or "", kinds_of(outcome))
end

-- ----------------------------------------------------------------------------------------------------------- playing

local function play(scenario, world)
  local function say(label, ...)
    note(label == "" and scenario.name or scenario.name .. ": " .. label, ...)
  end
  world.reset()
  local ok, thrown = guard.call(scenario.play, world, say)
  if not ok then
    write(scenario.name, "thrown", tostring(thrown), {})
  end
  world.close()
  collectgarbage()
end

local function read_json(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return cjson.decode(text)
end

local function play_all()
  local world = worlds.new(read_json(provider_json), prefix)
  write("what waits", "ok", loops.scheduler():blocks() and "the thread" or "the coroutine", {})
  for _, part in ipairs { "spec.loops.conformance_scenarios", "spec.loops.conformance_tasks" } do
    for _, scenario in ipairs(require(part)) do
      play(scenario, world)
    end
  end
  world.leave()
  surefoot.sleep(0)
  write("what is left", "ok", ("%d in flight"):format(core.engine():in_flight()), {})
end

-- ------------------------------------------------------------------------------------------------------------- homes

-- A loop that can do nothing but wait until one fd is readable.
local function engine_watch()
  local select, fd = require("socket").select, surefoot.pollfd()
  local engine = { getfd = function() return fd end, dirty = function() return false end }
  return function()
    assert(select({ engine }, nil, PATIENCE)[1], "a wake-up was lost")
    surefoot.step()
  end
end

-- Where nothing has to be begun: the main thread, which blocks, also where Neovim could turn; a request of nginx.
local homes = { main = play_all, ["neovim, main"] = play_all, ["nginx, content"] = play_all }

function homes.tasks()
  surefoot.run(play_all)
end

-- A loop of one's own that lets surefoot run its tasks.
homes["own loop, pollfd"] = function()
  local turn = engine_watch()
  local task = surefoot.spawn(play_all)
  while not task:done() do
    turn()
  end
end

-- A loop of one's own that runs its coroutines itself.
homes["own loop, use"] = function()
  local turn, runnable, waiting, alive = engine_watch(), {}, {}, 0
  local function spawn(f)
    alive = alive + 1
    runnable[#runnable + 1] = coroutine.create(function()
      f()
      alive = alive - 1
    end)
  end
  surefoot.use {
    spawn = spawn,
    wait = function(token)
      waiting[token] = coroutine.running()
      coroutine.yield()
    end,
    wake = function(token)
      runnable[#runnable + 1] = waiting[token]
      waiting[token] = nil
    end,
  }
  spawn(play_all)
  while alive > 0 do
    while #runnable > 0 do
      assert(coroutine.resume(table.remove(runnable, 1)))
    end
    if alive > 0 then
      turn()
    end
  end
end

function homes.cqueues()
  local loop = require("cqueues").new()
  loop:wrap(play_all)
  assert(loop:loop())
end

function homes.copas()
  local copas = require "copas"
  local over = false
  copas.addthread(function()
    play_all()
    over = true
  end)
  if copas.finished then
    return copas.loop()
  end
  while not over do -- the loop of copas 1 has no end
    copas.step()
  end
end

function homes.luv()
  local uv = require "luv"
  assert(coroutine.resume(coroutine.create(play_all)))
  uv.run()
end

-- The main thread beside a loop that does not turn: calls block there as well.
homes["luv, main"] = function()
  require "luv"
  play_all()
end

function homes.neovim()
  local over = false
  assert(coroutine.resume(coroutine.create(function()
    play_all()
    over = true
  end)))
  assert(vim.wait(10 * PATIENCE * 1000, function() return over end, 20), "it did not end")
end

homes["nginx, timer"] = function(finish)
  assert(ngx.timer.at(0, function()
    local ok, problem = pcall(play_all)
    finish(ok, problem)
  end))
  return true
end

local function finish(ok, problem)
  if ok then
    write("the end", "ok", "", {})
  else
    write("the end", "thrown", tostring(problem), {})
  end
  report:close()
end

local ok, later = pcall(homes[home_name], finish)
if not (ok and later) then
  finish(ok, later)
end
