--- Many questions, a few at a time, with the provider's limits kept.
---   lua5.4 examples/batch.lua [PRESET or URL] [MODEL] < questions.txt       one question per line

local surefoot = require "surefoot"

local where, model = arg[1] or "openai", arg[2] or "gpt-4o-mini"
local is_url = where:find "^https?://" ~= nil

local ok, client = pcall(surefoot.new, {
  preset = not is_url and where or nil, base_url = is_url and where or nil, model = model,
  concurrency = { limit = 8 },
  rate = { requests_per_second = 20, tokens_per_minute = 200000 },
})
if not ok then -- no key in the environment ...
  io.stderr:write(client, "\n")
  os.exit(2)
end

local questions = {}
for line in io.lines() do
  questions[#questions + 1] = line
end

local outcomes, summary = client:batch(questions, {
  deadline = 120, -- each of them
  on_progress = function(p)
    io.stderr:write(("\r%d of %d, %d failed "):format(p.done, p.total, p.failed))
  end,
})
io.stderr:write "\n"

for i, outcome in ipairs(outcomes) do
  local text = outcome.result and outcome.result.text or "failed: " .. outcome.error
  print(("%d. %s\n   %s"):format(i, questions[i], text))
end
print(("%d answers in %.1f s, %d tokens"):format(summary.succeeded, summary.seconds, summary.tokens))
for kind, count in pairs(summary.errors) do
  print(("%d x %s"):format(count, kind))
end
client:close()
os.exit(summary.failed == 0 and 0 or 1)
