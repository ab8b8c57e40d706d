--- Writes a text that comes in pieces into a buffer, at a place that moves with what is edited around it. All of it is
--- one undo step, unless somebody edits the buffer meanwhile.
-- luacheck: globals vim

local api = vim.api

local M = {}

local namespace = api.nvim_create_namespace "surefoot_chat"

local Writer = {}
Writer.__index = Writer

---@param buffer integer
---@param row integer the line, from 0; the text is written behind its end
---@param lead string what comes before the first piece
---@param follows boolean? windows whose cursor is in the last line stay there
function M.new(buffer, row, lead, follows)
  local line = api.nvim_buf_get_lines(buffer, row, row + 1, true)[1]
  local mark = api.nvim_buf_set_extmark(buffer, namespace, row, #line, {})
  return setmetatable({ buffer = buffer, mark = mark, lead = lead, follows = follows }, Writer)
end

-- Where the last lines of the buffer were deleted the mark is left behind its end: it goes on in a line of its own.
local function brought_back(self)
  local row = api.nvim_buf_line_count(self.buffer) - 1
  local column = #api.nvim_buf_get_lines(self.buffer, row, row + 1, true)[1]
  api.nvim_buf_set_extmark(self.buffer, namespace, row, column, { id = self.mark })
  if column > 0 and self.lead == "" then
    self.lead = "\n"
  end
  return row, column
end

function Writer:place()
  local place = api.nvim_buf_get_extmark_by_id(self.buffer, namespace, self.mark, {})
  if place[1] >= api.nvim_buf_line_count(self.buffer) then
    return brought_back(self)
  end
  return place[1], place[2]
end

--- Shows a notice behind the text; nil takes it away.
---@param text string?
function Writer:notice(text)
  if api.nvim_buf_is_loaded(self.buffer) then
    local row, column = self:place()
    api.nvim_buf_set_extmark(self.buffer, namespace, row, column, {
      id = self.mark, virt_text = text and { { " " .. text, "Comment" } } or nil,
    })
  end
end

local function windows_at_the_end(buffer)
  local windows, last = {}, api.nvim_buf_line_count(buffer)
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    if api.nvim_win_get_cursor(window)[1] == last then
      windows[#windows + 1] = window
    end
  end
  return windows
end

local function write(self, text)
  local buffer = self.buffer
  local row, column = self:place()
  local windows = self.follows and windows_at_the_end(buffer) or {}
  if self.tick == api.nvim_buf_get_changedtick(buffer) then
    vim.cmd "silent! undojoin" -- refused after an undo
  end
  api.nvim_buf_set_text(buffer, row, column, row, column, vim.split(self.lead .. text, "\n", { plain = true }))
  self.tick, self.lead = api.nvim_buf_get_changedtick(buffer), ""
  for _, window in ipairs(windows) do
    api.nvim_win_set_cursor(window, { api.nvim_buf_line_count(buffer), 0 })
  end
end

--- Throws what Neovim says where the buffer cannot be written to.
---@param text string
function Writer:append(text)
  if not api.nvim_buf_is_loaded(self.buffer) then
    error("the buffer of the answer is gone", 0)
  elseif not vim.bo[self.buffer].modifiable then
    error("the buffer of the answer cannot be modified", 0)
  end
  api.nvim_buf_call(self.buffer, function() write(self, text) end)
end

--- Forgets the place.
function Writer:close()
  if api.nvim_buf_is_loaded(self.buffer) then
    api.nvim_buf_del_extmark(self.buffer, namespace, self.mark)
  end
end

return M
