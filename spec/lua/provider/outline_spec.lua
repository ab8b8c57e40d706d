-- Outlines of events: what is read by one is what a decoder would have read, or nothing.

local json = require "surefoot.json"
local outline = require "surefoot.provider.outline"

local function event(text)
  return '{"id":"x","choices":[{"index":0,"delta":{"content":' .. json.encode(text) .. '},"finish_reason":null}]}'
end

local function taken(data, name, text)
  local self = outline.new()
  outline.take(self, data, name, text, "it")
  return self
end

describe("an outline", function()
  it("reads the text of an event that is like the one before", function()
    local text, of = outline.text(taken(event "Low", "content", "Low"), event " tide: 中")
    assert.equal(" tide: 中", text)
    assert.equal("it", of)
  end)

  it("fits nothing before it was taken, and after it was forgotten", function()
    local self = outline.new()
    assert.is_nil(outline.text(self, event "a"))
    outline.take(self, event "a", "content", "a")
    assert.equal("b", (outline.text(self, event "b")))
    outline.forget(self)
    assert.is_nil(outline.text(self, event "b"))
  end)

  it("reads nothing where anything else differs, or the text is no plain one", function()
    local self = taken(event "Low", "content", "Low")
    for _, data in ipairs {
      event "", event 'a "b"', event "a\nb", event "a\\b", (event("a"):gsub("null", '"stop"')),
      (event("a"):gsub('"x"', '"y"')), event("a") .. " ", " " .. event "a", event("a"):sub(1, -2), "", "{}",
      (event("a"):gsub('"a"', '"a\tb"')), (event("a"):gsub('"a"', '"a\0b"')),
      (event("a"):gsub('"a"', '"a","content":"b"')),
      (event("a"):gsub('"a"', '"a":1')), (event("a"):gsub('"a"', "12")),
    } do
      assert.is_nil(outline.text(self, data), data)
    end
  end)

  it("is not taken where it is not certain which string the text was", function()
    for _, case in ipairs {
      { '{"delta":{"content":"a"},"content":"a"}', "a" }, { '{"content":"a","delta":{"c\\u006fntent":"a"}}', "a" },
      { '{"content":"b","delta":"a"}', "a" }, { '{"note":"content","delta":"a"}', "a" }, { '{"delta":"a"}', "a" },
      { '{"content":"a\\n"}', "a\n" }, { '{"content":"ab"}', "a" }, { '{"content":["a"]}', "a" }, { '{"content"', "a" },
    } do
      assert.is_nil(outline.text(taken(case[1], "content", case[2]), case[1]), case[1])
    end
  end)

  it("stays where a text with escapes comes between", function()
    local self = taken(event "a", "content", "a")
    outline.take(self, event "a\n", "content", "a\n")
    assert.equal("b", (outline.text(self, event "b")))
  end)

  it("is given up where every event is another one", function()
    local self = outline.new()
    local function numbered(n)
      return ('{"n":%d,"content":"a"}'):format(n)
    end
    for i = 1, 100 do
      assert.is_nil(outline.text(self, numbered(i)))
      outline.take(self, numbered(i), "content", "a")
    end
    assert.is_nil(outline.text(self, numbered(100)))
    assert.equal("a", (outline.text(self, numbered(8))))
  end)

  it("reads what a decoder reads, of texts and changes at random", function()
    math.randomseed(7)
    local letters = { "a", "B", " ", '"', "\\", "\n", "中", "{", "}", ",", ":", "content", "é", "/", "\127" }
    local read = 0
    for _ = 1, 20000 do
      local function text()
        local parts = {}
        for i = 1, math.random(1, 4) do
          parts[i] = letters[math.random(#letters)]
        end
        return table.concat(parts)
      end
      local first, second = text(), text()
      local self, data = taken(event(first), "content", first), event(second)
      if math.random(3) == 1 then
        local at = math.random(#data)
        data = data:sub(1, at - 1) .. letters[math.random(#letters)] .. data:sub(at + math.random(0, 1))
      end
      local found, document = outline.text(self, data), json.decode(data)
      if found then
        read = read + 1
        assert.equal(document.choices[1].delta.content, found)
        document.choices[1].delta.content = first
        assert.same(json.decode(event(first)), document)
      end
    end
    assert.is_true(read > 1000)
  end)
end)

-- What a folder makes of events, by a codec.
local function told(format, codec, events)
  local folder = require("surefoot.provider").formats[format].operations.chat.stream(codec, {})
  local list = {}
  for i, data in ipairs(events) do
    local name = format == "anthropic" and data:match '"type":"([%w_]+)"' or nil
    local action, chunk = folder:event(name, data)
    chunk = chunk or {}
    list[i] = { action, chunk.text, chunk.index, chunk.finish_reason, chunk.raw }
  end
  return list, folder:fields(), folder:whole()
end

local function compare(format, events)
  local ours, plain = json.new(), json.new()
  plain.is_ours = nil
  assert.same({ told(format, plain, events) }, { told(format, ours, events) })
end

local function openai_event(text, index, rest)
  return ('{"id":"c","object":"chat.completion.chunk","created":1,"choices":[{"index":%d,"delta":{"content":'
    .. '%s%s},"finish_reason":null}]}'):format(index, json.encode(text), rest or "")
end

describe("a folder with outlines", function()
  it("makes the same of a chat completion stream as one without", function()
    compare("openai", {
      openai_event("", 0, ',"role":"assistant"'), openai_event("Low", 0), openai_event(" tide", 0),
      openai_event("\n", 0), openai_event(" at", 0), openai_event(" noon", 0), openai_event("High", 1),
      openai_event(" tide", 1), openai_event(".", 0), openai_event(" later", 1), openai_event("", 1),
      openai_event("!", 1), openai_event(" It", 0, ',"reasoning_content":"why"'), openai_event(" is", 0),
      openai_event(" so", 0), (openai_event("", 0):gsub("null", '"stop"')), openai_event("late", 0),
      (openai_event("", 1):gsub("null", '"stop"')),
      '{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}', "[DONE]",
    })
    compare("openai", { openai_event("Low", 0), openai_event(" tide", 0), "[DONE]", openai_event("!", 0) })
  end)

  it("makes the same of a message stream as one without", function()
    local function delta(text, index)
      return ('{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%s}}'):format(index,
        json.encode(text))
    end
    local function begin(index)
      return ('{"type":"content_block_start","index":%d,"content_block":{"type":"text","text":""}}'):format(index)
    end
    local function stop(index)
      return ('{"type":"content_block_stop","index":%d}'):format(index)
    end
    compare("anthropic", {
      '{"type":"message_start","message":{"id":"m","role":"assistant","model":"x","content":[],'
        .. '"usage":{"input_tokens":1}}}',
      begin(0), delta("Low", 0), delta(" tide", 0), '{"type":"ping"}', delta('"', 0), delta(" at", 0), delta("", 0),
      delta(" noon", 0), stop(0), begin(1), delta("High", 1), delta(" tide", 1), delta(" later", 1), stop(1), begin(0),
      delta("again", 0), delta(" and again", 0), stop(0),
      '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}',
      '{"type":"message_stop"}', delta("late", 0),
    })
  end)
end)
