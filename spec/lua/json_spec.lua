local json = require "surefoot.json"

local has_integers = math.type ~= nil

describe("json.encode", function()
  local function text(value)
    return assert(json.encode(value))
  end

  it("writes plain values", function()
    assert.equal("true", text(true))
    assert.equal("false", text(false))
    assert.equal("null", text(json.null))
    assert.equal('"a\\"b\\\\c\\n\\u0000\\u001f"', text 'a"b\\c\n\0\31')
    assert.equal('"/ \127 é 😀"', text "/ \127 é 😀")
    local long = ("/\"é\n"):rep(300000)
    assert.equal(long, json.decode(text(long)))
  end)

  it("writes objects with their keys in order", function()
    assert.equal('{"a":1,"b":{"c":[1,2]},"z":"x"}', text { z = "x", b = { c = { 1, 2 } }, a = 1 })
  end)

  it("writes whole numbers as whole numbers, and every digit of the others", function()
    assert.equal("4096", text(4096.0))
    assert.equal("1000000000000000", text(1e15))
    assert.equal("-9007199254740991", text(-9007199254740991))
    assert.equal("0.1", text(0.1))
    assert.equal("0.7", text(0.7))
    assert.equal("-0.5", text(-0.5))
    assert.equal(1 / 3, tonumber(text(1 / 3)))
    assert.equal(1e-7, tonumber(text(1e-7)))
  end)

  it("never loses digits of a large integer", function()
    if has_integers then
      assert.equal("123456789012345678", text(123456789012345678))
      assert.equal(1e300, tonumber(text(1e300)))
    else
      local none, problem = json.encode { seed = 123456789012345678 }
      assert.is_nil(none)
      assert.matches("^seed: 1234567890123456%d%d is beyond 2%^53", problem)
    end
  end)

  it("tells empty arrays from empty objects", function()
    assert.equal("{}", text {})
    assert.equal("[]", text(json.array {}))
    assert.equal("[]", text(json.array()))
    assert.equal("{}", text(json.object {}))
    assert.equal('{"a":[],"b":{}}', text { a = json.array {}, b = {} })
    assert.equal("[1]", text(json.array { 1 }))
    assert.equal('{"50256":-100}', text(json.object { [50256] = -100 }))
    assert.equal('{"1":"x"}', text(json.object { "x" }))
  end)

  it("keeps a decoded empty array an array", function()
    local source = '{"annotations":[],"list":[[],[ ],{}],"text":"[] \\" [ ]","x":{}}'
    assert.equal('{"annotations":[],"list":[[],[],{}],"text":"[] \\" [ ]","x":{}}', text(json.decode(source)))
    assert.equal("[]", text(json.decode " [\n] "))
  end)

  local cyclic = { list = { {} } }
  cyclic.list[1].back = cyclic
  local deep = {}
  for _ = 1, 2000 do
    deep = { deep }
  end
  local refused = {
    { { messages = { { content = "ok" }, { content = "ab\255" } } },
      "messages[2].content: invalid UTF-8 at byte 3 of 3 (0xFF)" },
    { { temperature = 0 / 0 }, "temperature: NaN is no JSON number" },
    { { top_p = math.huge }, "top_p: infinity is no JSON number" },
    { { top_p = -math.huge }, "top_p: infinity is no JSON number" },
    { cyclic, "list[1].back: contains itself" },
    { { a = { b = print } }, "a.b: a function cannot be written as JSON" },
    { { a = coroutine.create(function() end) }, "a: a thread cannot be written as JSON" },
    { { tools = { 1, nil, 3 } }, "tools: a list with a hole at [2]" },
    { { [1] = 1, [2 ^ 40] = 2 }, "a list with a hole at [2]" },
    { { x = { 1, a = 2 } }, 'x: mixes list elements with the key "a"' },
    { { x = { [true] = 1 } }, "x: a boolean as a key" },
    { { x = json.object { [1] = 1, ["1"] = 2 } }, 'x: has both the key 1 and the key "1"' },
    { { ["a b"] = { ["\255"] = 1 } }, '["a b"]["\255"]: invalid UTF-8 at byte 1 of 1' },
    { { x = setmetatable({ a = 1 }, getmetatable(json.array())) }, "x: marked as an array, but has named keys" },
    { deep, "[1][1][1]: nested too deeply" },
  }
  for _, case in ipairs(refused) do
    it("refuses: " .. case[2]:gsub("[\128-\255]", "?"), function()
      local result, problem = json.encode(case[1])
      assert.is_nil(result)
      assert.equal(case[2], problem:sub(1, #case[2]))
    end)
  end

  it("writes the same table twice where it is no cycle", function()
    local shared = { role = "user" }
    assert.equal('[{"role":"user"},{"role":"user"}]', text { shared, shared })
  end)

  it("refuses to mark what is no plain table", function()
    assert.error_matches(function() json.array "x" end, "surefoot.array: a table expected, got string")
    assert.error_matches(function() json.object(setmetatable({}, { __index = {} })) end, "metatable of its own")
  end)
end)

describe("json.invalid_utf8", function()
  local good = { "", "abc", "é", "€", "😀", "\237\159\191", "\238\128\128", "\244\143\191\191", "\240\144\128\128" }
  local bad = {
    { "\128", 1 }, { "a\192\128", 2 }, { "\193\191", 1 }, { "é\224\159\191", 3 }, { "\237\160\128", 1 },
      { "\240\143\191\191", 1 },
    { "\244\144\128\128", 1 }, { "\245\128\128\128", 1 }, { "ab\226\130", 3 }, { "\240\159\152", 1 }, { "\195(", 1 },
      { "\226\130(", 1 },
  }
  it("accepts well-formed strings", function()
    for _, s in ipairs(good) do
      assert.is_nil(json.invalid_utf8(s))
    end
  end)
  it("names the byte at fault", function()
    for _, case in ipairs(bad) do
      assert.equal(case[2], json.invalid_utf8(case[1]))
    end
  end)
end)

describe("json.well_formed", function()
  local FFFD = "\239\191\189"
  local good = { "a", "\195\169", "\226\130\172", "\240\159\152\128", "z" }
  -- What is no UTF-8, and how many replacements stand for it.
  local bad = { ["\255"] = 1, ["\128"] = 1, ["\192\128"] = 2, ["\237\160\128"] = 3, ["\226\130"] = 1,
    ["\240\159\152"] = 1, ["\240\159\226"] = 2, ["\244\144\128\128"] = 4, ["\128\128"] = 2 }

  it("leaves what is well-formed as it is", function()
    assert.equal(table.concat(good), json.well_formed(table.concat(good)))
    assert.equal("", json.well_formed "")
  end)

  it("replaces what is not, between any two characters", function()
    for bytes, count in pairs(bad) do
      for place = 0, #good do
        local head, tail = table.concat(good, "", 1, place), table.concat(good, "", place + 1)
        assert.equal(head .. FFFD:rep(count) .. tail, json.well_formed(head .. bytes .. tail))
        assert.equal(head .. ("?"):rep(count) .. tail, json.well_formed(head .. bytes .. tail, "?"))
      end
    end
  end)

  it("leaves nothing that is not, whatever stands in the midst of a character", function()
    local text = table.concat(good)
    for place = 1, #text do
      for bytes in pairs(bad) do
        local repaired = json.well_formed(text:sub(1, place) .. bytes .. text:sub(place + 1))
        assert.is_nil(json.invalid_utf8(repaired))
        assert.truthy(repaired:find(FFFD, 1, true))
      end
    end
  end)

  it("takes long texts of nothing else", function()
    assert.equal(("?"):rep(2 ^ 20), json.well_formed(("\255"):rep(2 ^ 20), "?"))
    assert.equal(("ab?"):rep(2 ^ 18), json.well_formed(("ab\200"):rep(2 ^ 18), "?"))
  end)
end)

describe("json.decode", function()
  it("reads numbers as Lua would write them", function()
    local value = json.decode '{"n":15,"f":0.5,"list":[1,2.0,-3],"big":1e300}'
    assert.same({ n = 15, f = 0.5, list = { 1, 2, -3 }, big = 1e300 }, value)
    if has_integers then
      assert.equal("integer", math.type(value.n))
      assert.equal("integer", math.type(value.list[2]))
      assert.equal("integer", math.type(json.decode "7"))
      assert.equal("float", math.type(value.big))
    end
  end)

  it("reads null as surefoot's null", function()
    assert.equal(json.null, json.decode('{"a":null}').a)
    assert.equal(json.null, json.decode "null")
    assert.equal(false, json.decode "false")
  end)

  it("knows a text that ends early from one that is wrong", function()
    local whole = '{"a": [1, -2.5e+3, true, null, [], "x\\u00e9\\n\\"", {"b": ""}]}'
    assert.truthy(json.decode(whole))
    for length = 1, #whole - 1 do
      local value, kind = json.decode(whole:sub(1, length))
      assert.is_nil(value)
      assert.equal("truncated", kind, "cut after " .. length)
    end
    for _, text in ipairs { "", "  \n", "<html><body>502</body></html>", "{]", '{"a":1}x', "[NaN]", "[0x10]",
      "not json", '{"a" 1, "b": 2, "c": 3}' } do
      local value, kind, message = json.decode(text)
      assert.is_nil(value)
      assert.equal("malformed", kind, text)
      assert.equal("string", type(message))
    end
  end)

  it("takes no NUL byte for the end", function()
    for text, at in pairs { ['{"a":\0}'] = 6, ['{"a":"x\0y"}'] = 8, ['{"a":1\0'] = 7, ["\0"] = 1, ["[\0"] = 2,
      ["\0[1]"] = 1, ["[1]\0[2]"] = 4, ["[1,\0 2]"] = 4, ["[1]\0\0x"] = 4 } do
      local value, kind, message = json.decode(text)
      assert.is_nil(value)
      assert.same({ "malformed", ("a NUL byte at byte %d of %d, where JSON has none"):format(at, #text) },
        { kind, message })
    end
    assert.same({ 1 }, json.decode "[1]\0")
    assert.same({ 1 }, json.decode "[1] \0\n\0")
  end)

  it("bounds the depth", function()
    assert.truthy(json.decode(("["):rep(128) .. ("]"):rep(128)))
    local value, kind = json.decode(("["):rep(129) .. ("]"):rep(129))
    assert.is_nil(value)
    assert.equal("malformed", kind)
    assert.is_nil((json.new(3).decode "[[[[1]]]]"))
  end)
end)

describe("json.custom", function()
  it("uses the functions given, and reports what they throw", function()
    local codec = json.custom {
      encode = function(value) return "<" .. tostring(value) .. ">" end,
      decode = function(text) if text == "bad" then error "boom" end return { text } end,
    }
    assert.equal("<1>", codec.encode(1))
    assert.same({ "x" }, codec.decode "x")
    local value, kind, message = codec.decode "bad"
    assert.is_nil(value)
    assert.equal("malformed", kind)
    assert.matches("boom", message)
    assert.same({ nil, "no" }, { json.custom({ encode = function() return nil, "no" end }).encode(1) })
  end)
end)
