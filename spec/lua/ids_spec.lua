local ids = require "surefoot.ids"

local function distinct(count)
  local seen = {}
  for _ = 1, count do
    local id = ids.new()
    assert.matches("^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$", id)
    assert.is_nil(seen[id])
    seen[id] = true
  end
end

describe("ids", function()
  it("are UUIDs of version 4, none twice", function()
    distinct(2000)
  end)

  it("are unique even without a random source", function()
    local open = io.open
    finally(function() io.open = open end)
    io.open = function() end
    distinct(500)
  end)
end)
