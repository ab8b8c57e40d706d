--- The demo: the same chat calls over three lines of which one hangs, one throttles and one is well; first as a client
--- that tries once, then through surefoot. Without a key, on the simulated provider of this repository.
--
--   make demo                       or: lua5.4 examples/demo.lua [--svg FILE] [--calls N]
--   SUREFOOT_BASE_URL=https://api.openai.com/v1 SUREFOOT_API_KEY=... SUREFOOT_MODEL=... make demo
--                                   one real call instead

local surefoot = require "surefoot"

local WORKERS = 12
local ATTEMPT = 2 -- seconds that one attempt may take, for both clients

local function option(name)
  for i = 1, #arg do
    if arg[i] == name then
      return arg[i + 1]
    end
  end
  return nil
end

local on_terminal = os.execute "test -t 1" == true or os.execute "test -t 1" == 0
local CALLS = tonumber(option "--calls") or 120

-- ------------------------------------------------------------------------------------------------ an answer, piecewise

-- Prints an answer as it arrives; gives the whole result, or nil and the error.
local function print_as_it_comes(client, question)
  local stream, err = client:stream(question)
  if not stream then
    return nil, err
  end
  for chunk in stream:chunks() do
    io.write(chunk.text or "")
    io.flush()
  end
  print ""
  return stream:result()
end

-- ------------------------------------------------------------------------------------------------------- a real call

local function real_call(base_url)
  if (os.getenv "SUREFOOT_MODEL" or "") == "" then
    print "which model? Set SUREFOOT_MODEL as well (and SUREFOOT_API_KEY, where the provider wants one)"
    os.exit(1)
  end
  local client = surefoot.new {
    base_url = base_url, api_key = os.getenv "SUREFOOT_API_KEY", model = os.getenv "SUREFOOT_MODEL",
  }
  print("one real call to " .. base_url)
  local result, err = print_as_it_comes(client, "In one sentence: why do careful people try again?")
  if not result then
    print(tostring(err))
    os.exit(1)
  end
  local usage = result.usage
  print(("\n%s, first words after %.2f s, all after %.2f s, %d attempt(s), %d tokens in, %d out"):format(
    result.model or "?", result.time_to_first_token or 0, result.latency, #result.attempts, usage.input_tokens or 0,
    usage.output_tokens or 0))
end

local base_url = os.getenv "SUREFOOT_BASE_URL"
if base_url and base_url ~= "" then
  return real_call(base_url)
end

-- ---------------------------------------------------------------------------------------------------- the two clients

local function start_provider()
  local provider = require("spec.support.provider").start { lines = { "hangs", "throttles", "well" } }
  provider:profile("hangs", { fault = "hang" })
  provider:profile("throttles", {
    rate = { per_second = 2, burst = 2, retry_after = "seconds" }, latency = { median = 0.08, sigma = 0.3 },
  })
  provider:profile("well", { latency = { median = 0.12, sigma = 0.35 } })
  return provider
end

local function lines_of(provider)
  local endpoints = {}
  for i, name in ipairs { "hangs", "throttles", "well" } do
    endpoints[i] = { url = provider.lines[name].url, name = name }
  end
  return endpoints
end

-- One attempt on the next line in turn, by a client that is made for it: no memory of what happened before.
local function naive(provider)
  local lines, turn = lines_of(provider), 0
  return function(question)
    turn = turn % #lines + 1
    local client = surefoot.new {
      model = "demo", api_key = "demo", endpoints = { lines[turn] },
      timeout = { attempt = ATTEMPT }, retry = { max_attempts = 1 },
    }
    return client:chat(question)
  end
end

-- The defaults, and the same patience.
local function sure(provider)
  local client = surefoot.new {
    model = "demo", api_key = "demo", endpoints = lines_of(provider), timeout = { attempt = ATTEMPT },
  }
  return function(question)
    return client:chat(question)
  end
end

-- -------------------------------------------------------------------------------------------------------- the progress

local BAR = 32

local function show(name, done, tally, started)
  local filled = math.floor(done / CALLS * BAR)
  local line = ("%-10s [%s%s] %3d/%d  %d ok  %d failed  %4.1f s"):format(
    name, ("#"):rep(filled), ("."):rep(BAR - filled), done, CALLS, tally.ok, tally.failed, surefoot.now() - started)
  if on_terminal then
    io.write("\r", line, done == CALLS and "\n" or "")
  elseif done % (CALLS / 4) < 1 then
    io.write(line, "\n")
  end
  io.flush()
end

