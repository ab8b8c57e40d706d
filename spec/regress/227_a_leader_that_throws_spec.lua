-- Where Lua does not close what a loop held, a leader whose wait threw led on until it was collected: nobody turned the
-- engine for the others.

local crews = require "surefoot.loop.crew"
local env = require "spec.support.env"

describe("a leader whose wait throws", function()
  it("is followed by another at once", function()
    if not env.yields_everywhere then
      env.skip "Lua 5.1 cannot wait under pcall"
      return
    end
    local abandoned, lost, leader, fails = {}, {}, nil, false
    local scheduler = {
      abandon = function(_, token) abandoned[#abandoned + 1] = token.name end,
      lost = function(_, token) lost[#lost + 1] = token.name end,
    }
    local crew = crews.new(scheduler, function(token) token.is_roused = true end)
    local function lead(token)
      leader = token.name
      coroutine.yield()
      if fails then
        fails = false
        error("bad descriptor", 0)
      end
    end
    local tokens, threads = {}, {}
    for i = 1, 2 do
      tokens[i] = { name = i }
      threads[i] = coroutine.create(function()
        local ok, problem = pcall(crew.wait, crew, tokens[i], lead, coroutine.yield)
        coroutine.yield(ok, problem)
      end)
      assert(coroutine.resume(threads[i]))
    end
    assert.equal(1, leader)
    fails = true
    assert.same({ true, false, "bad descriptor" }, { coroutine.resume(threads[1]) })
    assert.is_true(tokens[2].is_roused)
    assert(coroutine.resume(threads[2]))
    assert.equal(2, leader)
    assert.same({ { 1 }, {} }, { abandoned, lost })
  end)
end)
