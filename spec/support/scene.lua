-- What specs of calls to a real provider have in common: one provider for all of a block, as new before each test and
-- without a complaint at the end, and clients that leave nothing behind.

local assert = require "luassert"
local busted = require "busted"
local leaks = require "spec.support.leaks"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

local M = {}

local unpack = table.unpack or unpack

---Sets the scene for the block that is being described. What the block itself does after each test comes later: what
---still needs a client belongs into a block within.
---@param options table of provider.start
---@return table provider stands for the one that is running, in tests and in what the block registers after this
---@return fun(config: table): surefoot.Client client_of whose calls must have ended after the test
function M.of(options)
  local running, clients, before

  busted.setup(function()
    running = provider.start(options)
  end)

  busted.teardown(function()
    local errors = running:errors()
    running:stop()
    assert.same({}, errors)
  end)

  busted.before_each(function()
    running:reset()
    clients = {}
    before = leaks.begin()
  end)

  busted.after_each(function()
    leaks.check(before, unpack(clients))
    for _, client in ipairs(clients) do
      client:close()
    end
  end)

  return setmetatable({}, { __index = function(_, name) return running[name] end }), function(config)
    local client = surefoot.new(config)
    clients[#clients + 1] = client
    return client
  end
end

return M
