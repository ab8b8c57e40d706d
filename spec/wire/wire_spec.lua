-- The Lua face of the parsers: what core gives to the rest of the library.
local core = require "surefoot.core"

local block = "Content-Type: application/json\r\nX-Request-ID:  abc \r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n"
  .. "broken line\r\nEmpty:\r\n"

describe("core.header", function()
  it("finds a header whatever its case", function()
    assert.are.equal("abc", core.header(block, "x-request-id"))
    assert.are.equal("a=1", core.header(block, "SET-COOKIE"))
    assert.are.equal("", core.header(block, "empty"))
    assert.is_nil(core.header(block, "broken line"))
    assert.is_nil(core.header("", "a"))
  end)
end)

describe("core.headers", function()
  it("gives names in lower case, repeated values joined", function()
    assert.are.same({ ["content-type"] = "application/json", ["x-request-id"] = "abc", ["set-cookie"] = "a=1, b=2",
      empty = "" },
      core.headers(block))
    assert.are.same({}, core.headers "")
    assert.are.same({ a = "1, 2, 3" }, core.headers "a: 1\nA: 2\na: 3")
  end)

  it("takes long names and many headers", function()
    local lines, wanted = {}, {}
    for i = 1, 500 do
      local name = ("x"):rep(i) .. "-Name"
      lines[i], wanted[name:lower()] = name .. ": " .. ("v"):rep(i), ("v"):rep(i)
    end
    assert.are.same(wanted, core.headers(table.concat(lines, "\r\n")))
  end)
end)

describe("core.retry_after", function()
  it("gives seconds and the server's word", function()
    assert.are.same({ 7, true }, { core.retry_after("retry-after: 7\nx-should-retry: true", 0) })
    assert.are.same({ n = 2, nil, false }, { n = 2, core.retry_after("x-should-retry: false", 0) })
    assert.are.equal(20, (core.retry_after("retry-after: Fri, 29 Sep 2023 16:26:57 GMT", 1696004797)))
    assert.is_nil((core.retry_after "retry-after: Fri, 29 Sep 2023 16:26:57 GMT"))
  end)
end)

describe("core.duration", function()
  it("reads Go's durations and plain seconds", function()
    assert.are.equal(360, core.duration "6m0s")
    assert.are.equal(0.012, core.duration "12ms")
    assert.are.equal(20, core.duration "20")
    assert.is_nil(core.duration "soon")
  end)
end)

describe("core.base64_floats", function()
  it("writes vectors as OpenAI's API does", function()
    assert.are.equal("", core.base64_floats {})
    assert.are.equal("AAAAPw==", core.base64_floats { 0.5 })
    assert.are.equal("AACAPwAAAMA=", core.base64_floats { 1, -2 })
    assert.are.equal("zczMPc3MTD6amZk+", core.base64_floats { 0.1, 0.2, 0.3 })
    assert.are.equal("zczMPc3MTD6amZk+AAAAAA==", core.base64_floats { 0.1, 0.2, 0.3, 0 })
  end)

  it("writes long ones", function()
    local vector = {}
    for i = 1, 3000 do
      vector[i] = 0.5
    end
    assert.are.equal(("AAAAPwAAAD8AAAA/"):rep(1000), core.base64_floats(vector))
  end)

  it("leaves what is no list of numbers", function()
    assert.is_nil(core.base64_floats { 1, "2" })
    assert.is_nil(core.base64_floats { {} })
    assert.has_error(function() core.base64_floats "AAAA" end)
  end)
end)

describe("core.kinds", function()
  it("are the kinds that errors know, and ok", function()
    local errors = require "surefoot.errors"
    for _, kind in ipairs(core.kinds) do
      assert.is_true(kind == "ok" or errors.kinds[kind] ~= nil, kind)
    end
    assert.is_true(#core.kinds > 20)
  end)
end)

describe("core.hinted", function()
  it("changes whether, not where", function()
    assert.are.equal("final", core.hinted("transient", false))
    assert.are.equal("transient", core.hinted("final", true))
    assert.are.equal("key", core.hinted("key", false))
    assert.are.equal("overloaded", core.hinted "overloaded")
    assert.has_error(function() core.hinted "nonsense" end)
  end)
end)

describe("core.random", function()
  it("is spread over [0, 1)", function()
    local sum = 0
    for _ = 1, 10000 do
      local x = core.random()
      assert.is_true(x >= 0 and x < 1)
      sum = sum + x
    end
    assert.is_near(0.5, sum / 10000, 0.02)
  end)
end)
