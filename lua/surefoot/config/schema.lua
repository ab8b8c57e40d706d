--- Every configuration key: name, type, range, default, meaning. Checks, defaults and the reference are made from it.
--
-- A spec is a table: type, default, doc, and what its type needs (lua/surefoot/config/check.lua reads it).
--   seconds, number     min, max; above: an exclusive lower bound; none = true: math.huge means "no limit"
--   integer, bytes      min, max
--   string              not empty; utf8 = true: well-formed, as JSON wants it
--   header_map          header names to values, at most max
--   enum                values
--   table               fields (a list of specs with `name`); on = true: `true` takes the defaults; off = true: `false`
--                       switches it off; short = "name": a plain value stands for that one field
--   list, map           of (spec of the elements); list: at most max
--   either              one of several specs
-- endpoint = true: may be given per endpoint as well; endpoint = "own": given there it is the endpoint's own limit, and
-- top = true fields stay with the client.

local copy = require "surefoot.copy"

local M = {}

M.explore = 0.02 -- share of picks that ask a line in spite of its latency
M.hint_cap = 120 -- seconds: a longer Retry-After is not waited for
M.stream_first_byte = 60 -- seconds, where no timeout.first_byte is given

M.max_targets = 256 -- routes x endpoints of one call, as in the core
-- The core has room for 96 lines in one request: 40 of the endpoint, 24 of client:request, 24 of the call's options,
-- and up to 6 of ours (key, user agent, accept, content type, request id, idempotency key).
M.max_line_headers, M.max_call_headers = 40, 24

local function seconds(name, default, doc, more)
  return copy({ name = name, type = "seconds", default = default, doc = doc, above = 0, none = true }, more)
end

local timeout = {
  seconds("connect", 10, "name lookup, TCP and TLS"),
  seconds("first_byte", M.stream_first_byte,
    "request sent until the first byte of the body; for plain calls as `attempt`, unless given",
    { keep_nil = true }),
  seconds("first_token", 60, "streams: request sent until the first content"),
  seconds("idle", 30, "streams: silence between bytes"),
  seconds("attempt", 120, "one attempt as a whole; streams: until the first content"),
  seconds("total", 300, "the whole call: waits, attempts and fallbacks", { top = true }),
}

local budget = {
  { name = "capacity", type = "integer", min = 1, max = 32767, default = 500, doc = "tokens it holds" },
  { name = "transient_cost", type = "integer", min = 0, max = 32767, default = 14,
    doc = "what a retry costs; 0: nothing, it is always allowed" },
  { name = "throttled_cost", type = "integer", min = 0, max = 32767, default = 5,
    doc = "what a retry after 429 costs; 0: as above" },
  { name = "floor_per_second", type = "number", min = 0, max = 1000000, default = 1,
    doc = "retries that are always allowed, per second" },
}

local retry = {
  { name = "max_attempts", type = "integer", min = 1, max = 100, default = 5,
    doc = "attempts of one call, all routes counted" },
  { name = "strategy", type = "enum", values = { "exponential", "linear", "fibonacci", "decorrelated" },
    default = "exponential", doc = "how the delay grows from round to round" },
  { name = "base_delay", type = "seconds", min = 0, max = 3600, default = 0.5, doc = "first delay" },
  { name = "throttled_base_delay", type = "seconds", min = 0, max = 3600, default = 1,
    doc = "first delay after 429 and 529" },
  { name = "max_delay", type = "seconds", min = 0, max = 86400, default = 60, doc = "cap, applied before the jitter" },
  { name = "jitter", type = "either", default = "full",
    doc = "random part of a delay d: full 0..d, equal d/2..d, none, or a fraction f: d(1-f)..d",
    { type = "enum", values = { "full", "equal", "none" } }, { type = "number", min = 0, max = 1 } },
  { name = "on_status", type = "list", of = { type = "integer", min = 300, max = 599 },
    doc = "HTTP statuses worth a retry, instead of the built-in rule" },
  { name = "budget", type = "table", on = true, off = true, default = true, fields = budget,
    doc = "bounds retries to a share of the successes, so that no storm can arise" },
}

