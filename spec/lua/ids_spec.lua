local ids = require "surefoot.ids"

describe("ids", function()
  it("are UUIDs of version 4, none twice", function()
    local seen, process = {}, {}
    for _ = 1, 2000 do
      local id = ids.new(process)
      assert.matches("^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$", id)
      assert.is_nil(seen[id])
      seen[id] = true
    end
  end)

  it("do not go on from bytes that another process holds", function()
    local opened, open = 0, io.open
    io.open = function(...) opened = opened + 1 return open(...) end
    ids.new "parent"
    ids.new "parent"
    local before = opened
    ids.new "child"
    io.open = open
    assert.equal(before + 1, opened)
  end)

  it("are unique even without a random source", function()
    local open = io.open
    io.open = function() end
    local seen = {}
    for i = 1, 500 do
      local id = ids.new("bare" .. i)
      assert.is_nil(seen[id])
      seen[id] = true
    end
    io.open = open
  end)
end)
