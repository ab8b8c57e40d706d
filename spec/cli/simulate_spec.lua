-- surefoot simulate: what it plays, compares, shows and writes, from anywhere, without a network.

local env = require "spec.support.env"
local json = require "surefoot.json"
local process = require "spec.support.process"
local screen = require "spec.cli.screen"

local unpack = table.unpack or unpack

describe("surefoot simulate #once", function()
  local dir, program

  setup(function()
    dir = process.temp_dir "simulate"
    program = env.check("pwd"):match "[^\n]+" .. "/build/surefoot"
    process.write(dir .. "/config.lua", [[return { preset = "openai", model = "m", timeout = { total = 60 },
      endpoints = { { url = "https://a.example/v1", name = "a" },
        { url = "https://b.example/v1", name = "b", breaker = false } } }]])
  end)

  teardown(function()
    process.remove_dir(dir)
  end)

  local function run(...)
    return env.run({ program, "simulate", ... }, { cwd = dir, env = { OPENAI_API_KEY = "" } })
  end

  it("lists the scenarios", function()
    local result = run "--list"
    assert.same({ 0, "" }, { result.status, result.stderr })
    for i = 1, 8 do
      assert.matches(("\nS%d  %%l[%%l ]+  [%%l%%d]"):format(i), result.stdout)
    end
  end)

  it("holds the defaults to their marks, in any folder", function()
    local result = run("s7", "--seeds", "1", "-j", "2", "--svg", "plots/new", "--json", "plots/new/table.json")
    local document = json.decode(process.read(dir .. "/plots/new/table.json"))
    assert.same({ document.missed == 0 and 0 or 1, "" }, { result.status, result.stderr })
    assert.matches("^scenario +figure +pass mark +measured +seeds +95 %% confidence\n"
      .. "S7 black hole +defaults: its share of the attempts after 10 s +<= 10 %% +%d", result.stdout)
    assert.matches(document.missed == 0 and "\nevery mark was met: " or "\n%d marks? missed: ", result.stdout)
    assert.matches("^<svg .*</svg>\n$", process.read(dir .. "/plots/new/s7_black_hole.svg"))
    assert.same({ "S7 black hole", false, 4 }, { document.rows[1].scenario, document.compared, #document.rows })
    assert.is_true(document.totals.requests > 10000)
    assert.equal("", env.check("ls -A plots/new | grep -v '[.]svg$\\|[.]json$' || true", { cwd = dir }))
  end)

  it("plays the user's policies beside the defaults and no retries", function()
    local result = run("S7", "--config", "config.lua", "--line", "b", "--seeds", "1", "--json", "own.json")
    local document = json.decode(process.read(dir .. "/own.json"))
    assert.same({ document.missed == 0 and 0 or 1, "", true }, { result.status, result.stderr, document.compared })
    local names, judged = {}, {}
    for i, row in ipairs(document.rows) do
      names[i], judged[row.configuration] = row.configuration, row.pass ~= nil
    end
    assert.same({ "no retry", "defaults", "yours", "no retry", "defaults", "yours" }, names)
    assert.same({ yours = true, defaults = false, ["no retry"] = false }, judged)
    assert.matches("^scenario +figure +no retry +defaults +yours +pass mark\nS7 black hole +its share", result.stdout)
    assert.matches("\nyours: breaker of its line, timeout; the rest as the defaults\n", result.stdout)
  end)

  it("counts no mark as missed that the defaults miss by as much", function()
    process.write(dir .. "/plain.lua", "return { preset = 'openai', model = 'm' }")
    local result = run("S1", "--config", "plain.lua", "--quick", "--json", "plain.json")
    local document = json.decode(process.read(dir .. "/plain.json"))
    assert.same({ 0, 0 }, { result.status, document.missed }, result.stdout)
    local measured = {}
    for _, row in ipairs(document.rows) do
      local of_figure = measured[row.figure] or {}
      measured[row.figure], of_figure[row.configuration] = of_figure, row
    end
    local doubtful = false
    for figure, row in pairs(measured) do
      assert.equal(row.defaults.measured, row.yours.measured, figure)
      assert.is_true(row.yours.pass ~= false, figure)
      doubtful = doubtful or row.yours.as_defaults
    end
    assert.equal(doubtful, result.stdout:find("as defaults: with these seeds", 1, true) ~= nil, result.stdout)
    assert.equal(doubtful, result.stdout:find("few seeds were played", 1, true) ~= nil, result.stdout)
    assert.matches(doubtful and "\nno other mark was missed: " or "\nevery mark was met: ", result.stdout)
  end)

  it("tells what is wrong before it plays", function()
    process.write(dir .. "/wrong.lua", "return { preset = 'openai', retry = { max_attempts = 0 } }")
    for said, words in pairs {
      ['unknown scenario "S9"; there are S1, S2'] = { "S9" },
      ["/nowhere/x: No such file"] = { "--json", "/nowhere/x" },
      ["/dev/null/x: Not a directory"] = { "--svg", "/dev/null/x" },
      ["nothere.lua: No such file"] = { "--config", "nothere.lua" },
      ["wrong.lua: retry.max_attempts: "] = { "--config", "wrong.lua" },
      ['%-%-line: no line is named "c"'] = { "--config", "config.lua", "--line", "c" },
      ["%-%-line needs %-%-config"] = { "--line", "a" },
      ["%-%-seeds: expected a whole number from 1 on, got 0"] = { "--seeds", "0" },
      ["%-%-workers: expected a whole number"] = { "-j", "x" },
    } do
      local result = run(unpack(words))
      assert.same({ 2, "" }, { result.status, result.stdout }, said)
      assert.matches("^surefoot: .*" .. said, result.stderr)
    end
  end)

  it("tells when a process that plays has died", function()
    process.write(dir .. "/mortal.lua", [[if os.getenv "SUREFOOT_SIMULATE_WORKER" then os.exit(3) end
      return { preset = "openai" }]])
    local result = run("S7", "--config", "mortal.lua", "--seeds", "1", "-j", "1")
    assert.same({ 1, "", "surefoot: a process that played has ended before its work was done\n" },
      { result.status, result.stdout, result.stderr })
  end)

  it("shows how far it is on a terminal, and leaves nothing behind after Ctrl-C", function()
    local shown = screen.start { program, "simulate", "S3", "-j", "2" }
    finally(function() shown:stop() end)
    shown:wait " +%d+ %%  S3 map, 1.0 s"
    local workers = {}
    for pid in env.check "pgrep -f '[s]imulate S3 -j 2'":gmatch "%d+" do
      workers[#workers + 1] = tonumber(pid)
    end
    assert.is_true(#workers >= 3)
    shown:key "C-c"
    assert.equal(130, shown:wait_end())
    assert.is_nil(shown:text():find("S3 map", 1, true), shown:text())
    for _, pid in ipairs(workers) do
      assert.is_truthy(process.wait_for(function()
        local command = process.read("/proc/" .. pid .. "/cmdline") or ""
        return not command:find("program.lua", 1, true) and not command:find("build/surefoot\0simulate", 1, true)
      end, 10), "still there: " .. pid)
    end
  end)
end)