local function quantile(sorted, q)
  return sorted[math.max(1, math.ceil(#sorted * q))] or 0
end

-- Runs the calls with a few workers and returns what a person wants to know.
local function run(name, ask)
  local tally = { ok = 0, failed = 0, timeouts = 0, attempts = 0, took = {} }
  local started, next_call, done = surefoot.now(), 0, 0
  local function worker()
    while next_call < CALLS do
      next_call = next_call + 1
      local question = "call " .. next_call
      local before = surefoot.now()
      local result, err = ask(question)
      if result then
        assert(result.text == "echo: " .. question, "an answer that belongs to another question")
        tally.ok = tally.ok + 1
      else
        tally.failed = tally.failed + 1
        tally.timeouts = tally.timeouts + (err.kind == "timeout" and 1 or 0)
      end
      tally.took[#tally.took + 1] = surefoot.now() - before
      tally.attempts = tally.attempts + #(result or err).attempts
      done = done + 1
      show(name, done, tally, started)
    end
  end
  surefoot.run(function()
    for _ = 1, WORKERS do
      surefoot.spawn(worker)
    end
  end)
  tally.elapsed = surefoot.now() - started
  return tally
end

-- ----------------------------------------------------------------------------------------------------------- the table

local function milliseconds(seconds)
  return ("%.0f ms"):format(1000 * seconds)
end

local function row(name, tally)
  local sum = 0
  for _, seconds in ipairs(tally.took) do
    sum = sum + seconds
  end
  table.sort(tally.took)
  return {
    name, ("%.1f %%"):format(100 * tally.ok / CALLS), tostring(tally.timeouts), milliseconds(sum / #tally.took),
    milliseconds(quantile(tally.took, 0.5)), milliseconds(quantile(tally.took, 0.99)),
    ("%.2f"):format(tally.attempts / CALLS), ("%.1f s"):format(tally.elapsed),
  }
end

local HEAD = { "client", "success", "timeouts", "mean", "P50", "P99", "attempts/call", "took" }
local WIDTHS = { 22, 9, 10, 10, 10, 10, 15, 8 }

local function format_row(cells)
  local parts = {}
  for i, cell in ipairs(cells) do
    parts[i] = ("%" .. (i == 1 and "-" or "") .. WIDTHS[i] .. "s"):format(cell)
  end
  return table.concat(parts)
end

local function write_svg(path, rows)
  local file = assert(io.open(path, "w"))
  local width, height, step = 860, 66 + 26 * #rows, 26
  file:write(('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-size="14"'):format(width, height),
    ' font-family="ui-monospace,Menlo,Consolas,monospace">\n<rect width="100%" height="100%" rx="8" fill="#14181d"/>\n')
  file:write('<text x="20" y="30" fill="#8fa3b5">three lines: one hangs, one throttles, one is well; ', tostring(CALLS),
    ' calls</text>\n')
  for i, cells in ipairs(rows) do
    local colour = i == 1 and "#8fa3b5" or i == 2 and "#e0a3a3" or "#a3e0b0"
    file:write(('<text x="20" y="%d" fill="%s" xml:space="preserve">%s</text>\n'):format(
      34 + step * i, colour, format_row(cells)))
  end
  file:write "</svg>\n"
  file:close()
end

-- ------------------------------------------------------------------------------------------------------------ the show

local provider = start_provider()
print(([[
%d chat calls, %d at a time, over three lines of one provider:
  hangs       accepts the connection and never answers
  throttles   admits 2 requests a second, else 429 with Retry-After
  well        answers in about 120 ms
Both clients give one attempt %d seconds.
]]):format(CALLS, WORKERS, ATTEMPT))

local rows = {
  HEAD,
  row("one attempt", run("one attempt", naive(provider))),
  row("surefoot, defaults", run("surefoot", sure(provider))),
}
print ""
for _, cells in ipairs(rows) do
  print(format_row(cells))
end
print "\nLatencies are over all calls, the failed ones included."

print "\nAnd one answer as it arrives, from the lines that are left when the first one hangs:\n"
provider:profile("well", { stream = { chunk_delay = 0.05 }, answer = { chunks = 24 } })
local endpoints = lines_of(provider)
local streamed = assert(print_as_it_comes(
  surefoot.new { model = "demo", api_key = "demo", endpoints = { endpoints[1], endpoints[3] }, routing = "priority",
    timeout = { first_byte = 1 } },
  "a bridge that carries traffic while it is being repaired is not a luxury but a promise kept every day"))
print(("first words after %.2f s, all after %.2f s, %d attempts"):format(
  streamed.time_to_first_token, streamed.latency, #streamed.attempts))
provider:stop()

if option "--svg" then
  write_svg(option "--svg", rows)
end
