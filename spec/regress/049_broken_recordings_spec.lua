--- A recording that is a directory, or whose lines are no recording's, was told by the line of a program that nobody
--- had written, or not before an answer was needed.

local process = require "spec.support.process"
local surefoot = require "surefoot"

local HEAD = '{"recording":1,"endpoints":[{"name":"a"}]}\n'
local GOOD = [[{"endpoint":"a","request":{"method":"POST","path":"/chat/completions","sha256":"*","text":""},]]
  .. [["answer":{"after":1,"status":200,"headers":{},"body":"{}"}}]] .. "\n"

-- The text of an entry, with something else in one place.
local function entry(member, value)
  return (GOOD:gsub(('("%s":)[^,{}]+'):format(member), function(name) return name .. value end, 1))
end

local BROKEN = {
  { "\n", 1, "an empty document" },
  { "5\n", 1, "expected a table, got 5" },
  { "{}\n", 1, "recording: is required: 1" },
  { '{"recording":2,"endpoints":[{"name":"a"}]}\n', 1, "recording: expected one of 1, got 2" },
  { '{"recording":1}\n', 1, "endpoints: is required: the lines" },
  { '{"recording":1,"endpoints":[]}\n', 1, "endpoints: the list is empty" },
  { '{"recording":1,"endpoints":[5]}\n', 1, "endpoints[1]: expected a table, got 5" },
  { '{"recording":1,"endpoints":[{"name":5}]}\n', 1, "endpoints[1].name: expected a string that is not empty, got 5" },
  { '{"recording":1,"endpoints":[{"name":"a","models":{"only":5}}]}\n', 1,
    "endpoints[1].models.only: expected a list, each a string that is not empty, got 5" },
  { HEAD .. GOOD .. "5\n", 3, "expected a table, got 5" },
  { HEAD .. "\n" .. GOOD, 2, "an empty document" },
  { HEAD .. GOOD .. GOOD:sub(1, 50), 3, "the line ends early: " },
  { HEAD .. GOOD:gsub(":", "=", 1), 2, "Expected " },
  { HEAD .. "{}\n", 2, "endpoint: is required: the line that was asked" },
  { HEAD .. '{"endpoint":"a","request":5,"answer":{}}\n', 2, "request: expected a table, got 5" },
  { HEAD .. entry("method", "5"), 2, "request.method: expected a string that is not empty, got 5" },
  { HEAD .. entry("path", "5"), 2, "request.path: expected a string that is not empty, got 5" },
  { HEAD .. entry("sha256", "null"), 2, "request.sha256: expected a string that is not empty, got a userdata" },
  { HEAD .. entry("after", "-1"), 2, "answer.after: expected seconds, 0 or more (math.huge: none), got -1" },
  { HEAD .. entry("status", "7"), 2, "answer.status: expected a whole number from 100 to 999, got 7" },
  { HEAD .. entry("status", '200,"zz":1'), 2, "answer.zz: unknown key" },
  { HEAD .. GOOD:gsub('"body":"{}"', '"body_hex":"0g"'), 2, "answer.body_hex: expected pairs of hexadecimal digits" },
}

describe("a broken recording is told by its file and line:", function()
  local dir

  setup(function() dir = process.temp_dir() end)
  teardown(function() process.remove_dir(dir) end)

  local function refused(path, message)
    local ok, problem = pcall(surefoot.replay, path)
    assert.is_false(ok)
    assert.is_truthy(problem:find("surefoot.replay: " .. message, 1, true), problem)
    assert.is_nil(problem:find("replay.lua", 1, true), problem)
  end

  local function file_of(text)
    local path = dir .. "/recording.jsonl"
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    return path
  end

  for _, row in ipairs(BROKEN) do
    it(row[3], function()
      local path = file_of(row[1])
      refused(path, ("%s:%d: this is no recording of surefoot's: %s"):format(path, row[2], row[3]))
    end)
  end

  it("an empty file", function()
    local path = file_of ""
    refused(path, path .. ": the file is empty")
  end)

  it("lines that no client can have", function()
    local path = file_of '{"recording":1,"endpoints":[{"name":"a","preset":"zz"}]}'
    refused(path, 'endpoints[1].preset: no preset "zz"')
  end)

  it("a directory", function()
    refused(dir, dir .. ": Is a directory")
  end)

  it("and what is missing", function()
    refused(dir .. "/none", dir .. "/none: No such file or directory")
  end)

  it("but what is whole is read", function()
    assert(surefoot.replay(file_of(HEAD)))
    local client = surefoot.replay(file_of(HEAD .. GOOD .. GOOD:sub(1, -2)))
    local _, err = client:chat "Hi"
    assert.equal(200, err.status)
  end)
end)