local rate = {
  { name = "requests_per_second", type = "number", above = 0, max = 1000000, doc = "requests started per second" },
  { name = "burst", type = "number", min = 1, max = 1000000,
    doc = "requests that may start at once (default: one second's worth)" },
  { name = "tokens_per_minute", type = "number", above = 0, max = 1e12,
    doc = "estimated before, settled with the usage after" },
  { name = "token_burst", type = "number", min = 1, max = 1e12, doc = "tokens at once (default: one minute's worth)" },
  { name = "adaptive", type = "boolean", default = true, doc = "learn from the provider's headers, and from 429s" },
  { name = "estimate", type = "integer", min = 1, max = 1000000000,
    doc = "tokens a request is taken for (default: bytes / 4, plus max_tokens or 256)" },
}

local concurrency = {
  { name = "limit", type = "integer", min = 1, max = 100000, default = 100, doc = "attempts in flight" },
  { name = "queue", type = "integer", min = 0, max = 10000000, default = 1000, top = true,
    doc = "calls that may wait; one more fails with `queue_full`" },
  { name = "adaptive", type = "boolean", default = false,
    doc = "shrink after 429, 529 and timeouts, grow while in use" },
  { name = "min", type = "integer", min = 1, max = 100000, default = 1, doc = "lower bound when adaptive" },
  { name = "max", type = "integer", min = 1, max = 100000, default = 200, doc = "upper bound when adaptive" },
}

local breaker = {
  { name = "failure_threshold", type = "integer", min = 1, max = 65535, default = 5,
    doc = "failures in a row that open it" },
  { name = "failure_ratio", type = "number", above = 0, max = 1, default = 0.5,
    doc = "or this share of failures in the window" },
  { name = "min_calls", type = "integer", min = 1, max = 1000000, default = 20, doc = "before a ratio counts" },
  { name = "window", type = "seconds", above = 0, max = 86400, default = 30, doc = "over which the ratios are taken" },
  { name = "slow_call", type = "seconds", above = 0, max = 86400,
    doc = "a first token later than this is slow (nil: not judged)" },
  { name = "slow_ratio", type = "number", above = 0, max = 1, default = 0.5,
    doc = "or this share of slow calls opens it" },
  { name = "recovery_timeout", type = "seconds", above = 0, max = 86400, default = 5,
    doc = "open this long, doubling each time" },
  { name = "max_recovery_timeout", type = "seconds", above = 0, max = 86400, default = 60, doc = "up to this" },
  { name = "half_open_requests", type = "integer", min = 1, max = 63, default = 1, doc = "probes at a time" },
  { name = "lease", type = "seconds", above = 0, max = 86400,
    doc = "a probe that does not report is given up after this (default: timeout.attempt)" },
  { name = "jitter", type = "number", min = 0, max = 1, default = 0.1,
    doc = "open times are up to this share longer; after a failed probe also up to half shorter; 0: neither" },
}

local hedge = {
  { name = "quantile", type = "number", above = 0, max = 1, default = 0.95,
    doc = "hedge when slower than this share of answers" },
  { name = "budget", type = "number", above = 0, max = 1, default = 0.05, doc = "hedges per first attempt" },
  { name = "burst", type = "number", min = 1, max = 1000000, default = 20, doc = "hedges at once" },
  { name = "min_delay", type = "seconds", min = 0, max = 3600, default = 0.05, doc = "never earlier than this" },
  { name = "max", type = "integer", min = 1, max = 10, default = 1, doc = "hedges per call" },
}

local tls = {
  { name = "ca_file", type = "string", doc = "certificates to trust instead of the system's, also of an https proxy" },
  { name = "cert", type = "string", doc = "client certificate (PEM file)" },
  { name = "key", type = "string", doc = "its key (PEM file)" },
  { name = "verify", type = "boolean", default = true, doc = "false trusts anybody: for tests only" },
}

local dns = {
  { name = "hosts", type = "map", of = { type = "address" },
    doc = "instead of a lookup: host to IP address (of several addresses each is a line of its own)" },
  { name = "cache", type = "seconds", min = 0, max = 86400,
    doc = "lookups are kept this long (default: libcurl's, 60 s)" },
  { name = "ip_version", type = "enum", values = { 4, 6 }, doc = "only addresses of this kind (default: both)" },
  { name = "doh_url", type = "doh_url",
    doc = "ask this server over HTTPS instead of the system's; it is trusted as `tls.ca_file` says" },
}

