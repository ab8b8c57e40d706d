--- Real exchanges as a test double: recorded once from the network, then replayed without one.
--
--   local client = surefoot.record({ preset = "openai", model = "gpt-4o-mini" }, "spec/hello.jsonl")
--   client:chat "Hello"                                        -- asks, and writes down what came
--
--   local client = surefoot.replay "spec/hello.jsonl"          -- in the test: the same client, no network, no key
--   client:chat "Hello"                                        -- what came then
--
-- The file is JSON, a line each: first the client's lines and model, then every attempt when its call has ended: the
-- request (method, path, SHA-256 of the body as JSON with its keys in order, and the beginning of what it asks, for
-- messages) and the answer (status, headers, body or events, and when they came), or how it failed. Keys and cookies
-- are not in it. Answers that went into a file are not recorded; of uploads the body is not compared. Writing fails
-- loudly: the call throws. surefoot.replay says how an answer is found again.

local binding = require "surefoot.binding"
local json = require "surefoot.json"
local presets = require "surefoot.presets"
local sorted = require "surefoot.sorted"

local M = {}

M.FORMAT = 1
local SHOWN = 200 -- bytes of a request that are kept for messages
M.ANY = "*" -- instead of a body's SHA-256

-- ------------------------------------------------------------------------------------------------------------ requests

local function document_of(body)
  local document = body and json.decode(body)
  return type(document) == "table" and document or nil
end

