--- What a call that arrived gives back: the answer's fields, and how it got here.

local core = require "surefoot.binding"
local json = require "surefoot.json"

local M = {}

---@class surefoot.Usage
---@field input_tokens integer
---@field output_tokens integer
---@field total_tokens integer
---@field cached_input_tokens integer?  of the input, read from the provider's cache
---@field cache_write_tokens integer?   of the input, written to it
---@field cache_write_hour_tokens integer?  of those, kept for an hour
---@field reasoning_tokens integer?
---@field estimated boolean  counted by surefoot, since the provider did not say

---@class surefoot.Attempt
---@field endpoint string
---@field model string?
---@field status integer?
---@field kind string        "ok", or an error kind
---@field phase string?
---@field waited number      seconds before it began
---@field latency number     seconds it took
---@field first_byte number? seconds until the first byte of the body
---@field dns number?        of a new connection: seconds that the lookup of its name took
---@field tcp number?        then TCP, to the proxy if there is one
---@field tls number?        then TLS, and the way through the proxy
---@field address string?    of a new connection: the IP address; without a connection those that were tried
---@field cause string?      why there is no connection: "name_unknown" "refused" "unreachable" "not_tls"
---|  "certificate_untrusted" "certificate_expired" "certificate_name" "certificate_file" "open_files"; with "proxy_"
---|  before it, and "proxy_credentials" "proxy_denied", where the proxy is to blame; nil: not known
---@field hedge boolean
---@field reused boolean     over a connection that was open already
---@field route integer
---@field key integer        which of the endpoint's keys
---@field message string?
---@field sent boolean?      false: the function of api_key gave no key, so that nothing was sent

---@class surefoot.Result
---@field text string?            the answer's text
---@field message table?          the provider's message, to be sent back as it is
---@field tool_calls table[]?
---@field parsed any              structured output, decoded
---@field reasoning string?
---@field finish_reason string?   "length" means that the answer is partial
---@field truncated boolean?      true with finish_reason "length"
---@field embeddings table[]?
---@field models table[]?
---@field usage surefoot.Usage?
---@field cost number?            US dollars, where `prices` knows the model: of this answer's tokens
---@field model string?
---@field id string?
---@field request_id string       the server's, else ours
---@field endpoint string         name of the endpoint that answered
---@field status integer
---@field headers table<string, string>  lower-case names, found in any case
---@field latency number          seconds from submit to settle, waits included
---@field time_to_first_token number?
---@field attempts surefoot.Attempt[]
---@field tags any
---@field body any                the provider's document, untouched
---@field raw string              its bytes

-- What few ask for is made when somebody does: _headers (the block), _receipt (of a call that succeeded at once) and
-- _body (a document whose numbers are still as lua-cjson reads them) hold it until then.
local mt = { __name = "surefoot.result" }

local any_case = {
  __index = function(headers, name)
    return type(name) == "string" and rawget(headers, name:lower()) or nil
  end,
}

--- A block of header lines as a table: names in lower case, found in any.
---@param block string
---@return table<string, string>
function M.headers(block)
  return setmetatable(core.headers(block), any_case)
end

local lazy = {}

function lazy.headers(result)
  return M.headers(result._headers)
end

function lazy.attempts(result)
  local attempt = core.read_receipt(result._receipt)
  attempt.endpoint = result.endpoint
  return { attempt }
end

function lazy.body(result)
  return json.finish(result._body)
end

local sources = { headers = "_headers", attempts = "_receipt", body = "_body" }

function mt.__index(result, key)
  local source = sources[key]
  if source and rawget(result, source) ~= nil then
    local value = lazy[key](result)
    rawset(result, key, value)
    rawset(result, source, nil)
    return value
  end
end

-- Whoever looks at all of it sees what has a name. (Lua 5.1 does not ask.)
function mt.__pairs(result)
  for name in pairs(sources) do
    mt.__index(result, name)
  end
  return next, result, nil
end

--- Makes a result of the fields that a provider's module read.
---@param fields table becomes the result
---@param reply surefoot.Reply
---@return surefoot.Result
function M.new(fields, reply)
  fields.status, fields.raw, fields._headers = reply.status, reply.body, reply.headers
  return setmetatable(fields, mt)
end

--- The id that the server gave the request.
---@param headers string
---@return string?
function M.request_id(headers)
  return core.header(headers, "x-request-id") or core.header(headers, "request-id")
end

local function token_count(text)
  return math.ceil(#(text or "") / 4)
end

--- Usage for an answer that came without: a token is taken for four bytes.
---@param request_bytes integer
---@param text string?
---@return surefoot.Usage
function M.estimate(request_bytes, text)
  local input, output = math.ceil(request_bytes / 4), token_count(text)
  return { input_tokens = input, output_tokens = output, total_tokens = input + output, estimated = true }
end

return M
