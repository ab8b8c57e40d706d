-- A process that had no file number left for a socket took the line for broken: its circuit opened, and calls failed
-- for seconds more once there were numbers again. The message spoke of a server that could not be reached.
local env = require "spec.support.env"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

-- Calls url while only so many numbers are left, then with plenty. Prints how each ended, and the circuit between.
local PROGRAM = [[
  local surefoot = require "surefoot"
  local url, left = arg[1], tonumber(arg[2])
  local client = surefoot.new {
    base_url = url, api_key = "sk-test-0123456789", model = "m", allow_plaintext = true, dns = { ip_version = 4 },
    retry = { max_attempts = 2, base_delay = 0.001 }, breaker = { failure_threshold = 1 },
  }
  surefoot.pollfd()
  local held = {}
  for i = 1, math.huge do
    held[i] = io.open "/dev/null"
    if not held[i] then break end
  end
  for _ = 1, left do
    table.remove(held):close()
  end
  local function ask()
    local _, err = client:chat "x"
    print(err and ("%s %s %d: %s"):format(err.kind, err.attempts[1].cause, #err.attempts, err.message) or "ok")
  end
  ask()
  local _, line = next(client:stats().endpoints)
  print(line.breaker)
  for _, file in ipairs(held) do
    file:close()
  end
  ask()
]]

local TOLD = "network open_files 2: too many open files: this process may have 40 (ulimit -n)\nclosed\n"

describe("without a number for a socket #once", function()
  local p, path

  setup(function()
    p = provider.start()
    path = os.tmpname()
    process.write(path, PROGRAM)
  end)

  teardown(function()
    os.remove(path)
    p:stop()
  end)

  local function run(url, left)
    local words = process.command { env.lua, "-l", "spec.helper", path, url, left }
    return env.check("ulimit -n 40; exec " .. words)
  end

  it("a call fails for lack of files, and the line is well when there are some", function()
    assert.equal(TOLD .. "ok\n", run(p.lines.a.url, 0))
  end)

  it("a name that cannot be looked up for it is not called unknown", function()
    assert.matches(TOLD, run("http://nonexistent.invalid/v1", 1), 1, true)
  end)
end)
