-- In a callback of libuv most of Neovim's API is closed (E5560): a coroutine that was resumed in one could not write
-- the answer into a buffer. And a call that blocked the editor by vim.wait ran in its midst what others had scheduled.
local neovim = require "spec.loops.neovim_program"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

describe("Neovim's API #once", function()
  local p, folder

  setup(function()
    p = provider.start()
    folder = process.temp_dir "surefoot-neovim"
  end)

  teardown(function()
    p:stop()
    process.remove_dir(folder)
  end)

  it("is open to a coroutine when its call has ended, and nobody else runs while the editor is blocked", function()
    neovim.need()
    p:profile("a", { delay = 0.05 })
    local report = neovim.run(folder, p.lines.a.url, [[
      local client, scheduled = new(), false
      vim.schedule(function() scheduled = true end)
      report.blocked = assert(client:chat "blocked").text
      report.scheduled = scheduled
      uv.new_timer():start(0, 0, function()
        coroutine.wrap(function()
          local stream = assert(client:stream "in a coroutine")
          for chunk in stream:chunks() do
            local last = api.nvim_buf_get_lines(0, -2, -1, true)[1]
            api.nvim_buf_set_lines(0, -2, -1, true, { last .. (chunk.text or "") })
          end
          report.line = api.nvim_get_current_line()
          finish()
        end)()
      end)
    ]])
    assert.is_true(report.is_whole, report.stderr)
    assert.same({ "echo: blocked", false, "echo: in a coroutine" }, { report.blocked, report.scheduled, report.line })
  end)
end)
