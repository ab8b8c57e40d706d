--- Providers by name: where they are, which environment variable holds the key, and what
--- a key of theirs looks like (to say "this looks like another provider's key" without showing it).

---@class surefoot.Preset
---@field provider string   the wire format: a module of surefoot.provider
---@field base_url string
---@field key_env string?   environment variable that holds the key; nil: no key is needed
---@field key_form string?  how keys begin
---@field headers table<string, string>?  sent with every request, unless replaced
---@field api_version string?
---@field quirks table<string, boolean>?  where it differs from its format:
---|  no_stream_options   refuses stream_options; sends usage with the last chunk by itself
---|  max_tokens          knows max_completion_tokens by its old name alone
---|  prefill             takes up a last message of the assistant's (surefoot.provider.prefill has the sources)
---|  prefill_of_claude   the same, where the model is Claude
---|  prefill_prefix      the same, told by the message's `prefix`
---|  prefill_flags       the same, told by `continue_final_message` and `add_generation_prompt`
---|  prefill_at_beta     takes it up below /beta alone
---|  prefill_repeated    may send it once more

---@type table<string, surefoot.Preset>
return {
  openai = { provider = "openai", base_url = "https://api.openai.com/v1", key_env = "OPENAI_API_KEY",
    key_form = "sk-" },
  ["openai-responses"] = { provider = "responses", base_url = "https://api.openai.com/v1", key_env = "OPENAI_API_KEY",
    key_form = "sk-" },
  anthropic = { provider = "anthropic", base_url = "https://api.anthropic.com/v1", key_env = "ANTHROPIC_API_KEY",
    key_form = "sk-ant-" },
  gemini = { provider = "gemini", base_url = "https://generativelanguage.googleapis.com/v1beta",
    key_env = "GEMINI_API_KEY" },
  holysheep = { provider = "openai", base_url = "https://api.holysheep.ai/v1", key_env = "HOLYSHEEP_API_KEY" },
  deepseek = { provider = "openai", base_url = "https://api.deepseek.com/v1", key_env = "DEEPSEEK_API_KEY",
    key_form = "sk-", quirks = { max_tokens = true, prefill_prefix = true, prefill_at_beta = true } },
  openrouter = {
    provider = "openai", base_url = "https://openrouter.ai/api/v1", key_env = "OPENROUTER_API_KEY", key_form = "sk-or-",
    quirks = { prefill_of_claude = true },
  },
  groq = { provider = "openai", base_url = "https://api.groq.com/openai/v1", key_env = "GROQ_API_KEY",
    key_form = "gsk_", quirks = { prefill = true } },
  -- answers 422 (extra_forbidden) to stream_options.include_usage
  mistral = { provider = "openai", base_url = "https://api.mistral.ai/v1", key_env = "MISTRAL_API_KEY",
    quirks = { max_tokens = true, no_stream_options = true, prefill_prefix = true, prefill_repeated = true } },
  xai = { provider = "openai", base_url = "https://api.x.ai/v1", key_env = "XAI_API_KEY", key_form = "xai-" },
  together = { provider = "openai", base_url = "https://api.together.xyz/v1", key_env = "TOGETHER_API_KEY",
    quirks = { max_tokens = true } },
  ollama = { provider = "openai", base_url = "http://127.0.0.1:11434/v1" },
  llamacpp = { provider = "openai", base_url = "http://127.0.0.1:8080/v1", quirks = { prefill_flags = true } },
  vllm = { provider = "openai", base_url = "http://127.0.0.1:8000/v1", quirks = { prefill_flags = true } },
}
