-- A batch in files goes on where an earlier run stopped, however that ended.
local files = require "spec.lua.batch.files"
local json = require "surefoot.json"
local process = require "spec.support.process"

local path, write, requests, simulated, run = files.path, files.write, files.requests, files.simulated, files.run
local rows, outcomes, expected, snapshot = files.rows, files.outcomes, files.expected, files.snapshot
local in_folder = files.in_folder

describe("client:batch_file", function()
  before_each(files.begin)
  after_each(files.finish)

  describe("goes on", function()
    it("after a kill at any moment, with nothing lost, and nothing asked twice but what was in flight", function()
      write("in.jsonl", requests(12))
      local function script(text)
        return text == "5" and { status = 400, body = { error = { message = "no" } } } or nil
      end
      local client, _, keys = simulated(script)
      run(client, { concurrency = 3, on_progress = function(p)
        snapshot("after" .. p.done)
      end })
      local whole = expected(12)
      whole.r5 = "invalid_request"
      assert.same(whole, outcomes("out.jsonl", "out.failed.jsonl"))
      for done = 1, 12 do
        local folder = "after" .. done
        local other, asked, others_keys = simulated(script)
        local options = in_folder(folder)
        if done % 2 == 0 then -- in the middle of a row
          local file = path(folder .. "/out.jsonl")
          process.write(file, process.read(file) .. '{"id":"batch_req_0123')
        end
        local summary = run(other, options)
        assert.same({ done, 12 - done, true }, { summary.earlier, #asked, summary.complete })
        assert.same(whole, outcomes(folder .. "/out.jsonl", folder .. "/out.failed.jsonl"))
        for _, text in ipairs(asked) do -- a provider that knows the key again does not do it twice
          assert.equal(keys[text][1], others_keys[text][1])
        end
      end
    end)

    it("from a checkpoint, which need not be there", function()
      local lines = requests(40)
      table.insert(lines, 1, "")
      table.insert(lines, 20, "")
      write("in.jsonl", lines)
      local client = simulated(function(text)
        return { after = 10, text = text }
      end)
      local places = {}
      run(client, { concurrency = 2, on_progress = function(p)
        snapshot("at" .. p.done)
        places[p.done] = json.decode(process.read(path "out.jsonl.journal")).place.line
      end })
      assert.equal(0, places[2])
      assert.is_true(places[20] > 8)
      assert.is_true(places[40] > places[20])
      local other, asked = simulated()
      local summary = run(other, in_folder "at20")
      assert.same({ 20, 20, 40 }, { #asked, summary.earlier, summary.total })
      assert.same(expected(40), outcomes "at20/out.jsonl")
    end)

    it("after a power cut that left zeros behind", function()
      write("in.jsonl", requests(6))
      local client = simulated()
      run(client, { concurrency = 1, on_progress = function(p)
        if p.done == 3 then
          snapshot "cut"
        end
      end })
      local file = path "cut/out.jsonl"
      process.write(file, process.read(file) .. ("\0"):rep(500) .. 'end of a row"}\n{"id":"batch')
      local other, asked = simulated()
      assert.equal(3, run(other, in_folder "cut").earlier)
      assert.same({ "4", "5", "6" }, asked)
      assert.same(expected(6), outcomes "cut/out.jsonl")
    end)

    it("where nothing is left to do, and asks nothing", function()
      write("in.jsonl", requests(5))
      local client, asked = simulated()
      run(client)
      local before = process.read(path "out.jsonl")
      local summary = run(client)
      assert.same({ true, 5, 5, 5, 5 },
        { summary.complete, summary.earlier, summary.succeeded, summary.total, #asked })
      assert.equal(before, process.read(path "out.jsonl"))
    end)

    it("with what failed, where that is wanted", function()
      write("in.jsonl", requests(9))
      local bad = { ["2"] = true, ["3"] = true, ["8"] = true }
      local client, asked, keys = simulated(function(text)
        return bad[text] and { status = 400, body = { error = { message = "no" } } } or nil
      end)
      assert.equal(3, run(client).failed)
      assert.equal(3, run(client).failed)
      assert.equal(9, #asked)
      bad = { ["3"] = true }
      local summary = run(client, { retry_failed = true })
      assert.same({ 6, 8, 1, 9, true, 12 },
        { summary.earlier, summary.succeeded, summary.failed, summary.total, summary.complete, #asked })
      assert.same({ "r3" }, { rows("out.failed.jsonl")[1].custom_id, rows("out.failed.jsonl")[2] })
      assert.is_true(keys["2"][1] ~= keys["2"][2], "a provider that remembers the failure would repeat it")
      bad = {}
      assert.equal(0, run(client, { retry_failed = true }).failed)
      assert.is_nil(process.read(path "out.failed.jsonl"))
      assert.same(expected(9), outcomes "out.jsonl")
    end)

    it("after a kill while what failed is asked again", function()
      write("in.jsonl", requests(9))
      local is_bad = true
      local function script(text)
        return is_bad and tonumber(text) > 4 and { status = 400, body = { error = { message = "no" } } } or nil
      end
      local client = simulated(script)
      run(client)
      is_bad = false
      run(client, { retry_failed = true, concurrency = 1, on_progress = function(p)
        if p.done == 6 then
          snapshot "killed"
        end
      end })
      local other, asked = simulated(script)
      run(other, in_folder "killed")
      assert.same({ "7", "8", "9" }, asked)
      assert.same(expected(9), outcomes("killed/out.jsonl", "killed/out.failed.jsonl"))
    end)
  end)
end)
