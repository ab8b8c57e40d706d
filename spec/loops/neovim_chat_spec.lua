-- The plugin of examples/neovim, as a user has it: answers stream into buffers while Neovim stays awake.

local env = require "spec.support.env"
local neovim = require "spec.loops.neovim_program"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local KEY = "sk-test-0123456789"

local PLUGIN = [[
  vim.opt.runtimepath:append "./examples/neovim"
  vim.cmd "runtime plugin/surefoot_chat.lua"
  local chat = require "surefoot_chat"
  chat.setup {
    client = { preset = "openai", base_url = url, model = "m", timeout = { first_token = 0.4, idle = 0.4 } },
  }
  report.notices = {}
  vim.notify = function(text, level)
    report.notices[#report.notices + 1] = ({ [2] = "info ", [3] = "warn ", [4] = "error " })[level] .. text
  end
  local function lines(buffer) return api.nvim_buf_get_lines(buffer or 0, 0, -1, true) end
  local function newest()
    local buffers = api.nvim_list_bufs()
    return buffers[#buffers]
  end
  local function marks(buffer)
    return #api.nvim_buf_get_extmarks(buffer, api.nvim_create_namespace "surefoot_chat", 0, -1, {})
  end
  -- Calls f when check() says so, at the latest after 5 s.
  local function when(check, f, began)
    began = began or uv.hrtime()
    if check() or uv.hrtime() - began > 5e9 then
      return f()
    end
    after(5, function() when(check, f, began) end)
  end
  local function idle() return chat.status() == "" end
]]

describe("the Neovim plugin #once", function()
  local p, folder

  setup(function()
    p = provider.start { lines = { "a" } }
    folder = process.temp_dir "surefoot-neovim"
  end)

  teardown(function()
    p:stop()
    process.remove_dir(folder)
  end)

  before_each(function() p:reset() end)

  local function run(code, options)
    neovim.need()
    options = options or {}
    options.env = options.env or { OPENAI_API_KEY = KEY }
    local report = neovim.run(folder, p.lines.a.url, PLUGIN .. code, options)
    assert.is_true(report.is_whole, report.stderr)
    assert.equal(0, report.status, report.stderr)
    for _, text in ipairs { report.messages, report.stderr, table.concat(report.notices, "\n") } do
      assert.is_nil(text:match "[^\n]*E%d+:[^\n]*")
      assert.is_nil(text:match "[^\n]*Error executing[^\n]*")
      assert.is_nil(text:find(KEY, 1, true))
    end
    return report
  end

  it("streams an answer into a window of its own, and Neovim stays awake", function()
    p:profile("a", {
      keys = { KEY }, answer = { text = ("word "):rep(40) .. "\nand an end", chunks = 25 },
      stream = { chunk_delay = 0.04 },
    })
    local report = run([[
      local changes, seen = 0, {}
      watch_gaps()
      vim.cmd "Surefoot What is a word?"
      report.focus = api.nvim_get_current_buf()
      report.windows = #api.nvim_list_wins()
      local buffer = newest()
      api.nvim_buf_attach(buffer, false, { on_lines = function() changes = changes + 1 end })
      report.asking, report.marks = chat.status(), marks(buffer)
      when(function() return changes == 5 end, function()
        report.status_then = chat.status()
        report.children = vim.fn.system("cat /proc/" .. vim.fn.getpid() .. "/task/*/children"):gsub("%s", "")
      end)
      when(idle, function()
        report.lines, report.changes, report.gap, report.marks_then = lines(buffer), changes, gap, marks(buffer)
        report.cursor = api.nvim_win_get_cursor(vim.fn.win_findbuf(buffer)[1])[1]
        report.argv = table.concat(vim.v.argv, " ")
        finish()
      end)
    ]], { arguments = { "-i", folder .. "/shada" } })
    assert.same({ "> What is a word?", "", ("word "):rep(40), "and an end" }, report.lines)
    assert.is_true(report.changes >= 20, report.changes .. " changes")
    assert.is_true(report.gap < 100 * pace, report.gap .. " ms")
    assert.same({ 1, 2, "surefoot: asking", 1, 0, 4 }, { report.focus, report.windows, report.asking, report.marks,
      report.marks_then, report.cursor })
    assert.matches("^surefoot: %d+ bytes$", report.status_then)
    assert.matches("^%d*$", report.children) -- the shell that looks, and nobody else
    assert.is_nil(report.argv:find(KEY, 1, true))
    assert.same({}, report.notices)
    assert.equal("", (env.run { "grep", "-rl", KEY, folder }).stdout)
  end)

  it("writes below lines that go with the prompt; one undo takes it back", function()
    local text = "first\nsecond, which is longer"
    p:profile("a", { answer = { text = text, chunks = 6 }, stream = { chunk_delay = 0.02 } })
    local report = run [[
      api.nvim_buf_set_lines(0, 0, -1, true, { "one", "two", "three" })
      vim.bo.filetype = "lua"
      vim.cmd "1,2Surefoot! Explain"
      when(idle, function()
        report.lines, report.marks = lines(), marks(0)
        vim.cmd "silent undo"
        report.undone = lines()
        vim.cmd "silent redo"
        vim.cmd "Surefoot! Again"
        vim.cmd "Surefoot! And again"
        local window = api.nvim_get_current_win()
        vim.cmd "Surefoot Elsewhere"
        when(function() return #lines() > 5 end, function()
          report.both = chat.status()
          api.nvim_buf_set_lines(0, 0, 0, true, { "typed above" })
          when(idle, function()
            report.again = lines()
            finish()
          end)
        end)
      end)
    ]]
    assert.same({ "one", "two", "first", "second, which is longer", "three" }, report.lines)
    assert.same({ 0, { "one", "two", "three" } }, { report.marks, report.undone })
    assert.same({ "warn surefoot: an answer is being written into this buffer; :SurefootCancel ends it" },
      report.notices)
    assert.matches("^surefoot: 2 answers, ", report.both)
    assert.same({ "typed above", "one", "first", "second, which is longer", "two", "first", "second, which is longer",
      "three" }, report.again)
    assert.equal(3, p:counters("a").requests)
  end)

  it("sends the lines with the prompt", function()
    run [[
      api.nvim_buf_set_lines(0, 0, -1, true, { "one", "two", "three" })
      vim.bo.filetype = "lua"
      vim.cmd "2,3Surefoot Explain"
      when(idle, finish)
    ]]
    assert.matches([["Explain\n\n```lua\ntwo\nthree\n```"]], p:counters("a").last_body, 1, true)
  end)

  it("cancels: by the command, with the window, with the buffer", function()
    p:profile("a", { answer = { text = ("word "):rep(100), chunks = 100 }, stream = { chunk_delay = 0.05 } })
    local report = run [[
      local function begun(buffer)
        return function() return (table.concat(lines(buffer), "\n")):find "word word" end
      end
      vim.cmd "SurefootCancel"
      vim.cmd "Surefoot by the command"
      local buffer = newest()
      when(begun(buffer), function()
        vim.cmd "SurefootCancel"
        when(idle, function()
          report.kept = #table.concat(lines(buffer), "\n") < 200 and begun(buffer)() ~= nil
          vim.cmd "Surefoot with the window"
          buffer = newest()
          when(begun(buffer), function()
            api.nvim_win_close(vim.fn.win_findbuf(buffer)[1], true)
            when(idle, function()
              vim.cmd "enew"
              buffer = api.nvim_get_current_buf()
              vim.cmd "Surefoot! with the buffer"
              vim.cmd "Surefoot that goes on, until all are cancelled"
              when(begun(buffer), function()
                vim.cmd("bwipeout! " .. buffer)
                report.left = chat.status()
                when(function() return not chat.status():find "2 answers" end, function()
                  report.left = chat.status()
                  vim.cmd "SurefootCancel!"
                  when(idle, finish)
                end)
              end)
            end)
          end)
        end)
      end)
    ]]
    assert.is_true(report.kept)
    assert.matches("^surefoot: %d+ bytes$", report.left)
    assert.equal("info surefoot: nothing is running", report.notices[1])
    for i = 2, 5 do
      assert.matches("^info surefoot: cancelled; %d+ bytes had come$", report.notices[i])
    end
    assert(p:wait("a", function(c) return c.aborted == 4 end))
    assert.equal(4, p:counters("a").requests)
  end)

  it("tells what went wrong, and keeps what had come", function()
    p:profile("a", { by_model = {
      hangs = { fault = "hang" }, refuses = { status = { code = 401 } },
      short = { answer = { finish_reason = "length" } },
      cut = { answer = { text = "some words that are cut", chunks = 6 }, stream = { cut_after = 3 } },
      well = { answer = { text = "well" } },
    } })
    local report = run [[
      local function ask(model)
        chat.setup { client = { preset = "openai", base_url = url, model = model, timeout = { first_token = 0.2 },
          retry = { max_attempts = 1 } } }
        vim.cmd "Surefoot x"
        return newest()
      end
      ask "hangs"
      when(idle, function()
        ask "refuses"
        when(idle, function()
          local cut = ask "cut"
          when(idle, function()
            report.cut = lines(cut)
            ask "short"
            when(idle, function()
              vim.bo.modifiable = false
              vim.cmd "Surefoot! x"
              vim.bo.modifiable = true
              vim.cmd "Surefoot! x"
              vim.bo.modifiable = false
              when(idle, function()
                vim.bo.modifiable = true
                report.unknown = select(2, pcall(chat.setup, { colour = 1 }))
                finish()
              end)
            end)
          end)
        end)
      end)
    ]]
    assert.matches("^error surefoot: timeout: ", report.notices[1])
    assert.matches("^error surefoot: unauthorized: ", report.notices[2])
    assert.matches("^error surefoot: truncated: ", report.notices[3])
    assert.matches("^some words", report.cut[3])
    assert.equal("warn surefoot: the answer was cut by its limit of tokens", report.notices[4])
    assert.equal("error surefoot: this buffer cannot be modified", report.notices[5])
    assert.equal("error surefoot: the buffer of the answer cannot be modified", report.notices[6])
    assert.matches('unknown option "colour"', report.unknown)
    assert.equal(6, #report.notices)
  end)

  it("lives with undo and with quitting in the midst of an answer", function()
    p:profile("a", { answer = { text = ("word "):rep(40), chunks = 40 }, stream = { chunk_delay = 0.02 } })
    local report = run [[
      vim.cmd "Surefoot! x"
      when(function() return #lines()[#lines()] > 30 end, function()
        vim.cmd "silent undo"
        report.undone = lines()
        local from = #lines()[#lines()]
        when(function() return #lines()[#lines()] > from + 30 end, finish)
      end)
    ]]
    assert.same({ "" }, report.undone)
    assert.same({}, report.notices)
    assert(p:wait("a", function(c) return c.in_flight == 0 and c.aborted == 1 end))
  end)

  it("goes on at the end of a buffer whose last lines were deleted", function()
    p:profile("a", { answer = { text = ("word "):rep(40), chunks = 40 }, stream = { chunk_delay = 0.02 } })
    local report = run [[
      api.nvim_buf_set_lines(0, 0, -1, true, { "one", "two", "three" })
      vim.cmd "3Surefoot! x"
      when(function() return #lines()[#lines()] > 30 end, function()
        vim.cmd "silent 2,$d"
        report.cut = lines()
        when(idle, function()
          report.lines, report.marks = lines(), marks(0)
          finish()
        end)
      end)
    ]]
    assert.same({ { "one" }, {}, 0 }, { report.cut, report.notices, report.marks })
    assert.equal("one", report.lines[1])
    assert.matches("^word .*word $", report.lines[2])
    assert.equal(2, #report.lines)
  end)

  it("says that a key is missing when it is missed", function()
    local report = run([[
      vim.cmd "Surefoot x"
      report.windows = #api.nvim_list_wins()
      finish()
    ]], { env = { OPENAI_API_KEY = "" } })
    assert.equal(1, report.windows)
    assert.equal(1, #report.notices)
    assert.matches("^error surefoot: .*OPENAI_API_KEY", report.notices[1])
  end)
end)
