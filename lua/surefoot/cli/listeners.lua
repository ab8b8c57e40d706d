--- Who listens on an address already, as /proc tells it, and what to do about that.

local M = {}

local LISTENS = "0A" -- the state of a socket in /proc/net/tcp
local ACCEPTS = "00010000" -- the flags of one in /proc/net/unix

local function read(name)
  local file = io.open(name, "rb")
  local text = file and file:read "*a"
  if file then
    file:close()
  end
  return text or ""
end

-- The inodes of sockets that listen there.
local function inodes_of(address)
  local list = {}
  if address.host then
    local port = (":%04X"):format(tonumber(address.port))
    for line in (read "/proc/net/tcp" .. read "/proc/net/tcp6"):gmatch "[^\n]+" do
      local place, state, inode = line:match "^%s*%d+: %x+(:%x+) %x+:%x+ (%x%x) %S+ %S+ %S+ +%d+ +%d+ (%d+)"
      list[#list + 1] = place == port and state == LISTENS and inode or nil
    end
  else
    local path = address.text:match "^unix:(.*)"
    for line in read "/proc/net/unix":gmatch "[^\n]+" do
      local flags, inode, name = line:match "^%x+: %x+ %x+ (%x+) %x+ %x+ +(%d+) (.+)$"
      list[#list + 1] = flags == ACCEPTS and name == path and inode or nil
    end
  end
  return list
end

-- When a process began, in clock ticks since the machine did.
local function start_of(pid)
  return tonumber(read("/proc/" .. pid .. "/stat"):match("^.*%)" .. ("%s%S+"):rep(19) .. " (%d+)")) or math.huge
end

-- Processes that have them open, as far as this one may look, the oldest first: numbers begin anew at some time.
local function holders(inodes)
  local tests = {}
  for i, inode in ipairs(inodes) do
    tests[i] = ("-lname 'socket:\\[%s\\]'"):format(inode)
  end
  local pids, starts = {}, {}
  if #tests > 0 then
    local pipe = io.popen(("find /proc/[0-9]*/fd %s 2>/dev/null"):format(table.concat(tests, " -o ")), "r")
    for line in pipe:lines() do
      local pid = line:match "^/proc/(%d+)/"
      if not starts[pid] then
        starts[pid], pids[#pids + 1] = start_of(pid), pid
      end
    end
    pipe:close()
  end
  table.sort(pids, function(a, b)
    if starts[a] ~= starts[b] then
      return starts[a] < starts[b]
    end
    return tonumber(a) < tonumber(b)
  end)
  return pids
end

local function command_of(pid)
  return (read("/proc/" .. pid .. "/cmdline"):gsub("%z+$", ""):gsub("%z", " "))
end

local function parent_of(pid)
  return read("/proc/" .. pid .. "/stat"):match "^.*%) %a (%d+)"
end

local function is_gateway(pid)
  return read("/proc/" .. pid .. "/maps"):find("/surefoot/core.so", 1, true) ~= nil
end

-- A worker of a gateway whose master was killed: it goes on to serve, and nobody will end it.
local function is_orphan(pid)
  return command_of(pid):find "^nginx: worker" ~= nil and is_gateway(pid)
    and not command_of(parent_of(pid) or ""):find "nginx: master"
end

--- Who it is, in words.
---@param address surefoot.gateway.Address
---@return string
function M.told(address)
  local orphans, others, inodes = {}, {}, inodes_of(address)
  if not address.port and #inodes == 0 then
    return "what lies there is not a gateway's, or another container's"
  end
  for _, pid in ipairs(holders(inodes)) do
    if is_orphan(pid) then
      orphans[#orphans + 1] = pid
    elseif command_of(pid):find "^nginx: master" and is_gateway(pid) then
      return ("the surefoot gateway with pid %s listens there"):format(pid)
    else
      others[#others + 1] = ("%s (pid %s)"):format(read("/proc/" .. pid .. "/comm"):gsub("%c", ""), pid)
    end
  end
  if #orphans > 0 then
    return ("workers of a surefoot gateway whose master was killed still serve there: kill %s ends them"):format(
      table.concat(orphans, " "))
  elseif #others > 0 then
    return others[1] .. " listens there" -- the rest has inherited it, we perhaps among them
  end
  return "another program listens there" .. (address.port
    and (" (ss -ltnp 'sport = :%s' names it)"):format(address.port) or "")
end

return M
