--- What a simulation's script returned was told in the core's words, as argument 3 of a function that nobody had
--- called, or not at all: a status of -1 was an answer, a header without a line was no header.

local simulate = require("surefoot").simulate

local huge, nan = math.huge, 0 / 0

local REFUSED = {
  { { after = -1 }, "after: expected seconds, 0 or more (math.huge: none), got -1" },
  { { after = nan }, "after: expected seconds, 0 or more (math.huge: none), got NaN" },
  { { after = -huge }, "after: expected seconds, 0 or more (math.huge: none), got -inf" },
  { { after = "1" }, 'after: expected seconds, 0 or more (math.huge: none), got "1"' },
  { { connect = -1 }, "connect: expected seconds, 0 or more (math.huge: none), got -1" },
  { { status = -1 }, "status: expected a whole number from 100 to 999, got -1" },
  { { status = 200.5 }, "status: expected a whole number from 100 to 999, got 200.5" },
  { { status = nan }, "status: expected a whole number from 100 to 999, got NaN" },
  { { status = 1e10 }, "status: expected a whole number from 100 to 999, got 10000000000" },
  { { body = 5 }, "body: expected a string, or a table (JSON), got 5" },
  { { body = true }, "body: expected a string, or a table (JSON), got true" },
  { { body = { f = print } }, "body.f: a function cannot be written as JSON" },
  { { body = { nan } }, "body[1]: NaN is no JSON number" },
  { { text = 5 }, "text: expected a string, got 5" },
  { { text = "\255" }, "text: invalid UTF-8 at byte 1 of 1 (0xFF)" },
  { { headers = { a = true } }, "headers.a: expected a string, a number, or a list of those, got true" },
  { { headers = { a = { "1", {} } } }, "headers.a[2]: expected a string, a number, or a list of those, got a table" },
  { { headers = { "a: 1" } }, "headers[1]: is no header name" },
  { { headers = { ["a b"] = "1" } }, 'headers["a b"]: is no header name' },
  { { headers = { a = "1\r\nb: 2" } }, "headers.a: contains a line break or a NUL byte" },
  { { events = { data = "x" } }, "events.data: a list is expected here, without names" },
  { { events = { 5 } }, "events[1]: expected a table, got 5" },
  { { events = { { data = 5 } } }, "events[1].data: expected a string, or a table (JSON), got 5" },
  { { events = { { at = 1 } } }, "events[1].data: is required: what is sent" },
  { { events = { { at = -1, data = "x" } } },
    "events[1].at: expected seconds, 0 or more (math.huge: none), got -1" },
  { { events = { { data = "x", after = 1 } } }, "events[1].after: unknown key; known are at, data" },
  { { events = { { data = "[DONE]" }, { data = { f = print } } } }, "events[2].data.f: a function cannot be written" },
  { { events = { { data = ": comment\n\n" }, { data = {} } } },
    "events[2].data: expected a string, got a table: it stands for an event where all of them do" },
  { { fault = "explode" }, 'fault: expected one of "hang", "reset", "cut", got "explode"' },
  { { fail = "dns" }, 'fail: expected one of "resolve", "connect", "tls", got "dns"' },
  { { reused = 1 }, "reused: expected true or false, got 1" },
  { { afer = 1 }, 'afer: unknown key; did you mean "after"?' },
  { { [5] = 1 }, "[5]: unknown key; known are after, status" },
  { { text = "x", body = "y" }, "give one of body, text and events" },
  { "text", 'expected a table, got "text"' },
}

describe("what a script returns is looked at:", function()
  for _, row in ipairs(REFUSED) do
    it(row[2], function()
      local sim = simulate { endpoints = { a = function() return row[1] end } }
      local client = sim:client { retry = { max_attempts = 1 } }
      local ok, problem = pcall(client.stream, client, "Hi")
      assert.is_false(ok)
      local message = 'surefoot.simulate: the script of "a", request 1: ' .. row[2]
      assert.is_truthy(tostring(problem):find(message, 1, true), tostring(problem))
    end)
  end

  it("a table for an event, though the request asks for no stream", function()
    local sim = simulate { endpoints = { a = function() return { events = { { data = {} } } } end } }
    local client = sim:client {}
    local ok, problem = pcall(client.chat, client, "Hi")
    assert.is_false(ok)
    assert.is_truthy(problem:find("events[1].data: expected a string, got a table: the request asks for no stream", 1,
      true), problem)
  end)

  it("nothing is said of what is right", function()
    for _, script in ipairs { { after = huge }, { connect = 1, after = 0.5, status = 599, body = {} }, { body = "" },
      { headers = { ["Retry-After"] = { 1, "2" }, ["X-A"] = 1.5 }, text = "" }, { events = {} }, {},
      { fault = "cut", text = "x", reused = true } } do
      local sim = simulate { endpoints = { a = function() return script end } }
      sim:client({ retry = { max_attempts = 1 } }):chat "Hi"
    end
  end)
end)

describe("a simulation", function()
  it("has lines with names", function()
    assert.error_matches(function() simulate { endpoints = { [""] = print } } end, "names with functions")
  end)

  it("runs for a time, or until all is done", function()
    local sim = simulate { endpoints = {} }
    for value, shown in pairs { [-1] = "%-1", ["5"] = '"5"', [true] = "true", [{}] = "a table" } do
      assert.error_matches(function() sim:run(value) end, "run: seconds: expected seconds, 0 or more.*, got " .. shown)
    end
    assert.error_matches(function() sim:run(nan) end, "run: seconds: expected seconds, 0 or more.*, got NaN")
    sim:run(huge)
    sim:run(2)
    assert.equal(2, sim:now())
  end)
end)
