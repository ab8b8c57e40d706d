--- A client that answers from a recording (surefoot.record), in tests, without network or key.
--
-- It is one of a simulation: its clock is virtual, and nothing waits. It knows a request by method, path and body; on
-- the line that was recorded, else on any. The same request again gets the next answer to it, and the last one for
-- ever. One that was not recorded fails with kind "invalid_request", code "not_recorded", and a message that names the
-- nearest; with strict = false it gets the nearest one's answer, if one has its path. Streams come as the events that
-- they were, each at its time.

local check = require "surefoot.config.check"
local json = require "surefoot.json"
local record = require "surefoot.record"
local schema = require "surefoot.config.schema"
local simulate = require "surefoot.simulate"
local words = require "surefoot.config.text"

local M = {}

---@class surefoot.ReplayOptions
---@field strict boolean?         false: a request that was not recorded gets the nearest one's answer
---@field config surefoot.Config? of the client, over what was recorded: endpoints in the order in which they were

local NAMES = { type = "string" }

local LINE = {
  { name = "name", type = "string", required = true, doc = "of the line" },
  { name = "models", type = "table", doc = "which it serves", fields = {
    { name = "only", type = "list", of = NAMES, doc = "these" },
    { name = "rename", type = "map", of = NAMES, doc = "under other names" },
  } },
}

local HEADER = {
  { name = "recording", type = "enum", values = { record.FORMAT }, required = true, doc = tostring(record.FORMAT) },
  { name = "endpoints", type = "list", of = { type = "table", fields = LINE, open = true }, required = true,
    doc = "the lines" },
}

check.define("hexadecimal", function(_, value, path)
  if type(value) ~= "string" or value:gsub("%x%x", "") ~= "" then
    check.fail(path, "expected pairs of hexadecimal digits, got %s", check.show(value))
  end
  return value
end)

