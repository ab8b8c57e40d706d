-- Where a spec runs, and commands as specs judge them: status, output and errors apart. Processes that live on are
-- spec/support/process.lua's.

local process = require "spec.support.process"

local M = {}

---This interpreter, as the Makefile and pkg-config name it: "lua5.1" to "lua5.4", or "luajit".
M.variant = rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "%d%.%d"

---Runs programs of Lua like this one (with sanitizers, when this one has them).
M.lua = os.getenv "SUREFOOT_LUA" or M.variant

---The folder whose surefoot/core.so this interpreter loads.
M.build = os.getenv "SUREFOOT_BUILD" or "build/" .. M.variant

---PUC Lua 5.1 cannot yield across pcall, the iterator of a for loop, or a metamethod; the others can.
M.yields_everywhere = M.variant ~= "lua5.1"

-- What not every Lua has: in words, and whether this one does.
local FEATURES = {
  closing = { "closes what a loop or a block held", _VERSION == "Lua 5.4" },
  ephemerons = { "collects weak keys that their values refer to", _VERSION ~= "Lua 5.1" },
  pairs = { "asks __pairs", _VERSION ~= "Lua 5.1" },
}

---True under the sanitizers.
M.sanitized = M.build:find "asan" ~= nil

---Runs a command to its end.
---@param argv string[]|string a list of words, or a shell line
---@param options? { cwd?: string, env?: table<string, string> }
---@return { status: integer, stdout: string, stderr: string }
function M.run(argv, options)
  options = options or {}
  local words = { "env" }
  for name, value in pairs(options.env or {}) do
    words[#words + 1] = name .. "=" .. value
  end
  if type(argv) == "string" then
    argv = { "sh", "-c", argv }
  end
  for _, word in ipairs(argv) do
    words[#words + 1] = word
  end
  local errors = os.tmpname()
  local place = "cd " .. process.quote(options.cwd or ".") .. " && "
  local stdout, status = process.capture(place .. process.command(words) .. " </dev/null 2>" .. process.quote(errors))
  local stderr = process.read(errors)
  os.remove(errors)
  return { status = status, stdout = stdout, stderr = stderr }
end

---The same, for a command that must succeed.
---@return string stdout
function M.check(argv, options)
  local result = M.run(argv, options)
  if result.status ~= 0 then
    local line = type(argv) == "table" and table.concat(argv, " ") or argv
    error(("%s: status %d\n%s%s"):format(line, result.status, result.stdout, result.stderr), 2)
  end
  return result.stdout
end

-- The globals that a function sees.
local function globals_of(f)
  if getfenv then
    return getfenv(f)
  end
  for i = 1, math.huge do
    local name, value = debug.getupvalue(f, i)
    if name == "_ENV" or not name then
      return value
    end
  end
end

-- The running test's own `pending`, which ends it; the one that busted gives to everybody declares a test.
local function pending_of_test()
  local level, info = 3, debug.getinfo(3, "f")
  while info do
    local globals = globals_of(info.func)
    if globals and globals.pending and globals.finally then -- only tests can say finally
      return globals.pending
    end
    level = level + 1
    info = debug.getinfo(level, "f")
  end
end

---Leaves the running test out, and says so: in the report and on the terminal.
---@param reason string what is missing, and which package has it
function M.skip(reason)
  io.stderr:write("\nskipped: ", reason, "\n")
  pending_of_test()(reason)
end

---Leaves the running test out where this Lua cannot do what it is about.
---@param feature "closing" | "ephemerons" | "pairs"
function M.need_of_lua(feature)
  local words, is_here = FEATURES[feature][1], FEATURES[feature][2]
  if not is_here then
    M.skip(("not every Lua %s, and %s does not"):format(words, M.variant))
  end
end

-- What must go well where a program is of any use: containers may forbid it.
local TRIALS = { strace = { "strace", "-o", "/dev/null", "true" } }

---Leaves the running test out when a program is missing, or may not work here.
---@param name string
---@param package string the Debian package that has it
function M.need(name, package)
  if not process.which(name) then
    M.skip(("%s was not found: install the package %s"):format(name, package))
  end
  local tried = TRIALS[name] and M.run(TRIALS[name])
  if tried and tried.status ~= 0 then
    M.skip(("%s does not work here: %s"):format(name, tried.stderr:match "[^\n]*"))
  end
end

return M
