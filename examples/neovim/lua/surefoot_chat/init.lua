--- The requests of :Surefoot. See plugin/surefoot_chat.lua for what a user sees of it.
-- luacheck: globals vim

local surefoot = require "surefoot"
local writers = require "surefoot_chat.writer"

local api = vim.api

local M = {}

local config = {
  client = { preset = "openai", model = "gpt-4o-mini", timeout = { first_token = 30, idle = 20, total = 300 } },
  system = "You answer somebody who works in a text editor. Write Markdown, and nothing that was not asked for.",
  open = "botright new",
}
local client
local running = {} -- requests, oldest first

local function notify(level, text, ...)
  vim.notify("surefoot: " .. text:format(...), vim.log.levels[level])
end

local function redraw()
  vim.cmd "redrawstatus!"
end

--- Sets what is to be other than the default. Requests that run are cancelled.
---@param options { client: table?, system: string?, open: string? }?
function M.setup(options)
  for name, value in pairs(options or {}) do
    if config[name] == nil then
      error(('surefoot_chat.setup: unknown option "%s"'):format(name), 2)
    end
    config[name] = value
  end
  if client then
    client:close()
    client = nil
  end
end

-- Made when it is first needed: Neovim starts no slower, and a missing key is told where it is missed.
local function client_of()
  if not client then
    local ok, made = pcall(surefoot.new, config.client)
    if not ok then
      return nil, made
    end
    client = made
  end
  return client
end

local function messages(prompt, lines)
  local filetype = vim.bo.filetype
  if lines then
    prompt = ("%s\n\n```%s\n%s\n```"):format(prompt, filetype, table.concat(lines, "\n"))
  end
  return { { role = "system", content = config.system }, { role = "user", content = prompt } }
end

-- A window for the answer, which is told what was asked. The cursor stays where it was.
local function writer_in_new_window(prompt)
  local window = api.nvim_get_current_win()
  vim.cmd(config.open)
  local buffer = api.nvim_get_current_buf()
  vim.bo[buffer].buftype, vim.bo[buffer].bufhidden = "nofile", "wipe"
  vim.bo[buffer].swapfile, vim.bo[buffer].filetype = false, "markdown"
  local quoted = vim.split("> " .. prompt:gsub("\n", "\n> "), "\n", { plain = true })
  api.nvim_buf_set_lines(buffer, 0, -1, true, quoted)
  api.nvim_win_set_cursor(0, { #quoted, 0 })
  api.nvim_set_current_win(window)
  return writers.new(buffer, #quoted - 1, "\n\n", true)
end

local function request_in(buffer)
  for _, request in ipairs(running) do
    if request.writer.buffer == buffer then
      return request
    end
  end
end

local function finish(request)
  for i, other in ipairs(running) do
    if other == request then
      table.remove(running, i)
      break
    end
  end
  request.writer:notice(nil)
  request.writer:close()
  pcall(api.nvim_del_autocmd, request.watch) -- gone with its buffer
  redraw()
end

-- The pieces of an answer go into the buffer as they come: a coroutine waits for them, Neovim goes on.
local function stream_into(request, body)
  local stream, err = client:stream({ messages = body }, { cancel = request.canceller })
  if not stream then
    return nil, err
  end
  request.writer:notice(nil)
  for chunk in stream:chunks() do
    if chunk.text then
      request.bytes = request.bytes + #chunk.text
      request.writer:append(chunk.text)
      redraw()
    end
  end
  return stream:result()
end

local function run(request, body)
  local ok, result, err = pcall(stream_into, request, body)
  request.canceller:cancel() -- nothing goes on, whatever happened
  finish(request)
  if not ok then
    notify("ERROR", "%s", tostring(result))
  elseif err and err.kind == "cancelled" then
    notify("INFO", "cancelled; %d bytes had come", request.bytes)
  elseif err then
    notify("ERROR", "%s", tostring(err))
  elseif result.truncated then
    notify("WARN", "the answer was cut by its limit of tokens")
  end
end

--- Asks, and writes the answer into a buffer.
---@param prompt string
---@param options { lines: string[]?, below: integer? }? lines that go with it; the line of this buffer to write below
function M.ask(prompt, options)
  options = options or {}
  local made, problem = client_of()
  if not made then
    return notify("ERROR", "%s", tostring(problem))
  end
  local body = messages(prompt, options.lines)
  local writer
  if not options.below then
    writer = writer_in_new_window(prompt)
  elseif not vim.bo.modifiable then
    return notify("ERROR", "this buffer cannot be modified")
  elseif request_in(api.nvim_get_current_buf()) then
    return notify("WARN", "an answer is being written into this buffer; :SurefootCancel ends it")
  else
    writer = writers.new(api.nvim_get_current_buf(), options.below - 1, "\n")
  end
  local request = { writer = writer, canceller = surefoot.canceller(), bytes = 0 }
  running[#running + 1] = request
  request.watch = api.nvim_create_autocmd("BufUnload", {
    buffer = writer.buffer, callback = function() request.canceller:cancel() end,
  })
  writer:notice "asking ..."
  redraw()
  surefoot.spawn(run, request, body)
end

--- Cancels the request that writes into this buffer, or else the latest.
---@param all boolean? all of them
function M.cancel(all)
  local one = request_in(api.nvim_get_current_buf()) or running[#running]
  if not one then
    return notify("INFO", "nothing is running")
  end
  for _, request in ipairs(all and vim.list_slice(running) or { one }) do
    request.canceller:cancel()
  end
end

--- What is under way, for the statusline.
---@return string
function M.status()
  local bytes = 0
  for _, request in ipairs(running) do
    bytes = bytes + request.bytes
  end
  if #running == 0 then
    return ""
  end
  return ("surefoot: %s%s"):format(#running > 1 and #running .. " answers, " or "",
    bytes > 0 and bytes .. " bytes" or "asking")
end

return M
