--- The same question to several providers side by side: one request shape, whatever each speaks on the wire.
---   lua5.4 examples/providers.lua [QUESTION]        asks those whose keys are in the environment
---   lua5.4 examples/providers.lua QUESTION FORMAT=URL ...       FORMAT: openai, responses, anthropic, gemini

local surefoot = require "surefoot"

local question = arg[1] or "In one sentence: what is a watershed?"
local models = { openai = "gpt-4o-mini", anthropic = "claude-haiku-4-5", gemini = "gemini-2.5-flash" }

local clients = {}
for i = 2, #arg do
  local format, url = arg[i]:match "^(%a+)=(.+)$"
  clients[#clients + 1] = { name = format, client = surefoot.new { provider = format, base_url = url, model = "m" } }
end
for preset, model in pairs(#arg < 2 and models or {}) do
  local key = os.getenv(preset:upper() .. "_API_KEY")
  if key and key ~= "" then
    clients[#clients + 1] = { name = preset, client = surefoot.new { preset = preset, model = model } }
  end
end
if #clients == 0 then
  io.stderr:write "no key found: set OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY\n"
  os.exit(1)
end

local function ask(entry)
  local stream, err = entry.client:stream {
    messages = { { role = "system", content = "Be brief." }, { role = "user", content = question } }, max_tokens = 300,
  }
  local result
  if stream then
    result, err = stream:result()
  end
  if not result then
    print(("%s: %s"):format(entry.name, tostring(err)))
    return
  end
  print(("%s (%s, %d + %d tokens, first word after %.2f s): %s"):format(entry.name, result.model,
    result.usage.input_tokens, result.usage.output_tokens, result.time_to_first_token, result.text))
end

surefoot.run(function()
  for _, entry in ipairs(clients) do
    surefoot.spawn(ask, entry)
  end
end)
