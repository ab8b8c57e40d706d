-- The load of raw_stream.c through the public client: client:stream in tasks, the request encoded to JSON, every event
-- decoded and its text read. The body file is the request.
--
--   lua5.4 -l spec.helper spec/bench/client_stream.lua URL BODY_FILE IN_FLIGHT STREAMS [SECONDS]

local cjson = require "cjson"
local surefoot = require "surefoot"
local stream_load = require "spec.bench.stream_load"

local UNSEEN = 4 -- events that are no text: role, finish, usage, [DONE]

local options = stream_load.arguments()
local request = cjson.decode(options.body)
local client = surefoot.new {
  base_url = options.url, api_key = "sk-0123456789abcdef", http_version = options.http, tls = { verify = false },
  concurrency = { limit = options.in_flight, queue = 1000000 }, timeout = { total = 3600, connect = 30 },
}

local function read(load, stream)
  for chunk in stream:chunks() do
    if chunk.text and chunk.text ~= "" then
      load.chunks = load.chunks + 1
    end
  end
  return stream:result()
end

local function ask(load)
  local stream, err = client:stream(request)
  local result
  if stream then
    load.begun = load.begun + 1
    result, err = read(load, stream)
  end
  load.streams = load.streams + 1
  if not result or result.finish_reason ~= "stop" or result.usage.total_tokens ~= 209 then
    stream_load.bad(load, err or result.raw)
  end
  load.chunks = load.chunks + UNSEEN
end

local function spawn(load, count)
  local left = count
  for _ = 1, math.min(count, options.in_flight) do
    surefoot.spawn(function()
      while left > 0 do
        left = left - 1
        ask(load)
      end
    end)
  end
end

local function run_to_end(count)
  local load = stream_load.new()
  stream_load.begin(load)
  surefoot.run(spawn, load, count)
  return load
end

local function run_window()
  local load = stream_load.new()
  spawn(load, options.in_flight)
  while load.begun < options.in_flight and load.streams == 0 do
    surefoot.sleep(0.05)
  end
  surefoot.sleep(stream_load.SETTLING)
  stream_load.begin(load)
  surefoot.sleep(options.seconds)
  load.errors = load.errors + load.streams -- none was meant to end
  stream_load.report(load)
  os.exit(0) -- what is still open ends with the process
end

if options.seconds then
  surefoot.run(run_window)
else
  run_to_end(options.in_flight)
  stream_load.report(run_to_end(options.streams))
end
