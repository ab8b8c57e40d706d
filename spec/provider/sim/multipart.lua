-- Reads multipart/form-data (RFC 7578) strictly: what a server would refuse is refused here, with the reason.

local M = {}

local function parameter(header, name)
  return header:match("[;%s]" .. name .. '="([^"]*)"') or header:match("[;%s]" .. name .. "=([^;%s\"]+)")
end

local function part_of(head, body)
  local headers = {}
  for line in (head .. "\r\n"):gmatch "(.-)\r\n" do
    local name, value = line:match "^([^:%s]+):%s*(.-)%s*$"
    if not name then
      return nil, "a part's header has no colon: " .. line
    end
    headers[name:lower()] = value
  end
  local disposition = headers["content-disposition"]
  if not disposition or not disposition:find "^form%-data" then
    return nil, "a part without Content-Disposition: form-data"
  end
  return {
    name = parameter(disposition, "name"), filename = parameter(disposition, "filename"),
    content_type = headers["content-type"], body = body,
  }
end

---@param content_type string|nil of the request
---@param body string
---@return { name: string, filename: string|nil, content_type: string|nil, body: string }[]|nil parts, string? error
function M.parse(content_type, body)
  local boundary = content_type and content_type:find "^multipart/form%-data" and parameter(content_type, "boundary")
  if not boundary then
    return nil, "Content-Type is not multipart/form-data with a boundary"
  end
  local mark, parts = "\r\n--" .. boundary, {}
  local stream = "\r\n" .. body
  local first, at = stream:find(mark, 1, true)
  if first ~= 1 then
    return nil, "the body does not begin with its boundary"
  end
  while stream:sub(at + 1, at + 2) ~= "--" do
    local _, head_end = stream:find("\r\n\r\n", at + 1, true)
    local next_first, next_last = stream:find(mark, head_end or at + 1, true)
    if stream:sub(at + 1, at + 2) ~= "\r\n" or not head_end or not next_first then
      return nil, "the body ends within a part"
    end
    local part, err = part_of(stream:sub(at + 3, head_end - 4), stream:sub(head_end + 1, next_first - 1))
    if not part then
      return nil, err
    end
    parts[#parts + 1], at = part, next_last
  end
  return parts
end

return M
