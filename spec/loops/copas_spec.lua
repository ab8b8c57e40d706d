-- Calls in coroutines of copas: they wait by it, it goes on, and ends by itself where it can. Tried on the copas that
-- is installed (Debian's is one before 4), on a stand-in of copas 4, and on a real one where COPAS_CHECKOUT names a
-- folder whose src/ has it, and what it needs in turn: binaryheap, timerwheel, coxpcall.

local Ear = require "surefoot.loop.copas.ear"
local env = require "spec.support.env"
local owned = require "spec.loops.owned"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local socket = require "socket"
local surefoot = require "surefoot"

-- copas is there for its own specs alone: the other specs' coroutines are not its own, and LuaSocket's functions that
-- it replaces are everybody's. Before 4 it does not load after socket.http.
local function library(path, name)
  local had, http, kept = package.loaded.copas, package.loaded["socket.http"], {}
  for _, key in ipairs { "protect", "newtry", "try" } do
    kept[key] = socket[key]
  end
  local search = package.path
  package.path, package.loaded.copas, package.loaded["socket.http"] = path .. search, nil, nil
  local ok, copas = pcall(require, name)
  local _ = ok and copas.semaphore -- copas 4 loads it when it is first wanted
  package.path, package.loaded.copas, package.loaded["socket.http"] = search, had, http
  package.loaded[name] = had
  for key, value in pairs(kept) do
    socket[key] = value
  end
  return ok and copas or nil, copas
end

-- A home in which that copas turns.
local function home_of(copas)
  local home, threads, errors, sockets = {}, {}, {}, {}
  local had_print = print

  local function note(message)
    errors[#errors + 1] = tostring(message)
  end

  function home.enter()
    package.loaded.copas, threads, errors = copas, {}, {}
    if copas.seterrorhandler then
      copas.seterrorhandler(note, true)
    else
      _G.print = note -- by which copas shows them
    end
  end

  function home.leave()
    package.loaded.copas, _G.print = nil, had_print
    for _, one in ipairs(sockets) do
      one:close()
    end
    sockets = {}
  end

  function home.spawn(f)
    threads[#threads + 1] = copas.addthread(f)
  end

  local function all_ended()
    if copas.finished then
      return copas.finished()
    end
    for _, co in ipairs(threads) do
      if coroutine.status(co) ~= "dead" then
        return false
      end
    end
    return true
  end

  -- Before copas 4 the loop has no end: it must only be asked for nothing of ours any more.
  local function turn_to_the_end(deadline)
    local select, ears = socket.select, 0
    function socket.select(reading, ...)
      ears = 0
      for _, object in ipairs(reading or {}) do
        ears = ears + (getmetatable(object) == Ear and 1 or 0)
      end
      return select(reading, ...)
    end
    local ok, problem = pcall(function()
      repeat
        local was_over = all_ended()
        copas.step(was_over and 0 or 0.5)
        assert(surefoot.now() < deadline, "the loop did not end")
      until was_over and ears == 0 and all_ended()
    end)
    socket.select = select
    assert(ok, problem)
  end

  function home.run()
    turn_to_the_end(surefoot.now() + 20 * pace)
    local list = table.concat(errors, "\n")
    errors = {}
    return list
  end

  -- By turns with another coroutine, through sockets, or by a timer where there are timers.
  function home.tick()
    if copas.pause then
      return copas.pause(0.01)
    end
    local mine = sockets[1]
    if not mine then
      mine = socket.udp()
      local other = socket.udp()
      sockets = { mine, other }
      for _, one in ipairs(sockets) do
        one:settimeout(0)
        assert(one:setsockname("127.0.0.1", 0))
      end
      mine:setpeername(other:getsockname())
      other:setpeername(mine:getsockname())
      copas.addthread(function()
        repeat
          socket.sleep(0.001)
          local word = copas.receive(other, 10)
        until not word or not other:send(word)
      end)
    end
    mine:send "tick"
    copas.receive(mine, 10)
  end

  return home
end

local checkout = os.getenv "COPAS_CHECKOUT"
local kinds = {
  { name = "the copas that is installed", library = library("", "copas"),
    why = "copas was not found for " .. env.lua .. ": install the package lua-copas" },
  { name = "a stand-in of copas 4", library = library("", "spec.loops.copas4") },
}
if checkout then
  local copas, why = library(checkout .. "/src/?.lua;", "copas")
  kinds[3] = { name = "the copas of COPAS_CHECKOUT", library = copas, why = why, path = checkout .. "/src/?.lua" }
end

for _, one in ipairs(kinds) do
  describe(one.name, function()
    local p, copas = nil, one.library
    if not copas then
      it("waits", function() env.skip(tostring(one.why)) end)
      return
    end

    setup(function() p = provider.start { lines = { "a" } } end)
    teardown(function() p:stop() end)

    local home = home_of(copas)
    local it_here = owned.describe(it, home, function() return p end)
    local before_4 = not copas.pauseforever

    it_here("blocks where the loop turns in a coroutine", function(client)
      local text
      home.spawn(function() text = assert(client:chat "x").text end)
      assert.equal("", coroutine.wrap(home.run)())
      assert.equal("echo: x", text)
    end)

    if copas.finished then
      it_here("lets copas.loop end", function(client)
        local text
        copas.addthread(function() text = assert(client:chat "x").text end)
        copas.loop()
        assert.equal("echo: x", text)
      end)

      it_here("is not confused by strangers that wake its coroutines up", function(client)
        p:profile("a", { delay = 0.05 })
        local texts = {}
        for i = 1, 2 do
          local co
          co = copas.addthread(function() texts[i] = assert(client:chat("x" .. i)).text end)
          home.spawn(function()
            for _ = 1, 3 do
              copas.pause(0.01)
              copas.wakeup(co)
            end
          end)
        end
        assert.equal("", home.run())
        assert.same({ "echo: x1", "echo: x2" }, texts)
      end)
    end

    if copas.addserver then
      -- Before copas 4 it closes what a handler has waited for last, which must not be anybody's.
      it_here("answers in a server's handler", function(client)
        local server, texts = assert(socket.bind("127.0.0.1", 0)), {}
        copas.addserver(server, function(peer)
          local word = copas.receive(peer)
          local stream = assert(client:stream(word))
          local text = assert(client:chat(word)).text .. ", " .. assert(stream:result()).text
          copas.send(peer, text .. "\n")
          if before_4 then
            peer:close()
          end
        end)
        local _, port = server:getsockname()
        for i = 1, 4 do
          home.spawn(function()
            local peer = socket.tcp()
            peer:settimeout(0)
            assert(copas.connect(peer, "127.0.0.1", tonumber(port)))
            assert(copas.send(peer, "x" .. i .. "\n"))
            local text = assert(copas.receive(peer, "*l"))
            assert.equal("closed", (select(2, copas.receive(peer, "*l"))))
            peer:close()
            texts[#texts + 1] = text
            if #texts == 4 then
              (copas.removeserver or server.close)(server)
            end
          end)
        end
        assert.equal("", home.run())
        table.sort(texts)
        assert.same({ "echo: x1, echo: x1", "echo: x2, echo: x2", "echo: x3, echo: x3", "echo: x4, echo: x4" }, texts)
      end)
    end

    if copas.removethread then
      it_here("gives up what a removed thread waited for, be it the first or not", function(client)
        p:profile("a", { fault = "hang" })
        local victims, kind, other = {}, nil, surefoot.canceller()
        for i = 1, 3 do
          victims[i] = copas.addthread(function()
            client:chat "x"
            error "it went on"
          end)
        end
        victims[4] = copas.addthread(function()
          surefoot.sleep(0.6)
          error "it went on"
        end)
        home.spawn(function() kind = select(2, client:chat("y", { cancel = other })).kind end)
        home.spawn(function()
          repeat
            surefoot.sleep(0.01)
          until p:counters("a").in_flight == 4
          for i = 1, 4 do
            copas.removethread(victims[i])
            repeat
              surefoot.sleep(0.01)
            until p:counters("a").aborted >= math.min(i, 3)
          end
          other:cancel()
        end)
        local began = surefoot.now()
        assert.equal("", home.run())
        assert.equal("cancelled", kind)
        assert.is_true(surefoot.now() - began < 0.4 * pace)
        surefoot.sleep(0.6) -- its timer goes on
      end)
    end

    if copas.cancelall then
      it_here("gives up everything with copas", function(client)
        p:profile("a", { fault = "hang" })
        for _ = 1, 3 do
          home.spawn(function()
            local _, err = client:chat "x"
            assert.equal("cancelled", err.kind) -- what was to go on in this turn does
          end)
        end
        home.spawn(function()
          repeat
            surefoot.sleep(0.01)
          until p:counters("a").in_flight == 3
          copas.cancelall()
        end)
        assert.equal("", home.run())
        assert(p:wait("a", function(c) return c.aborted == 3 end))
        p:profile("a", {})
        local text
        home.spawn(function() text = assert(client:chat "x").text end)
        assert.equal("", home.run())
        assert.equal("echo: x", text)
      end)
    end

    if copas.addserver then
      it("has an example", function()
        p:reset()
        p:profile("a", { delay = 0.3 * pace, answer = { chunks = 5 } })
        local port, path = provider.free_ports(1)[1], (one.path or "") .. ";;"
        local pid = process.spawn { "env", "LUA_PATH=" .. path, env.lua, "-l", "spec.helper", "examples/copas.lua",
          p.lines.a.url, "m", tostring(port) }
        local peers = {}
        finally(function()
          process.stop(pid)
          for i = 1, #peers do
            peers[i]:close()
          end
        end)
        for i = 1, 3 do
          peers[i] = assert(process.wait_for(function() return socket.connect("127.0.0.1", port) end))
          peers[i]:settimeout(10 * pace)
          peers[i]:send(i < 3 and "line " .. i .. "\n" or "")
        end
        assert(p:wait("a", function(c) return c.in_flight == 2 end))
        peers[3]:send "?\n"
        assert.equal("2 waiting", peers[3]:receive())
        assert.same({ "echo: line 1", "echo: line 2" }, { peers[1]:receive(), (peers[2]:receive()) })
        p:profile("a", { status = { code = 401 } })
        peers[3]:send "line 3\n"
        assert.matches("^failed: unauthorized: ", (peers[3]:receive()))
        assert.is_true(process.alive(pid))
      end)
    end
  end)
end