local coalesce = {
  { name = "chat", type = "boolean", default = true, doc = "chat calls with temperature 0, or with a seed" },
  { name = "sampled", type = "boolean", default = false,
    doc = "chat calls of any temperature: those who share one get the same answer" },
  { name = "embeddings", type = "boolean", default = true, doc = "embeddings" },
  { name = "get", type = "boolean", default = true, doc = "models, and `client:request` with GET" },
}

local health = {
  seconds("interval", 30, "an endpoint without traffic for so long is asked, give or take a tenth",
    { none = false, max = 86400 }),
  seconds("timeout", 5, "a probe that takes longer has failed", { none = false, max = 3600 }),
  { name = "path", type = "string",
    doc = "what is asked for with GET, appended to the endpoint's URL; 2xx is well (default: its list of models)" },
}

local function price(name, doc, default)
  return { name = name, type = "number", min = 0, max = 1e9, default = default, doc = doc }
end

local prices = {
  price("input", "read", 0),
  price("output", "written", 0),
  price("cached_input", "read from the cache (default: as input)"),
  price("cache_write", "written to the cache (default: as input)"),
  price("cache_write_hour", "the same, kept for an hour (default: as cache_write)"),
  { name = "long", type = "table", doc = "what a long request costs, all of it", fields = {
    { name = "above", type = "integer", min = 1, max = 1e9, required = true, doc = "tokens of input" },
    price("input", "read"), price("output", "written"), price("cached_input", "read from the cache"),
    price("cache_write", "written to the cache"), price("cache_write_hour", "the same, kept for an hour"),
  } },
}

local resume = { "off", "continue", "restart", "auto" }

local levels = { "debug", "info", "warn", "error" }

