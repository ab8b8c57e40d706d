--- A file of rows that is only ever appended to, and is the truth about them: each row names in its `id` the line of
-- the input that it belongs to. One process at a time has it, and one write makes a row: a kill leaves whole rows, and
-- perhaps the beginning of one, which is cut off when the file is taken up again.

local binding = require "surefoot.binding"
local lines = require "surefoot.batch.lines"

local M = {}

local HEAD = '^{"id":"batch_req_(%x+)_(%d+)",'

---@class surefoot.RowFile
---@field path string
---@field size integer
---@field id string       which file it is
---@field private file table
local RowFile = {}
RowFile.__index = RowFile

--- The id of a row.
---@param tag string    of the batch
---@param line integer  of its input
---@return string
function M.id(tag, line)
  return ("batch_req_%s_%d"):format(tag, line)
end

-- Whether the path still means the file that was opened: the one who had it locked may have removed it. Nil and why
-- where that cannot be told.
local function is_still_there(path, status)
  local other, problem = binding.file(path, "read")
  if not other then
    return problem:find("No such file", 1, true) and false or nil, problem
  end
  local found
  found, problem = other:status()
  other:close()
  if not found then
    return nil, problem
  end
  return found.id == status.id
end

-- The file, locked.
local function take(path)
  while true do
    local file, problem = binding.file(path, "append")
    if not file then
      return nil, problem
    end
    local status, locked
    locked, problem = file:lock()
    if locked == false then
      problem = "another batch is writing it"
    elseif locked then
      status, problem = file:status()
    end
    if status and not status.is_regular then
      status, problem = nil, "not a regular file"
    end
    local is_there
    if status then
      is_there, problem = is_still_there(path, status)
    end
    if is_there then
      return file, status
    end
    file:close()
    if is_there == nil then
      return nil, problem
    end
  end
end

--- Opens a file, or makes it, for this process alone.
---@param path string
---@return surefoot.RowFile?
---@return string? problem
function M.open(path)
  local file, status = take(path)
  if not file then
    return nil, ("%s: %s"):format(path, status)
  end
  return setmetatable({ path = path, file = file, size = status.size, id = status.id }, RowFile)
end

function RowFile:problem(message)
  return nil, ("%s: %s"):format(self.path, message)
end

--- Drops what stands behind a place.
---@param size integer
---@return boolean?
---@return string? problem
function RowFile:cut(size)
  local ok, problem = self.file:truncate(size)
  if not ok then
    return self:problem(problem)
  end
  self.size = size
  return true
end

--- Reads the rows from a place on, and cuts off one that was not written to its end. Nothing that others wrote is
--- touched: it is a problem.
---@param from integer
---@param tag string
---@param on_row fun(line: integer)
---@return boolean?
---@return string? problem
function RowFile:recover(from, tag, on_row)
  local reader = lines.new(self.file, math.huge, from)
  local text, problem = reader:next()
  while text do
    if not reader.ended or text:find("\0", 1, true) then -- zeros: a block that a power cut kept from the disk
      return self:cut(reader.start)
    end
    local owner, line = text:match(HEAD)
    if owner ~= tag then
      return self:problem(("what stands at byte %d was not written by this batch"):format(reader.start))
    end
    on_row(tonumber(line))
    text, problem = reader:next()
  end
  if problem then
    return self:problem(problem)
  end
  return true
end

--- Writes a row. What fails leaves the file as it was.
---@param row string  a line, without its end
---@return boolean?
---@return string? problem
function RowFile:append(row)
  local ok, problem = self.file:append(row .. "\n")
  if not ok then
    self.file:truncate(self.size) -- where not even this can be done, the next one who takes it up does it
    return self:problem(problem)
  end
  self.size = self.size + #row + 1
  return true
end

--- Brings to the disk what was written.
---@return boolean?
---@return string? problem
function RowFile:sync()
  local ok, problem = self.file:sync()
  if not ok then
    return self:problem(problem)
  end
  return true
end

--- Lets go of the file, and removes it if it is empty.
---@param remove_empty boolean?
function RowFile:close(remove_empty)
  if remove_empty and self.size == 0 then
    os.remove(self.path)
  end
  self.file:close()
end

return M
