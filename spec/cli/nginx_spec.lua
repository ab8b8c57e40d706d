--- The configuration of a gateway's nginx, and what is found for it on this machine.

local machine = require "surefoot.cli.nginx"
local nginx = require "surefoot.gateway.nginx"
local process = require "spec.support.process"

local function write(more)
  local options = { config = "/etc/a b/config.lua", listen = "127.0.0.1:8080", directory = "/run/gate way" }
  for name, value in pairs(more or {}) do
    options[name] = value
  end
  return nginx.write(options)
end

local function has(text, line)
  assert(text:find(line, 1, true), line .. "\nis not in\n" .. text)
end

describe("nginx.write", function()
  it("quotes paths, for nginx and for Lua", function()
    local text = write { modules = { "/usr/lib/x y/m.so" } }
    has(text, 'load_module "/usr/lib/x y/m.so";')
    has(text, 'pid "/run/gate way/nginx.pid";')
    has(text, 'pcall(require("surefoot.gateway").load, "/etc/a b/config.lua", "127.0.0.1:8080")')
    has(write { config = '/a"b\\c.lua' }, [[.load, "/a\"b\\c.lua", ]])
  end)

  it("refuses what it cannot quote", function()
    for _, name in ipairs { "/a\\b", "/a$b", '/a"b', "/a;b", "/a\nb", "/a{b", "/a?b", "/a'b" } do
      local ok, problem = pcall(write, { directory = name })
      assert.is_false(ok)
      assert.matches("^the directory: nginx cannot take a path", problem)
    end
  end)

  it("has nothing of the environment but names, and none that misleads LuaJIT", function()
    local names = machine.environment("A=1\0LUA_CPATH=x\0B_2=\0_=y\0A=2\0NGINX=3\0bad-name=4\0LUA_PATH=z\0"
      .. "BASH_FUNC%%=5\0")
    assert.same({ "A", "B_2" }, names)
    has(write { environment = names }, "env A;\nenv B_2;\n")
    assert.same({ "LUA_CPATH", "LUA_PATH", "NGINX" }, machine.hidden())
  end)

  it("says only what is needed", function()
    local text = write {}
    assert.is_nil(text:find "\n *user ")
    assert.is_nil(text:find("worker_rlimit_nofile", 1, true))
    has(text, "worker_processes auto;")
    has(text, "error_log stderr warn;")
    has(text, "client_max_body_size 52428800;")
    has(write { user = "nobody nogroup", files = 1024, workers = 3, max_body_bytes = 2 ^ 31 }, "user nobody nogroup;\n")
    has(write { max_body_bytes = 2 ^ 31 }, "client_max_body_size 2147483648;")
    has(write { access_log = "off" }, "access_log off;")
    has(write { access_log = "syslog:server=unix:/dev/log" }, 'access_log "syslog:server=unix:/dev/log" surefoot;')
    has(write { listen = "unix:/run/g.sock" }, 'listen "unix:/run/g.sock" backlog=4096;')
  end)

  it("logs no query, no header of the caller's and no body", function()
    local format = write():match "log_format.-;"
    for _, word in ipairs { "$request ", "$args", "$query_string", "$request_uri", "$http_", "$request_body" } do
      assert.is_nil(format:find(word, 1, true), word)
    end
    has(format, '"uri":$surefoot_uri,')
    has(format, '"request_time":$request_time,$surefoot_members}')
    has(write(), [[map "" $surefoot_members { default '"request_id":null,"key":null,"model":null,"endpoint":null,]])
  end)
end)

describe("an address to listen on", function()
  it("may be written in several ways", function()
    for given, text in pairs {
      ["8080"] = "127.0.0.1:8080", ["127.0.0.1:08080"] = "127.0.0.1:8080", ["localhost:80"] = "127.0.0.1:80",
      ["*:8080"] = "0.0.0.0:8080", [":8080"] = "0.0.0.0:8080", ["[::1]:8080"] = "[::1]:8080",
      ["gw.example.com:8080"] = "gw.example.com:8080", ["unix:/run/g.sock"] = "unix:/run/g.sock",
    } do
      assert.equal(text, assert(nginx.address(given)).text)
    end
    assert.equal("::1", nginx.address("[::1]:8080").host)
  end)

  it("is refused where it is none", function()
    for _, given in ipairs { "", "x", "127.0.0.1", "a b:80", "::1:80", "unix:" } do
      local address, problem = nginx.address(given)
      assert.is_nil(address, given)
      assert.matches("^expected an address like 127%.0%.0%.1:8080", problem)
    end
    for given, message in pairs { ["0"] = "port 0 stands for any free one, and nginx would not tell which: choose one "
      .. "from 1 to 65535", ["[::1]:00"] = "port 0 stands for any free one", ["127.0.0.1:65536"] = "the port is out of "
      .. "range: got 65536, allowed are 1 to 65535" } do
      local address, problem = nginx.address(given)
      assert.is_nil(address, given)
      assert.is_truthy(problem:find(message, 1, true), problem)
    end
  end)
end)

describe("the machine", function()
  it("bounds connections by the files that may be opened", function()
    local function limits(soft, hard)
      return machine.capacity(("Max open files            %s              %s              files"):format(soft, hard))
    end
    assert.same({ nil, 480 }, { limits("1024", "1024") })
    assert.same({ 4096, 2016 }, { limits("1024", "4096") })
    assert.same({ 65536, 8192 }, { limits("1024", "1048576") })
    assert.same({ 65536, 8192 }, { limits("unlimited", "unlimited") })
    assert.same({ nil, 32 }, { limits("64", "64") })
    local _, connections = machine.capacity()
    assert.is_true(connections >= 32)
  end)

  describe("is searched for an nginx", function()
    local dir

    setup(function()
      dir = process.temp_dir "surefoot-machine"
    end)

    teardown(function()
      process.remove_dir(dir)
    end)

    -- A program that says of itself what nginx would.
    local function fake(name, version, arguments)
      process.write(dir .. "/" .. name, ("#!/bin/sh\necho 'nginx version: %s\nconfigure arguments: %s' >&2\n")
        :format(version, arguments))
      process.capture { "chmod", "755", dir .. "/" .. name }
      return dir .. "/" .. name
    end

    local function find(binary, modules)
      return machine.find(function(name)
        return name == "SUREFOOT_NGINX" and binary or name == "SUREFOOT_NGINX_MODULES" and modules or nil
      end)
    end

    it("that has Lua built in", function()
      local program = assert(find(fake("openresty", "openresty/1.25.3.1", "--add-module=../ngx_lua-0.10.26")))
      assert.same({ binary = dir .. "/openresty", version = "1.25.3.1", modules = {}, arguments = { "-e", "stderr" } },
        program)
    end)

    it("that can load it", function()
      process.write(dir .. "/ngx_http_lua_module.so", "")
      process.write(dir .. "/ndk_http_module.so", "")
      local program = assert(find(fake("nginx", "nginx/1.19.4", "--prefix=/nowhere"), dir))
      assert.same({ dir .. "/ndk_http_module.so", dir .. "/ngx_http_lua_module.so" }, program.modules)
      assert.same({}, program.arguments) -- older than -e
    end)

    it("and told what to install where there is none", function()
      local none, problem = find(dir .. "/nothing")
      assert.is_nil(none)
      assert.matches("^no nginx was found %(Debian: apt install nginx", problem)
    end)
  end)
end)
