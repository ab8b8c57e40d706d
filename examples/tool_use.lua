--- The model calls Lua functions: it is told what they do and take, and told what they returned, until it answers.
---   lua5.4 examples/tool_use.lua [PRESET or URL] [MODEL] [QUESTION]
---   lua5.4 examples/tool_use.lua openai gpt-4o-mini "How many days are there from today to the end of next year?"

local surefoot = require "surefoot"

local where, model = arg[1] or "openai", arg[2] or "gpt-4o-mini"
local question = arg[3] or "How many days are there from today to the end of next year? What is that in weeks?"
local is_url = where:find "^https?://" ~= nil

local ok, client = pcall(surefoot.new, {
  preset = not is_url and where or nil, base_url = is_url and where or nil, model = model,
})
if not ok then -- no key in the environment ...
  io.stderr:write(client, "\n")
  os.exit(2)
end

local function noon(date)
  local year, month, day = tostring(date):match "^(%d%d%d%d)%-(%d%d)%-(%d%d)$"
  return year and os.time { year = tonumber(year), month = tonumber(month), day = tonumber(day), hour = 12 }
end

local DATE = { type = "string", description = "a date as YYYY-MM-DD" }

local tools = {
  today = {
    description = "The date of today, as YYYY-MM-DD.",
    call = function() return os.date "%Y-%m-%d" end,
  },
  days_between = {
    description = "The number of days from one date to another.",
    parameters = { type = "object", properties = { from = DATE, to = DATE }, required = { "from", "to" } },
    call = function(arguments)
      local from, to = noon(arguments.from), noon(arguments.to)
      if not (from and to) then
        return nil, "from and to: expected dates as YYYY-MM-DD" -- the model reads it and tries again
      end
      return { days = math.floor((to - from) / 86400 + 0.5) }
    end,
  },
}

local result, err = client:run_tools(question, tools, {
  deadline = 60, -- for all rounds and tools
  max_rounds = 6,
  on_tool = function(name, _, outcome, problem)
    local text = type(outcome) == "table" and "days = " .. outcome.days or tostring(outcome)
    print(("  %s: %s"):format(name, problem and "told the model: " .. problem or text))
  end,
})
if not result then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end

print(result.text)
print(("-- %d rounds in %.2f s, %d tokens"):format(#result.rounds, result.latency, result.usage.total_tokens))
client:close()