M.top = {
  { name = "preset", type = "string", endpoint = true,
    doc = "a provider by name: brings provider, base_url and the key's variable" },
  { name = "provider", type = "string", default = "openai", endpoint = true,
    doc = "the wire format: `openai`, `responses`, `anthropic`, `gemini` or `azure`" },
  { name = "api_version", type = "string", endpoint = true, header = true,
    doc = "of the provider's API, where it has several (Azure's `api-version`, Anthropic's `anthropic-version`)" },
  { name = "base_url", type = "string", doc = "the API's root, up to and with /v1" },
  { name = "api_key", type = "key", endpoint = true,
    doc = "a string, a list of strings (rotated), or a function that returns the key of now; "
      .. "with a preset its variable is read" },
  { name = "model", type = "string", utf8 = true, doc = "the model, where a request names none" },
  { name = "endpoints", type = "list", of = { type = "endpoint" }, max = M.max_targets,
    doc = "several lines to the same service" },
  { name = "fallbacks", type = "list", of = { type = "fallback" },
    doc = "what to ask when the model cannot be had: model names, or { model =, endpoint =, request = {...} }; "
      .. "endpoints x (1 + fallbacks) is at most 256, where a fallback that names its endpoint counts once" },
  { name = "timeout", type = "table", endpoint = true, fields = timeout, default = {},
    doc = "seconds; math.huge means none" },
  { name = "retry", type = "table", fields = retry, default = {}, doc = "when and how often to ask again" },
  { name = "rate", type = "table", on = true, off = true, endpoint = "own", fields = rate,
    doc = "how fast requests may start" },
  { name = "concurrency", type = "table", endpoint = "own", fields = concurrency, default = {},
    doc = "how many run at once" },
  { name = "breaker", type = "table", on = true, off = true, endpoint = true, fields = breaker, default = true,
    doc = "leave a failing endpoint alone for a while" },
  { name = "routing", type = "table", short = "strategy", default = {},
    doc = "which endpoint gets the next attempt", fields = {
    { name = "strategy", type = "enum", values = { "latency", "weighted", "round_robin", "priority" },
      default = "latency", doc = "among the endpoints of the best priority" },
    { name = "decay", type = "seconds", above = 0, max = 86400, default = 10,
      doc = "how fast old latencies are forgotten" },
    { name = "slow_start", type = "seconds", min = 0, max = 86400, default = 60,
      doc = "a new endpoint grows into its share" },
    { name = "penalty", type = "seconds", min = 0, max = 3600, default = 5, doc = "a failure counts as so slow" },
  } },
  { name = "limits", type = "table", default = {}, doc = "bytes, after decompression", fields = {
    { name = "response_bytes", type = "bytes", min = 1024, max = 2 ^ 40, default = 64 * 2 ^ 20,
      doc = "one answer; of a stream all of its events" },
    { name = "event_bytes", type = "bytes", min = 1024, max = 2 ^ 40, default = 16 * 2 ^ 20,
      doc = "one event of a stream" },
    { name = "header_bytes", type = "bytes", min = 1024, max = 2 ^ 30, default = 256 * 2 ^ 10,
      doc = "the headers of one answer" },
    { name = "stream_buffer_bytes", type = "bytes", min = 1024, max = 2 ^ 40, default = 2 ^ 20,
      doc = "what a slow reader may leave" },
    { name = "json_depth", type = "integer", min = 1, max = 10000, default = 128, doc = "nesting of a document" },
  } },
  { name = "headers", type = "header_map", max = M.max_line_headers, endpoint = true,
    doc = "sent with every request; an endpoint's are added to the client's" },
  { name = "proxy", type = "proxy", endpoint = true,
    doc = "http, https, socks5 (names are looked up here) or socks5h (there) ://user:password@host:port; "
      .. "default: `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy` of the environment, but for loopback" },
  { name = "tls", type = "table", endpoint = true, fields = tls, default = {},
    doc = "certificates; files that cannot be read are an error when the client is made" },
  { name = "dns", type = "table", endpoint = true, fields = dns, default = {}, doc = "name lookup" },
  { name = "http_version", type = "enum", endpoint = true, values = { "auto", "1.1", "2" }, default = "auto",
    doc = "auto: 2 over TLS where libcurl is 8.6 or newer, else 1.1" },
  { name = "keepalive", type = "table", default = {}, doc = "connections between requests", fields = {
    { name = "idle", type = "seconds", min = 0, max = 86400, default = 50, doc = "kept this long unused" },
    { name = "age", type = "seconds", min = 0, max = 86400, default = 600, doc = "and never longer than this" },
  } },
  { name = "allow_plaintext", type = "boolean", default = false, doc = "permit http:// to hosts other than loopback" },
  { name = "json", type = "table", open = true,
    doc = "another JSON encoder or decoder: a library, or one of its functions", fields = {
    { name = "encode", type = "function", doc = "value to text" },
    { name = "decode", type = "function", doc = "text to value" },
  } },
  { name = "prices", type = "prices", endpoint = true,
    doc = "US dollars per million tokens, by model; gives result.cost. A table's models are all that have a price, "
      .. "unless `builtin = true` stands among them; an endpoint's win, model by model",
    of = { type = "table", fields = prices } },
  { name = "hedge", type = "table", on = true, off = true, fields = hedge, default = false,
    doc = "a second attempt on another line when the first is slower than usual; the first answer counts. Not of "
      .. "`client:request` with a method other than GET, unless the call asks for it" },
  { name = "resume", type = "enum", values = resume, default = "off",
    doc = "how to carry on with a stream that broke off after text was shown: `continue` has the answer go on, where "
      .. "a line is known to take it up; `restart` asks anew and joins what repeats the text; `auto` tries both" },
  { name = "continue_on_length", type = "integer", min = 0, max = 100, default = 0,
    doc = "rounds to carry on with an answer that was cut (finish_reason \"length\")" },
  { name = "coalesce", type = "table", on = true, off = true, fields = coalesce, default = false,
    doc = "calls that ask the same at the same time share one; not streams, nor those with `validate` or `on_event`" },
  { name = "health", type = "table", on = true, off = true, fields = health, default = false,
    doc = "ask endpoints that are unwell or idle in the background, so that no call has to find out" },
  { name = "spend", type = "table", off = true, doc = "a budget, by `prices`: when it is spent calls are refused",
    fields = {
    { name = "limit", type = "number", min = 0.000001, max = 1099511, required = true, doc = "US dollars" },
    { name = "per", type = "either", default = "total",
      doc = "the hour, day or month of the calendar (UTC), all time, or so many seconds",
      { type = "enum", values = { "hour", "day", "month", "total" } },
      { type = "seconds", min = 1, max = 366 * 86400 } },
  } },
  { name = "shared", type = "string", off = true,
    doc = "share limits, circuits, latencies and counts in flight with the processes of this user and machine that say "
      .. "the same name (1 to 64 letters, digits, `_`, `-` and `.`)" },
  { name = "log", type = "log",
    doc = "where to write what happens: log(level, message, fields); a level, or true for `info`, writes to stderr",
    fields = {
    { name = "level", type = "enum", values = levels, default = "info", doc = "the least grave that is written" },
    { name = "write", type = "function", doc = "write(level, message, fields) (default: to stderr)" },
  } },
}

