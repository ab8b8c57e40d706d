--- What to change when a line does not work: one sentence for what was seen of it. Pure rules, the first that fits.
--
-- Nothing secret is in a sentence: of keys and credentials only what everybody knows of their form, of a proxy host and
-- port.

local binding = require "surefoot.binding"
local presets = require "surefoot.presets"
local text = require "surefoot.config.text"
local url = require "surefoot.config.url"

local M = {}

---@class surefoot.Case  what was seen of a line
---@field endpoint table        of the resolved configuration
---@field kind surefoot.Kind
---@field message string
---@field phase string?         of a timeout
---@field attempt surefoot.Attempt?
---@field reply surefoot.Reply? the answer that decided, if one came
---@field key string?           that was sent
---@field base string?          a URL where the API was found instead
---@field via string?           "host:port" of the proxy

local function place_of(case)
  local endpoint = case.endpoint
  return (endpoint.host:find ":" and "[%s]:%d" or "%s:%d"):format(endpoint.host, endpoint.port)
end

local function scheme_of(case)
  return case.endpoint.url:match "^%a+"
end

-- --------------------------------------------------------------------------------------------------------- connections

local causes = {}

function causes.name_unknown(case)
  local dns = case.endpoint.dns
  if dns.doh_url then
    return ("check the spelling of %s, and that the server of dns.doh_url can be reached and is trusted "
      .. "(tls.ca_file)"):format(case.endpoint.host)
  end
  return ("check the spelling of %s, and that this machine is online; if both are right, give its address in "
    .. "dns.hosts, or a name server that knows it in dns.doh_url"):format(case.endpoint.host)
end

function causes.refused(case)
  if case.via then
    return ("check host and port of the URL: nothing answers the proxy at %s"):format(place_of(case))
  elseif url.is_loopback(case.endpoint.host) then
    return ("start the server, or check the port of the URL: nothing listens at %s"):format(place_of(case))
  end
  return ("check host and port of the URL: nothing listens at %s, or a firewall refuses in its name")
    :format(place_of(case))
end

function causes.unreachable(case)
  local address = case.attempt and case.attempt.address or ""
  if case.via then
    return ("check host and port of the URL, and that the proxy %s may reach %s"):format(case.via, place_of(case))
  elseif address:find ":" then
    return "set dns.ip_version = 4, or check this machine's network: there is no way to the IPv6 address"
  end
  return "check this machine's network, or set a proxy: there is no way to the address"
end

function causes.certificate_untrusted(case)
  return ("name the CA of %s in tls.ca_file; if it should need none, something on the way intercepts TLS: "
    .. "then name that one's CA, or go around it by a proxy"):format(place_of(case))
end

function causes.certificate_expired()
  return ("check this machine's clock (it is %s UTC); if it is right, the certificate has to be renewed by who runs "
    .. "the line"):format(os.date "!%Y-%m-%d %H:%M")
end

function causes.certificate_name(case)
  local hosts = case.endpoint.dns.hosts or {}
  return ("check the host of the URL%s: who answers for %s has the certificate of another host")
    :format(hosts[case.endpoint.host] and " and its address in dns.hosts" or "", place_of(case))
end

function causes.certificate_file()
  return "check the files named in tls.ca_file, tls.cert and tls.key: one is missing or cannot be read"
end

function causes.open_files()
  return "raise the limit of open files, as by `ulimit -n 4096`, or close some: there are too many for a connection"
end

function causes.not_tls(case)
  return ("begin the URL with http://, or use the port for TLS: %s does not speak it"):format(place_of(case))
end

local AT_PROXY = "check host and port of `proxy` (or of the environment's https_proxy), and that it runs; "
  .. "proxy = \"\" goes without"

causes.proxy_name_unknown = function() return AT_PROXY end
causes.proxy_refused, causes.proxy_unreachable = causes.proxy_name_unknown, causes.proxy_name_unknown

