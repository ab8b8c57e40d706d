--- Files that a command writes at its end: whether they can be written is told before the work, not after it.

local M = {}

local ABSENT = 2 -- errno's ENOENT

local function opens(path, mode)
  local file, problem, code = io.open(path, mode)
  if file then
    file:close()
  end
  return file ~= nil, problem, code
end

--- Whether a file can be written; it is left as it was.
---@param path string
---@return boolean? well
---@return string? problem
function M.check(path)
  local well, _, code = opens(path, "r+") -- of a pipe it does not wait for a reader
  if well then
    return true
  end
  local can, problem = opens(path, "a")
  if can and code == ABSENT then
    os.remove(path)
  end
  return can or nil, problem
end

--- Makes a folder where there is none, and looks whether files can be written in it.
---@param path string
---@return boolean? well
---@return string? problem
function M.check_folder(path)
  local pipe = io.popen("mkdir -p -- '" .. path:gsub("'", "'\\''") .. "' 2>&1", "r")
  local said = pipe:read "*a"
  pipe:close()
  if said ~= "" then
    return nil, path .. ": " .. (said:match ": ([^:]-)\n$" or said)
  end
  return M.check(path .. "/.surefoot")
end

--- Writes a file.
---@param path string
---@param text string
---@return boolean? written
---@return string? problem
function M.write(path, text)
  local file, problem = io.open(path, "w")
  if not file then
    return nil, problem
  end
  local ok, unwritten = file:write(text)
  local closed, unflushed = file:close()
  if not ok or not closed then
    return nil, path .. ": " .. (unwritten or unflushed)
  end
  return true
end

return M
