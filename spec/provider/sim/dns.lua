-- A name server over HTTPS (RFC 8484, POST): A and AAAA, from the `dns` of a line's profile: { [name] = addresses }.
-- What is not there does not exist. Counted as `dns_queries`.

local store = require "sim.store"

local M = {}

local char = string.char
local A, AAAA = 1, 28

local function u16(value)
  return char(math.floor(value / 256), value % 256)
end

-- The name of the one question, its type, and the bytes that it takes behind the head of 12.
local function question(query)
  local labels, at = {}, 13
  while true do
    local length = query:byte(at)
    if not length or length > 63 then
      return nil
    elseif length == 0 then
      break
    end
    labels[#labels + 1] = query:sub(at + 1, at + length)
    at = at + 1 + length
  end
  local high, low = query:byte(at + 1, at + 2)
  return low and table.concat(labels, "."):lower(), high and low and high * 256 + low, query:sub(13, at + 4)
end

local function ipv4(text)
  local a, b, c, d = text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  return a and char(a, b, c, d)
end

local function ipv6(text)
  local function words(part)
    return (part:gsub("%x+:?", function(word)
      return u16(tonumber(word:match "%x+", 16))
    end))
  end
  local head, tail = text:match "^(.-)::(.*)$"
  if not head then
    return text:find ":" and words(text)
  end
  head, tail = words(head), words(tail)
  return head .. ("\0"):rep(16 - #head - #tail) .. tail
end

local function answers(addresses, kind)
  local records = {}
  for _, address in ipairs(addresses) do
    local four = ipv4(address)
    local data = kind == A and four or kind == AAAA and not four and ipv6(address) or nil
    if data then -- a pointer to the name of the question, type, class IN, 60 seconds
      records[#records + 1] = "\192\12" .. u16(kind) .. u16(1) .. u16(0) .. u16(60) .. u16(#data) .. data
    end
  end
  return records
end

---The content phase of /dns-query.
function M.content()
  local line = ngx.var.sim_line
  ngx.req.read_body()
  local query = ngx.req.get_body_data() or ""
  local name, kind, asked = question(query)
  if not name or ngx.var.http_content_type ~= "application/dns-message" then
    return ngx.exit(400)
  end
  store.add(line, "count.dns_queries", 1)
  local addresses = (store.profile(line).dns or {})[name]
  local records = answers(addresses or {}, kind)
  local code = addresses and 0 or 3
  ngx.header["Content-Type"] = "application/dns-message"
  ngx.print(query:sub(1, 2), char(0x81, 0x80 + code), u16(1), u16(#records), u16(0), u16(0), asked,
    table.concat(records))
end

return M
