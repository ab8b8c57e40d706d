-- Whatever stands in a request, each format writes it or says what is wrong with it: nothing that a caller sends is a
-- fault of ours.
local formats = require "surefoot.provider".formats
local json = require "surefoot.json"

local codec = json.new()
local JUNK = { json.null, 0, -1, 1.5, "", "x", "data:image/png;base64,AA", "https://example.com/a.png", true, false, {},
  { 1 }, { "x" }, { a = 1 }, { {} }, { type = "text" }, { text = {} } }

-- What not all of them know.
local more = {}

function more.anthropic(request)
  request.stop, request.thinking = { "a" }, { type = "enabled", budget_tokens = 5 }
  request.output_config = { effort = "low" }
end

function more.gemini(request)
  request.stop, request.generationConfig = { "a" }, { thinkingConfig = { includeThoughts = true } }
  table.insert(request.messages[3].content, { type = "input_audio", input_audio = { data = "x", format = "wav" } })
end

function more.responses(request)
  request.tools[2] = { type = "custom", custom = { name = "c", format = { type = "grammar",
    grammar = { syntax = "lark", definition = "d" } } } }
end

-- Of everything that a format translates, something.
local function request_with_all(provider)
  local request = {
    model = "m", max_tokens = 5, n = 1, reasoning_effort = "low", user = "u", logprobs = true,
    tool_choice = { type = "function", ["function"] = { name = "f" } }, metadata = { user_id = "u" }, top_logprobs = 1,
    response_format = { type = "json_schema", json_schema = { name = "x", schema = { type = "object" } } },
    stream_options = { include_usage = false }, modalities = { "text" }, service_tier = "flex",
    tools = { { type = "function", ["function"] = { name = "f", parameters = { type = "object" } } } },
    messages = { { role = "system", content = "s" },
      { role = "developer", content = { { type = "text", text = "x" } } },
      { role = "user", content = { { type = "text", text = "t" }, { text = "of its own" },
        { type = "image_url", image_url = { url = "data:image/png;base64,AA", detail = "low" } },
        { type = "file", file = { file_data = "data:application/pdf;base64,AA", filename = "a" } },
        { type = "file", file = { file_url = "https://example.com/a.pdf", filename = "a.pdf" } } } },
      { role = "assistant", content = "a", refusal = "r", reasoning_content = "q", tool_calls = {
        { id = "c1", type = "function", ["function"] = { name = "f", arguments = "{}" } } } },
      { role = "tool", tool_call_id = "c1", content = { { type = "text", text = "x" }, { text = "y" } } },
      { role = "assistant", content = "b", native = { provider = provider, items = { { type = "text", text = "y" },
        { type = "reasoning", id = "r", encrypted_content = "e" }, { functionCall = { name = "f", args = {} } } } } },
      { role = "user", content = "c" } },
  }
  if more[provider] then
    more[provider](request)
  end
  return request
end

local function places(t, list)
  for key, value in pairs(t) do
    list[#list + 1] = { t, key }
    if type(value) == "table" and value ~= json.null then
      places(value, list)
    end
  end
  return list
end

describe("a request in which anything may stand", function()
  for name, format in pairs(formats) do
    it("is written, or refused by name: " .. name, function()
      local variant = { provider = name, route = 1, model = "gemini-2.5-pro",
        traits = { quirks = {}, api_version = name == "azure" and "2024-10-21" or nil } }
      local function encoded(request)
        return pcall(format.operations.chat.encode, request, variant, codec, nil, true)
      end
      local request = request_with_all(name)
      local _, method_before, problem_before, _, before = encoded(request)
      assert(method_before, problem_before)
      for _, place in ipairs(places(request, {})) do
        local t, key = place[1], place[2]
        local value = t[key]
        for k = 0, #JUNK do -- 0: nothing
          t[key] = JUNK[k]
          local ok, method, problem = encoded(request)
          if not ok or type(method or problem) ~= "string" then
            error(("%s = %s: %s"):format(tostring(key), tostring(JUNK[k]), tostring(method)))
          end
        end
        t[key] = value
      end
      assert.equal(before, (select(5, encoded(request))))
    end)
  end
end)
