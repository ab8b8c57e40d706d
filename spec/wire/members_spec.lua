-- core.members: where values stand in a JSON text, compared with what lua-cjson decodes, over generated documents that
-- are whole or damaged.
local cjson = require "cjson"
local core = require "surefoot.core"

-- Park and Miller's generator: the same documents on every Lua.
local function random_from(seed)
  local state = seed
  return function(n)
    state = state * 16807 % 2147483647
    return state % n + 1
  end
end

local SCALARS = {
  "0", "-1", "12.5", "1e3", "-2.5E-2", "true", "false", "null", '""', '"plain"', '"}]{[,:"', '"\\"\\\\"',
  '"\\u00e9 \\n"',
  '"data:image/png;base64,' .. ("iVBORw0KGgo"):rep(9) .. '"', '"\228\184\173"',
}
local NAMES = { "model", "stream", "x", "messages", "", "mod", "modelx", "\\u0078y", "a\\\"b" }
local BLANKS = { "", "", "", "", " ", "\n", "\t ", "\r\n" }
local BYTES = { '"', "\\", "{", "}", "[", "]", ",", ":", "0", "-", ".", "e", "u", "t", " ", "x", "\n" }

local function generate(random)
  local function blank()
    return BLANKS[random(#BLANKS)]
  end
  local value
  local function object(depth, unique)
    local parts, used = {}, {}
    for i = 1, random(5) - 1 do
      local name = NAMES[random(#NAMES)]
      if not (unique and used[name]) then
        used[name] = true
        local spelled = name == "model" and random(3) == 1 and "m\\u006fdel" or name
        local member = { blank(), '"', spelled, '"', blank(), ":", blank(), value(depth + i % 2), blank() }
        parts[#parts + 1] = table.concat(member)
      end
    end
    return "{" .. (#parts > 0 and table.concat(parts, ",") or blank()) .. "}"
  end
  function value(depth)
    local kind = random(6)
    if depth > 4 or kind <= 3 then
      return SCALARS[random(#SCALARS)]
    elseif kind <= 4 then
      return object(depth + 1)
    end
    local parts = {}
    for i = 1, random(4) - 1 do
      parts[i] = blank() .. value(depth + 1) .. blank()
    end
    return "[" .. (#parts > 0 and table.concat(parts, ",") or blank()) .. "]"
  end
  return blank() .. object(1, true) .. blank()
end

local function decode(text)
  local ok, value = pcall(cjson.decode, text)
  return ok and type(value) == "table" and value or nil, value
end

-- What was found is what the decoder sees.
local function check(text, document, first, last, name)
  if not first then
    assert.is_false(last)
    assert(document[name] == nil, text)
    return
  end
  local alone = assert(decode("[" .. text:sub(first, last) .. "]"), text)
  assert.is_nil(text:sub(first, last):match "^%s" or text:sub(first, last):match "%s$")
  assert.are.same(document[name], alone[1])
end

local function damaged(text, random)
  local at, kind = random(#text), random(4)
  if kind == 1 then
    return text:sub(1, at - 1)
  elseif kind == 2 then
    return text:sub(1, at - 1) .. text:sub(at + 1)
  end
  return text:sub(1, at - 1) .. BYTES[random(#BYTES)] .. text:sub(at + (kind == 3 and 1 or 0))
end

describe("core.members", function()
  it("gives first and last of each value, false for what is missing", function()
    local text = '{ "model" : "gpt-4o", "n": 2, "messages":[{"model":1}] }'
    local m1, m2, s1, s2, n1, n2, a1, a2 = core.members(text, "model", "stream", "n", "messages")
    assert.are.equal('"gpt-4o"', text:sub(m1, m2))
    assert.are.same({ false, false }, { s1, s2 })
    assert.are.equal("2", text:sub(n1, n2))
    assert.are.equal('[{"model":1}]', text:sub(a1, a2))
    assert.are.equal(8, select("#", core.members(text, "a", "b", "c", "d")))
    assert.are.equal(0, select("#", core.members "{}"))
  end)

  it("says what is wrong, and where", function()
    local first, message, at = core.members('{"model":1,"model":2}', "model")
    assert.are.same({ n = 3, nil, "a name that stands twice", 12 }, { n = 3, first, message, at })
    assert.are.same({ n = 3, nil, "the text ends early", 5 }, { n = 3, core.members('{"a"', "model") })
    assert.are.same({ n = 3, nil, "an object expected", 1 }, { n = 3, core.members("[1]", "model") })
  end)

  it("refuses what it cannot be asked", function()
    assert.has_error(function() core.members() end)
    assert.has_error(function() core.members(nil, "model") end)
    assert.has_error(function() core.members("{}", {}) end)
    local names = {}
    for i = 1, 32 do
      names[i] = "name" .. i
    end
    local unpack = table.unpack or unpack
    assert.are.equal(64, select("#", core.members("{}", unpack(names))))
    names[33] = "name33"
    assert.has_error(function() core.members("{}", unpack(names)) end, "bad argument #34 to 'members' (too many names)")
  end)

  it("agrees with a decoder on generated documents", function()
    local random, found = random_from(42), 0
    for _ = 1, 1500 do
      local text = generate(random)
      local document = assert(decode(text))
      local m1, m2, s1, s2, x1, x2 = core.members(text, "model", "stream", "xy")
      assert(m1 ~= nil, text)
      check(text, document, m1, m2, "model")
      check(text, document, s1, s2, "stream")
      check(text, document, x1, x2, "xy")
      found = found + (m1 and 1 or 0) + (s1 and 1 or 0) + (x1 and 1 or 0)
    end
    assert.is_true(found > 700, found)
  end)

  it("never accepts what a decoder refuses, nor finds what it does not", function()
    local random, accepted, refused = random_from(4711), 0, 0
    for _ = 1, 6000 do
      local text = damaged(generate(random), random)
      local m1, m2, s1, s2 = core.members(text, "model", "stream")
      if m1 == nil then
        refused = refused + 1
        assert.is_true(type(m2) == "string" and s1 >= 1 and s1 <= #text + 1)
      else
        accepted = accepted + 1
        local document, problem = decode(text)
        assert(document, ("%s\n%s"):format(text, tostring(problem)))
        check(text, document, m1, m2, "model")
        check(text, document, s1, s2, "stream")
      end
    end
    assert.is_true(accepted > 500 and refused > 500, accepted .. " " .. refused)
  end)

  it("passes over megabytes in one linear walk", function()
    local image = ("QUJDREVGR0hJSktMTU5PUA"):rep(2 ^ 15)
    local parts = { '{"model":"m","messages":[' }
    for i = 1, 8 do
      parts[#parts + 1] = ('%s{"image_url":{"url":"data:image/png;base64,%s"}}'):format(i > 1 and "," or "", image)
    end
    parts[#parts + 1] = '],"stream":true}'
    local text = table.concat(parts)
    local m1, m2, s1, s2 = core.members(text, "model", "stream")
    assert.are.same({ 10, 12, #text - 4, #text - 1 }, { m1, m2, s1, s2 })
  end)
end)
