--- Does every line work, and what has to be changed where one does not?
---   lua5.4 examples/verify.lua [PRESET or URL] ...
---   lua5.4 examples/verify.lua openai anthropic http://127.0.0.1:11434/v1
--- A preset's key is read from its variable, a URL's from SUREFOOT_API_KEY; SUREFOOT_MODEL is looked for in the lists
--- of models. Behind a proxy: https_proxy, or `proxy` in the configuration. Ends with 1 when a line does not work.

local surefoot = require "surefoot"

local STEPS = { "dns", "tcp", "tls", "first_byte", "total" }

local endpoints = {}
for i, where in ipairs(#arg > 0 and arg or { "openai" }) do
  local is_url = where:find "^https?://" ~= nil
  endpoints[i] = is_url and { url = where, api_key = os.getenv "SUREFOOT_API_KEY" } or { preset = where, name = where }
end

local ok, client = pcall(surefoot.new, { endpoints = endpoints, model = os.getenv "SUREFOOT_MODEL" })
if not ok then -- a preset without its key, a proxy that cannot be read ...
  io.stderr:write(client, "\n")
  os.exit(2)
end

local function milliseconds(phases)
  local parts = {}
  for _, step in ipairs(STEPS) do
    local seconds = phases[step]
    parts[#parts + 1] = seconds and ("%s %.1f ms"):format(step:gsub("_", " "), seconds * 1000)
  end
  return table.concat(parts, ", ")
end

local report = client:verify()
for _, line in ipairs(report.endpoints) do
  print(("%s: %s"):format(line.endpoint, line.ok and "well" or line.kind .. ": " .. line.message))
  if line.phases then
    print("  " .. milliseconds(line.phases) .. (line.address and ", at " .. line.address or "")
      .. (line.proxy and ", through " .. line.proxy or "") .. (line.models and ", " .. line.models .. " models" or ""))
  end
  for i, key in ipairs(line.keys or {}) do
    print(("  key %d: %s"):format(i, key.ok and "well" or key.kind))
  end
  if line.advice then
    print("  -> " .. line.advice)
  end
end
client:close()
os.exit(report.ok and 0 or 1)
