-- A gateway before several lines: `surefoot gateway examples/gateway.lua --listen 127.0.0.1:8080`. Any client of
-- OpenAI's or Anthropic's API takes http://127.0.0.1:8080/v1 (Anthropic's: http://127.0.0.1:8080) as its base URL.
-- The table is that of surefoot.new, with `gateway` beside it. What is secret comes from the environment.

local function env(name)
  return assert(os.getenv(name), "set " .. name)
end

return {
  endpoints = {
    { name = "direct", url = "https://api.openai.com/v1", api_key = env "OPENAI_API_KEY",
      models = { "gpt-4o", "gpt-4o-mini" } },
    { name = "holysheep", url = "https://api.holysheep.ai/v1", api_key = env "HOLYSHEEP_API_KEY",
      models = { "gpt-4o", "gpt-4o-mini" } },
    { name = "anthropic", preset = "anthropic", api_key = env "ANTHROPIC_API_KEY", models = { "claude-sonnet-4-5" } },
  },
  timeout = { first_token = 20, idle = 20, total = 180 },
  hedge = true,
  resume = "auto",
  prices = { -- US dollars per million tokens; budgets are counted with them
    ["gpt-4o"] = { input = 2.5, output = 10 },
    ["gpt-4o-mini"] = { input = 0.15, output = 0.6 },
    ["claude-sonnet-4-5"] = { input = 3, output = 15 },
  },
  gateway = {
    models = {
      ["gpt-4o"] = { "gpt-4o", "claude-sonnet-4-5" }, -- the second where the first cannot be had
      ["gpt-4o-mini"] = true,
      ["claude-*"] = true,
      fast = "gpt-4o-mini",
    },
    keys = {
      { name = "team-a", key_env = "TEAM_A_KEY", rate = { requests_per_second = 20 }, concurrency = 50 },
      { name = "team-b", key_env = "TEAM_B_KEY", models = { "fast", "gpt-4o-mini" },
        budget = { limit = 5, per = "day" } },
    },
    keepalive_comments = 15,
  },
}
