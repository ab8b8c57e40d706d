-- Where tasks may wait: in every hook, on every Lua. Lua 5.1 itself cannot yield across a pcall of the user's, the
-- iterator of a for loop or a metamethod: there the error says so, nothing goes on unseen, and there is another way.
local env = require "spec.support.env"
local policy = require "surefoot.policy"
local sim = require "spec.support.sim"

local pack, unpack = table.pack or function(...) return { n = select("#", ...), ... } end, table.unpack or unpack

local CANNOT = "attempt to yield across .*: Lua 5%.1 cannot wait inside of pcall, the iterator of a for loop, or a meta"

local SSE = { ["content-type"] = "text/event-stream" }
local PIECE = 'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
local END = 'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

local streaming = { after = 1, headers = SSE, events = {
  { at = 1, data = PIECE:format "a" }, { at = 2, data = PIECE:format "b" }, { at = 3, data = END },
} }
local answering = { after = 1, text = "ok" }
local calling = { after = 1, body = { id = "c", model = "m", choices = { { index = 0, finish_reason = "tool_calls",
  message = { role = "assistant", tool_calls = {
    { id = "1", type = "function", ["function"] = { name = "look", arguments = "{}" } },
  } } } } } }

local function spawn(lab, f, ...)
  local scheduler = lab.sim.scheduler
  if scheduler.adapter then
    return scheduler:spawn_adapted(scheduler.adapter, f, ...)
  end
  return scheduler:spawn(f, ...)
end

-- Runs f as a task of the laboratory's, and gives back what it returned.
local function in_task(lab, f)
  local task = lab.sim:spawn(f)
  lab.sim:run()
  return task:wait()
end

