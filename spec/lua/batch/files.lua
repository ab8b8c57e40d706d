-- A folder with the files of a batch, a simulated line that answers what it is asked, and what the files say then.
--
--   before_each(files.begin)   after_each(files.finish)

local assert = require "luassert"
local json = require "surefoot.json"
local process = require "spec.support.process"
local surefoot = require "surefoot"

local dir -- of the test

local function begin()
  dir = process.temp_dir "batch"
end

local function finish()
  process.remove_dir(dir)
end

local function path(name)
  return dir .. "/" .. name
end

local function write(name, lines)
  process.write(path(name), type(lines) == "table" and table.concat(lines, "\n") .. "\n" or lines)
end

-- Requests that say "1", "2" ... and are answered with the same.
local function requests(count)
  local lines = {}
  for i = 1, count do
    lines[i] = ('{"custom_id":"r%d","method":"POST","url":"/v1/chat/completions","body":{"messages":'
      .. '[{"role":"user","content":"%d"}]}}'):format(i, i)
  end
  return lines
end

local function said(request)
  return request.json.messages[1].content
end

-- A client whose requests are answered by script(text, number, request, now); what was asked, and its keys.
local function simulated(script, configuration)
  local asked, keys = {}, {}
  local sim = surefoot.simulate { seed = 5, endpoints = { a = function(n, request, now)
    local text = said(request)
    asked[#asked + 1] = text
    keys[text] = keys[text] or {}
    table.insert(keys[text], request.headers["idempotency-key"])
    return script and script(text, n, request, now) or { after = 1, text = text }
  end } }
  return sim:client(configuration), asked, keys, sim
end

local function run(client, options)
  local all = { input = path "in.jsonl", output = path "out.jsonl" }
  for key, value in pairs(options or {}) do
    all[key] = value
  end
  return client:batch_file(all)
end

local function rows(name)
  local list = {}
  for line in (process.read(path(name)) or ""):gmatch "[^\n]*\n" do
    list[#list + 1] = assert(json.decode(line))
  end
  return list
end

-- custom_id -> what it was answered, or its error's code; no row may be there twice.
local function outcomes(...)
  local found = {}
  for _, name in ipairs { ... } do
    for _, row in ipairs(rows(name)) do
      assert.is_nil(found[row.custom_id], row.custom_id .. " is there twice")
      found[row.custom_id] = row.error ~= json.null and row.error.code or row.response.body.choices[1].message.content
    end
  end
  return found
end

local function expected(count)
  local list = {}
  for i = 1, count do
    list["r" .. i] = tostring(i)
  end
  return list
end

-- The files as a process would leave them that is killed now, in another folder.
local function snapshot(to)
  process.capture(("mkdir -p %s && cp -p %s/*.jsonl* %s"):format(path(to), dir, path(to)))
end

local function in_folder(name)
  return { input = path(name .. "/in.jsonl"), output = path(name .. "/out.jsonl") }
end

return {
  begin = begin, finish = finish, path = path, write = write, requests = requests, simulated = simulated, run = run,
  rows = rows, outcomes = outcomes, expected = expected, snapshot = snapshot, in_folder = in_folder,
}
