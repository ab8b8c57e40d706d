-- Programs in a Neovim without a screen, apart from the user's own: no configuration, a home of their own. They run in
-- the checkout and tell what they saw in the table `report`; `finish()` ends them.

local cjson = require "cjson"
local env = require "spec.support.env"
local process = require "spec.support.process"

local M = {}

local HEAD = [[
  package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
  package.cpath = "./build/luajit/?.so;" .. package.cpath
  local uv, api = vim.uv or vim.loop, vim.api
  local surefoot = require "surefoot"
  local url, key = os.getenv "SPEC_URL", os.getenv "SPEC_KEY"
  local report = {}
  local function finish()
    report.messages = vim.fn.execute "messages"
    vim.fn.writefile({ vim.fn.json_encode(report) }, os.getenv "SPEC_REPORT")
    vim.cmd "qa!"
  end
  local function after(ms, f) vim.defer_fn(f, ms) end
  local function new(config)
    return surefoot.new(vim.tbl_extend("force", { base_url = url, api_key = key, model = "m" }, config or {}))
  end
  -- The longest time that a timer of 10 ms did not tick, in ms.
  local gap, last = 0, nil
  local ticker = uv.new_timer()
  local function watch_gaps()
    last = uv.hrtime()
    ticker:start(10, 10, function()
      local now = uv.hrtime()
      gap, last = math.max(gap, (now - last) / 1e6), now
    end)
  end
]]

---Leaves the running test out where there is no Neovim, or no core for its Lua.
function M.need()
  env.need("nvim", "neovim")
  if not process.read "build/luajit/surefoot/core.so" then
    env.skip "Neovim wants build/luajit/surefoot/core.so: install the packages luajit2 and libluajit2-5.1-dev, and make"
  end
end

---Runs a program; it has 30 s.
---@param folder string a temporary one, which becomes its home
---@param url string of the provider's line
---@param code string
---@param options { arguments: string[]?, env: table<string, string>? }?
---@return table report what it has put into `report`, and status, stderr, messages
function M.run(folder, url, code, options)
  options = options or {}
  local path, report_path = folder .. "/program.lua", folder .. "/report.json"
  process.write(path, HEAD .. code)
  os.remove(report_path)
  local environment = {
    SPEC_URL = url, SPEC_KEY = "sk-test-0123456789", SPEC_REPORT = report_path, HOME = folder, XDG_CONFIG_HOME = folder,
    XDG_DATA_HOME = folder, XDG_STATE_HOME = folder, XDG_CACHE_HOME = folder, NVIM_LOG_FILE = folder .. "/nvim.log",
  }
  for name, value in pairs(options.env or {}) do
    environment[name] = value
  end
  local words = { "timeout", "-k", "1", "30", "nvim", "--headless", "-n", "-u", "NONE" }
  for _, word in ipairs(options.arguments or { "-i", "NONE" }) do
    words[#words + 1] = word
  end
  words[#words + 1], words[#words + 2] = "-c", "luafile " .. path
  local result = env.run(words, { env = environment })
  local text = process.read(report_path)
  local report = text and cjson.decode(text) or {}
  report.status, report.stderr, report.is_whole = result.status, result.stderr, text ~= nil
  report.messages = report.messages or result.stderr
  return report
end

return M