local function last_text(document)
  local list = document.messages or document.input or document.contents
  local last = type(list) == "table" and list[#list] or list
  local content = type(last) == "table" and (last.content or last.parts) or last
  if type(content) == "table" and content ~= json.null then
    content = type(content[1]) == "table" and content[1].text or nil
  end
  return type(content) == "string" and content or nil
end

local function beginning(text)
  return #text > SHOWN and text:sub(1, SHOWN):gsub("[\192-\255][\128-\191]*$", "") or text
end

--- What a request is known by.
---@param method string
---@param path string
---@param body string?
---@return table
function M.identity(method, path, body)
  local document = document_of(body)
  local text = document and last_text(document)
  return {
    method = method, path = path, sha256 = binding.sha256(document and json.encode(document) or body or ""),
    model = document and type(document.model) == "string" and document.model or nil,
    text = beginning(text or not document and body or ""),
  }
end

-- ----------------------------------------------------------------------------------------------------------- recording

---@class surefoot.Recorder
---@field private client surefoot.Client
---@field private file file*
---@field private path string
local Recorder = {}
Recorder.__index = Recorder

-- What a call has heard so far.
---@class surefoot.Tape
---@field private recorder surefoot.Recorder
---@field private job surefoot.Job
---@field private sent table<integer, { method: string, path: string, body: string? }>  by variant
---@field private heard table<integer, table>  by attempt
local Tape = {}
Tape.__index = Tape

local HOP = { ["content-length"] = true, ["content-encoding"] = true, ["transfer-encoding"] = true,
  connection = true, ["keep-alive"] = true, ["set-cookie"] = true }

local function kept_headers(block)
  local kept = {}
  for name, value in pairs(binding.headers(block)) do
    kept[name] = not HOP[name] and value or nil
  end
  return json.object(kept)
end

local function to_hex(text)
  return (text:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local function put(recorder, entry)
  local text, problem = json.encode(entry)
  local answer = entry.answer
  if not text and answer and answer.body then -- it is no UTF-8
    answer.body, answer.body_hex = nil, to_hex(answer.body)
    text, problem = json.encode(entry)
  end
  local ok = text
  if ok then
    ok, problem = recorder.file:write(text, "\n")
  end
  if ok then
    ok, problem = recorder.file:flush()
  end
  if not ok then
    error(("surefoot.record: %s: %s"):format(recorder.path, tostring(problem)), 0)
  end
end

local function preset_name(preset)
  for name, known in pairs(presets) do
    if known == preset then
      return name
    end
  end
end

local function models_of(models)
  local only = sorted(models.only or {})
  return next(models.rename) and { rename = models.rename, only = only } or #only > 0 and { only = only } or nil
end

local function header_of(config)
  local header = { recording = M.FORMAT, model = config.model, endpoints = {} }
  for i, endpoint in ipairs(config.endpoints) do
    header.endpoints[i] = {
      name = endpoint.name, provider = endpoint.provider, preset = preset_name(endpoint.preset),
      api_version = endpoint.traits.api_version, prefix = endpoint.url:match "^%a+://[^/]+(.*)$",
      weight = endpoint.weight, priority = endpoint.priority, models = models_of(endpoint.models),
    }
  end
  return header
end

--- Begins to record what a client does from now on, into a new file.
---@param client surefoot.Client
---@param path string
---@return surefoot.Recorder? recorder
---@return string? problem
function M.new(client, path)
  local file, problem = io.open(path, "wb")
  if not file then
    return nil, problem
  end
  local recorder = setmetatable({ client = client, file = file, path = path }, Recorder)
  put(recorder, header_of(client.config))
  return recorder
end

--- A tape for a call that is about to be submitted.
---@param job surefoot.Job
---@return surefoot.Tape
function Recorder:tape(job)
  return setmetatable({ recorder = self, job = job, heard = {},
    sent = { { method = job.method, path = job.path, body = job.body } } }, Tape)
end

--- Another variant of the request was written.
---@param number integer
---@param method string
---@param path string
---@param body string?
function Tape:encoded(number, method, path, body)
  self.sent[number] = { method = method, path = path, body = body }
end

--- An answer came whole.
---@param attempt integer
---@param status integer
---@param headers string
---@param body string | integer
function Tape:answered(attempt, status, headers, body)
  self.heard[attempt] = { status = status, headers = kept_headers(headers), body = body }
end

--- An event of a stream came.
---@param attempt integer
---@param name string?
---@param data string
function Tape:event(attempt, name, data)
  local now, heard = self.job.scheduler.engine:now(), self.heard[attempt]
  if not heard then
    local status, headers = self.job.call:head(attempt)
    heard = { status = status, headers = kept_headers(headers), events = {}, began = now }
    self.heard[attempt] = heard
  end
  local event_line = name and name ~= "" and "event: " .. name .. "\n" or ""
  heard.events[#heard.events + 1] = { at = now - heard.began,
    data = event_line .. "data: " .. data:gsub("\n", "\ndata: ") .. "\n\n" }
end

local FAILS = { name_unknown = "resolve", refused = "connect", unreachable = "connect", not_tls = "tls" }

-- How an attempt ended that brought no answer; nil: nobody can say, since it was given up.
local function failure_of(attempt)
  if attempt.kind == "timeout" then
    return { fault = "hang" }
  elseif attempt.kind == "tls" then
    return { fail = "tls" }
  elseif attempt.kind == "network" then
    local fail = FAILS[attempt.cause] or attempt.phase == "connect" and "connect"
    return fail and { fail = fail } or { fault = "reset" }
  elseif attempt.kind == "truncated" or attempt.kind == "malformed" then
    return { fault = "cut", body = "{" }
  end
end

local function answer_of(attempt, heard)
  local after = attempt.first_byte or attempt.latency
  if not heard then
    local failed = failure_of(attempt)
    if failed then
      failed.after = failed.fault ~= "hang" and attempt.latency or nil
    end
    return failed
  elseif type(heard.body) == "number" then
    return nil -- it is in a file
  end
  for _, event in ipairs(heard.events or {}) do
    event.at = event.at + after
  end
  return { after = after, status = heard.status, headers = heard.headers, body = heard.body, events = heard.events,
    fault = heard.events and attempt.kind ~= "ok" and "cut" or nil }
end

local function variant_of(plan, attempt)
  for _, target in ipairs(plan.targets) do
    if target.endpoint == attempt.endpoint and target.route == attempt.route then
      return target.variant
    end
  end
end

--- What is to be written of the call, which has settled.
---@return table[] entries
function Tape:entries()
  local job, entries = self.job, {}
  local client = job.client
  for number, attempt in ipairs(job.call:trail()) do
    local sent, answer = self.sent[variant_of(job.plan, attempt)], answer_of(attempt, self.heard[number])
    if sent and answer then
      local request = M.identity(sent.method, sent.path, sent.body)
      request.sha256 = job.upload and M.ANY or request.sha256
      entries[#entries + 1] = client.scrub { endpoint = client.config.endpoints[attempt.endpoint].name,
        request = request, answer = answer }
    end
  end
  return entries
end

--- Writes them.
---@param entries table[]
function Tape:write(entries)
  for _, entry in ipairs(entries) do
    put(self.recorder, entry)
  end
end

return M
