-- The lines of a file, and sets of their numbers.
local process = require "spec.support.process"

describe("the lines of a file", function()
  local core = require "surefoot.binding"
  local lines = require "surefoot.batch.lines"

  local function read(text, most, offset)
    local file_path = os.tmpname()
    process.write(file_path, text)
    local file = assert(core.file(file_path, "read"))
    local reader, list = lines.new(file, most or 1e9, offset), {}
    for line in function() return reader:next() end do
      list[#list + 1] = { line, reader.number, reader.start, reader.ended, reader.cut }
    end
    file:close()
    os.remove(file_path)
    return list
  end

  it("are read one by one", function()
    assert.same({}, read "")
    assert.same({ { "", 1, 0, true, false } }, read "\n")
    assert.same({ { "a", 1, 0, true, false }, { "", 2, 2, true, false }, { "bc", 3, 3, false, false } }, read "a\n\nbc")
    assert.same({ { "bc", 1, 2, true, false } }, read("a\nbc\n", nil, 2))
  end)

  it("may be longer than a block, and are cut where they are too long", function()
    local long = ("x"):rep(700000)
    local list = read("1\n" .. long .. "\n" .. long .. "\n3")
    assert.same({ 4, long, long, 1400004, "3" }, { #list, list[2][1], list[3][1], list[4][3], list[4][1] })
    list = read("1\n" .. long .. "\n22", 300000)
    assert.same({ 3, true, "22", false }, { #list, list[2][5], list[3][1], list[3][5] })
    assert.is_true(#list[2][1] <= 300000)
  end)
end)

describe("a set of lines", function()
  local line_set = require "surefoot.batch.line_set"

  it("knows what was put into it, and so does its text", function()
    local set, known, count = line_set.new(), {}, 0
    local seed = 7
    for _ = 1, 2000 do
      seed = (seed * 16807) % 2147483647
      local line = seed % 3000 + 1
      assert.equal(not known[line], set:add(line))
      count, known[line] = known[line] and count or count + 1, true
    end
    for line = 5, 3000, 5 do
      set:remove(line)
      count, known[line] = known[line] and count - 1 or count, nil
    end
    local copy = line_set.parse(set:text())
    for line = 1, 3100 do
      assert.same({ known[line] or false, known[line] or false }, { set:has(line), copy:has(line) })
    end
    assert.same({ count, count }, { set.count, copy.count })
    local listed = 0
    for line in copy:each() do
      assert.is_true(known[line])
      listed = listed + 1
    end
    assert.equal(count, listed)
  end)

  it("is short where lines stand in a row", function()
    local set = line_set.new()
    for line = 1, 1e5 do
      set:add(line)
    end
    assert.is_true(#set:text() < 40)
    assert.equal(1e5, line_set.parse(set:text()).count)
    assert.equal(0, line_set.parse("").count)
    assert.is_nil(line_set.parse "xyz")
    assert.is_nil(line_set.parse "fffffffffffff")
  end)
end)
