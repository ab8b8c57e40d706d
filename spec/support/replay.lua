-- Event streams, replayed through the core's parser into a folder: whole, byte by byte and cut at random, with the same
-- outcome each time.

local core = require "surefoot.core"
local streams = require "spec.wire.streams"

local M = {}

local HERE = "spec/lua/provider/fixtures/"

--- A recorded stream.
---@param name string
---@return string
function M.fixture(name)
  local file = assert(io.open(HERE .. name .. ".sse", "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- A stream of unnamed events.
---@param list string[]
---@return string
function M.frames(list)
  return "data: " .. table.concat(list, "\n\ndata: ") .. "\n\n"
end

local function same_deeply(a, b, path)
  if type(a) ~= type(b) then
    error(("%s: %s here, %s there"):format(path, tostring(a), tostring(b)), 0)
  elseif type(a) ~= "table" then
    return a == b or error(("%s: %s here, %s there"):format(path, tostring(a), tostring(b)), 0)
  end
  for key, value in pairs(a) do
    same_deeply(value, b[key], path .. "." .. tostring(key))
  end
  for key in pairs(b) do
    if a[key] == nil then
      error(path .. "." .. tostring(key) .. ": only there", 0)
    end
  end
end

--- Compares by value, and says where they differ.
---@param a any
---@param b any
---@param what string
function M.same(a, b, what)
  same_deeply(a, b, what)
end

--- A copy, all the way down.
---@param value any
---@return any
function M.deep(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = setmetatable({}, getmetatable(value))
  for key, item in pairs(value) do
    copy[M.deep(key)] = M.deep(item)
  end
  return copy
end

---@class surefoot.spec.Outcome
---@field actions string   in order; the same several times is one
---@field chunks table[]   plain tables: { text =, index =, ..., raw = }
---@field all string[]     every action
---@field verdict surefoot.Verdict?
---@field whole boolean
---@field fields table

local function plain(chunk)
  local copy = { raw = chunk.raw }
  for key, value in pairs(chunk) do
    copy[key] = value
  end
  return copy
end

--- Feeds pieces.
---@param folder surefoot.Folder
---@param pieces string[]
---@return surefoot.spec.Outcome
function M.feed(folder, pieces)
  local parser, last = core.sse(1000000), nil
  local outcome, actions = { chunks = {}, all = {} }, {}
  for _, piece in ipairs(pieces) do
    for _, event in ipairs(assert(parser:feed(piece))) do
      local action, result, more = folder:event(event.name, event.data)
      outcome.all[#outcome.all + 1] = action
      if action ~= last then
        actions[#actions + 1], last = action, action
      end
      if action == "fail" then
        outcome.verdict = result
        outcome.actions = table.concat(actions, " ")
        return outcome
      elseif result then
        outcome.chunks[#outcome.chunks + 1] = plain(result)
        for _, chunk in ipairs(more or {}) do
          outcome.chunks[#outcome.chunks + 1] = plain(chunk)
        end
      end
    end
  end
  outcome.actions = table.concat(actions, " ")
  outcome.whole, outcome.fields = folder:whole(), folder:fields()
  return outcome
end

--- Replays a stream in every way.
---@param make fun(): surefoot.Folder
---@param stream string
---@return surefoot.spec.Outcome
function M.every_way(make, stream)
  local outcome = M.feed(make(), { stream })
  local bytes = {}
  for i = 1, #stream do
    bytes[i] = stream:sub(i, i)
  end
  M.same(outcome, M.feed(make(), bytes), "byte by byte")
  for seed = 1, 12 do
    local pieces = streams.cut(stream, streams.random(seed * 7919), seed % 2 == 0 and 9 or 400)
    M.same(outcome, M.feed(make(), pieces), "cut with seed " .. seed)
  end
  return outcome
end

return M
