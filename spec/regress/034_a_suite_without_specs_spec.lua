-- A run in which no spec was found ended well.

local function last_lines(filter)
  local pipe = assert(io.popen("lua5.4 spec/support/suite.lua lua5.4 -- spec/lua/ids_spec.lua --filter " .. filter
    .. " 2>&1; echo status $?"))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

describe("the suite #once", function()
  it("fails when it finds nothing to test", function()
    local text = last_lines "nothing-is-called-this"
    assert.matches("no spec passed", text)
    assert.matches("0 passed, 1 failed, 0 skipped\nstatus 1\n$", text)
  end)

  it("passes when something did", function()
    assert.matches("\n[1-9]%d* passed, 0 failed, 0 skipped\nstatus 0\n$", last_lines ".")
  end)
end)
