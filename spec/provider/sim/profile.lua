-- What a profile may say. `check` refuses anything unknown, so that a misspelt fault cannot make a spec pass;
-- `expand` lays the preset under it and applies `scale`; `compile` is what a worker keeps per version.

local presets = require "sim.presets"

local M = {}

local function keys(text)
  local set = {}
  for name in text:gmatch "%S+" do
    set[name] = true
  end
  return set
end

local FAULTS = keys [[hang reset close truncate reset_midway stall short_json malformed html empty wrong_length
  error_200 huge]]

local FIELDS = {
  profile = keys [[preset scale seed latency delay first_byte_delay fault faults hang_for status rate trickle answer
    stream upload keys bad_keys models by_model sequence headers dns]],
  latency = keys "median sigma tail",
  tail = keys "p min alpha cap",
  status = keys "code body headers",
  rate = keys "per_second burst window tokens_per_minute retry_after wait ratelimit_headers code body",
  trickle = keys "bytes every",
  answer = keys [[text bytes chunks chunk_bytes chunk_delay chunked gzip encoding finish_reason body huge_bytes
    reasoning cached_tokens blocked]],
  stream = keys [[first_token_delay chunk_delay cut_after reset_after stall_after end_after error_after malformed_after
    error error_shape error_status no_done no_finish double_finish open_end usage interleave async_filter pings
    event_bytes endless burst split crlf comments]],
  upload = keys "reset_after close_after",
}

local function check_fields(value, kind, path)
  if type(value) ~= "table" then
    return nil, path .. ": expected an object"
  end
  for name in pairs(value) do
    if not FIELDS[kind][name] then
      return nil, ("%s: unknown field %q"):format(path, tostring(name))
    end
  end
  return true
end

local function check_faults(faults)
  for name, share in pairs(faults) do
    if name ~= "status" and not FAULTS[name] then
      return nil, ("faults: unknown fault %q"):format(tostring(name))
    end
    for code, p in pairs(name == "status" and share or {}) do
      if not tonumber(code) or type(p) ~= "number" then
        return nil, "faults.status: expected { [code] = share }"
      end
    end
  end
  return true
end

local NESTED = { "latency", "status", "rate", "trickle", "answer", "stream", "upload" }

local VALUES = {
  { "stream", "error_shape", keys "openai vllm openrouter anthropic bare gemini raw responses failed" },
  { "stream", "usage", keys "last finish none" },
  { "answer", "encoding", keys "gzip deflate" },
}

local function check_values(profile, path)
  for _, rule in ipairs(VALUES) do
    local part, name, known = unpack(rule)
    local value = profile[part] and profile[part][name]
    if value ~= nil and not known[value] then
      return nil, ("%s.%s.%s: unknown: %s"):format(path, part, name, tostring(value))
    end
  end
  return true
end

---@param profile table
---@param path? string
---@return boolean|nil ok, string? error
function M.check(profile, path)
  path = path or "profile"
  local ok, err = check_fields(profile, "profile", path)
  for _, name in ipairs(NESTED) do
    if ok and profile[name] ~= nil then
      ok, err = check_fields(profile[name], name, path .. "." .. name)
    end
  end
  if ok then
    ok, err = check_values(profile, path)
  end
  if ok and profile.latency and profile.latency.tail then
    ok, err = check_fields(profile.latency.tail, "tail", path .. ".latency.tail")
  end
  if ok and profile.faults then
    ok, err = check_faults(profile.faults)
  end
  if ok and profile.preset and not presets[profile.preset] then
    ok, err = nil, path .. ": unknown preset " .. tostring(profile.preset)
  end
  if ok and profile.fault and not FAULTS[profile.fault] then
    ok, err = nil, ("%s: unknown fault %q"):format(path, tostring(profile.fault))
  end
  for i, item in ipairs(ok and profile.sequence or {}) do
    if ok then
      ok, err = M.check(item, ("%s.sequence[%d]"):format(path, i))
    end
  end
  for model, item in pairs(ok and profile.by_model or {}) do
    if ok then
      ok, err = M.check(item, ("%s.by_model[%s]"):format(path, model))
    end
  end
  return ok, err
end

local function scaled(latency, scale)
  local tail = latency.tail
  return {
    median = latency.median * scale,
    sigma = latency.sigma,
    tail = tail and { p = tail.p, alpha = tail.alpha, min = tail.min * scale, cap = tail.cap and tail.cap * scale },
  }
end

---@param profile table
---@return table profile without preset and scale
function M.expand(profile)
  local full = {}
  for name, value in pairs(presets[profile.preset] or {}) do
    full[name] = value
  end
  for name, value in pairs(profile) do
    full[name] = value
  end
  if full.latency and profile.scale then
    full.latency = scaled(full.latency, profile.scale)
  end
  full.preset, full.scale = nil, nil
  for _, list in ipairs { "sequence", "by_model" } do
    if profile[list] then
      full[list] = {}
      for key, item in pairs(profile[list]) do
        full[list][key] = M.expand(item)
      end
    end
  end
  return full
end

-- Sorted, since the order of a JSON object is not the same in every worker and the draws must be.
local function fault_table(faults)
  local list = {}
  for name, share in pairs(faults) do
    if name ~= "status" then
      list[#list + 1] = { name = name, share = share }
    end
  end
  for code, share in pairs(faults.status or {}) do
    list[#list + 1] = { name = "status", code = tonumber(code), share = share }
  end
  table.sort(list, function(a, b)
    return a.name .. (a.code or "") < b.name .. (b.code or "")
  end)
  return list
end

local function set_of(list)
  if not list then
    return nil
  end
  local set = {}
  for _, name in ipairs(list) do
    set[name] = true
  end
  return set
end

---@param profile table expanded
---@return table profile with what a request needs looked up beforehand
function M.compile(profile)
  profile.random = profile.latency ~= nil or profile.faults ~= nil
  profile.fault_table = profile.faults and fault_table(profile.faults)
  profile.key_set = set_of(profile.keys)
  profile.model_set = set_of(profile.models)
  for _, item in ipairs(profile.sequence or {}) do
    M.compile(item)
  end
  for _, item in pairs(profile.by_model or {}) do
    M.compile(item)
  end
  return profile
end

return M
