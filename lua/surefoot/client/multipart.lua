--- Bodies of multipart/form-data (RFC 7578), with names and filenames escaped as browsers do.
--
-- A body is a list of parts for the core: strings, and { file = path } for what is read while it is sent. Values go out
-- as they are, byte for byte.

local check = require "surefoot.config.check"

local M = {}

local BINARY = "application/octet-stream"

---@class surefoot.Part  one of value, data and file
---@field name string
---@field value string?         of a plain field
---@field data string?          the content of a file
---@field file string?          the path of one, which is read while it is sent
---@field filename string?      what the server is told; default: the end of the path
---@field content_type string?  of the content; default, for files: application/octet-stream

local ESCAPES = { ['"'] = "%22", ["\r"] = "%0D", ["\n"] = "%0A" }

local function escaped(text)
  return (text:gsub('["\r\n]', ESCAPES))
end

local function escaped_name(name)
  return escaped((name:gsub("\r\n?", "\n"):gsub("\n", "\r\n")))
end

-- What stands before the content of a part.
local function head(part, boundary)
  local lines = { "--" .. boundary, 'Content-Disposition: form-data; name="' .. escaped_name(part.name) .. '"' }
  local filename = part.filename or part.file and part.file:match "[^/]*$"
  if filename then
    lines[2] = lines[2] .. '; filename="' .. escaped(filename) .. '"'
  end
  local content_type = part.content_type or not part.value and BINARY
  if content_type then
    lines[3] = "Content-Type: " .. content_type
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

local function check_part(part, path)
  local contents = (part.value and 1 or 0) + (part.data and 1 or 0) + (part.file and 1 or 0)
  if contents ~= 1 then
    check.fail(path, "expected one of value, data and file")
  elseif part.data and not part.filename then
    check.fail(path .. ".filename", "is required with data: servers know a file by it")
  elseif (part.name .. (part.filename or "")):find "%z" then
    check.fail(path, "a name contains a NUL byte")
  end
end

--- The body of parts that have been read by the schema. What is wrong with them is thrown as a string.
---@param parts surefoot.Part[]
---@param boundary string nothing that is sent may hold it: an id that nobody can guess
---@return (string | { file: string })[] body
---@return string content_type
function M.encode(parts, boundary)
  local body, ending = {}, ""
  if #parts == 0 then
    check.fail("multipart", "is empty")
  end
  for i, part in ipairs(parts) do
    check_part(part, ("multipart[%d]"):format(i))
    body[#body + 1] = ending .. head(part, boundary)
    body[#body + 1] = part.file and { file = part.file } or part.data or part.value
    ending = "\r\n"
  end
  body[#body + 1] = ending .. "--" .. boundary .. "--\r\n"
  return body, "multipart/form-data; boundary=" .. boundary
end

return M
