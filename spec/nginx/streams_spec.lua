-- Streams through nginx to its clients: byte by byte what the provider said, as it says it, no faster than they read.

local http = require "spec.support.http"
local lab = require "spec.nginx.lab"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local socket = require "socket"
local usage = require "spec.support.usage"

local MEGABYTE = 1024 * 1024

local STREAM = [[
  local lab = require "lab"
  local stream, err = lab.client:stream(ngx.var.arg_x or "x")
  if not stream then
    ngx.status = 502
    return lab.tell(nil, err)
  end
  ngx.header["Content-Type"] = "text/event-stream"
  for chunk in stream:chunks() do
    if chunk.error then
      ngx.print("[", chunk.error.kind, "]")
    elseif chunk.text then
      ngx.print(chunk.text)
      assert(ngx.flush(true))
    end
  end
]]

-- What the provider says when it shall say so many bytes.
local function text_of(head, bytes)
  local filler, last = " the quick brown fox jumps over the lazy dog", " [end]"
  local room = bytes - #head - #last
  return head .. filler:rep(math.ceil(room / #filler)):sub(1, room) .. last
end

describe("a stream through nginx #once", function()
  local p, n

  setup(function()
    p = provider.start { send_buffer = 65536 }
    n = lab.start(p, { listen = "sndbuf=65536", locations = {
      ["/stream"] = { content = STREAM, more = "lua_http10_buffering off;" },
    } })
  end)

  teardown(function()
    n:stop()
    assert.same({}, p:errors())
    p:stop()
  end)

  before_each(function()
    p:reset()
  end)

  after_each(function()
    lab.assert_settled(n)
    n:assert_clean()
  end)

  it("is what the provider said, to the byte", function()
    for _, stream in ipairs { {}, { burst = true }, { split = 7 }, { crlf = true, comments = true } } do
      for _, bytes in ipairs { 20, 5000, 300000 } do
        p:profile("a", { answer = { bytes = bytes }, stream = bytes < 10000 and stream or nil })
        local response = assert(n:get "/stream?x=exact")
        assert.same({ 200, "chunked" }, { response.status, response.ended })
        assert.is_true(response.body == text_of("echo: exact", bytes):sub(1, bytes), #response.body .. " bytes")
      end
    end
  end)

  it("is shown as it comes", function()
    p:profile("a", { answer = { chunks = 5 }, stream = { chunk_delay = 0.1 } })
    local response = assert(n:get "/stream?x=piece+by+piece")
    local first, last = response.arrivals[1].at, response.arrivals[#response.arrivals].at
    assert.is_true(#response.arrivals >= 5 and last - first >= 0.35, last - first)
    assert.equal("echo: piece+by+piece", response.body)
  end)

  it("that breaks off says so, after what had come", function()
    p:profile("a", { answer = { chunks = 10 }, stream = { cut_after = 3 } })
    local response = assert(n:get "/stream?x=0123456789")
    assert.matches("^echo: .*%[truncated%]$", response.body)
  end)

  it("runs beside others", function()
    p:profile("a", { answer = { bytes = 2000, chunks = 20 }, stream = { chunk_delay = 0.01 } })
    local connections, began = {}, socket.gettime()
    for i = 1, 40 do
      connections[i] = n:open("/stream?x=s" .. i, { Connection = "close" })
    end
    for i = 1, 40 do
      local response = assert(connections[i]:response())
      assert.equal(text_of("echo: s" .. i, 2000), response.body)
      connections[i]:close()
    end
    assert.is_true(socket.gettime() - began < 1.5 * nginx.pace)
  end)

  it("goes to clients that speak HTTP/1.0", function()
    p:profile("a", { answer = { bytes = 50000 } })
    local connection = assert(http.connect("127.0.0.1", n.port))
    connection:send "GET /stream?x=old HTTP/1.0\r\n\r\n"
    local response = assert(connection:response())
    connection:close()
    assert.same({ 200, "close" }, { response.status, response.ended })
    assert.equal(text_of("echo: old", 50000), response.body)
  end)

  it("that nobody reads stops the provider, costs little memory, and loses nothing", function()
    local size = 20 * MEGABYTE
    assert(n:get "/stream?x=warm")
    p:profile("a", { answer = { bytes = size } })
    local worker = n:workers()[1]
    local before = usage.memory(worker)
    local connection = n:open("/stream?x=slow", { Connection = "close" }, 60)
    connection.tcp:setoption("recv-buffer-size", 65536)
    local head = assert(connection:take_until "\r\n\r\n")
    assert.matches("^HTTP/1.1 200", head)
    local sent, still = 0, nil
    assert(process.wait_for(function() -- until nothing more goes out for a while
      local now = p:counters("a").bytes_out
      still = now == sent and (still or socket.gettime()) or nil
      sent = now
      return still and socket.gettime() - still > 0.3
    end, 10 * nginx.pace), "the provider goes on")
    assert.is_true(sent < size / 2, sent .. " bytes were sent to nobody")
    local grown = usage.memory(worker) - before
    assert.is_true(grown < 4 * MEGABYTE * nginx.pace, grown .. " bytes more")
    local quiet = usage.wakeups(worker)
    socket.sleep(0.3)
    assert.is_true(usage.wakeups(worker) - quiet <= 6, "it turns while nobody reads")
    connection.buffer = head .. "\r\n\r\n" .. connection.buffer
    local response = assert(connection:response())
    connection:close()
    assert.equal("chunked", response.ended)
    assert.is_true(response.body == text_of("echo: slow", size), #response.body .. " bytes")
  end)
end)
