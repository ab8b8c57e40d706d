-- What somebody does first with an installed surefoot: lua first_call.lua BASE_URL. Says where it was loaded from, what
-- version it is, and what the model answered.
local surefoot = require "surefoot"

local function place(name, path)
  for template in path:gmatch "[^;]+" do
    local candidate = template:gsub("%?", (name:gsub("%.", "/")))
    local file = io.open(candidate)
    if file then
      file:close()
      return candidate
    end
  end
end

local client = surefoot.new { base_url = arg[1], api_key = "sk-packaging", model = "sim-large" }
local before = surefoot.now()
local result = assert(client:chat "ping 42")
assert(surefoot.now() > before)
client:close()

print(place("surefoot", package.path))
print(place("surefoot.core", package.cpath))
print(surefoot._VERSION)
print(result.text)
