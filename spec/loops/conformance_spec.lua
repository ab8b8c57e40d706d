-- The same calls, in every home that they can wait in, come out the same. Each combination is a process of its own that
-- plays spec/loops/conformance.lua against lines of its own of one simulated provider, several at a time; its report is
-- compared with what is written here. What is not installed is skipped, and said.
-- Every home on its main interpreter, or with SUREFOOT_ALL=1 every home on every interpreter.

local cjson = require "cjson"
local env = require "spec.support.env"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local AT_ONCE, PATIENCE = 12, 60 -- processes; seconds for each

-- ---------------------------------------------------------------------------------------------------------- expected

-- scenario, kind, text, kinds of the attempts
local expected = {
  { "what waits", "ok", "the coroutine", blocks = "the thread" },
  { "a call", "ok", "echo: one", "ok" },
  { "calls one after another", "ok", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; 20 reused" },
  { "calls side by side", "ok", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; 20 at once" },
  { "answers out of order", "ok", "echo: 3, echo: 2, echo: 1" },
  { "a key that is fetched meanwhile", "ok", "echo: hello", "ok" },
  { "a key that is fetched meanwhile: sent", "ok", "Bearer sk-fetched-1" },
  { "an answer that is judged at leisure", "ok", "echo: hello", "rejected ok" },
  { "structured output", "ok", "echo: Ada, 1815", "ok" },

  { "a stream", "ok", "echo: six pieces of text, please", "ok" },
  { "a stream: shown", "ok", "echo: six pieces of text, please; in pieces" },
  { "streams side by side", "ok", "echo: stream number 1, echo: stream number 2, echo: stream number 3, "
    .. "echo: stream number 4, echo: stream number 5, echo: stream number 6" },
  { "a reader that is slow", "ok", "4000000 bytes, held up", "ok" },
  { "a stream that is closed in the middle", "cancelled", "aborted 1", "cancelled" },
  { "a stream that fails before it shows anything", "ok", "echo: hello", "truncated ok" },
  { "a stream that is cut", "truncated", "partial text is what was shown", "truncated" },
  { "a stream that stalls", "timeout", "idle", "timeout" },

  { "tools", "ok", "echo: echo: Hi", "ok" },
  { "tools: rounds", "ok", "2, calls 2, messages 5" },
  { "tools, streamed", "ok", '[ask][weather]echo: {"celsius":7}', "ok" },
  { "a tool that throws", "ok", 'echo: {"error":"no power"}', "ok" },

  { "a line that hangs", "timeout", "first_byte", "timeout" },
  { "a silent line, and another", "ok", "echo: hello", "timeout ok" },
  { "a cut, then well", "ok", "echo: hello", "truncated ok" },
  { "500, then well", "ok", "echo: hello", "server server ok" },
  { "429 with a Retry-After, then well", "ok", "waited", "rate_limited ok" },
  { "an answer that is no JSON, then well", "ok", "echo: hello", "malformed ok" },
  { "a reset, and another line", "ok", "echo: hello", "network ok" },
  { "a deadline while an answer is awaited", "deadline", "waited", "deadline" },
  { "a deadline that ends a stream", "deadline", "with text", "deadline" },
  { "a pace", "ok", "waited" },

  { "cancelled before it begins", "cancelled", "asked 0" },
  { "cancelled while an answer is awaited", "cancelled", "aborted 1", "cancelled" },
  { "the first of several is cancelled", "ok", "cancelled, echo: 2, echo: 3" },
  { "cancelled by its own event", "cancelled", "", "cancelled" },
  { "cancelled while it queues: the first", "cancelled", "", "cancelled" },
  { "cancelled while it queues: the second", "cancelled", "" },
  { "cancelled between two attempts", "cancelled", "", "server" },
  { "cancelled while a piece is awaited", "cancelled", "aborted 1", "cancelled" },
  { "cancelled while a tool runs", "cancelled", "rounds 1" },
  { "cancelled with its task", "cancelled", "aborted 1", "cancelled" },
  { "a batch that is cancelled with its task", "ok", "cancelled cancelled cancelled" },
  { "closed while an answer is awaited", "closed", "", "closed" },
  { "closed while an answer is awaited: afterwards", "closed", "" },
  { "closed with draining", "ok", "echo: hello", "ok" },

  { "sleeps in order", "ok", "first second third" },
  { "a task that sleeps is cancelled", "cancelled", "" },
  { "a task is waited for, but not long enough", "timeout", "done" },
  { "a task that waits for another is cancelled", "cancelled", "the other goes on" },
  { "a crowd of calls and sleeps", "ok", "200 of 200" },
  { "tasks that begin tasks", "ok", "echo: 5, echo: 4, echo: 3, echo: 2, echo: 1" },
  { "batch", "ok", "invalid_request ok ok ok ok ok ok ok ok ok ok ok; 11 of 12, 4 at once" },
  { "each", "ok", "8: echo: 1, echo: 2, echo: 3, echo: 4, echo: 5, echo: 6, echo: 7, echo: 8" },
  { "calls that ask the same", "ok", "echo: the same, echo: the same, echo: the same, echo: the same, "
    .. "echo: the same, echo: the same; 5 shared, asked 1" },
  { "calls that ask the same, and leave: the first", "cancelled", "", "cancelled" },
  { "calls that ask the same, and leave: the second", "deadline", "aborted 1", "deadline" },

  { "status 400", "invalid_request", "", "invalid_request" },
  { "status 401", "unauthorized", "", "unauthorized" },
  { "status 402", "quota", "", "quota" },
  { "status 403", "forbidden", "", "forbidden" },
  { "status 404", "not_found", "", "not_found" },
  { "status 413", "too_large", "", "too_large" },
  { "status 429", "rate_limited", "", "rate_limited" },
  { "status 500", "server", "", "server" },
  { "status 503", "overloaded", "", "overloaded" },
  { "status 529", "overloaded", "", "overloaded" },
  { "errors of this side: refused", "network", "", "network" },
  { "errors of this side: too large", "too_large", "", "too_large" },
  { "errors of this side: rejected", "rejected", "", "rejected" },
  { "errors of this side: no room", "queue_full", "" },
  { "errors of this side: circuit", "circuit_open", "" },
  { "a task that throws", "error", "and the other goes on" },

  { "what is left", "ok", "0 in flight" },
  { "the end", "ok", "" },
}

-- -------------------------------------------------------------------------------------------------------- the matrix

local INTERPRETERS = { "lua5.1", "lua5.2", "lua5.3", "lua5.4", "luajit" }

-- interpreters: the main ones; blocks: nothing resumes anything, the thread blocks
local homes = {
  { "main", { "lua5.4" }, blocks = true },
  { "tasks", { "luajit" } },
  { "own loop, pollfd", { "lua5.4" }, library = "socket", package = "lua-socket" },
  { "own loop, use", { "luajit" }, library = "socket", package = "lua-socket" },
  { "cqueues", { "lua5.4" }, library = "cqueues", package = "lua-cqueues" },
  { "copas", { "luajit" }, library = "copas", package = "lua-copas" },
  { "luv", { "luajit" }, library = "luv", package = "lua-luv" },
  { "luv, main", { "lua5.4" }, library = "luv", package = "lua-luv", blocks = true },
  { "neovim", {}, program = "nvim", package = "neovim" },
  { "neovim, main", {}, program = "nvim", package = "neovim", blocks = true },
  { "nginx, content", {}, program = "nginx" },
  { "nginx, timer", {}, program = "nginx" },
}

local function runs()
  local list = {}
  for _, home in ipairs(homes) do
    local names = home.program and { home.program } or os.getenv "SUREFOOT_ALL" == "1" and INTERPRETERS or home[2]
    for _, name in ipairs(names) do
      list[#list + 1] = { home = home, interpreter = name, prefix = ("run%d_"):format(#list + 1) }
    end
  end
  return list
end

-- Why a combination cannot run here; nil where it can.
local function missing(run)
  local home, name = run.home, run.interpreter
  if name == "nginx" then
    local path, problem = nginx.find()
    return not path and problem or nil
  elseif not process.which(name) then
    return ("%s was not found: install the package %s"):format(name, home.package or name)
  end
  local build = "build/" .. (name == "nvim" and "luajit" or name)
  if not process.read(build .. "/surefoot/core.so") then
    return build .. " was not built"
  elseif home.library and name ~= "nvim" then
    local output, code = process.capture(("%s -e 'require %q' 2>&1"):format(name, home.library))
    return code ~= 0 and ("%s has no module %s: install the package %s (%s)"):format(name, home.library, home.package,
      output:match "[^\n]*") or nil
  end
end

-- ----------------------------------------------------------------------------------------------------------- running

local here = process.capture({ "pwd", "-P" }):match "[^\n]+"
local LOAD = [[
  package.path = %q .. "/?.lua;" .. package.path
  assert(loadfile(%q .. "/spec/loops/conformance.lua"))(%q, %q, %q, %q)
]]

local function in_nginx(run, load)
  run.nginx = nginx.start { init = [[require "surefoot"]], locations = { ["/play"] = load } }
  run.connection = run.nginx:open("/play", nil, PATIENCE)
end

local function as_process(run, load)
  local name = run.interpreter
  local words = {
    "env", "SUREFOOT_BUILD=build/" .. (name == "nvim" and "luajit" or name), "timeout", "-k", "2", PATIENCE, name,
  }
  local more = { "-e", "dofile 'spec/helper.lua'" .. load }
  if name == "nvim" then
    process.write(run.script, "dofile 'spec/helper.lua'" .. load)
    more = { "--headless", "-u", "NONE", "-i", "NONE", "-n", "-c", "luafile " .. run.script, "-c", "qa!" }
  end
  for _, word in ipairs(more) do
    words[#words + 1] = word
  end
  run.pid = process.spawn(words, { stdout = run.output })
  run.started = process.started(run.pid)
end

local function start(run, p)
  local base = p.dir .. "/" .. run.prefix
  run.report, run.output, run.script = base .. "report", base .. "output", base .. "script.lua"
  local load = LOAD:format(here, here, run.home[1], p.dir .. "/provider.json", run.prefix, run.report)
  if run.interpreter == "nginx" then
    in_nginx(run, load)
  else
    as_process(run, load)
  end
end

local function over(run)
  if run.pid then
    return not process.alive(run.pid, run.started)
  end
  local report = process.read(run.report) or ""
  return report:find('{"scenario":"the end"', 1, true) ~= nil or not process.alive(run.nginx.pid)
end

local function run_all(list, p)
  local waiting, running = {}, {}
  for _, run in ipairs(list) do
    run.missing = missing(run)
    if not run.missing then
      waiting[#waiting + 1] = run
    end
  end
  while #waiting > 0 or #running > 0 do
    while #waiting > 0 and #running < AT_ONCE do
      running[#running + 1] = table.remove(waiting, 1)
      start(running[#running], p)
    end
    assert(process.wait_for(function()
      for i, run in ipairs(running) do
        if over(run) then
          table.remove(running, i)
          return true
        end
      end
    end, PATIENCE + 10), "a home neither ends nor is ended")
  end
end

-- --------------------------------------------------------------------------------------------------------- comparing

local function line_of(scenario, kind, text, attempts)
  return ("%s | %s | %s | %s"):format(scenario, kind, text, attempts or "")
end

local function expected_of(run)
  local lines = {}
  for i, row in ipairs(expected) do
    lines[i] = line_of(row[1], row[2], run.home.blocks and row.blocks or row[3], row[4])
  end
  return lines
end

local function reported_by(run)
  local lines = {}
  for text in (process.read(run.report) or ""):gmatch "[^\n]+" do
    local entry = cjson.decode(text)
    lines[#lines + 1] = line_of(entry.scenario, entry.kind, entry.text, table.concat(entry.attempts, " "))
  end
  return lines
end

-- Lines of one list that the other has not, in order; a few are enough.
local function without(list, others, mark, into)
  local known, count = {}, 0
  for _, line in ipairs(others) do
    known[line] = true
  end
  for _, line in ipairs(list) do
    if not known[line] then
      count = count + 1
      into[#into + 1] = count <= 12 and mark .. line or nil
    end
  end
  into[#into + 1] = count > 12 and ("%sand %d more"):format(mark, count - 12) or nil
end

local function differences(run)
  local wanted, got, found = expected_of(run), reported_by(run), {}
  without(wanted, got, "missing: ", found)
  without(got, wanted, "instead: ", found)
  if #found == 0 and table.concat(wanted, "\n") ~= table.concat(got, "\n") then
    found[1] = "in another order, or twice: " .. table.concat(got, "\n")
  end
  if #found > 0 then
    found[#found + 1] = "its output: " .. (process.read(run.output) or "")
  end
  return table.concat(found, "\n")
end

-- -------------------------------------------------------------------------------------------------------------------

describe("the same calls come out the same #once", function()
  local list, p = runs(), nil

  setup(function()
    local lines = {}
    for _, run in ipairs(list) do
      lines[#lines + 1] = run.prefix .. "a"
      lines[#lines + 1] = run.prefix .. "b"
    end
    p = provider.start { lines = lines, send_buffer = 65536 }
    run_all(list, p)
  end)

  teardown(function()
    local errors = p:errors()
    p:stop()
    assert.same({}, errors)
  end)

  for _, run in ipairs(list) do
    it(("in %s, %s"):format(run.interpreter, run.home[1]), function()
      if run.missing then
        env.skip(run.missing)
      end
      local found, ended, complaint = differences(run), true, nil
      if run.nginx then
        run.connection:close()
        ended, complaint = pcall(run.nginx.stop, run.nginx)
      end
      assert.equal("", found)
      assert.is_true(ended, complaint)
    end)
  end
end)
