-- What is told of an answer without decoding it is what decoding tells; what is unusual is left to that.
local glance = require "surefoot.gateway.glance"
local json = require "surefoot.json"
local openai = require "surefoot.provider.openai"

local codec = json.new()

local function decoded(body)
  return openai.operations.chat.decode({ status = 200, headers = "", body = body }, codec, {})
end

local ANSWER = '{"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":'
  .. '"assistant","content":"a \\"b\\" ] }"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,'
  .. '"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":2}}}'

local function changed(from, to)
  local first, last = ANSWER:find(from, 1, true)
  assert(first, from)
  return ANSWER:sub(1, first - 1) .. to .. ANSWER:sub(last + 1)
end

describe("a glance at an answer", function()
  local PLAIN = {
    ["as it is"] = ANSWER,
    ["with white space"] = ANSWER:gsub("([{,:])(\"?%a)", "%1\n  %2"),
    ["without a name of its object"] = changed('"object":"chat.completion",', ""),
    ["that ends early by its own word"] = changed('"stop"', '"length"'),
    ["of which nobody knows why it ended"] = changed('"stop"', "null"),
    ["that says nothing of why it ended"] = changed('"stop"', '""'),
    ["that does not say why it ended"] = changed(',"finish_reason":"stop"', ""),
    ["with an error that is none"] = changed('"id"', '"error":null,"id"'),
    ["without a model"] = changed('"model":"m",', ""),
    ["with a member that nobody knows"] = changed('"model"', '"system_fingerprint":null,"model"'),
  }
  for name, body in pairs(PLAIN) do
    it("tells what is to be counted of one " .. name, function()
      local seen, fields = glance.read(body, codec), decoded(body)
      assert.same(fields.usage, seen.usage)
      for _, key in ipairs { "model", "id", "finish_reason", "truncated" } do
        assert.equal(fields[key], seen[key], key)
      end
      assert.is_table(seen.message)
    end)
  end

  local UNUSUAL = {
    ["without usage"] = changed('"usage"', '"used"'),
    ["with usage that tells nothing"] = changed('"usage":{', '"usage":{},"other":{'),
    ["with several choices"] = changed('}],', '},{"index":1,"message":{"content":"c"},"finish_reason":"stop"}],'),
    ["with a name that has escapes"] = changed('"chat.completion"', '"chat\\u002ecompletion"'),
  }
  for name, body in pairs(UNUSUAL) do
    it("leaves one to the decoder " .. name, function()
      assert.is_nil(glance.read(body, codec))
      assert.is_table(decoded(body))
    end)
  end

  local WRONG = {
    ["is cut"] = ANSWER:sub(1, -2),
    ["is empty"] = "",
    ["is HTML"] = "<html>",
    ["is a list"] = "[" .. ANSWER .. "]",
    ["has something behind it"] = ANSWER .. "x",
    ["is an error"] = changed('"id"', '"error":{"message":"no"},"id"'),
    ["calls itself an error"] = changed('"chat.completion"', '"error"'),
    ["is of type error"] = changed('"id"', '"type":"error","id"'),
    ["has a choice that failed"] = changed('"index"', '"error":{"message":"no"},"index"'),
    ["ends with an error"] = changed('"stop"', '"error"'),
    ["has no choice"] = ANSWER:gsub('"choices":%b[]', '"choices":[]'),
    ["has no choices"] = changed('"choices"', '"chances"'),
    ["has no message"] = changed('"message"', '"massage"'),
    ["has a message that is none"] = ANSWER:gsub('"message":%b{}', '"message":null'),
  }
  for name, body in pairs(WRONG) do
    it("lets the decoder say what is wrong with one that " .. name, function()
      assert.is_nil(glance.read(body, codec))
      assert.is_nil((decoded(body)))
    end)
  end
end)
