-- The sink for big bodies: counted and digested, never held or kept. It can leave the client before the body is over.

local digest = require "sim.digest"
local send = require "sim.send"

local M = {}

local BLOCK = 65536

---What arrived.
---@return { bytes: integer, md5: string, content_length: string|nil, chunked: boolean, http_version: number }
function M.read()
  ngx.req.read_body()
  local md5, bytes = digest.md5(), 0
  local function take(data)
    bytes = bytes + #data
    md5.add(data)
  end
  local path = ngx.req.get_body_file()
  if path then
    local file = assert(io.open(path, "rb"))
    for data in function() return file:read(BLOCK) end do
      take(data)
    end
    file:close()
  else
    take(ngx.req.get_body_data() or "")
  end
  return {
    bytes = bytes, md5 = md5.finish(), content_length = ngx.var.http_content_length,
    chunked = (ngx.var.http_transfer_encoding or ""):lower():find "chunked" ~= nil,
    http_version = ngx.req.http_version(),
  }
end

local function take(bytes)
  local socket = assert(ngx.req.socket(true))
  socket:settimeout(60000)
  while bytes > 0 do
    local data = socket:receiveany(math.min(bytes, BLOCK))
    if not data then
      return
    end
    bytes = bytes - #data
  end
end

---Ends the connection in the middle of the body, when the profile wants that. Over HTTP/2, whose bodies nginx gives out
---whole only, it ends after the body.
---@param ctx table
---@param rules { reset_after: integer|nil, close_after: integer|nil } bytes of the body
---@return boolean|nil ended
function M.leave(ctx, rules)
  local bytes = rules.reset_after or rules.close_after
  if not bytes then
    return nil
  elseif ngx.req.http_version() >= 2 then
    ngx.req.read_body()
  else
    take(bytes)
  end
  send.drop(ctx, rules.reset_after and "reset" or "close")
  return true
end

return M
