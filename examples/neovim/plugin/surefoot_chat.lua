--- surefoot_chat: ask a language model from Neovim (0.7 and later, with LuaJIT). Answers stream into a buffer while you
--- go on editing.
---
---   :Surefoot {prompt}            the answer comes into a window of its own; closing it cancels the request
---   :'<,'>Surefoot {prompt}       the lines go with the prompt
---   :Surefoot! {prompt}           the answer comes below the cursor, or below the lines; one undo takes it back
---   :SurefootCancel[!]            cancels what writes into this buffer, or else the latest; with ! all of them
---   require("surefoot_chat").status()     for the statusline: "" when nothing runs
---
--- Install: surefoot and lua-cjson for Lua 5.1, where Neovim looks (:lua print(package.cpath)). On Debian that is `apt
--- install lua-cjson luajit2 libluajit2-5.1-dev`, and in a checkout of surefoot `make && sudo make install`; elsewhere
--- `luarocks --lua-version=5.1 make rockspec/surefoot-scm-1.rockspec`. Then this folder, in init.lua:
---
---   vim.opt.runtimepath:append "/path/to/surefoot/examples/neovim"
---   require("surefoot_chat").setup {                                 -- optional; these are the defaults
---     client = { preset = "openai", model = "gpt-4o-mini", timeout = { first_token = 30, idle = 20, total = 300 } },
---     system = "You answer somebody who works in a text editor. Write Markdown, and nothing that was not asked for.",
---     open = "botright new",                                          -- makes the window of an answer
---   }
---
--- `client` is what surefoot.new takes: endpoints, fallbacks, hedge, resume ... The key is read from the environment
--- (OPENAI_API_KEY); it is in no command line, file or message. A surefoot that is built but not installed needs first
---
---   package.path = "/path/to/surefoot/lua/?.lua;/path/to/surefoot/lua/?/init.lua;" .. package.path
---   package.cpath = "/path/to/surefoot/build/luajit/?.so;" .. package.cpath
-- luacheck: globals vim

if vim.g.loaded_surefoot_chat then
  return
end
vim.g.loaded_surefoot_chat = true

local function lines_of(command)
  if command.range > 0 then
    return vim.api.nvim_buf_get_lines(0, command.line1 - 1, command.line2, false)
  end
end

vim.api.nvim_create_user_command("Surefoot", function(command)
  require("surefoot_chat").ask(command.args, {
    lines = lines_of(command), below = command.bang and command.line2 or nil,
  })
end, { nargs = "+", range = true, bang = true, desc = "Ask a language model" })

vim.api.nvim_create_user_command("SurefootCancel", function(command)
  require("surefoot_chat").cancel(command.bang)
end, { bang = true, desc = "Cancel a request to a language model" })
