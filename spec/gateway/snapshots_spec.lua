-- The sum over all workers: exact, and never less than before, whoever is killed, and when.
local metrics = require "surefoot.gateway.metrics"
local sim = require "spec.support.sim"
local slots = require "surefoot.gateway.slots"
local snapshots = require "surefoot.gateway.snapshots"
local sums = require "surefoot.gateway.sums"
local worlds = require "spec.gateway.world"

local WIDTHS = { traffic = { width = 5, number = 3 } }

-- A worker that counts to n.
local function counting(world)
  local pid = world:process()
  local one = { pid = pid, count = 0, written = 0, gauges = { in_flight = 1 } }
  one.store = snapshots.new(world.dict, { pid = pid, now = world.clock, started = world.started, widths = WIDTHS })
  function one.publish(more)
    local content = { counters = { n = one.count, by = { a = one.count } }, recent = {}, gauges = one.gauges }
    for name, value in pairs(more or {}) do
      content[name] = value
    end
    local ok, problem = one.store:publish(content)
    if ok then
      one.written = one.count
    end
    return ok, problem
  end
  function one.total()
    one.publish()
    return one.store:sum().counters.n
  end
  return one
end

describe("snapshots of workers", function()
  local world

  before_each(function()
    world = worlds.new()
  end)

  it("add up", function()
    local a, b = counting(world), counting(world)
    a.count, b.count = 3, 4
    b.publish()
    assert.equal(7, a.total())
    assert.same({ a = 7 }, a.store:sum().counters.by)
    assert.equal(2, a.store:sum().workers)
    assert.same({ { in_flight = 1 }, { in_flight = 1 } }, a.store:sum().gauges)
  end)

  it("of one that is gone stay in the sum, and leave no gauge", function()
    local a, b = counting(world), counting(world)
    b.count = 4
    b.publish()
    world.alive[b.pid] = nil
    world.now = world.now + 10
    assert.equal(4, a.total())
    assert.equal(1, a.store:sum().workers)
    assert.equal(1, #a.store:sum().gauges)
    assert.is_true(a.store:fold())
    assert.equal(4, a.total())
    for name in pairs(world.dict.values) do
      assert.is_nil(name:find("worker:" .. b.pid, 1, true), "it is folded")
    end
  end)

  it("of one that is silent but there are kept as they are", function()
    local a, b = counting(world), counting(world)
    b.count = 4
    b.publish()
    world.now = world.now + 1000
    a.store:fold()
    assert.equal(2, a.store:sum().workers + 1) -- a has not published
    b.count = 5
    b.publish()
    assert.equal(5, a.total())
  end)

  it("of one that has said farewell are folded at once", function()
    local a, b = counting(world), counting(world)
    b.count = 4
    b.publish()
    b.store:leave()
    assert.equal(4, a.total())
    a.store:fold()
    assert.equal(4, a.total())
    assert.equal(1, a.store:sum().workers)
  end)

  it("of another process with the same pid are told apart", function()
    local a, b = counting(world), counting(world)
    b.count = 4
    b.publish()
    world.alive[b.pid] = "later"
    world.now = world.now + 4
    a.store:fold()
    local c = counting(world)
    c.pid = b.pid
    assert.equal(4, a.total())
    assert.equal(1, a.store:sum().workers)
  end)

  it("where nobody can tell who is there, are given up after a minute, and go on when that was wrong", function()
    local a, b = counting(world), counting(world)
    world.blind = true
    b.count = 4
    b.publish()
    world.now = world.now + 59
    a.store:fold()
    world.now = world.now + 2
    a.store:fold()
    assert.equal(4, a.total())
    b.count = 9
    assert.equal(9, b.total())
    assert.equal(9, a.total())
    world.now = world.now + 100
    a.publish()
    a.store:fold()
    b.count = 11
    assert.equal(11, b.total())
    assert.equal(11, a.total())
    assert.equal(2, a.store:sum().workers)
  end)

  it("tell that the dictionary is full, and lose nothing of what is in it", function()
    local a, b = counting(world), counting(world)
    b.count = 4
    b.publish()
    world.dict.capacity = 1
    a.count = 3
    assert.same({ nil, "no memory" }, { a.publish() })
    assert.equal(7, a.store:sum().counters.n, "this worker knows its own")
    world.alive[b.pid] = nil
    world.now = world.now + 10
    assert.same({ nil, "no memory" }, { a.store:fold() })
    assert.equal(7, a.store:sum().counters.n)
    world.dict.capacity = 2 ^ 20
    world.now = world.now + 10
    assert.is_true(a.store:fold())
    assert.equal(7, a.total())
  end)

  it("are added once by a reader, whenever another worker folds them", function()
    for at = 1, 12 do
      world = worlds.new()
      local a, b, c = counting(world), counting(world), counting(world)
      b.count, c.count = 4, 5
      b.publish()
      c.publish()
      a.publish()
      world.alive[b.pid] = nil
      world.now = world.now + 10
      local steps = 0
      world.dict.again = true
      function world.dict.meanwhile()
        steps = steps + 1
        if steps == at then
          c.store:fold()
        end
      end
      assert.equal(9, a.store:sum().counters.n, at)
      world.dict.meanwhile, world.dict.again = nil, false
      assert.is_true(steps >= 4)
    end
  end)

  it("keep the last minutes, also of those that are gone", function()
    local a, b = counting(world), counting(world)
    local now = world.now
    local function recent(n)
      return { recent = { traffic = { [("%.0f"):format(now)] = { answered = n } }, old = { x = { y = 1 } } } }
    end
    b.publish(recent(2))
    world.alive[b.pid] = nil
    a.publish(recent(3))
    assert.same({ [("%.0f"):format(now)] = { answered = 5 } }, a.store:sum().recent.traffic)
    world.now = now + 5
    a.store:fold()
    assert.same({ [("%.0f"):format(now)] = { answered = 5 } }, a.store:sum().recent.traffic)
    assert.is_nil(a.store:sum().recent.old)
    world.now = now + 15
    assert.same({}, a.store:sum().recent.traffic)
  end)

  it("bound the names of models, not their numbers", function()
    local a = world:worker()
    for i = 1, 13 do
      local b = world:worker()
      for k = 1, 90 do
        b:ended { model = ("model-%d-%d"):format(i, k) }
      end
      b:ended { model = "model-1-1" }
      assert.is_true(b:publish())
      world:kill(b)
      world.now = world.now + 10
      assert.is_true(a:publish())
    end
    local names, sum = 0, 0
    local operations = metrics.numbers(a.gateway).counters.gateway.operations
    for _, one in pairs(operations) do
      names, sum = names + 1, sum + one.duration.count
    end
    assert.equal(991, names, "eleven workers' names, and one for all others")
    assert.equal(13 * 91, sum)
    assert.equal(14, operations["chat\tmodel-1-1\ta\t"].duration.count)
    assert.equal(2 * 90, operations["chat\tother\ta\t"].duration.count)
    sim.settled()
  end)

  it("forget the names of those that were folded long ago", function()
    local a = counting(world)
    for _ = 1, 50 do
      local b = counting(world)
      b.count = 1
      b.publish()
      world.alive[b.pid] = nil
      world.now = world.now + 100
      a.publish()
      a.store:fold()
    end
    local names = 0
    for _ in world.dict.values["1:remainder"]:gmatch '"%d+%-t%d+%-%d+"' do
      names = names + 1
    end
    assert.is_true(names <= 7, names)
    assert.equal(50, a.total())
  end)

  it("begin when the first of them began", function()
    local a, b = counting(world), counting(world)
    assert.equal(5, a.store:since(5))
    assert.equal(5, b.store:since(9))
  end)
end)

-- Random lives: workers count, publish, fold, read, and are killed between any two steps that they take in the
-- dictionary. What a reader is told is never less than what any reader was told before, and in the end it is all that
-- was published.
describe("a sum over workers that are killed at random", function()
  local function life(seed)
    math.randomseed(seed)
    local world = worlds.new()
    local workers, told, lost = { counting(world) }, 0, 0
    local function bury(i)
      local one = table.remove(workers, i)
      world.alive[one.pid] = nil
      lost = lost + one.count -- what of it was published comes back below
      return one
    end
    local published = {}
    local function act(one)
      local what = math.random(4)
      if what == 1 then
        one.count = one.count + math.random(9)
      elseif what == 2 then
        one.publish()
      elseif what == 3 then
        one.store:fold()
      else
        local total = one.total()
        assert.is_true(total >= told, ("seed %d: %d after %d"):format(seed, total, told))
        told = total
      end
      published[one] = one.written
    end
    for _ = 1, 250 do
      world.now = world.now + math.random(0, 2)
      local i = math.random(#workers)
      local dies = math.random() < 0.1
      world.dict.fuse = dies and math.random(0, 12) or nil
      local ok, problem = pcall(act, workers[i])
      world.dict.fuse = nil
      if not ok then
        assert(type(problem) == "table" and problem[1] == "killed", problem)
        local text = world.dict.values["1:worker:" .. workers[i].store.id]
        published[workers[i]] = text and tonumber(text:match '"n":(%d+)') or published[workers[i]]
        bury(i)
      end
      while #workers < 3 do
        workers[#workers + 1] = counting(world)
      end
    end
    world.now = world.now + 100
    local reader, expected = workers[1], 0
    for i = 2, #workers do
      workers[i].publish()
      published[workers[i]] = workers[i].count
    end
    reader.publish()
    published[reader] = reader.count
    for _, count in pairs(published) do
      expected = expected + (count or 0)
    end
    reader.store:fold()
    assert.equal(expected, reader.total(), "seed " .. seed)
  end

  it("never goes back, and loses nothing that was published", function()
    for seed = 1, 60 do
      life(seed)
    end
  end)
end)

describe("counters", function()
  it("add up, grow and are lifted, however deep", function()
    local a = { n = 1, t = { x = 2, ["7"] = 1 }, name = "a" }
    assert.same({ n = 3, t = { x = 2, y = 1, ["7"] = 4 }, name = "a" },
      sums.add(sums.add({}, a), { n = 2, t = { y = 1, ["7"] = 3 } }))
    assert.same({ n = 1, t = { x = 2, ["7"] = 1 }, name = "a" }, a, "what is added is not changed")
    assert.same({ n = 0, t = { x = 1 }, name = "a" }, sums.since(a, { n = 1, t = { x = 1, ["7"] = 1 } }))
    assert.same({ n = 4, t = { x = 2, y = 5, ["7"] = 1 }, name = "a" },
      sums.lift({ n = 1, t = { x = 2, ["7"] = 1 }, name = "a" }, { n = 4, t = { x = 1, y = 5 } }))
  end)
end)

describe("slots", function()
  it("are one after the other, and the old ones go", function()
    local minutes = slots.new(5, 3)
    minutes:at(100).n = 1
    minutes:at(104).n = minutes:at(104).n + 1
    minutes:at(111).n = 5
    local series, first = slots.series(minutes.list, 5, 3, 112)
    assert.same({ { n = 2 }, false, { n = 5 } }, series)
    assert.equal(100, first)
    minutes:at(115).n = 7
    assert.same({ ["110"] = { n = 5 }, ["115"] = { n = 7 } }, minutes.list)
    minutes:at(100000)
    assert.same({ ["100000"] = {} }, minutes.list)
  end)

  it("stand a clock that is set back", function()
    local minutes = slots.new(5, 3)
    minutes:at(100).n = 1
    minutes:at(93).n = 2
    minutes:at(100).n = minutes:at(100).n + 1
    assert.same({ n = 2 }, minutes.list["100"])
  end)
end)

describe("processes", function()
  it("are known by when they were started", function()
    local process = require "spec.support.process"
    local own = process.self()
    assert.equal(tostring(process.started(own)), snapshots.started(own))
    assert.is_false(snapshots.started(4194304 + 7))
  end)
end)