local ANSWER = { { name = "body_hex", type = "hexadecimal", doc = "a body that is no UTF-8" } }
for _, field in ipairs(schema.script) do
  ANSWER[#ANSWER + 1] = field
end

local ENTRY = {
  { name = "endpoint", type = "string", required = true, doc = "the line that was asked" },
  { name = "request", type = "table", required = true, open = true, doc = "what it was asked", fields = {
    { name = "method", type = "string", required = true, doc = "of the request" },
    { name = "path", type = "string", required = true, doc = "of the request" },
    { name = "sha256", type = "string", required = true, doc = "of its body" },
    { name = "text", type = "string", empty = true, raw = true, required = true, doc = "how it begins" },
  } },
  { name = "answer", type = "table", fields = ANSWER, required = true, doc = "what it answered" },
}

local function read_line(line, fields)
  local entry, problem, message = json.decode(line)
  if entry == nil then
    error((problem == "truncated" and "the line ends early: " or "") .. message, 0)
  end
  check.fields(fields, entry, "", true)
  if fields == HEADER and #entry.endpoints == 0 then
    check.fail("endpoints", "the list is empty")
  end
  return entry
end

local function read(path)
  local file, problem = io.open(path, "rb")
  if not file then
    error(problem, 0)
  end
  local text
  text, problem = file:read "*a"
  file:close()
  if not text then
    error(path .. ": " .. problem, 0)
  elseif text == "" then
    error(path .. ": the file is empty", 0)
  end
  local list = {}
  for line in text:gsub("\n?$", "\n", 1):gmatch "([^\n]*)\n" do
    local number = #list + 1
    local ok, entry = pcall(read_line, line, number == 1 and HEADER or ENTRY)
    if not ok then
      error(("%s:%d: this is no recording of surefoot's: %s"):format(path, number, entry), 0)
    end
    list[number] = entry
  end
  return table.remove(list, 1), list
end

---@class surefoot.Replay
---@field private path string
---@field private entries table[]
---@field private strict boolean
local Replay = {}
Replay.__index = Replay

local function from_hex(text)
  return (text:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function ends_with(path, own)
  return path:sub(-#own) == own
end

-- Of those that fit the next that was not used, else the last.
local function next_of(entries, fits)
  local last
  for _, entry in ipairs(entries) do
    if fits(entry) then
      last = entry
      if not entry.used then
        break
      end
    end
  end
  return last
end

function Replay:exact(endpoint, asked)
  local function same(entry)
    local known = entry.request
    return known.method == asked.method and ends_with(asked.path, known.path)
      and (known.sha256 == asked.sha256 or known.sha256 == record.ANY)
  end
  return next_of(self.entries, function(entry) return entry.endpoint == endpoint and same(entry) end)
    or next_of(self.entries, same)
end

-- The recorded request that is most like this one: of its path, then of its model, then by its text.
function Replay:nearest(asked)
  local pool, texts = {}, {}
  local function gather(fits)
    for _, entry in ipairs(#pool == 0 and self.entries or {}) do
      if fits(entry.request) then
        pool[#pool + 1], texts[#texts + 1] = entry.request, entry.request.text
      end
    end
  end
  local function of_path(known)
    return known.method == asked.method and ends_with(asked.path, known.path)
  end
  gather(function(known) return of_path(known) and known.model == asked.model end)
  gather(of_path)
  local text = words.nearest(asked.text, texts)
  for _, known in ipairs(pool) do
    if known.text == text then
      return known
    end
  end
end

local function in_words(request)
  return ("%s %s%s %q"):format(request.method, request.path, request.model and " (" .. request.model .. ")" or "",
    request.text:sub(1, 80))
end

local function unknown(self, asked, nearest)
  local message = ("%s holds no %s; "):format(self.path, in_words(asked))
  message = message .. (nearest and "the nearest is " .. in_words(nearest) or "nor anything else with that path")
  return { status = 400, body = { error = { type = "invalid_request_error", code = "not_recorded",
    message = message } } }
end

--- What a request of the client's gets.
---@param endpoint string
---@param request table as a script of surefoot.simulate gets it
---@return surefoot.Script
function Replay:answer(endpoint, request)
  local asked = record.identity(request.method, request.path, request.body)
  local entry = self:exact(endpoint, asked)
  if not entry then
    local nearest = self:nearest(asked)
    if self.strict or not nearest then
      return unknown(self, asked, nearest)
    end
    entry = next_of(self.entries, function(one) return one.request.sha256 == nearest.sha256 end)
  end
  entry.used = true
  local answer = {}
  for name, value in pairs(entry.answer) do
    answer[name] = value
  end
  answer.body, answer.body_hex = answer.body_hex and from_hex(answer.body_hex) or answer.body, nil
  return answer
end

-- The recorded lines, with what the test's configuration says about them.
local function endpoints_of(header, given)
  local list = {}
  for i, known in ipairs(header.endpoints) do
    local models = known.models and {}
    for name, sent in pairs(known.models and known.models.rename or {}) do
      models[name] = sent
    end
    for place, name in ipairs(known.models and known.models.only or {}) do
      models[place] = name
    end
    local endpoint = {
      name = known.name, url = "https://replay.invalid" .. (known.prefix or ""), preset = known.preset,
      provider = known.provider, api_version = known.api_version, weight = known.weight, priority = known.priority,
      models = models, api_key = "replayed",
    }
    for name, value in pairs(given and given[i] or {}) do
      if name ~= "url" and name ~= "api_key" then
        endpoint[name] = value
      end
    end
    list[i] = endpoint
  end
  return list
end

local NETWORK = { base_url = true, api_key = true, preset = true, proxy = true, tls = true, dns = true, shared = true }

--- Makes a client that answers from a recording. Throws a message without a position.
---@param path string
---@param options surefoot.ReplayOptions?
---@return surefoot.Client client
---@return surefoot.Simulation sim whose clock it lives by
function M.new(path, options)
  if type(path) ~= "string" then
    check.fail("path", "expected the path of a recording, got %s", check.show(path))
  end
  options = check.fields(schema.replay, options == nil and {} or options, "")
  local header, entries = read(path)
  local replay = setmetatable({ path = path, entries = entries, strict = options.strict ~= false }, Replay)
  local scripts = {}
  for _, endpoint in ipairs(header.endpoints) do
    local name = endpoint.name
    scripts[name] = function(_, request)
      return replay:answer(name, request)
    end
  end
  local config = {}
  for name, value in pairs(options.config or {}) do
    config[name] = not NETWORK[name] and value or nil
  end
  config.model = config.model or header.model
  config.endpoints = endpoints_of(header, options.config and options.config.endpoints)
  local sim = simulate.new { seed = 1, endpoints = scripts }
  local ok, client = pcall(sim.client, sim, config)
  return ok and client or error(tostring(client):gsub("^.-simulation:client: ", ""), 0), sim
end

return M