-- Keys that only an endpoint has. What is marked `endpoint` above is added to them below.
M.endpoint = {
  { name = "url", type = "string", doc = "the API's root on this line (default: base_url)" },
  { name = "name", type = "string", doc = "what results and errors call it (default: host:port)" },
  { name = "weight", type = "number", above = 0, max = 1000000, default = 1, doc = "share among its equals" },
  { name = "priority", type = "integer", min = 1, max = 1000, default = 1,
    doc = "1 first; higher only when lower are unwell" },
  { name = "models", type = "models",
    doc = "list part: serves only these; map part: renames (asked for = sent upstream)" },
}

M.fallback = {
  { name = "model", type = "string", utf8 = true, required = true, doc = "the model to ask instead" },
  { name = "endpoint", type = "string", doc = "only on this endpoint" },
  { name = "request", type = "table", doc = "fields of the request to replace" },
}

-- A field of a form that client:request sends.
local part = {
  { name = "name", type = "string", raw = true, required = true, doc = "of the field" },
  { name = "value", type = "string", empty = true, raw = true, doc = "of a plain field" },
  { name = "data", type = "string", empty = true, raw = true, doc = "the content of a file" },
  { name = "file", type = "string", doc = "the path of a file, which is read while it is sent" },
  { name = "filename", type = "string", raw = true, doc = "what the server is told (default: the end of the path)" },
  { name = "content_type", type = "string", doc = "of its content (default, for files: application/octet-stream)" },
}

-- The argument of client:request.
M.request = {
  { name = "method", type = "enum", values = { "GET", "POST", "PUT", "PATCH", "DELETE" },
    doc = "default: POST with a body, else GET" },
  { name = "path", type = "string", required = true, doc = "appended to the endpoint's URL; may hold a query" },
  { name = "json", type = "any", doc = "the body, to be encoded" },
  { name = "body", type = "either", doc = "the body as it is, or the file that holds it, read while it is sent",
    { type = "string", empty = true, raw = true },
    { type = "table", fields = { { name = "file", type = "string", required = true, doc = "path of the file" } } } },
  { name = "multipart", type = "list", max = 10000, of = { type = "table", fields = part },
    doc = "the body as a form (multipart/form-data)" },
  { name = "output", type = "table", doc = "where the body of a 2xx answer goes, instead of into memory", fields = {
    { name = "file", type = "string", required = true, doc = "path of the file, written when the answer is whole" },
  } },
  { name = "headers", type = "header_map", max = M.max_call_headers, doc = "sent with this request" },
  { name = "endpoint", type = "string", doc = "only there" },
}

-- The argument of client:close, and the options of client:batch and client:each.
M.close = {
  { name = "drain", type = "seconds", min = 0, none = true,
    doc = "let the calls in flight end, at most so long" },
}
M.metrics = {
  { name = "labels", type = "table", doc = "of every sample: name to value" },
}
M.simulate = {
  { name = "seed", type = "number", min = -2 ^ 53, max = 2 ^ 53, doc = "of the random numbers" },
  { name = "endpoints", type = "table", required = true, doc = "name to script" },
}

local function moment(name, doc)
  return { name = name, type = "seconds", min = 0, none = true, doc = doc }
end

-- What a script of a simulation returns.
M.script = {
  moment("after", "until the headers"),
  { name = "status", type = "integer", min = 100, max = 999, doc = "of the answer" },
  { name = "headers", type = "script_headers", doc = "of the answer" },
  { name = "body", type = "script_data", doc = "a text, or what is to be encoded" },
  { name = "text", type = "string", empty = true, raw = true, doc = "an answer in the provider's format" },
  { name = "events", type = "list", doc = "pieces of a stream", of = { type = "table", fields = {
    moment("at", "when it is sent"),
    { name = "data", type = "script_data", required = true, doc = "what is sent" },
  } } },
  { name = "fault", type = "enum", values = { "hang", "reset", "cut" }, doc = "no answer, or half of one" },
  moment("connect", "until connected"),
  { name = "fail", type = "enum", values = { "resolve", "connect", "tls" }, doc = "no connection" },
  { name = "reused", type = "boolean", doc = "over a kept connection" },
}
M.replay = {
  { name = "strict", type = "boolean", doc = "false: a request that was not recorded gets the nearest answer" },
  { name = "config", type = "table", doc = "what is to be otherwise than in the recorded client" },
}
M.batch = {
  { name = "concurrency", type = "integer", min = 1, max = 100000,
    doc = "requests at a time (default: the client's limit)" },
  { name = "on_progress", type = "function",
    doc = "on_progress { done =, total =, index =, result = | error = } after each" },
}