function causes.proxy_credentials(case)
  return case.endpoint.proxy:find("@", 1, true) and "check user and password in the URL of `proxy`"
    or "put user and password into the URL of `proxy`: scheme://user:password@host:port"
end

function causes.proxy_denied(case)
  local status = case.message:match ": HTTP (%d+)$"
  if status == "400" or status == "404" or status == "405" or status == "501" then
    return ("check scheme, host and port of `proxy`: at %s answers a server that is none, or that speaks TLS")
      :format(case.via)
  end
  return ("ask who runs the proxy %s to allow %s, or use another"):format(case.via, place_of(case))
end

function causes.proxy_certificate_untrusted(case)
  return ("name the CA of the proxy %s in tls.ca_file"):format(case.via)
end

causes.proxy_certificate_expired = causes.certificate_expired
causes.proxy_certificate_file = causes.certificate_file

function causes.proxy_certificate_name(case)
  return ("check the host of `proxy`: who answers at %s has the certificate of another host"):format(case.via)
end

function causes.proxy_not_tls()
  return "begin the URL of `proxy` with http://: it does not speak TLS"
end

-- No connection in time: the first step that was not done was the one that failed.
local function connect_timeout(case)
  local attempt = case.attempt or {}
  if not attempt.dns then
    return ("give the address of %s in dns.hosts, or a name server in dns.doh_url: its lookup takes too long")
      :format(case.via and "the proxy" or case.endpoint.host)
  elseif case.via then
    return not attempt.tcp and AT_PROXY
      or ("check scheme and port of `proxy`: %s takes connections, but leads to none"):format(case.via)
  elseif not attempt.tcp then
    local address = attempt.address or place_of(case)
    return ("set a proxy%s: %s stays silent, as behind a firewall"):format(
      address:find ":.*:" and ", or dns.ip_version = 4" or "", address)
  end
  return "set a proxy: TCP connects, but TLS does not come about, so something on the way holds it up"
end

-- ---------------------------------------------------------------------------------------------------------------- keys

local FORMS = { -- how keys begin, and whose are so; the longest that fits counts
  { "sk-ant-", "Anthropic" }, { "sk-or-", "OpenRouter" }, { "sk-proj-", "OpenAI" }, { "sk-svcacct-", "OpenAI" },
  { "sk-admin-", "OpenAI" }, { "gsk_", "Groq" }, { "xai-", "xAI" }, { "AIza", "Google" }, { "hf_", "Hugging Face" },
  { "pplx-", "Perplexity" }, { "nvapi-", "NVIDIA" }, { "r8_", "Replicate" }, { "csk-", "Cerebras" },
  { "fw_", "Fireworks" }, { "tgp_v1_", "Together" }, { "ghp_", "GitHub" }, { "AKIA", "AWS" },
}

local PLACEHOLDERS = { "^<", "%.%.%.", "[Yy][Oo][Uu][Rr][-_ ]", "^[skSK-]*[xX*]+$" }

local OWNERS = { -- of hosts
  ["api.openai.com"] = "OpenAI", ["api.anthropic.com"] = "Anthropic", ["openrouter.ai"] = "OpenRouter",
  ["api.groq.com"] = "Groq", ["api.x.ai"] = "xAI", ["generativelanguage.googleapis.com"] = "Google",
  ["api.perplexity.ai"] = "Perplexity", ["api.together.xyz"] = "Together", ["api.cerebras.ai"] = "Cerebras",
}

