-- surefoot chat and surefoot models, through pipes and on a terminal.

local env = require "spec.support.env"
local json = require "surefoot.json"
local lab = require "spec.cli.lab"
local process = require "spec.support.process"
local screen = require "spec.cli.screen"

describe("surefoot chat #once", function()
  local l, p, shown

  setup(function()
    l = lab.start()
    p = l.provider
  end)

  teardown(function()
    l:stop()
  end)

  before_each(function()
    p:reset()
    l:configure(nil, "prices = { ['sim-large'] = { output = 1e6 } }, retry = { base_delay = 0 }")
  end)

  after_each(function()
    if shown then
      shown:stop()
      shown = nil
    end
  end)

  it("answers what is asked in words, on standard input, and in both", function()
    local result = l:run("chat", "Why", "not?")
    assert.same({ 0, "echo: Why not?\n", "" }, { result.status, result.stdout, result.stderr })
    assert.equal("echo: line 1\nline 2\n", l:pipe("line 1\nline 2\n\n", "chat").stdout)
    assert.equal("echo: Sum up:\n\n1 + 1\n\nBriefly.\n", l:pipe("1 + 1\n", "chat", "Sum up:", "-", "Briefly.").stdout)
    result = l:pipe(" \n", "chat")
    assert.same({ 2, "" }, { result.status, result.stdout })
    assert.matches("^surefoot: there is no question", result.stderr)
  end)

  it("sends the system message and what --set says", function()
    p:profile("a", { answer = { text = "one two three four five six seven" } })
    local result = l:run("chat", "--set", "max_tokens=2", "--system", "Be brief.", "x", "--no-stream")
    assert.same({ 0, "one two \n" }, { result.status, result.stdout })
    assert.matches("the answer was cut by its limit of tokens", result.stderr)
    for _, wrong in ipairs { "temperature", "stop=[", "messages=[]" } do
      result = l:run("chat", "x", "--set", wrong)
      assert.same({ 2, "" }, { result.status, result.stdout })
      assert.matches("^surefoot: %-%-set: ", result.stderr)
    end
  end)

  it("tells where --set has a value that its field cannot hold, and leaves other fields alone", function()
    for given, said in pairs {
      ["temperature=abc"] = "--set: temperature: expected a number, got abc",
      ["max_tokens=1.5"] = "--set: max_tokens: expected a whole number, got 1.5",
      ["logprobs=yes"] = "--set: logprobs: expected true or false, got yes",
      ["response_format=json"] = "--set: response_format: expected a JSON object, got json",
      ["tools={}"] = false, ["temperature=null"] = false, ["my_field=abc"] = false, ["stop=END"] = false,
    } do
      local result = l:run("chat", "--set", given, "Hello")
      assert.equal(said and 2 or 0, result.status, given .. result.stderr)
      assert.is_truthy(not said or result.stderr:find(said, 1, true), result.stderr)
    end
  end)

  it("gives the whole result as JSON, and tells how it came", function()
    p:profile("a", { status = { code = 503 } })
    local result = l:run("chat", "--json", "-v", "hi")
    assert.equal(0, result.status)
    local document = json.decode(result.stdout)
    assert.same({ "echo: hi", "b", 2, "overloaded" }, { document.text, document.endpoint, #document.attempts,
      document.attempts[1].kind })
    assert.equal("echo: hi", document.body.choices[1].message.content)
    assert.matches("attempt 1 on a: overloaded 503 after .*\nb, sim%-large, 2 attempts, 1 %+ 2 tokens, %$2.00, %d",
      result.stderr)
    assert.is_nil((result.stdout .. result.stderr):find("sk-test", 1, true))
  end)

  it("fails with what had come, a sentence and 1", function()
    p:profile("a", { stream = { reset_after = 2 }, answer = { chunks = 4, text = "one two three four" } })
    local result = l:run("chat", "x")
    assert.equal(1, result.status)
    assert.matches("^one two[^\n]*\n$", result.stdout)
    assert.matches("^surefoot: truncated: ", result.stderr)
    p:profile("a", { status = { code = 400 } })
    result = l:run("chat", "--json", "x")
    assert.same({ 1, "invalid_request" }, { result.status, json.decode(result.stdout).error.kind })
  end)

  it("is configured by flags, the environment and files, and says where that is wrong", function()
    assert.equal("b", json.decode(l:run("chat", "--json", "x", "--line", "b").stdout).endpoint)
    local result = l:run("chat", "x", "--line", "bb")
    assert.equal(2, result.status)
    assert.matches('no line is named "bb"%. There are a, b\n', result.stderr)
    l:configure(nil, "modle = 'x'")
    result = l:run("chat", "x")
    assert.equal(2, result.status)
    assert.matches("config.lua: modle: unknown", result.stderr)
  end)

  -- Begins one without a terminal; its exit code will be in the file "code".
  local function begin(...)
    local line = process.command(l:words(...)) .. " </dev/null >%s 2>%s & echo $! >%s; wait $!; echo $? >%s"
    os.remove(l:path "code")
    os.remove(l:path "pid")
    process.spawn { "sh", "-c", line:format(l:path "out", l:path "err", l:path "pid", l:path "code") }
    return process.wait_for(function()
      return tonumber((process.read(l:path "pid") or ""):match "%d+")
    end)
  end

  local function ended()
    return process.wait_for(function()
      return tonumber((process.read(l:path "code") or ""):match "%d+")
    end, 20)
  end

  it("keeps what had come when it is interrupted", function()
    p:profile("a", { stream = { stall_after = 2 }, answer = { chunks = 4, text = "one two three four" } })
    local pid = begin("chat", "x")
    assert(process.wait_for(function() return (process.read(l:path "out") or ""):find "two" end, 20))
    process.signal(pid, "INT")
    assert.equal(130, ended())
    assert.matches("^one two[^\n]*\n$", process.read(l:path "out"))
    assert.equal("cancelled\n", process.read(l:path "err"))
    assert(p:wait("a", function(c) return c.aborted == 1 end))

    p:profile("a", { fault = "hang" })
    local before = p:counters("a").requests
    pid = begin("models")
    assert(p:wait("a", function(c) return c.requests == before + 1 end))
    process.signal(pid, "INT")
    assert.equal(130, ended())
    assert.equal("", process.read(l:path "err"))
  end)

  it("says that what it writes is lost, and stops when nobody reads it", function()
    local result = env.run(process.command(l:words("chat", "x")) .. " >/dev/full")
    assert.same({ 1, "surefoot: standard output: No space left on device\n" }, { result.status, result.stderr })
    p:reset() -- that one may have been aborted too, or have come whole before anything was written
    p:profile("a", { answer = { bytes = 1000000, chunk_delay = 0.01 } })
    local line = process.command(l:words("chat", "x")) .. "; echo $? >" .. l:path "status"
    result = env.run(("{ %s; } | head -c 3"):format(line))
    assert.same({ "", 3 }, { result.stderr, #result.stdout })
    assert.equal("1\n", process.read(l:path "status"))
    assert(p:wait("a", function(c) return c.aborted == 1 end))
  end)

  it("has a conversation on a terminal, with lines that go on, commands, and Ctrl-C", function()
    p:profile("a", { answer = { chunk_delay = 0.01 } })
    shown = screen.start(l:words "chat")
    shown:wait "\n> *\n"
    shown:type "good\\"
    shown:wait "\n%. *\n"
    shown:type "morning"
    shown:wait "echo: good\nmorning\n> *\n"
    shown:type "/rest"
    shown:wait "there is no /rest"
    p:profile("a", { stream = { stall_after = 1 }, answer = { chunks = 3, text = "AAAA BBBB CCCC" } })
    shown:type "go on"
    shown:wait "AAAA"
    shown:key "C-c"
    shown:wait "cancelled\n> *\n"
    p:profile("a", {})
    shown:type "again"
    shown:wait "echo: again\n> *\n"
    shown:type "/quit"
    assert.equal(0, shown:wait_end())
    local text = shown:text(true)
    assert.matches("\27%[1m> ", text)
    assert.matches("\n/help tells what can be said", "\n" .. text)
  end)

  it("leaves a terminal alone, whatever a model says", function()
    local text = "a\27[31mb\27]0;title\7c\194\155d"
    p:profile("a", { answer = { text = text } })
    assert.equal(text .. "\n", l:run("chat", "x").stdout)
    shown = screen.start(l:words("chat", "x"))
    assert.equal(0, shown:wait_end())
    assert.matches("^a%[31mb%]0;titlecd\n", shown:text(true))
  end)

  it("forgets a line at Ctrl-C, ends at the second, and has no colours where none are wanted", function()
    shown = screen.start(l:words "chat", { env = { NO_COLOR = "1" } })
    shown:wait "\n> *\n"
    shown:key "C-c"
    shown:wait "> ^C\n> *\n"
    assert.is_nil(shown:text(true):find("\27[", 1, true))
    shown:type "and is asked then"
    shown:wait "echo: and is asked then\n> *\n"
    shown:key "C-c"
    shown:wait "then\n> ^C\n> *\n"
    shown:key "C-c"
    assert.equal(130, shown:wait_end())
  end)
end)

describe("surefoot models #once", function()
  local l

  setup(function()
    l = lab.start()
    l:configure()
  end)

  teardown(function()
    l:stop()
  end)

  it("lists them, or those that are named so", function()
    local result = l:run "models"
    assert.equal(0, result.status)
    assert.equal("sim-large\nsim-small\n", result.stdout)
    assert.equal("sim-small\n", l:run("models", "SMALL").stdout)
    assert.equal("sim-large", json.decode(l:run("models", "--json").stdout)[1].id)
    result = l:run("models", "opus")
    assert.same({ 1, "", 'none of the 2 models has "opus" in its name\n' },
      { result.status, result.stdout, result.stderr })
    l.provider:profile("a", { keys = { "sk-other" } })
    result = l:run("models", "--line", "a")
    assert.same({ 1, "" }, { result.status, result.stdout })
    assert.matches("^surefoot: unauthorized: ", result.stderr)
  end)
end)
