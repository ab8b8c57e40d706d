--- surefoot gateway: what it checks, what it runs, and how that ends.

local cjson = require "cjson"
local env = require "spec.support.env"
local gateway = require "spec.support.gateway"
local http = require "spec.support.http"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local socket = require "socket"

local unpack = table.unpack or unpack

local is_root = process.capture { "id", "-u" }:match "%d+" == "0"

local CONFIG = [[return {
  base_url = "%s", api_key = "sk-upstream-0123456789", model = "m", http_version = "1.1",
  gateway = { %s },
}]]

local USER = is_root and "root" or "nobody" -- the checkout may be root's alone
local KEYS = [[keys = { { name = "team-a", key = "sk-caller-0123456789" } }]]

local QUESTION = cjson.encode { model = "m", messages = { { role = "user", content = "hello" } } }

describe("surefoot gateway #once", function()
  local p, dir, running

  setup(function()
    p = provider.start { lines = { "a" } }
  end)

  teardown(function()
    p:stop()
  end)

  before_each(function()
    p:reset()
    dir, running = process.temp_dir "surefoot-gateway-cli", nil
  end)

  after_each(function()
    if running then
      pcall(running.stop, running)
    end
    process.remove_dir(dir)
  end)

  local function config_of(more)
    return CONFIG:format(p.lines.a.url, more or "")
  end

  local function start(options)
    options.config = options.config or config_of()
    running = gateway.start(options)
    return running
  end

  local function chat(g, headers, body)
    local all = { Connection = "close", ["Content-Type"] = "application/json" }
    for name, value in pairs(headers or {}) do
      all[name] = value
    end
    return assert(g:get("/v1/chat/completions", { body = body or QUESTION, headers = all, timeout = 20 * pace }))
  end

  -- A call that the provider answers later: a connection that waits for its response.
  local function slow_chat(g)
    p:profile("a", { delay = 0.4 * pace })
    local connection = assert(http.connect("127.0.0.1", g.port, 20 * pace))
    assert(connection:send(http.format { url = g.url .. "/v1/chat/completions", body = QUESTION,
      headers = { ["Content-Type"] = "application/json" } }))
    assert(p:wait("a", function(c) return c.in_flight == 1 end))
    return connection
  end

  describe("checks", function()
    local function check(text, ...)
      process.write(dir .. "/config.lua", text)
      return env.run { "build/surefoot", "gateway", dir .. "/config.lua", "--check", "--user",
        USER, ... }
    end

    local function refused(pattern, text, ...)
      local result = check(text, ...)
      assert.same({ 2, "" }, { result.status, result.stdout })
      assert.matches("^surefoot: " .. pattern, (result.stderr:gsub(dir:gsub("%p", "%%%0"), "DIR")))
    end

    it("a configuration, here and in nginx's Lua", function()
      local result = check(config_of([[models = { m = true, n = "m" }, ]] .. KEYS))
      assert.same({ 0, "" }, { result.status, result.stderr })
      assert.equal(dir .. "/config.lua is well: 1 line, 2 models, 1 key; for http://127.0.0.1:8080\n", result.stdout)
    end)

    it("what is wrong with it, and where", function()
      refused("DIR/config%.lua:2: ", "return {\n")
      refused("DIR/config%.lua:1: no key\n$", "error 'no key'")
      refused("DIR/config%.lua: expected that it returns a table", "return 7")
      refused('DIR/config%.lua: modl: unknown key; did you mean "model"%?\n$', "return { modl = 1 }")
      refused("DIR/config%.lua: base_url: plain http to ", "return { base_url = 'http://example.com/v1' }")
      refused('DIR/config%.lua: gateway%.modles: unknown key; did you mean "models"%?\n$', config_of "modles = {}")
      refused('DIR/config%.lua: gateway%.models%["m"%]%[1%]%.endpoint: no endpoint "nobody"',
        config_of [[models = { m = { model = "m", endpoint = "nobody" } }]])
      refused("DIR/config%.lua: gateway%.keys%[1%]%.budget: needs `prices`",
        config_of [[keys = { { name = "a", key = "sk-0123456789abcdef", budget = { limit = 1, per = "day" } } }]])
    end)

    it("that nginx's Lua takes it, too", function()
      refused("in nginx's Lua: .*config%.lua:1: only here\n$", "if jit then error 'only here' end " .. config_of())
    end)

    it("the address", function()
      refused("DIR/config%.lua: gateway%.keys: 0%.0%.0%.0:8080 can be reached from other machines", config_of(),
        "--listen", "*:8080")
      refused("%-%-listen: expected an address like", config_of(), "--listen", "8080x")
      assert.equal(0, check(config_of(KEYS), "--listen", "*:8080").status)
    end)

    it("that there is one", function()
      local result = env.run({ "build/surefoot", "gateway" }, { env = { HOME = dir, XDG_CONFIG_HOME = "" } })
      assert.equal(2, result.status)
      assert.matches("^surefoot: which configuration%?", result.stderr)
      result = env.run { "build/surefoot", "gateway", dir .. "/none.lua" }
      assert.equal(2, result.status)
      assert.matches("none%.lua: No such file or directory", result.stderr)
    end)

    -- The shells that run the command inherit the socket.
    local function assert_port_is_held()
      local held = assert(socket.bind("127.0.0.1", 0))
      local port = select(2, held:getsockname())
      process.write(dir .. "/config.lua", config_of())
      local result = env.run { "build/surefoot", "gateway", dir .. "/config.lua", "--listen", tostring(port), "--user",
        USER }
      held:close()
      assert.equal(1, result.status)
      assert.matches("^surefoot: %-%-listen 127%.0%.0%.1:" .. port .. ": Address already in use: [%w.-]+ "
        .. "%(pid " .. process.self() .. "%) listens there\n$", result.stderr)
    end

    it("that the port is free", assert_port_is_held)

    it("also once the numbers of processes have begun anew", function()
      local last = io.open("/proc/sys/kernel/ns_last_pid", "w")
      if not (last and last:write "300" and last:close()) then
        env.skip "only root can choose the number of the next process, and not in every container"
      end
      assert_port_is_held()
    end)

    it("whom the workers can run as", function()
      if tonumber((process.capture { "id", "-u" })) ~= 0 then
        env.skip "only root can choose"
      end
      refused("%-%-user no%-such%-user: there is no such user\n$", config_of(), "--user", "no-such-user")
    end)

    it("options, before nginx has to", function()
      for said, words in pairs {
        ["%-%-access%-log: /nowhere/x: No such file"] = { "--access-log", "/nowhere/x" },
        ["%-%-error%-log: DIR: Is a directory"] = { "--error-log", dir },
        ["%-%-access%-log: nginx cannot take a path"] = { "--access-log", "/a'b" },
        ["%-%-error%-log: nginx cannot take a path"] = { "--error-log", "/a;b" },
        ["%-%-socket%-mode: expected permissions"] = { "--socket-mode", "999" },
      } do
        refused(said, config_of(), unpack(words))
      end
      process.write(dir .. "/config.lua", config_of())
      for said, words in pairs {
        ["%-%-directory: /dev/null/x/nginx.conf: Not a directory"] = { "--directory", "/dev/null/x" },
        ["%-%-listen unix:/nowhere/x: No such file"] = { "--listen", "unix:/nowhere/x" },
      } do
        local result = env.run { "build/surefoot", "gateway", dir .. "/config.lua", "--user", USER, unpack(words) }
        assert.same({ 2, "" }, { result.status, result.stdout }, said)
        assert.matches("^surefoot: " .. said, result.stderr)
      end
    end)

    it("paths that nginx cannot take, whatever is to be done with them", function()
      process.write(dir .. "/config.lua", config_of())
      for _, name in ipairs { dir .. "/a;b", dir .. "/a'b", dir .. '/a"b', dir .. "/a\nb", dir .. "/a$b" } do
        for option, given in pairs { ["--directory"] = name, ["--listen"] = "unix:" .. name } do
          for _, flag in ipairs { "--check", "--print", "--workers=1" } do
            local result = env.run { "build/surefoot", "gateway", dir .. "/config.lua", "--user", USER, option, given,
              flag }
            assert.same({ 2, "" }, { result.status, result.stdout }, result.stderr)
            assert.equal(("surefoot: %s: nginx cannot take a path with quotes, backslashes, $, ;, ?, braces or control "
              .. "characters: %s\n"):format(option, given:gsub("%c", "?")), result.stderr)
          end
        end
      end
      assert.equal("config.lua\n", env.check { "ls", dir })
    end)

    it("in a folder for temporary files that nginx can take", function()
      process.capture { "mkdir", dir .. "/a;b" }
      process.write(dir .. "/config.lua", config_of())
      local result = env.run({ "build/surefoot", "gateway", dir .. "/config.lua", "--check", "--user", USER },
        { env = { TMPDIR = dir .. "/a;b", XDG_RUNTIME_DIR = dir .. "/a;b" } })
      assert.same({ 0, "" }, { result.status, result.stderr })
    end)

    it("whether somebody serves the models of keys", function()
      local models = [[models = { m = true, ["claude-*"] = true }, ]]
      local key = [[keys = { { name = "a", key = "sk-0123456789abcdef", models = { %s } } }]]
      local result = check(config_of(models .. key:format [["m", "claude-x", "c*", "claude-sonnet*"]]))
      assert.same({ 0, "" }, { result.status, result.stderr })
      result = check(config_of(models .. key:format [["n", "claud-4"]]))
      assert.equal(0, result.status)
      assert.matches('config.lua: gateway.keys%[1%].models%[1%]: nobody serves "n"\n', result.stderr)
      assert.matches('models%[2%]: nobody serves "claud%-4"; did you mean "claude%-%*"%?\n', result.stderr)
      assert.equal("", check(config_of(key:format [["n"]])).stderr)
    end)

    it("and leaves nothing behind", function()
      local free = assert(socket.bind("127.0.0.1", 0))
      local port = tostring(select(2, free:getsockname()))
      free:close()
      check(config_of(), "--listen", port)
      assert(process.wait_for(function()
        return env.run(("grep -ls %s ${TMPDIR:-/tmp}/surefoot-gateway-*/nginx.conf "
          .. "$XDG_RUNTIME_DIR/surefoot-gateway-*/nginx.conf"):format(port)).stdout == ""
      end))
      assert.equal("", env.run("ls -d /dev/shm/surefoot-*-gateway-127.0.0.1_" .. port
        .. " /surefoot-gateway-*").stdout)
    end)
  end)

  it("prints the configuration of nginx, and makes nothing", function()
    process.write(dir .. "/config.lua", config_of "max_body_bytes = 4096")
    local program = process.capture("pwd"):match "%S+" .. "/build/surefoot"
    local result = env.run({ program, "gateway", "config.lua", "--print", "--user", USER, "--workers", "3" },
      { cwd = dir })
    assert.same({ 0, "" }, { result.status, result.stderr })
    assert.matches("\nworker_processes 3;\n", result.stdout)
    assert.matches("\n  client_max_body_size 4096;\n", result.stdout)
    assert.is_truthy(result.stdout:find(('.load, "%s/config.lua", "127.0.0.1:8080")'):format(dir), 1, true))
    assert.equal("config.lua\n", env.check { "ls", dir })
  end)

  it("serves, and logs neither secrets nor bodies", function()
    local g = start { config = config_of(KEYS), workers = 2 }
    assert.equal(2, #g:workers())
    local response = chat(g, { Authorization = "Bearer sk-caller-0123456789" })
    assert.equal(200, response.status, response.body)
    assert.equal("echo: hello", cjson.decode(response.body).choices[1].message.content)
    assert.equal(401, chat(g, { Authorization = "Bearer sk-wrong" }).status)
    g:get '/v1/nothing"}?secret=sk-query'
    local lines = assert(process.wait_for(function()
      local list = {}
      for _, one in ipairs(g:requests()) do
        list[#list + 1] = one.uri ~= "/health" and one or nil
      end
      return #list == 3 and list
    end))
    table.sort(lines, function(a, b) return a.status < b.status end)
    local ok = lines[1]
    assert.same({ "POST", "/v1/chat/completions", 200, "team-a", "m", 1 },
      { ok.method, ok.uri, ok.status, ok.key, ok.model, ok.attempts })
    assert.is_number(ok.input_tokens)
    assert.is_number(ok.request_time)
    assert.equal(cjson.null, ok.cost)
    assert.equal(cjson.null, ok.kind)
    assert.same({ 401, cjson.null, cjson.null, "unauthorized" },
      { lines[2].status, lines[2].key, lines[2].endpoint, lines[2].kind })
    assert.equal("/v1/nothing", lines[3].uri) -- up to what JSON would have to escape
    local all = (process.read(g.dir .. "/access.log") or "") .. g:log()
    for _, secret in ipairs { "sk-caller", "sk-upstream", "sk-wrong", "sk-query", "hello" } do
      assert.is_nil(all:find(secret, 1, true), secret)
    end
    g:stop()
  end)

  it("gives the workers the environment that the configuration saw, also after a reload", function()
    local config = ([[
      assert(os.getenv "AT_LOAD" == "one two", "not there when it is read")
      return { base_url = "%s", model = "m", api_key = function() return os.getenv "AT_CALL" end }
    ]]):format(p.lines.a.url)
    local g = start { config = config, env = {
      AT_LOAD = "one two", AT_CALL = "sk-at-call-0123456789",
      LUA_PATH = "/nonexistent/?.lua;;", LUA_CPATH = "build/lua5.4/?.so;;", -- as for lua5.4
      XDG_RUNTIME_DIR = dir,
    } }
    assert.equal(dir, g.folder:match "^(.*)/[^/]+$")
    assert.equal(200, chat(g).status)
    assert.equal("Bearer sk-at-call-0123456789", p:counters("a").last_headers.authorization)
    g:reload()
    assert.equal(200, chat(g).status)
    g:stop()
  end)

  it("reads the configuration again, and finishes what is in flight", function()
    local g = start { config = config_of [[models = { m = true }]] }
    local slow = slow_chat(g)
    assert.equal(404, chat(g, nil, (QUESTION:gsub('"m"', '"n"'))).status)
    g:configure(config_of [[models = { m = true, n = "m" }]])
    g:reload()
    p:profile("a", {})
    assert.equal(200, chat(g, nil, (QUESTION:gsub('"m"', '"n"'))).status)
    local response = assert(slow:response())
    slow:close()
    assert.same({ 200, "length" }, { response.status, response.ended })
    g:stop()
  end)

  it("says what a reload cannot change", function()
    local g = start { config = config_of "max_body_bytes = 4096" }
    g:configure(config_of "max_body_bytes = 2048")
    g:reload()
    assert.equal(413, chat(g, nil, ("x"):rep(3000)).status)
    g:assert_clean()
    g:configure(config_of "max_body_bytes = 8192")
    g:reload()
    assert.matches("gateway%.max_body_bytes counts from the next start on; until then it is 4096", g:log())
    assert.equal(413, chat(g, nil, ("x"):rep(5000)).status)
    g:stop { "counts from the next start on", "client intended to send too large body" }
  end)

  it("keeps what it has where the configuration is broken, and says so", function()
    local g = start {}
    local workers = g:workers()
    for n, broken in ipairs {
      { "return {", "config.lua:1: " }, { "return { bse_url = 1 }", "bse_url: unknown key" },
      { "error 'no key today'", "config.lua:1: no key today" },
    } do
      g:configure(broken[1])
      process.signal(g.pid, "HUP")
      assert(process.wait_for(function()
        local _, refusals = g:log():gsub("what runs already goes on as before", "")
        return refusals == n
      end), g:log())
      assert.is_truthy(g:log():find(broken[2], 1, true))
      assert.equal(200, chat(g).status)
      assert.same(workers, g:workers())
    end
    g:configure(config_of())
    g:reload()
    assert.equal(200, chat(g).status)
    g:stop { "init_by_lua error" }
  end)

  for signal, finishes in pairs { TERM = false, INT = false, QUIT = true } do
    it(("ends at SIG%s %s"):format(signal, finishes and "when all is done" or "at once"), function()
      local g = start {}
      local slow = slow_chat(g)
      local began = socket.gettime()
      process.signal(g.pid, signal)
      local response = slow:response()
      slow:close()
      if finishes then
        assert.equal(200, response.status)
      else
        assert.is_nil(response)
        assert.is_true(socket.gettime() - began < 0.35 * pace)
      end
      assert.equal(0, g:ended())
      g:stop()
    end)
  end

  it("ends at Ctrl-C on a terminal, with its folder", function()
    env.need("script", "bsdutils")
    process.write(dir .. "/config.lua", config_of())
    local port = provider.free_ports(1)[1]
    local line = ("build/surefoot gateway %s/config.lua --listen %d --workers 1 --user %s"):format(dir, port,
      USER)
    -- what is typed on a terminal as 0x03 interrupts the process in its foreground
    local feed = dir .. "/feed"
    process.capture { "mkfifo", feed }
    local terminal = process.spawn({ "sh", "-c", ("script -qec '%s' /dev/null < %s"):format(line, feed) },
      { stdout = dir .. "/shown" })
    local keyboard = assert(io.open(feed, "w"))
    keyboard:setvbuf "no"
    assert(process.wait_for(function()
      return http.request { url = ("http://127.0.0.1:%d/health"):format(port) }
    end, 10 * pace), process.read(dir .. "/shown"))
    keyboard:write "\3"
    assert(process.wait_for(function() return not process.alive(terminal) end), "it goes on")
    keyboard:close()
    local folder = process.read(dir .. "/shown"):match "nginx [%d.]+ in (%S+)"
    assert(process.wait_for(function() return env.run({ "test", "-e", folder }).status ~= 0 end))
    process.capture(("rm -f /dev/shm/surefoot-*-gateway-127.0.0.1_%d"):format(port))
  end)

  it("tells where its access log goes", function()
    for log, told in pairs {
      ["off"] = "no access log", [dir .. "/one.log"] = "access log in " .. dir .. "/one.log",
      [""] = "access log on standard output",
    } do
      local g = start { arguments = log ~= "" and { "--access-log", log } or nil }
      assert.is_truthy(g:log():find(": 1 line, any model, no keys; " .. told .. "; nginx ", 1, true), g:log())
      g:stop()
    end
  end)

  it("keeps the folder that it is given, which is one gateway's at a time", function()
    local folder = dir .. "/of nginx"
    local g = start { arguments = { "--directory", folder .. "/", "--access-log", dir .. "/requests.log" } }
    assert.equal("700\n", env.check { "stat", "-c", "%a", folder })
    local result = env.run { "build/surefoot", "gateway", g.dir .. "/config.lua", "--directory", folder, "--listen",
      tostring(provider.free_ports(1)[1]), "--user", USER }
    assert.equal(1, result.status)
    assert.matches("the gateway with pid " .. g.pid .. " runs there\n$", result.stderr)
    assert.equal(200, chat(g).status)
    assert(process.wait_for(function()
      return (process.read(dir .. "/requests.log") or ""):find('"status":200', 1, true)
    end))
    g:stop()
    assert.is_truthy(process.read(folder .. "/nginx.conf"))
  end)

  it("refuses in JSON what nginx itself refuses", function()
    local g = start { config = config_of "max_body_bytes = 2048" }
    local function error_of(response, status)
      assert.same({ status, "application/json" }, { response.status, response.headers["content-type"] })
      return cjson.decode(response.body).error
    end
    local odd = '{"model":"a\\"b\\\\c\\u00e9","messages":[]}'
    assert.equal(200, chat(g, nil, odd).status)
    local packed = chat(g, { ["Content-Encoding"] = "gzip" }, "\31\139\8\0")
    assert.matches("the body is compressed %(Content%-Encoding: gzip%)", error_of(packed, 400).message)
    assert.equal("forbidden", error_of(g:get("/metrics", { headers = { ["X-Forwarded-For"] = "::1" } }), 403).code)
    local large = chat(g, nil, ("x"):rep(5000))
    assert.same({ "invalid_request_error", "request_too_large" },
      { error_of(large, 413).type, error_of(large, 413).code })
    error_of(chat(g, { ["X-Long"] = ("x"):rep(40000) }), 431)
    local connection = assert(http.connect("127.0.0.1", g.port, 10))
    assert(connection:send "GET / HTTP/1.1\r\nHost: a\r\nHost b\r\n\r\n")
    error_of(assert(connection:response()), 400)
    connection:close()
    for status, request in pairs {
      [505] = "GET / HTTP/9.9\r\nHost: a\r\n\r\n", [501] = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n",
    } do
      connection = assert(http.connect("127.0.0.1", g.port, 10))
      assert(connection:send(request))
      assert.equal("invalid_request_error", error_of(assert(connection:response()), status).type)
      connection:close()
    end
    local lines = assert(process.wait_for(function()
      local list, seen = g:requests(), {}
      for _, one in ipairs(list) do
        seen[one.status] = one.uri ~= "/health" and one or seen[one.status]
      end
      return seen[200] and seen[413] and seen[431] and seen[400] and seen
    end))
    assert.same({ "POST", "/v1/chat/completions" }, { lines[413].method, lines[413].uri })
    assert.same({ 'a"b\\c\195\169', cjson.null }, { lines[200].model, lines[413].model })
    g:stop { "client intended to send too large body" }
  end)

  it("runs the workers of a root's gateway as nobody", function()
    if not is_root then
      env.skip "this is not run by root"
    elseif not require("surefoot.core").process.can_read("lua/surefoot/init.lua", "nobody") then
      env.skip "the checkout is not readable by all"
    end
    local g = start { user = "nobody" }
    local uid = tonumber((process.capture { "id", "-u", "nobody" }))
    local status = process.read(("/proc/%d/status"):format(g:workers()[1]))
    assert.equal(uid, tonumber(status:match "\nUid:%s+(%d+)"))
    local long = ("0123456789"):rep(900000) -- goes through a file of nginx
    local response = chat(g, nil, (QUESTION:gsub("hello", long)))
    assert.equal(200, response.status)
    g:stop { "buffered to a temporary file" }
  end)

  it("listens on a socket of the machine", function()
    process.write(dir .. "/config.lua", config_of())
    local path = dir .. "/gateway.sock"
    local pid = process.spawn({ "build/surefoot", "gateway", dir .. "/config.lua", "--listen", "unix:" .. path,
      "--workers", "1", "--user", USER }, { stdout = dir .. "/out", stderr = dir .. "/err" })
    finally(function() process.stop(pid) end)
    env.need("curl", "curl")
    assert(process.wait_for(function()
      return env.run({ "curl", "-s", "--unix-socket", path, "http://gateway/health" }).stdout:find "ok"
    end, 10 * pace), process.read(dir .. "/err"))
    assert.equal("600\n", env.check { "stat", "-c", "%a", path })
    local second = env.run { "build/surefoot", "gateway", dir .. "/config.lua", "--listen", "unix:" .. path, "--user",
      USER }
    assert.equal(1, second.status)
    assert.matches(("in use: the surefoot gateway with pid %d listens there"):format(pid), second.stderr)
    assert.is_true(process.stop(pid))
    assert(process.wait_for(function() return env.run({ "test", "-e", path }).status ~= 0 end, 10 * pace))
    process.capture "rm -f /dev/shm/surefoot-*-gateway-unix_*"
  end)

  it("tells of workers whose master was killed, and takes over a socket that nobody listens on", function()
    local g = start { workers = 2 }
    local workers = g:workers()
    local words = { "build/surefoot", "gateway", dir .. "/config.lua", "--listen", "127.0.0.1:" .. g.port, "--user",
      USER }
    process.write(dir .. "/config.lua", config_of())
    assert.matches(("in use: the surefoot gateway with pid %d listens there\n"):format(g.pid), env.run(words).stderr)
    process.signal(g.pid, "KILL")
    assert(process.wait_for(function() return not process.alive(g.pid) end))
    local result = env.run(words)
    assert.equal(1, result.status)
    local said = result.stderr:match "whose master was killed still serve there: kill (.-) ends them"
    for _, pid in ipairs(workers) do
      assert.is_truthy(said and said:find(tostring(pid), 1, true), result.stderr)
      process.stop(pid)
    end
    g:forget()
    running = nil
    local path = dir .. "/deserted.sock"
    local listen = ("require('surefoot.core').process.listen(%q, '600')"):format(path)
    env.check { "lua5.4", "-l", "spec.helper", "-e", listen }
    assert.equal(0, env.run({ "test", "-S", path }).status)
    local core = require("surefoot.core").process
    assert.is_number(core.listen(path, "660"))
    assert.equal("660\n", env.check { "stat", "-c", "%a", path })
    assert.same({ nil, "Address already in use" }, { core.listen(path, "600") })
  end)
end)