local function begins(value, beginning)
  return value:sub(1, #beginning) == beginning
end

-- How keys of the service at this host begin.
local function form_at(host)
  for _, preset in pairs(presets) do
    if preset.key_form and preset.base_url:match "^%a+://([^/:]+)" == host then
      return preset.key_form
    end
  end
end

local function key_advice(case)
  local key, endpoint = case.key, case.endpoint
  local variable = endpoint.preset and endpoint.preset.key_env
  if not key then
    return type(endpoint.keys) == "function" and "make the function of api_key return a key" or
      "set api_key: no key was sent"
  end
  for _, pattern in ipairs(PLACEHOLDERS) do
    if key:find(pattern) then
      return ("put a real key into %s: this is a placeholder"):format(variable or "api_key")
    end
  end
  local owner, host_owner, form = nil, OWNERS[endpoint.host], form_at(endpoint.host)
  for _, row in ipairs(FORMS) do
    if begins(key, row[1]) then
      owner = row[2]
    end
  end
  if owner and owner ~= host_owner then
    return ("use a key for %s: this one looks like one of %s's"):format(endpoint.host, owner)
  elseif form and not begins(key, form) then
    return ("use a key for %s: those begin with %s, this one does not"):format(endpoint.host, form)
  end
  return ("check the key%s: it is not accepted (cut off, revoked, or of another account or service?)")
    :format(variable and " in " .. variable or "")
end

-- ------------------------------------------------------------------------------------------------------------- answers

local function is_page(reply)
  local kind = binding.header(reply.headers, "content-type") or ""
  return type(reply.body) == "string" and (reply.body:find "^%s*<" ~= nil or kind:lower():find "text/html" ~= nil)
end

--- Whether an answer is a web page.
---@param reply surefoot.Reply?
---@return boolean
function M.is_page(reply)
  return reply ~= nil and is_page(reply)
end

-- What servers say to http:// at their port for TLS.
local function to_tls_port(case)
  local reply = case.reply
  if not (reply and reply.status == 400 and scheme_of(case) == "http" and type(reply.body) == "string") then
    return false
  end
  local body = reply.body:lower()
  return body:find("plain http", 1, true) or body:find("http request to an https server", 1, true)
end

local function begin_with_https(case)
  return ("begin the URL with https://: %s speaks TLS"):format(place_of(case))
end

local function redirect(case)
  local target = binding.header(case.reply.headers, "location") or ""
  local base = target:match "^(https?://[^%s?#@]+)"
  base = base and base:gsub("/models/*$", ""):gsub("/+$", "")
  return base and base ~= case.endpoint.url and ("set the URL to %s, if that is the API: the line redirects there")
    :format(base) or "check the URL: the line redirects elsewhere, which is not followed"
end

local function page(case)
  if case.base then
    return ("set the URL to %s: at %s there are web pages"):format(case.base, case.endpoint.url)
  end
  return ("check the URL: a web page answers at %s, not an API; if the URL is right, it is this network's login page "
    .. "(captive portal), or a proxy's"):format(place_of(case))
end

local function not_there(case)
  if case.base then
    return ("set the URL to %s: that is where the API is"):format(case.base)
  end
  return ("check the path of the URL (most APIs end in /v1): there is no %s/models; where a service has no such list, "
    .. "calls may work all the same"):format(case.endpoint.url)
end

local FORMAT_NAMES = { openai = "OpenAI", responses = "OpenAI", anthropic = "Anthropic", gemini = "Gemini",
  azure = "Azure" }

local by_kind = {
  unauthorized = key_advice,
  quota = function() return "top up the account behind the key, or use another key: its credit is spent" end,
  not_found = not_there,
  rate_limited = function()
    return "wait, or lower `rate`: the key is good, but it is used too often now"
  end,
  overloaded = function() return "wait, or add another line: the provider has no capacity now" end,
  server = function() return "wait, or add another line: the provider itself fails" end,
  truncated = function() return "try again, or set a proxy: something on the way cuts answers off" end,
  closed = function() return "make a new client: this one is closed" end,
}

function by_kind.forbidden(case)
  local message = case.message:lower()
  if message:find("country", 1, true) or message:find("region", 1, true) or message:find("location", 1, true) then
    return "set a proxy in a country that the provider serves, or use another line"
  end
  return "give the key the right to list models, or use another one: it is known, but may not do this"
end

function by_kind.malformed(case)
  return ("check `provider` and the URL: what answers there does not speak the %s format")
    :format(FORMAT_NAMES[case.endpoint.provider])
end

function by_kind.invalid_request(case)
  return case.reply and case.reply.status == 405 and not_there(case) or by_kind.malformed(case)
end

function by_kind.timeout(case)
  if case.phase == "connect" then
    return connect_timeout(case)
  end
  return "add another line, or raise `timeout`: this one is connected, but does not answer in time"
end
by_kind.deadline = by_kind.timeout

function by_kind.network(case)
  if scheme_of(case) == "http" and (case.base or case.message:find("HTTP/0.9", 1, true)) then
    return begin_with_https(case)
  elseif case.via and not (case.attempt and case.attempt.tls) and case.phase == "connect" then
    return ("check scheme and port of `proxy`: what answers at %s does not work as one"):format(case.via)
  end
  return "check host and port of the URL: what answers there closes the connection"
end

function by_kind.tls()
  return "set a proxy, or check the port of the URL: the TLS handshake fails"
end

--- What to change.
---@param case surefoot.Case
---@return string?
function M.of(case)
  local cause = case.attempt and case.attempt.cause
  if cause and causes[cause] then
    return causes[cause](case)
  elseif case.reply and case.reply.status >= 300 and case.reply.status < 400 then
    return redirect(case)
  elseif to_tls_port(case) then
    return begin_with_https(case)
  elseif M.is_page(case.reply) and case.kind ~= "server" and case.kind ~= "overloaded" then
    return page(case)
  end
  local advise = by_kind[case.kind]
  return advise and advise(case) or nil
end

-- ---------------------------------------------------------------------------------------------------------------- URLs

local OPERATIONS = { "/chat/completions", "/completions", "/responses", "/embeddings", "/messages", "/models" }

--- Where the API may be instead: what people forget, or give too much of.
---@param base string the URL of an endpoint
---@return string[]
function M.bases(base)
  local found, seen = {}, { [base] = true }
  local function add(candidate)
    if not seen[candidate] and #found < 3 then
      seen[candidate], found[#found + 1] = true, candidate
    end
  end
  local root, shorter = base:match "^%a+://[^/]+", base
  for _, operation in ipairs(OPERATIONS) do
    if shorter:sub(-#operation) == operation then
      shorter = shorter:sub(1, -#operation - 1)
      add(shorter)
    end
  end
  shorter = shorter:gsub("(/v%d%w*)/v%d%w*$", "%1")
  if shorter ~= root then
    add(shorter)
  end
  if not shorter:find "/v%d%w*$" then
    add(shorter .. "/v1")
  end
  add(root .. "/v1")
  add(root .. "/api/v1")
  return found
end

-- -------------------------------------------------------------------------------------------------------------- models

-- A list has names with a date, or with a tag, for what is asked for without.
local function is_listed(name, ids)
  for _, id in ipairs(ids) do
    if id == name or id == name .. ":latest" or begins(id, name .. "-20") then
      return true
    end
  end
  return name:find "%-latest$" ~= nil
end

local function nearest_names(name, ids)
  local left, found = {}, {}
  for place, id in ipairs(ids) do
    left[place] = id
  end
  for i = 1, math.min(3, #ids) do
    found[i] = text.nearest(name, left)
    for place, id in ipairs(left) do
      if id == found[i] then
        table.remove(left, place)
        break
      end
    end
  end
  return table.concat(found, ", ")
end

--- What to change about models that a line does not list; nil where all are there.
---@param wanted string[] names as they are sent
---@param models { id: string }[]
---@return string?
function M.of_models(wanted, models)
  local ids = {}
  for _, model in ipairs(models) do
    ids[#ids + 1] = type(model.id) == "string" and model.id or nil
  end
  for _, name in ipairs(wanted) do
    if not is_listed(name, ids) then
      return ("check the model's name: %q is not among the %d that the line lists%s"):format(name, #ids,
        #ids > 0 and "; the nearest: " .. nearest_names(name, ids) or "")
    end
  end
end

return M
