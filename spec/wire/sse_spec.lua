-- What the parser of event streams makes of their lines: each case whole, byte by byte and cut at random; and streams
-- made at random, against a plain reading of the standard and against an independent parser.
local core = require "surefoot.core"
local env = require "spec.support.env"
local process = require "spec.support.process"
local streams = require "spec.wire.streams"

local PARSER = "eventsource-parser@3.1.1"
local BOM = "\239\187\191"

local function message(data, name)
  return { name = name, data = data }
end

local function parse(pieces, limit)
  local parser, all = core.sse(limit or math.huge), {}
  for _, piece in ipairs(pieces) do
    local events, err, before = parser:feed(piece)
    for _, event in ipairs(events or before) do
      all[#all + 1] = event
    end
    if err then
      return all, err
    end
  end
  return all
end

-- Thousands of comparisons: luassert, which is slow, is only asked to tell what differs.
local function gives(wanted, pieces)
  local events = parse(pieces)
  local same = #events == #wanted
  for i = 1, same and #wanted or 0 do
    same = same and events[i].name == wanted[i].name and events[i].data == wanted[i].data
  end
  if not same then
    assert.same(wanted, events, table.concat(pieces, "<cut>"))
  end
end

local function bytes(stream)
  local pieces = {}
  for i = 1, #stream do
    pieces[i] = stream:sub(i, i)
  end
  return pieces
end

local cases = {
  { "nothing", "", {} },
  { "one event", "data: hello\n\n", { message "hello" } },
  { "a named event", "event: delta\ndata: {}\n\n", { message("{}", "delta") } },
  { "data before its name", "data: {}\nevent: delta\n\n", { message("{}", "delta") } },
  { "a name for one event alone", "event: a\ndata: 1\n\ndata: 2\n\n", { message("1", "a"), message "2" } },
  { "LF, CR and CRLF", "data: 1\n\ndata: 2\r\rdata: 3\r\n\r\n", { message "1", message "2", message "3" } },
  { "ends mixed within an event", "event: a\rdata: 1\ndata: 2\r\n\rdata: 3\n\r\n",
    { message("1\n2", "a"), message "3" } },
  { "CR CR LF as two lines", "data: 1\r\r\ndata: 2\n\n", { message "1", message "2" } },
  { "LF CR as two lines", "data: 1\n\rdata: 2\n\n", { message "1", message "2" } },
  { "a CR at the end", "data: 1\r\r", { message "1" } },
  { "a CRLF cut at the end", "data: 1\r\n\r", { message "1" } },
  { "a leading BOM", BOM .. "data: 1\n\n", { message "1" } },
  { "a second BOM, which spoils its line", BOM .. BOM .. "data: 1\n\ndata: 2\n\n", { message "2" } },
  { "a BOM later", "data: 1\n\n" .. BOM .. "data: 2\n\ndata: 3\n\n", { message "1", message "3" } },
  { "a BOM in data", "data: " .. BOM .. "\n\n", { message(BOM) } },
  { "half a BOM", "\239\187data: 1\n\ndata: 2\n\n", { message "2" } },
  { "a BOM alone", BOM, {} },
  { "a BOM and a blank line", BOM .. "\ndata\n\n", { message "" } },
  { "one space taken away", "data:1\ndata: 2\ndata:  3\ndata:\t4\n\n", { message "1\n2\n 3\n\t4" } },
  { "space behind the value kept", "event: a \ndata: 1 \n\n", { message("1 ", "a ") } },
  { "data of a space", "data: \ndata:  \n\n", { message "\n " } },
  { "a line without colon as an empty value", "data\n\n", { message "" } },
  { "empty data lines", "data\ndata:\ndata: \n\n", { message "\n\n" } },
  { "an empty line in data", "data: 1\ndata\ndata: 2\n\n", { message "1\n\n2" } },
  { "data: with nothing, then something", "data:\ndata:1\n\n", { message "\n1" } },
  { "the last of several names", "event: a\nevent: b\ndata: 1\n\n", { message("1", "b") } },
  { "a name that is taken back", "event: a\nevent\ndata: 1\n\n", { message "1" } },
  { "names between lines of data", "data: 1\nevent: a\ndata: 2\nevent: bb\ndata: 3, longer than all before it\n\n",
    { message("1\n2\n3, longer than all before it", "bb") } },
  { "a long name between short lines of data", "data: 1\nevent: " .. ("n"):rep(300) .. "\ndata: 2\ndata: 3\n\n",
    { message("1\n2\n3", ("n"):rep(300)) } },
  { "a name without data", "event: ping\n\n", { message("", "ping") } },
  { "neither name nor data", "id: 1\n\nevent\n\nevent:\n\n\n\r\r\n", {} },
  { "a name that does not outlive its blank line", "event\n\ndata: 1\n\n", { message "1" } },
  { "comments", ": 1\n:\ndata: 1\n:2\n: data: 3\ndata: 4\n:\n\n:\n", { message "1\n4" } },
  { "comments alone", ": ping\n\n: ping\r\n\r\n: ping\r\r", {} },
  { "other fields", "id: 1\nretry: 2\nfoo: 3\nfoo\ndata: 4\nid\nretry\nfoo:\n\n", { message "4" } },
  { "names that are almost right",
    "Data: 1\ndata : 2\n data: 3\ndatas: 4\ndat: 5\nEvent: a\nevents: a\neven: a\n\n", {} },
  { "a colon in the value", "data: a: b\ndata::\ndata: :\n\n", { message "a: b\n:\n:" } },
  { "fields in values", "data: data: 1\ndata: event: a\nevent: data: b\n\n",
    { message("data: 1\nevent: a", "data: b") } },
  { "an event that no blank line ends", "data: 1\n\ndata: 2\n", { message "1" } },
  { "a line that nothing ends", "data: 1\n\ndata: 2", { message "1" } },
  { "blank lines between events", "\n\ndata: 1\n\n\n\r\n\rdata: 2\n\n\n", { message "1", message "2" } },
  { "U+2028, U+2029 and U+0085 as characters", "data: \226\128\168\226\128\169\194\133\n\n",
    { message "\226\128\168\226\128\169\194\133" } },
  { "form feed and vertical tab as characters", "data: \f1\v\n\n", { message "\f1\v" } },
  { "NUL as a byte", "data: \0001\0\nevent: \0\n\0\n\n", { message("\0001\0", "\0") } },
  { "bytes that are no UTF-8", "data: \255\192\n\n", { message "\255\192" } },
  { "an answer of a model", "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: ping\n"
    .. "data: {\"type\": \"ping\"}\n\n: keep-alive\n\ndata: [DONE]\n\n",
    { message('{"type":"message_start"}', "message_start"), message('{"type": "ping"}', "ping"), message "[DONE]" } },
}

describe("core.sse reads", function()
  for number, case in ipairs(cases) do
    local title, stream, wanted = case[1], case[2], case[3]
    it(title, function()
      assert.same(wanted, (parse { stream }))
      gives(wanted, bytes(stream))
      local random = streams.random(number)
      for i = 1, 200 do
        gives(wanted, streams.cut(stream, random, i % 20 + 1))
      end
    end)
  end

  it("a piece of nothing", function()
    assert.same({ message "1" }, (parse { "", "data: 1\n", "", "\n", "" }))
  end)

  it("events as soon as they are whole", function()
    local parser = core.sse(100)
    assert.same({}, parser:feed "data: 1\r\n")
    assert.same({ message "1" }, parser:feed "\r")
    assert.same({}, parser:feed "\n")
    assert.same({ message "2" }, parser:feed "data: 2\n\ndata: 3\n")
    assert.same({ message "3" }, parser:feed "\n")
  end)

  it("streams apart from each other", function()
    local a, b = core.sse(100), core.sse(100)
    assert.same({}, a:feed "data: 1\n")
    assert.same({}, b:feed "data: 2\n")
    assert.same({ message "1" }, a:feed "\n")
    assert.same({ message "2" }, b:feed "\n")
  end)
end)

describe("the limit of core.sse", function()
  it("is that of one event", function()
    for _, pieces in ipairs { { "data: 1\n\ndata: 12\n\n" }, bytes "data: 1\n\ndata: 12\n\n" } do
      assert.same({ message "1", message "12" }, (parse(pieces, 10)))
      local events, err = parse(pieces, 9)
      assert.same({ message "1" }, events)
      assert.equal("too_large", err)
    end
  end)

  it("is for good", function()
    local parser = core.sse(9)
    assert.same({ nil, "too_large", {} }, { parser:feed "data: 12\n\n" })
    assert.same({ nil, "too_large", {} }, { parser:feed "data\n\n" })
  end)

  it("loses nothing that came before", function()
    assert.same({ nil, "too_large", { message "1" } }, { core.sse(9):feed "data: 1\n\ndata: 12\n\n" })
  end)

  it("is no limit of comments and of the stream", function()
    local parser = core.sse(20)
    for i = 1, 1000 do
      assert(#parser:feed ": ping\r\n\r\nid: 1\n" == 0)
      assert(parser:feed("data: " .. i .. "\r\r")[1].data == tostring(i))
    end
  end)

  it("is one of a comment that does not end", function()
    assert.equal("too_large", select(2, parse({ ": " .. ("x"):rep(100) }, 100)))
  end)

  it("has to be a number of bytes", function()
    for _, wrong in ipairs { 0, -1, 0 / 0, 0.5, "many", {} } do
      assert.has_error(function()
        core.sse(wrong)
      end)
    end
    assert.has_error(core.sse)
    assert.has_error(function()
      core.sse(100).feed {}
    end)
  end)
end)

-- Calls use(stream, pieces) for each.
local function with_random_streams(seed, count, use)
  local random = streams.random(seed)
  for _ = 1, count do
    local stream = streams.make(random)
    use(stream, streams.cut(stream, random, random(40)))
  end
end

local HEX = {}
for byte = 0, 255 do
  HEX[string.char(byte)] = ("%02x"):format(byte)
end

local function hex(text)
  return (text:gsub(".", HEX))
end

-- A line of pieces for the other parser, which wants a BOM in one piece.
local function line_of(pieces)
  local line, first = {}, ""
  for _, piece in ipairs(pieces) do
    if #first < 3 then
      first = first .. piece
      line[1] = hex(first)
    else
      line[#line + 1] = hex(piece)
    end
  end
  return table.concat(line, ",")
end

-- All streams through the other parser, in one process.
local function parsed_elsewhere(seed, count)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  with_random_streams(seed, count, function(_, pieces)
    file:write(line_of(pieces), "\n")
  end)
  file:close()
  env.check "cp spec/wire/eventsource_parser.mjs build/npm/"
  local output = env.check("timeout 60 node build/npm/eventsource_parser.mjs < " .. path)
  os.remove(path)
  return output:gmatch "([^\n]*)\n"
end

-- What this parser gives beyond the other: named events without data, and nothing else.
local function compare(stream, events, line)
  local others, at, more = {}, 1, 0
  for event in line:gmatch "[^,]+" do
    others[#others + 1] = event
  end
  for _, event in ipairs(events) do
    if others[at] == hex(event.name or "") .. ":" .. hex(event.data) then
      at = at + 1
    else
      assert(event.name and event.data == "", ("%q gives %s, not %q"):format(stream, tostring(others[at]), event.data))
      more = more + 1
    end
  end
  assert(at == #others + 1, ("%q: %s is missing"):format(stream, tostring(others[at])))
  return #events, more
end

describe("random streams", function()
  it("mean what the standard says, at any split", function()
    local events, oddities = 0, 0
    with_random_streams(20240607, 400, function(stream, pieces)
      local wanted = streams.read(stream)
      gives(wanted, { stream })
      gives(wanted, pieces)
      for _, event in ipairs(wanted) do
        events = events + 1
        oddities = oddities + ((event.name and event.data:find "\n") and 1 or 0)
      end
    end)
    assert(events > 1000 and oddities > 40, events .. " events, " .. oddities .. " named ones of several lines")
  end)

  it("mean the same to " .. PARSER .. " #once", function()
    if not process.which "node" then
      return pending("node was not found: not compared with " .. PARSER)
    end
    local version = '"version": "' .. PARSER:match "[%d.]+$" .. '"'
    local installed = env.run("mkdir -p build/npm && cd build/npm && { grep -qs '" .. version
      .. "' node_modules/eventsource-parser/package.json || timeout 60 npm install --no-save --no-audit --no-fund "
      .. "--fetch-retries=0 --fetch-timeout=20000 " .. PARSER .. "; }")
    if installed.status ~= 0 then
      return pending("not compared with " .. PARSER .. ", which cannot be had from npm: " .. installed.stderr)
    end
    local seed, count = 19991231, 3000
    local events, more, elsewhere = 0, 0, parsed_elsewhere(seed, count)
    with_random_streams(seed, count, function(stream, pieces)
      local all, beyond = compare(stream, parse(pieces), assert(elsewhere(), "a stream is missing"))
      events, more = events + all, more + beyond
    end)
    assert.is_nil(elsewhere())
    assert(events > 7000 and more > 100, events .. " events, " .. more .. " named ones without data")
  end)
end)
