-- Every way in which a loop of tools ends early.
local answers = require "spec.lua.tools.answers"
local json = require "surefoot.json"
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local calls, says, tool, task = answers.calls, answers.says, answers.tool, answers.task

describe("a loop that ends early", function()
  after_each(sim.settled)

  local function roles(messages)
    local list = {}
    for i, message in ipairs(messages) do
      list[i] = message.role
    end
    return table.concat(list, " ")
  end

  it("because of max_rounds", function()
    local lab = sim.lab { a = calls { "f", "{}", "f", "{}" } }
    local count = 0
    local result, err = lab.client:run_tools("Go", { f = tool(function() count = count + 1 return "" end) })
    assert.is_nil(result)
    assert.same({ "rejected", "max_rounds", false, true }, { err.kind, err.code, err.retryable, err.sent })
    assert.equal("rejected: the model still calls tools after 10 rounds (max_rounds): f, f", tostring(err))
    assert.same({ 10, 18, 10 }, { #lab.log, count, #err.partial.rounds })
    assert.equal(150, err.partial.usage.total_tokens)
    assert.equal(2, #err.partial.pending_calls)
    assert.matches(" tool tool assistant$", roles(err.partial.messages))
    err = select(2, lab.client:run_tools("Go", { f = tool(print) }, { max_rounds = 1 }))
    assert.matches("after 1 round %(max_rounds%): f, f$", err.message)
  end)

  it("because a call fails", function()
    local lab = sim.lab { a = { calls { "f", "{}" }, { after = 1, status = 400 } } }
    local _, err = lab.client:run_tools("Go", { f = tool(function() return "ok" end) })
    assert.same({ "invalid_request", true, 1 }, { err.kind, err.sent, #err.attempts })
    assert.equal("user assistant tool", roles(err.partial.messages))
    assert.same({ 1, 15, 2 }, { #err.partial.rounds, err.partial.usage.total_tokens, err.partial.latency })
    assert.is_nil(err.partial.pending_calls)
    lab = sim.lab { a = { after = 1, status = 400 } }
    _, err = lab.client:run_tools("Go", { f = tool(print) })
    assert.is_nil(err.partial)
  end)

  it("because a tool's outcome cannot be sent", function()
    local lab = sim.lab({ a = { calls { "f", "{}" } } }, { json = { encode = function(value)
      assert(not value.messages or #value.messages == 1, "mine")
      return json.encode(value)
    end } })
    local _, err = lab.client:run_tools("Go", { f = tool(function() return "ok" end) })
    assert.same({ "invalid_request", true }, { err.kind, err.sent })
    assert.matches("mine", err.message)
  end)

  for _, inside in ipairs { false, true } do
    local where = inside and ", in a task" or ", outside"

    it("at its deadline, while tools run" .. where, function()
      local lab = sim.lab { a = calls { "fast", "{}", "slow", "{}" } }
      local told_so, result, err
      local function go()
        result, err = lab.client:run_tools("Go", {
          fast = tool(function() return "yes" end),
          slow = tool(function() told_so = select(2, surefoot.sleep(100)) return "late" end),
        }, { deadline = 5 })
      end
      if inside then
        lab.sim:spawn(go)
        lab.sim:run()
      else
        go()
      end
      assert.is_nil(result)
      assert.equal("deadline: the deadline of 5 s passed while tools ran", tostring(err))
      assert.same({ 5, "cancelled", true }, { lab.sim:now(), told_so.kind, err.sent })
      assert.equal("yes", err.partial.rounds[1].calls[1].outcome)
    end)
  end

  it("at its deadline, in a later round", function()
    local lab = sim.lab { a = { calls { "f", "{}" }, { fault = "hang" } } }
    local _, err = lab.client:run_tools("Go", { f = tool(function() surefoot.sleep(1) return "" end) },
      { timeout = { total = 10 } })
    assert.same({ "deadline", 10 }, { err.kind, lab.sim:now() })
    lab = sim.lab({ a = { calls { "f", "{}" }, { fault = "hang" } } }, { timeout = { total = 7 } })
    assert.equal("deadline", select(2, lab.client:run_tools("Go", { f = tool(function() return "" end) })).kind)
    assert.equal(7, lab.sim:now())
  end)

  it("at its deadline, after a tool that did not wait", function()
    local lab = sim.lab { a = { calls { "f", "{}" }, { after = 9, text = "inner" } } }
    local err
    task(lab, function()
      err = coroutine.wrap(function()
        return select(2, lab.client:run_tools("Go", { f = tool(function() return lab.client:chat("x").text end) },
          { deadline = 5 }))
      end)()
    end)
    assert.equal("deadline: the deadline of 5 s passed while tools ran", tostring(err))
    assert.equal(2, #lab.log)
    assert.equal("user assistant tool", roles(err.partial.messages))
  end)

  it("when its task is cancelled", function()
    local lab = sim.lab { a = calls { "slow", "{}", "slow", "{}" } }
    local count, err = 0, nil
    local running = lab.sim:spawn(function()
      err = select(2, lab.client:run_tools("Go", { slow = tool(function()
        local _, problem = surefoot.sleep(100)
        count = count + (problem and 1 or 0)
        return nil, "told"
      end) }))
    end)
    lab.sim:run(3)
    running:cancel()
    lab.sim:run()
    assert.same({ "cancelled", 2, 3 }, { err.kind, count, lab.sim:now() })
    assert.equal("told", err.partial.rounds[1].calls[2].error)
    assert.equal(1, #lab.log)
  end)

  it("when its task is cancelled while it asks", function()
    local lab = sim.lab { a = { calls { "f", "{}" }, { fault = "hang" } } }
    local err
    local running = lab.sim:spawn(function()
      err = select(2, lab.client:run_tools("Go", { f = tool(function() return "" end) }))
    end)
    lab.sim:run(3)
    running:cancel()
    lab.sim:run()
    assert.same({ "cancelled", 1 }, { err.kind, #err.partial.rounds })
  end)

  it("by its canceller, also from within a tool", function()
    local lab = sim.lab { a = calls { "slow", "{}", "stop", "{}" } }
    local canceller, told_so = surefoot.canceller(), nil
    local tools = {
      slow = tool(function() told_so = select(2, surefoot.sleep(100)) return "" end),
      stop = tool(function() surefoot.sleep(2) canceller:cancel() return "" end),
    }
    local _, err = lab.client:run_tools("Go", tools, { cancel = canceller })
    assert.same({ "cancelled", "its canceller was used", 3 }, { err.kind, err.message, lab.sim:now() })
    assert.equal("cancelled", told_so.kind)
    assert.equal("cancelled", select(2, lab.client:run_tools("Go", tools, { cancel = canceller })).kind)
    assert.equal(1, #lab.log)
  end)

  for name, f in pairs {
    throws = function(err) error(err) end,
    returns = function(err) return nil, err end,
  } do
    it("when a tool " .. name .. " that it was cancelled", function()
      local lab = sim.lab { a = calls { "slow", "{}", "give_up", "{}", "slow", "{}" } }
      local mine
      local slept = 0
      local _, err = lab.client:run_tools("Go", {
        slow = tool(function() slept = slept + (surefoot.sleep(100) and 1 or 0) return "" end),
        give_up = tool(function(_, context)
          local canceller = surefoot.canceller()
          canceller:cancel()
          mine = select(2, context.client:chat("x", { cancel = canceller }))
          return f(mine)
        end),
      })
      assert.same({ "cancelled", mine.message, 0, 1 }, { err.kind, err.message, slept, lab.sim:now() })
      assert.is_nil(mine.partial)
      assert.equal(1, #err.partial.rounds)
      assert.equal("give_up", err.partial.rounds[1].calls[2].name)
      assert.is_true(#err.partial.pending_calls >= 1)
    end)
  end

  it("when the client is closed by a tool", function()
    local lab = sim.lab { a = calls { "f", "{}" } }
    local _, err = lab.client:run_tools("Go", { f = tool(function() lab.client:close() return "" end) })
    assert.equal("closed", err.kind)
  end)

  it("when no endpoint has the model", function()
    local lab = sim.lab({ a = says "x" }, { endpoints = { { name = "a", models = { "other" } } } })
    assert.equal("not_found", select(2, lab.client:run_tools("Go", {})).kind)
  end)
end)
