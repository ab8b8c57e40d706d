--- Structured output: a JSON Schema in, a Lua table out, whatever the provider calls that on the wire.
---   lua5.4 examples/structured.lua [PRESET or URL] [MODEL] [TEXT]

local surefoot = require "surefoot"

local where, model = arg[1] or "openai", arg[2] or "gpt-4o-mini"
local text = arg[3] or "Ada Lovelace, born in London in 1815, wrote the first published program."
local is_url = where:find "^https?://" ~= nil

local ok, client = pcall(surefoot.new, {
  preset = not is_url and where or nil, base_url = is_url and where or nil, model = model,
})
if not ok then -- no key in the environment ...
  io.stderr:write(client, "\n")
  os.exit(2)
end

local person = {
  type = "object", additionalProperties = false, required = { "name", "born" },
  properties = { name = { type = "string" }, born = { type = "integer" }, place = { type = "string" } },
}

local result, err = client:chat({
  messages = { { role = "user", content = "Who is this about? " .. text } },
  response_format = { type = "json_schema", json_schema = { name = "person", schema = person } },
}, {
  validate = function(answer) -- an answer that will not do is asked for again
    return type(answer.parsed) == "table" and answer.parsed.name ~= nil, "no name in it"
  end,
})
if not result then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
for name, value in pairs(result.parsed) do
  print(name, value)
end
