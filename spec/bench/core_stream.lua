-- The load of raw_stream.c through surefoot's core, driven from Lua without JSON: every policy of a client is on; each
-- event is handed over as a string, the first one is committed on, the stream is complete with "[DONE]".
--
--   lua5.4 -l spec.helper spec/bench/core_stream.lua URL BODY_FILE IN_FLIGHT STREAMS [SECONDS]

local core = require "surefoot.binding"
local stream_load = require "spec.bench.stream_load"

local options = stream_load.arguments()
local engine = core.engine()
local headers = "accept: text/event-stream\ncontent-type: application/json\n"

local client = core.client {
  max_attempts = 5, strategy = "exponential", base_delay = 0.5, throttled_base_delay = 1, max_delay = 60,
  jitter = "full", hint_cap = 120,
  budget = { capacity = 500, transient_cost = 14, throttled_cost = 5, floor_per_second = 1 },
  concurrency = { limit = options.in_flight, queue = 1000000 },
  routing = { strategy = "latency", decay = 10, slow_start = 60, penalty = 5, explore = 0.02 },
  limits = {
    response_bytes = 64 * 2 ^ 20, header_bytes = 256 * 2 ^ 10, event_bytes = 16 * 2 ^ 20, stream_buffer_bytes = 2 ^ 20,
  },
  endpoints = { {
    name = "bench", url = options.url, weight = 1, priority = 1, tls = { verify = false },
    keys = { "authorization: Bearer sk-0123456789abcdef" }, headers = "user-agent: surefoot/0.1.0\n",
    timeout = { connect = 30, first_token = 60, idle = 30, attempt = 120 },
    breaker = {
      failure_threshold = 5, failure_ratio = 0.5, min_calls = 20, window = 30, slow_ratio = 0.5, recovery_timeout = 5,
      max_recovery_timeout = 60, half_open_requests = 1, lease = 120, jitter = 0.1,
    },
    http_version = options.http, keepalive = { idle = 50, age = 600 },
  } },
}
local plan = client:plan { { route = 1, endpoint = 1, variant = 1, model = "sim-large" } }

local calls, committed = {}, {} -- by id
local load, left, open

local function submit()
  if left == 0 then
    return
  end
  left, open = left - 1, open + 1
  local call = client:submit(engine, plan, {
    deadline = 3600, variant = 1, method = "POST", path = "", variant_headers = headers, body = options.body,
    stream = true,
  })
  calls[call:id()] = call
end

local function settled(call, id, ok)
  if not ok then
    stream_load.bad(load, "a stream failed: " .. tostring(call:info().message))
  end
  load.streams = load.streams + 1
  calls[id], committed[id], open = nil, nil, open - 1
  call:free()
  submit()
end

-- Takes all events that have come.
local function look(call, id)
  while true do
    local question, attempt, _, _, _, data = call:next()
    if question == "event" then
      load.chunks = load.chunks + 1
      if not committed[id] then
        committed[id], load.begun = true, load.begun + 1
        call:commit(attempt)
      elseif data == "[DONE]" then
        call:answer(attempt, "accept", nil, nil, nil, 209)
      end
    elseif question == "settled" then
      return settled(call, id, attempt)
    elseif question == "wait" then
      return
    else -- no stream, or one without an end
      call:answer(attempt, "invalid", "malformed")
    end
  end
end

local function turn(seconds)
  engine:wait(seconds)
  local id = engine:ready()
  while id do
    local call = calls[id]
    if call then
      look(call, id)
    end
    id = engine:ready()
  end
end

local function start(count)
  load, left, open = stream_load.new(), count, 0
  stream_load.begin(load)
  for _ = 1, math.min(count, options.in_flight) do
    submit()
  end
end

local function run_to_end(count)
  start(count)
  while open > 0 do
    turn(10)
  end
end

local function run_for(seconds)
  local over = core.now() + seconds
  while core.now() < over do
    turn(over - core.now())
  end
end

if options.seconds then
  start(options.in_flight)
  while load.begun < options.in_flight and load.streams == 0 do
    turn(10)
  end
  run_for(stream_load.SETTLING)
  stream_load.begin(load)
  run_for(options.seconds)
  load.errors = load.errors + load.streams -- none was meant to end
else
  run_to_end(options.in_flight)
  run_to_end(options.streams)
end
stream_load.report(load)
os.exit(0) -- what is still open ends with the process