-- Runs f in the coroutines of a user's own loop, on the laboratory's clock.
local function in_a_loop(lab, f)
  local scheduler, ready, waiting = lab.sim.scheduler, {}, {}
  scheduler.adapter = {
    wait = function(token) waiting[token] = coroutine.running() coroutine.yield() end,
    wake = function(token) ready[#ready + 1] = waiting[token] waiting[token] = nil end,
    spawn = function(g) ready[#ready + 1] = coroutine.create(g) end,
  }
  local values
  scheduler.adapter.spawn(function()
    values = pack(f(function()
      ready[#ready + 1] = coroutine.running()
      coroutine.yield()
    end))
  end)
  for _ = 1, 1000 do
    local co = table.remove(ready, 1)
    if co then
      assert(coroutine.resume(co))
    elseif next(waiting) then
      scheduler:pump(nil)
    else
      break
    end
  end
  scheduler.adapter = nil
  return unpack(values, 1, values.n)
end

for where, run in pairs { ["a task"] = in_task, ["a coroutine of a user's loop"] = in_a_loop } do
  describe("in " .. where .. " there may wait", function()
    after_each(sim.settled)

    local function other(lab)
      return assert(lab.client:chat "other").text
    end

    it("validate, and throw", function()
      local lab = sim.lab({ a = answering }, { retry = { max_attempts = 1 } })
      assert.equal("ok", run(lab, function()
        return assert(lab.client:chat("x", { validate = function() return other(lab) == "ok" end })).text
      end))
      assert.equal(2, lab.sim:now())
      assert.equal("rejected", run(lab, function()
        return select(2, lab.client:chat("x", { validate = function() return not other(lab) end })).kind
      end))
      local ok, thrown = run(lab, function()
        return require("surefoot.guard").call(lab.client.chat, lab.client, "x", { validate = function()
          other(lab)
          error("mine", 0)
        end })
      end)
      assert.same({ false, "mine" }, { ok, thrown })
      assert.equal(6, lab.sim:now())
    end)

    it("validate of a stream", function()
      local lab = sim.lab { a = { streaming, answering } }
      local text, at = run(lab, function()
        local stream = assert(lab.client:stream("x", { validate = function() return other(lab) end }))
        return assert(stream:result()).text, lab.sim:now()
      end)
      assert.same({ "ab", 4 }, { text, at })
    end)

    it("a tool and on_tool, and throw", function()
      local lab = sim.lab { a = { calling, answering, answering, answering, calling, answering, answering } }
      local tool = { description = "looks", call = function() return other(lab) end }
      local heard
      local text = run(lab, function()
        return assert(lab.client:run_tools("x", { look = tool }, {
          on_tool = function(...) heard = { other(lab), ... } end,
        })).text
      end)
      assert.same({ "ok", "ok", "look", {}, "ok" }, { text, unpack(heard) })
      assert.equal(4, lab.sim:now())
      local result = run(lab, function()
        return assert(lab.client:run_tools("x", { look = { description = "throws", call = function()
          other(lab)
          error("no luck", 0)
        end } }))
      end)
      assert.equal("no luck", result.rounds[1].calls[1].error)
    end)

    it("a conversation, whatever waits in it", function()
      local lab = sim.lab { a = answering }
      local talk = lab.client:conversation()
      local last = run(lab, function()
        assert(talk:send("x", { validate = function() return other(lab) end }))
        return assert(assert(talk:stream "y"):result()).text
      end)
      assert.same({ "ok", 4 }, { last, #talk.messages })
    end)

    it("a function of api_key", function()
      local lab, helper
      lab = sim.lab({ a = answering }, { endpoints = { { name = "a", api_key = function()
        return other { client = helper }
      end } } })
      helper = lab:another {}
      assert.equal("ok", run(lab, function() return assert(lab.client:chat "x").text end))
      assert.equal(2, lab.sim:now())
    end)

    it("a function under policy.wrap", function()
      local lab, tried = sim.lab { a = answering }, 0
      local guarded = policy.wrap(function(x)
        tried = tried + 1
        return other(lab) .. x
      end)
      assert.equal("ok!", run(lab, function() return guarded "!" end))
      assert.equal(1, tried)
      local throwing = policy.wrap(function()
        other(lab)
        error("mine", 0)
      end)
      assert.same({ false, "mine" }, { run(lab, function() return require("surefoot.guard").call(throwing) end) })
    end)

    it("on_progress of a batch", function()
      local lab, done = sim.lab { a = answering }, {}
      run(lab, function()
        lab.client:batch({ "1", "2" }, { on_progress = function(p) done[p.done] = other(lab) end })
      end)
      assert.same({ "ok", "ok" }, done)
    end)

    it("who reads a stream by read() or by calling it, or each() by calling its iterator", function()
      local lab = sim.lab { a = { streaming, streaming, answering } }
      local function all(read)
        local texts = {}
        repeat
          local chunk = read()
          texts[#texts + 1] = chunk and chunk.text
        until not chunk
        return table.concat(texts)
      end
      assert.same({ "ab", "ab" }, { run(lab, function()
        local stream = assert(lab.client:stream "x")
        local first = all(function() return stream:read() end)
        return first, all(assert(lab.client:stream "x"))
      end) })
      local texts = run(lab, function()
        local next_result, list = lab.client:each { "1", "2", "3" }, {}
        repeat
          local index, result = next_result()
          list[#list + 1] = result and index .. result.text
        until not index
        table.sort(list)
        return table.concat(list, " ")
      end)
      assert.equal("1ok 2ok 3ok", texts)
    end)

    it("who protects a call by a task of its own", function()
      local lab = sim.lab { a = answering }
      local text, none, err = run(lab, function()
        local text = spawn(lab, other, lab):wait()
        return text, spawn(lab, function()
          other(lab)
          error("mine", 0)
        end):wait()
      end)
      assert.same({ "ok", "error", "mine" }, { text, err.kind, err.cause })
      assert.is_nil(none)
    end)
  end)
end

describe("in a coroutine of a user's loop there may wait", function()
  after_each(sim.settled)

  it("a task and a hook by the means of that loop, too", function()
    local lab, order = sim.lab { a = answering }, {}
    local text, value = in_a_loop(lab, function(pause)
      local task = spawn(lab, function()
        pause()
        local text = assert(lab.client:chat "x").text
        pause()
        table.insert(order, "task")
        return text
      end)
      local result = assert(lab.client:chat("y", { validate = function()
        pause()
        local inner = assert(lab.client:chat "z").text
        table.insert(order, inner)
        pause()
        return true
      end }))
      pause()
      return result.text, task:wait()
    end)
    assert.same({ "ok", "ok" }, { text, value })
    table.sort(order)
    assert.same({ "ok", "task" }, order)
    assert.equal(2, lab.sim:now())
  end)
end)

-- What goes wrong in f, a task of the laboratory's; where every Lua can wait, nothing does.
local function problem_of(lab, f)
  local task = lab.sim:spawn(f)
  task.observed = true
  lab.sim:run()
  local _, err = task:wait()
  return err
end

describe("a wait where there is no yielding", function()
  after_each(sim.settled)

  for name, case in pairs {
    ["in a loop over chunks()"] = { streaming, function(lab)
      local texts = {}
      for chunk in assert(lab.client:stream "x"):chunks() do
        texts[#texts + 1] = chunk.text
      end
      return table.concat(texts)
    end, "ab" },
    ["in a loop over a stream"] = { streaming, function(lab)
      local texts = {}
      for chunk in assert(lab.client:stream "x") do
        texts[#texts + 1] = chunk.text
      end
      return table.concat(texts)
    end, "ab" },
    ["in a loop over each()"] = { answering, function(lab)
      local texts = {}
      for _, result in lab.client:each({ "1", "2", "3" }, { concurrency = 1 }) do
        texts[#texts + 1] = result.text
      end
      return table.concat(texts)
    end, "okokok" },
    ["in a metamethod"] = { answering, function(lab)
      return setmetatable({}, { __index = function() return assert(lab.client:chat "x").text end }).text
    end, "ok" },
  } do
    it(name .. " works, or says that this is Lua 5.1's", function()
      local lab, value = sim.lab { a = case[1] }, nil
      local err = problem_of(lab, function() value = case[2](lab) end)
      if env.yields_everywhere then
        assert.is_nil(err)
        assert.equal(case[3], value)
      else
        assert.matches(CANNOT, tostring(err))
      end
      assert.equal(case[3], case[2](lab), "on the main thread it works everywhere")
    end)
  end

  it("in what a function of C calls says so, gives up the call, and works on the main thread", function()
    local lab = sim.lab { a = answering }
    local function shout()
      return (("x"):gsub(".", function(text) return assert(lab.client:chat(text)).text end))
    end
    local words = env.yields_everywhere and "attempt to yield across .*: nothing can wait in what" or CANNOT
    assert.matches(words, tostring(problem_of(lab, shout)))
    assert.equal(0, lab.client:stats().in_flight)
    assert.equal("ok", shout())
  end)

  it("under the user's own pcall works, or throws there, and leaves nothing running", function()
    local lab = sim.lab { a = function(_, request)
      return request.json.messages[1].content == "y" and { after = 2, text = "second" } or answering
    end }
    local first, second, at
    in_task(lab, function()
      first = { pcall(lab.client.chat, lab.client, "x") }
      second = assert(lab.client:chat "y").text
      at = lab.sim:now()
    end)
    assert.equal("second", second)
    if env.yields_everywhere then
      assert.equal("ok", first[2].text)
      assert.equal(3, at)
    else
      assert.is_false(first[1])
      assert.matches("attempt to yield across", first[2])
      assert.equal(2, at)
    end
  end)
end)
