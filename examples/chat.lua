--- One question, one answer, and what it took.
---   lua5.4 examples/chat.lua [PRESET or URL] [MODEL] [QUESTION]
---   lua5.4 examples/chat.lua ollama llama3.2 "Why do careful people try again?"

local surefoot = require "surefoot"

local where, model, question = arg[1] or "openai", arg[2] or "gpt-4o-mini", arg[3] or "Why do careful people try again?"
local is_url = where:find "^https?://" ~= nil

local ok, client = pcall(surefoot.new, {
  preset = not is_url and where or nil, base_url = is_url and where or nil, model = model,
  timeout = { attempt = 30, total = 60 },
})
if not ok then -- no key in the environment ...
  io.stderr:write(client, "\n")
  os.exit(2)
end

local result, err = client:chat {
  messages = { { role = "system", content = "Answer in one sentence." }, { role = "user", content = question } },
  max_tokens = 200,
}
if not result then
  io.stderr:write(tostring(err), "\n")
  for i, attempt in ipairs(err.attempts) do
    io.stderr:write(("  %d. %s: %s after %.2f s\n"):format(i, attempt.endpoint, attempt.kind, attempt.latency))
  end
  os.exit(1)
end

print(result.text)
print(("-- %s by %s in %.2f s, %d attempt(s), %d tokens"):format(
  result.model, result.endpoint, result.latency, #result.attempts, result.usage.total_tokens))
if result.truncated then
  print("-- cut by max_tokens")
end
client:close()
