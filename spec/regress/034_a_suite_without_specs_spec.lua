-- A run in which no spec was found ended well. And one that failed where the machine stood still for a moment failed as
-- if the code did.
local process = require "spec.support.process"

local function last_lines(words, jobs)
  return (process.capture(("SUREFOOT_JOBS=%d lua5.4 spec/support/suite.lua lua5.4 -- %s 2>&1; echo status $?"):format(
    jobs or 1, words)))
end

describe("the suite #once", function()
  it("fails when it finds nothing to test", function()
    local text = last_lines "spec/lua/ids_spec.lua --filter nothing-is-called-this"
    assert.matches("no spec passed", text)
    assert.matches("0 passed, 1 failed, 0 skipped\nstatus 1\n$", text)
  end)

  it("passes when something did", function()
    assert.matches("\n[1-9]%d* passed, 0 failed, 0 skipped\nstatus 0\n$", last_lines "spec/lua/ids_spec.lua")
  end)

  describe("runs what failed once more:", function()
    local dir

    before_each(function() dir = process.temp_dir "surefoot-suite" end)
    after_each(function() process.remove_dir(dir) end)

    -- A spec file whose last test fails until it has been run so many times.
    local function write(name, times)
      process.write(("%s/%s_spec.lua"):format(dir, name), ([[
        it("is well", function() end)
        it("%s fails", function()
          local path = %q
          local file = io.open(path)
          local runs = 1 + (file and file:read "n" or 0)
          if file then file:close() end
          file = assert(io.open(path, "w"))
          file:write(runs, "\n")
          file:close()
          assert.is_true(runs > %d)
        end)
      ]]):format(name, dir .. "/" .. name .. ".runs", times))
    end

    it("what passes then is told, and has passed", function()
      write("first", 1)
      write("second", 0)
      local text = last_lines(dir)
      assert.matches("\nunsteady: lua5.4: first fails: [^\n]+\n4 passed, 0 failed, 0 skipped\nstatus 0\n$", text)
      assert.is_nil(process.read(dir .. "/second.runs"):find "2")
    end)

    it("what fails again has failed", function()
      write("first", 2)
      local text = last_lines(dir)
      assert.matches("\nfailed: lua5.4: first fails: [^\n]+\n1 passed, 1 failed, 0 skipped\nstatus 1\n$", text)
    end)

    it("but not many files", function()
      for i = 1, 5 do
        write("number" .. i, 1)
      end
      assert.matches("\n5 passed, 5 failed, 0 skipped\nstatus 1\n$", last_lines(dir))
    end)

    it("and the rest of what was dealt out counts", function()
      for i = 1, 7 do
        write("number" .. i, i == 4 and 2 or 0)
      end
      local text = last_lines(dir, 2)
      assert.matches("\nfailed: lua5.4: number4 fails: [^\n]+\n13 passed, 1 failed, 0 skipped\nstatus 1\n$", text)
    end)

    it("also beside a run that died, and runs that found nothing", function()
      process.write(dir .. "/dies_spec.lua", [[it("dies", function() os.exit(3) end)]])
      write("first", 0)
      write("second", 0)
      local text = last_lines(dir .. " --filter=dies --filter='first fails'", 2)
      assert.matches("\nfailed: lua5.4: the run ended early\n1 passed, 1 failed, 0 skipped\nstatus 1\n$", text)
    end)

    it("nor a run that died", function()
      process.write(dir .. "/dies_spec.lua", [[it("dies", function() os.exit(3) end)]])
      local text = last_lines(dir)
      assert.matches("\nfailed: lua5.4: the run ended early\n0 passed, 1 failed, 0 skipped\nstatus 1\n$", text)
    end)
  end)
end)
