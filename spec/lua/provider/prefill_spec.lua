-- Which endpoints take up an answer that was begun, and how they are told.
local prefill = require "surefoot.provider.prefill"
local presets = require "surefoot.presets"

local USER = { role = "user", content = "Count" }

local function variant(preset, model, provider)
  local known = presets[preset] or {}
  return { provider = provider or known.provider, model = model, traits = { quirks = known.quirks or {} } }
end

local function takes_up(preset, model, request)
  return prefill.takes_up(request or { messages = { USER } }, variant(preset, model))
end

describe("an answer that was begun", function()
  for preset, expected in pairs {
    openai = false, ["openai-responses"] = false, gemini = false, holysheep = false, deepseek = true,
    openrouter = false, groq = true, mistral = true, xai = false, together = false, ollama = false, llamacpp = true,
    vllm = true, anthropic = false,
  } do
    it(("is %staken up by %s"):format(expected and "" or "not known to be ", preset), function()
      assert.equal(expected, takes_up(preset, "a-model"))
    end)
  end

  it("is decided for each preset there is", function()
    local count = 0
    for _ in pairs(presets) do
      count = count + 1
    end
    assert.equal(14, count)
  end)

  for model, expected in pairs {
    ["claude-2.1"] = true, ["claude-instant-1.2"] = true, ["claude-3-opus-20240229"] = true,
    ["claude-3-5-haiku-20241022"] = true, ["claude-3.7-sonnet"] = true, ["claude-3-5-sonnet@20240620"] = true,
    ["claude-opus-4-20250514"] = true, ["claude-sonnet-4"] = true, ["claude-opus-4@20250514"] = true,
    ["claude-opus-4-1-20250805"] = true, ["claude-sonnet-4.5"] = true, ["Claude-Haiku-4-5"] = true,
    ["claude-4-sonnet"] = true, ["us.anthropic.claude-sonnet-4-5-20250929-v1:0"] = true,
    ["claude-opus-4-6"] = false, ["claude-opus-4.6"] = false, ["claude-sonnet-4-6-20260301"] = false,
    ["claude-opus-4-10"] = false, ["claude-opus-4-8@default"] = false, ["claude-sonnet-5"] = false,
    ["claude-fable-5-1"] = false, ["claude-haiku-5-5"] = false, ["claude-mythos-preview"] = false,
    ["claude-opus-10"] = false, ["claude-3.7-sonnet:thinking"] = false, ["my-claude"] = false, ["gpt-4o"] = false,
  } do
    it(("is %staken up by %s"):format(expected and "" or "not ", model), function()
      assert.equal(expected, takes_up("anthropic", model))
      assert.equal(expected, takes_up("openrouter", "anthropic/" .. model))
      assert.is_false(takes_up("openai", model))
    end)
  end

  it("is not for models that write in channels", function()
    assert.is_false(takes_up("groq", "openai/gpt-oss-120b"))
    assert.is_true(takes_up("groq", "llama-3.3-70b-versatile"))
    assert.is_true(takes_up("vllm", "openai/gpt-oss-120b"))
  end)

  for name, request in pairs {
    ["thinking"] = { messages = { USER }, thinking = { type = "enabled", budget_tokens = 1024 } },
    ["adaptive thinking"] = { messages = { USER }, thinking = { type = "adaptive" } },
    ["an effort"] = { messages = { USER }, reasoning_effort = "low" },
    ["OpenRouter's reasoning"] = { messages = { USER }, reasoning = { max_tokens = 1000 } },
    ["no messages"] = { contents = {} },
    ["an empty list of messages"] = { messages = {} },
    ["a last message of the assistant's in parts"] =
      { messages = { USER, { role = "assistant", content = { { type = "text", text = "One" } } } } },
    ["a last message of the assistant's with calls"] =
      { messages = { USER, { role = "assistant", content = "One", tool_calls = { {} } } } },
    ["a last message as a provider wants it back"] =
      { messages = { USER, { role = "assistant", content = "One", native = { provider = "anthropic" } } } },
  } do
    it("is not taken up with " .. name, function()
      assert.is_false(takes_up("vllm", "m", request))
      assert.is_false(takes_up("anthropic", "claude-sonnet-4-5", request))
    end)
  end

  it("is taken up where thinking is switched off", function()
    assert.is_true(takes_up("vllm", "m", { messages = { USER }, thinking = { type = "disabled" } }))
    assert.is_true(takes_up("vllm", "m", { messages = { USER }, reasoning_effort = "none" }))
    assert.is_true(takes_up("vllm", "m", { messages = { USER, { role = "tool", content = "7" } } }))
  end)

  local ways = {
    vllm = { role = "assistant", content = "One," },
    llamacpp = { role = "assistant", content = "One," },
    groq = { role = "assistant", content = "One," },
    deepseek = { role = "assistant", content = "One,", prefix = true },
    mistral = { role = "assistant", content = "One,", prefix = true },
    anthropic = { role = "assistant", content = "One," },
  }
  for preset, message in pairs(ways) do
    it("is told as " .. preset .. " wants it", function()
      local request = { messages = { USER }, temperature = 0 }
      local told = prefill.request(request, "One,", variant(preset, "m"))
      assert.same({ USER, message }, told.messages)
      local has_flags = preset == "vllm" or preset == "llamacpp" or nil
      assert.same({ 0, has_flags, has_flags and false }, { told.temperature, told.continue_final_message,
        told.add_generation_prompt })
      assert.same({ messages = { USER }, temperature = 0 }, request)
      assert.equal(preset == "deepseek" and "/../beta/chat/completions" or "/chat/completions",
        prefill.path("/chat/completions", variant(preset, "m")))
      assert.equal(preset == "mistral", prefill.may_repeat(variant(preset, "m")))
    end)
  end

  it("is one with the beginning that the caller wrote", function()
    local own = { role = "assistant", content = "One", prefix = true, name = "x" }
    local told = prefill.request({ messages = { USER, own } }, ", two", variant("groq", "m"))
    assert.same({ USER, { role = "assistant", content = "One, two", prefix = true, name = "x" } }, told.messages)
    assert.equal("One", own.content)
  end)

  it("is held to no form that would begin a new document", function()
    local request = { messages = { USER }, response_format = { type = "json_object" }, guided_json = {}, grammar = "x",
      json_schema = {}, structured_outputs = {}, output_config = { format = {}, effort = "low" }, tools = { 1 } }
    local told = prefill.request(request, "{", variant("vllm", "m"))
    assert.same({ messages = { USER, { role = "assistant", content = "{" } }, output_config = { effort = "low" },
      tools = { 1 }, continue_final_message = true, add_generation_prompt = false }, told)
    assert.is_truthy(request.output_config.format)
  end)

  it("counts in the bound of tokens", function()
    local function bound(given, text)
      return prefill.request({ messages = { USER }, max_tokens = given }, text, variant("vllm", "m")).max_tokens
    end
    assert.same({ 98, 1, 1 }, { bound(100, "12345"), bound(2, ("x"):rep(100)), bound(1, "x") })
    assert.equal(9, prefill.request({ messages = { USER }, max_completion_tokens = 10 }, "x",
      variant("vllm", "m")).max_completion_tokens)
  end)
end)
