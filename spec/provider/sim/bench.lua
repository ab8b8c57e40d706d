-- A fixed stream for measuring clients: events of 195 bytes each, made beforehand, flushed one by one. Nothing is read,
-- drawn, counted or encoded; without a delay the whole answer is one write.

local M = {}

local EVENT = 195
local HEAD = 'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"sim-large",'
  .. '"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n'

-- `text` in the delta makes up for the length.
local function event(delta, finish)
  local bare = HEAD:format(delta:format "", finish)
  return HEAD:format(delta:format(("surefoot "):rep(22):sub(1, EVENT - #bare)), finish)
end

local CHUNK = event('{"content":"%s"}', "null")
local TAIL = event('{"pad":"%s"}', '"stop"') .. "data: [DONE]\n\n"

local whole = {}

local function burst(chunks)
  if not whole[chunks] then
    whole = { [chunks] = CHUNK:rep(chunks) .. TAIL }
  end
  return ngx.print(whole[chunks])
end

local function paced(chunks, delay)
  for i = 1, chunks do
    if i > 1 then
      ngx.sleep(delay)
    end
    ngx.print(CHUNK)
    if not ngx.flush(true) then
      return nil
    end
  end
  return ngx.print(TAIL)
end

---The content phase of /bench/stream: `chunks` and `delay` come in the query or in the path.
function M.stream()
  local var = ngx.var
  local chunks = tonumber(var.arg_chunks or var.bench_chunks) or 200
  local delay = tonumber(var.arg_delay or var.bench_delay) or 0
  ngx.req.discard_body()
  ngx.header["Content-Type"] = "text/event-stream; charset=utf-8"
  if delay == 0 then
    return burst(chunks)
  end
  return paced(chunks, delay)
end

return M
