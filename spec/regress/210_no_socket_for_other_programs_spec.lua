-- libcurl opens its sockets without FD_CLOEXEC: every program that was started while a call was in flight held its
-- connection open. Neither these nor what the engine itself keeps is handed on.
local leaks = require "spec.support.leaks"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

local function listing()
  local pipe = io.popen "ls -l /proc/self/fd"
  local text = pipe:read "*a"
  pipe:close()
  return text
end

-- The sockets that this process has, but those that are no connections: libcurl's own, between its threads.
local function connections()
  local inodes, file = {}, assert(io.open "/proc/self/net/tcp")
  local known = file:read "*a"
  file:close()
  for _, target in ipairs(leaks.open_files()) do
    local inode = target:match "socket:%[(%d+)%]$"
    if inode and known:find(" " .. inode .. " ", 1, true) then
      inodes[#inodes + 1] = inode
    end
  end
  return inodes
end

describe("a program that is started meanwhile #once", function()
  it("gets no connection, and nothing of the engine", function()
    local p = provider.start { tls = true }
    p:profile("a", { by_model = { slow = { fault = "hang" } } })
    leaks.close_engine()
    local before = listing()
    local others = {}
    for _, inode in ipairs(connections()) do
      others[inode] = true
    end
    local clients = {}
    for i, url in ipairs { p.lines.a.url, p.lines.a.tls_url } do
      clients[i] = surefoot.new { base_url = url, api_key = "sk-test-0123456789", model = "m",
        tls = { ca_file = p.ca_file } }
      assert(clients[i]:chat "kept")
    end
    surefoot.pollfd()
    local tasks = {}
    for i, client in ipairs(clients) do
      tasks[i] = surefoot.spawn(function()
        client:chat { model = "slow", messages = { { role = "user", content = "x" } } }
      end)
    end
    assert(p:wait("a", function(counters)
      surefoot.step()
      return counters.in_flight == 2
    end))
    local after, ours = listing(), 0
    assert.equal(select(2, before:gsub("anon_inode", "")), select(2, after:gsub("anon_inode", "")), after)
    for _, inode in ipairs(connections()) do
      if not others[inode] then
        ours = ours + 1
        assert.is_nil(after:find("socket:[" .. inode .. "]", 1, true), after)
      end
    end
    assert.is_true(ours >= 2)
    for i, client in ipairs(clients) do
      tasks[i]:cancel()
      client:close()
    end
    leaks.close_engine()
    p:stop()
  end)
end)
