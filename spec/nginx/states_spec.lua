-- lua_code_cache off: every request has a Lua state of its own, with an engine and a doorbell of its own, and closes it
-- soon after. All answer, what they lent comes back, and nobody who still works for one finds the module gone.

local build = require "spec.support.build"
local lab = require "spec.nginx.lab"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local usage = require "spec.support.usage"

local LOOKUPS = 3

describe("a Lua state for every request of nginx #once", function()
  local p, n, worker, files, slow

  local function get(path)
    local response = assert(n:get(path))
    assert.equal(200, response.status, response.body)
    return response.body
  end

  local function at_rest()
    return process.wait_for(function() return usage.threads(worker) == 1 end, 5 * nginx.pace)
  end

  -- Each goes on for 3 s in a thread of libcurl, after the state that began it was closed.
  local function look_up()
    assert.equal("timeout connect", slow and get "/slow" or "timeout connect")
  end

  setup(function()
    p = provider.start()
    if not nginx.sanitized then -- two libraries that must both be loaded first
      slow = { LD_PRELOAD = build.library "spec/integration/slow_names.c" }
    end
    n = lab.start(p, {
      code_cache = false, env = slow,
      init = "", -- nothing but the requests loads the module: it would go with their states if it were not held
      locations = {
        ["/chat"] = [[local lab = require "lab" lab.tell(lab.client:chat(ngx.var.arg_x))]],
        ["/slow"] = [[
          local client = require("surefoot").new {
            base_url = "https://api.slow.invalid/v1", api_key = "sk-test-0123456789", model = "m",
            timeout = { connect = 0.1 }, retry = { max_attempts = 1 },
          }
          local _, err = client:chat "x"
          ngx.print(err.kind, " ", err.phase)
        ]],
      },
    })
    worker = n:workers()[1]
    get "/chat?x=first"
    assert(at_rest())
    files = usage.files(worker)
  end)

  teardown(function()
    n:stop({}, "QUIT") -- a state that is cut off complains of its semaphores
    assert.same({}, p:errors())
    p:stop()
    build.clean()
  end)

  it("answers, and gives back its threads and files, even while names are looked up", function()
    for _ = 1, LOOKUPS do
      look_up()
    end
    p:profile("a", { delay = 0.02 })
    for round = 1, 2 do
      local connections = {}
      for i = 1, 20 do
        connections[i] = n:open(("/chat?x=%d-%d"):format(round, i), { Connection = "close" })
      end
      for i = 1, 20 do
        assert.equal(("echo: %d-%d"):format(round, i), assert(connections[i]:response()).body)
        connections[i]:close()
      end
    end
    assert(at_rest(), "threads are left")
    assert(process.wait_for(function() return usage.files(worker) <= files end, nginx.pace), "files are left open")
    assert.same({ worker }, n:workers())
  end)

  it("keeps no worker from leaving, though a name is being looked up", function()
    look_up()
    local old = n:reload()
    assert.is_number(n:gone(old, 2 * nginx.pace))
    assert.equal("echo: next", get "/chat?x=next")
  end)
end)
