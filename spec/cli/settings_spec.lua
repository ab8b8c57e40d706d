--- Which client a command works with: files, environment and flags, in their order.

local process = require "spec.support.process"
local settings = require "surefoot.cli.settings"

local TWO = [[return {
  api_key = "sk-test-0123456789", model = "m", gateway = { models = {} },
  endpoints = { { url = "http://127.0.0.1:1/v1", name = "one" }, { url = "http://127.0.0.1:2/v1" } },
  fallbacks = { "n", { model = "o", endpoint = "one" } },
}]]

describe("settings", function()
  local dir

  before_each(function()
    dir = process.temp_dir "surefoot-settings"
  end)

  after_each(function()
    process.remove_dir(dir)
  end)

  local function file(name, text)
    process.capture { "mkdir", "-p", (dir .. "/" .. name):match "^(.*)/" }
    process.write(dir .. "/" .. name, text)
    return dir .. "/" .. name
  end

  local function environment(variables)
    return function(name) return variables[name] end
  end

  it("come from the file that is named, before all others", function()
    local usual = file("home/.config/surefoot/config.lua", "return { model = 'usual' }")
    local named = file("named.lua", "return { model = 'named' }")
    local variable = file("variable.lua", "return { model = 'variable' }")
    local home = { HOME = dir .. "/home" }
    assert.equal(usual, settings.path(nil, environment(home)))
    assert.is_nil(settings.path(nil, environment { HOME = dir .. "/home", XDG_CONFIG_HOME = dir .. "/other" }))
    home.SUREFOOT_CONFIG, home.SUREFOOT_MODEL = variable, "environment"
    assert.equal("variable", settings.given({}, environment(home)).model)
    assert.equal("named", settings.given({ config = named }, environment(home)).model)
    assert.is_nil(settings.path(nil, environment {}))
  end)

  it("come from the environment where there is no file", function()
    assert.same({ base_url = "http://127.0.0.1:1/v1", api_key = "k", model = "m" }, settings.given({}, environment {
      SUREFOOT_BASE_URL = "http://127.0.0.1:1/v1", SUREFOOT_API_KEY = "k", SUREFOOT_MODEL = "m", SUREFOOT_PRESET = "",
    }))
    local none, problem = settings.given({}, environment { SUREFOOT_MODEL = "m" })
    assert.is_nil(none)
    assert.matches("^where to%? Give %-%-config FILE", problem)
    assert.same({ base_url = "http://127.0.0.1:1/v1" }, settings.given({ base_url = "http://127.0.0.1:1/v1" },
      environment {}))
    assert.same({ base_url = "http://127.0.0.1:1/v1", api_key = "k", model = "m" },
      settings.given({ base_url = "http://127.0.0.1:1/v1" }, environment { SUREFOOT_API_KEY = "k",
        SUREFOOT_MODEL = "m" }))
  end)

  it("are changed by flags", function()
    local config = file("two.lua", TWO)
    local given = settings.given({ config = config, model = "x", line = "127.0.0.1:2" }, environment {})
    assert.equal("x", given.model)
    assert.same({ { url = "http://127.0.0.1:2/v1" } }, given.endpoints)
    assert.same({ "n" }, given.fallbacks)
    assert.is_nil(given.gateway)
    given = settings.given({ config = config, base_url = "http://127.0.0.1:3/v1" }, environment {})
    assert.same({ nil, "http://127.0.0.1:3/v1" }, { given.endpoints, given.base_url })
    assert.same({ "n" }, given.fallbacks)
    local none, problem = settings.given({ config = config, line = "onee" }, environment {})
    assert.is_nil(none)
    assert.equal(config .. ': --line: no line is named "onee"; did you mean "one"? There are one, 127.0.0.1:2', problem)
  end)

  it("say where a file is wrong", function()
    for text, expected in pairs {
      ["return {"] = ":1: ", ["error 'oh'"] = ":1: oh$", ["\nlocal x = nil + 1"] = ":2: attempt to perform",
      ["return 7"] = ": expected that it returns a table %(return { %.%.%. }%), got a number$",
      ["error {}"] = ": it ended with an error that is no text but a table$",
      ["error()"] = ": it ended with an error that is no text but nil$",
      ["error { message = 'no key' }"] = ": no key$",
      ["error(setmetatable({}, { __tostring = function() return 'mine' end }))"] = ": mine$",
    } do
      local none, problem = settings.load(file("bad.lua", text))
      assert.is_nil(none)
      assert.equal(dir .. "/bad.lua", problem:sub(1, #dir + 8))
      assert.matches(expected, problem)
    end
    local none, problem = settings.load(dir .. "/none.lua")
    assert.is_nil(none)
    assert.equal(dir .. "/none.lua: No such file or directory", problem)
  end)

  it("make a client, or say what is wrong with them", function()
    local client = assert(settings.client { config = file("two.lua", TWO), line = "one" })
    assert.equal("surefoot.client (one)", tostring(client))
    client:close()
    local bad = file("bad.lua", "return { base_url = 'http://127.0.0.1:1', modl = 1 }")
    local none, problem = settings.client { config = bad }
    assert.is_nil(none)
    assert.equal(dir .. '/bad.lua: modl: unknown key; did you mean "model"?', problem)
  end)
end)
