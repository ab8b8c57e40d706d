-- policy.wrap moved what a function returns with table.remove, which loses count where there are nils.
local policy = require "surefoot.policy"

local function pack(...)
  return { n = select("#", ...), ... }
end

describe("a guarded function", function()
  it("returns all its values, nils too", function()
    local guarded = policy.wrap(function() return 1, nil, nil, 4, nil, nil end)
    assert.same({ n = 6, [1] = 1, [4] = 4 }, pack(guarded()))
    assert.same({ n = 0 }, pack(policy.wrap(function() end)()))
    assert.same({ n = 3 }, pack(policy.wrap(function() return nil, nil, nil end)()))
  end)
end)