-- A tool of client:run_tools, and that call's own options.
M.tool = {
  { name = "name", type = "string", doc = "what the model calls it; in a table of names the name there" },
  { name = "description", type = "string", raw = true, doc = "what it does and when to use it, for the model" },
  { name = "parameters", type = "table", doc = "JSON Schema of its arguments, an object (default: none)" },
  { name = "strict", type = "boolean", doc = "the provider shall hold the model to the schema" },
  { name = "call", type = "function", required = true,
    doc = "call(arguments, context) -> a text or what JSON can hold | nil, message" },
}
M.run_tools = {
  { name = "max_rounds", type = "integer", min = 1, max = 1000, default = 10, doc = "requests to the model, at most" },
  { name = "on_tool", type = "function", doc = "on_tool(name, arguments, outcome, problem) after each call of a tool" },
  { name = "stream", type = "boolean", default = false, doc = "return a stream of all rounds" },
}

-- The argument of client:conversation.
M.conversation = {
  { name = "system", type = "string", raw = true, doc = "the system message, sent before the others" },
  { name = "messages", type = "list", of = { type = "message" }, doc = "what was said before" },
  { name = "tools", type = "any", doc = "as for client:run_tools" },
  { name = "request", type = "table", doc = "fields of every request: model, temperature ..." },
  { name = "options", type = "table", doc = "options of every call, those of client:run_tools included" },
  { name = "max_messages", type = "integer", min = 1, max = 1000000,
    doc = "the oldest turns are forgotten beyond that (default: none are)" },
}

-- The second argument of a call.
M.options = {
  seconds("deadline", nil, "seconds from now for the whole call; replaces timeout.total"),
  { name = "timeout", type = "table", fields = timeout, doc = "as in the configuration" },
  { name = "priority", type = "enum", values = { "high", "normal", "low" }, default = "normal",
    doc = "place in the queue" },
  { name = "idempotency_key", type = "string", header = true,
    doc = "kept over the attempts (default: a new one per call)" },
  { name = "validate", type = "function", doc = "validate(result) -> true | false, reason; false asks again" },
  { name = "fallbacks", type = "list", of = { type = "fallback" }, doc = "instead of the client's" },
  { name = "headers", type = "header_map", max = M.max_call_headers, doc = "sent with this call" },
  { name = "on_event", type = "function", doc = "on_event(name, table); must not wait" },
  { name = "tags", type = "any", doc = "yours; given back in the result" },
  { name = "trace", type = "trace", doc = "W3C trace context to pass on; true begins a trace", fields = {
    { name = "traceparent", type = "string", required = true, doc = "as in the header" },
    { name = "tracestate", type = "string", doc = "as in the header" },
  } },
  { name = "cancel", type = "canceller", doc = "a surefoot.canceller()" },
  { name = "estimate", type = "integer", min = 0, max = 1000000000,
    doc = "tokens this request is taken for by the rate limit" },
  { name = "continue_on_length", type = "integer", min = 0, max = 100, doc = "as in the configuration" },
  { name = "hedge", type = "table", on = true, off = true, fields = hedge,
    doc = "as in the configuration; what is not given is as there" },
  { name = "coalesce", type = "boolean", doc = "false: this call shares no other's; true: it does, where it may" },
  { name = "resume", type = "enum", values = resume, doc = "as in the configuration" },
}

local function endpoint_fields(fields)
  local kept = {}
  for _, field in ipairs(fields) do
    if not field.top then
      kept[#kept + 1] = field
    end
  end
  return kept
end

M.own_endpoint = {}
for i, field in ipairs(M.endpoint) do
  M.own_endpoint[i] = field
end

for _, field in ipairs(M.top) do
  if field.endpoint then
    local own = copy(field)
    own.default = nil
    own.fields = field.fields and endpoint_fields(field.fields)
    M.endpoint[#M.endpoint + 1] = own
  end
end

return M
