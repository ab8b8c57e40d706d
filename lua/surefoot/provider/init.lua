--- The wire formats that surefoot speaks, by name. A format is a table of pure functions: no I/O, no state, no clock.
--
-- Requests come in OpenAI's chat shape and results go out in one shape, whatever is spoken on the wire; the provider's
-- own document stays untouched in result.body, and what a message needs to be sent back as it came (thinking blocks,
-- signatures, items of tools that the provider runs) is in message.native = { provider = name, items = {...} }.
--
-- An operation:
--   encode(request, variant, codec, changes, stream) -> method, path, headers, body | nil, problem
--     request   as the caller gave it; never written to
--     variant   { model = upstream name or nil, traits = { api_version =, quirks = } }
--     changes   fields of the request that a fallback replaces, or nil
--     stream    whether events are wanted
--     headers   "name: value\n" lines: accept, content-type, and what the format demands
--   decode(reply, codec, request) -> fields of the result | nil, verdict          a whole 2xx answer
--   stream(codec, request) -> folder                                               an event stream
-- A folder:
--   folder:event(name, data) -> action, chunk | verdict
--     "hold"      nothing to show: start-up events, pings
--     "commit"    content: chunk is what to show; a third value lists chunks beside it, of other choices
--     "finish"    every choice has finished; what may still come is usage and a farewell. chunk, or nil
--     "complete"  the stream has said that it is over. chunk, or nil
--     "fail"      verdict
--   folder:whole()  -> whether the answer is complete as far as the format can tell (asked when the bytes have ended)
--   folder:fields() -> what decode gives, of all that has come so far

local formats = {
  anthropic = require "surefoot.provider.anthropic",
  azure = require "surefoot.provider.azure",
  gemini = require "surefoot.provider.gemini",
  openai = require "surefoot.provider.openai",
  responses = require "surefoot.provider.responses",
}

---@class surefoot.Reply
---@field status integer
---@field headers string  "Name: value" lines
---@field body string

---@class surefoot.Verdict
---@field class string  "transient" "throttled" "overloaded" "key" "endpoint" "route" "final" "again"
---@field kind surefoot.Kind
---@field code string?
---@field message string?
---@field wait number?  seconds, told in the body
---@field body any

---@class surefoot.Variant
---@field provider string
---@field model string?
---@field route integer
---@field traits table   { api_version = string?, quirks = table<string, boolean>? }

---@class surefoot.Chunk  what an event of a stream shows
---@field text string?
---@field index integer          which choice, from 1
---@field tool_calls table[]?    fragments in OpenAI's shape: index (from 0, as sent), id, type, function
---@field reasoning string?
---@field finish_reason string?
---@field usage surefoot.Usage?
---@field raw any                the provider's event, decoded
---@field error surefoot.Error?  in the last chunk of a stream that failed; then all else is nil

---@class surefoot.Folder
---@field event fun(self: surefoot.Folder, name: string?, data: string): string, any
---@field whole fun(self: surefoot.Folder): boolean
---@field fields fun(self: surefoot.Folder): table

---@class surefoot.Operation
---@field encode fun(request: table?, variant: surefoot.Variant, codec: surefoot.Codec, changes: table?, ...): ...
---@field decode fun(reply: surefoot.Reply, codec: surefoot.Codec, request: table?): table?, surefoot.Verdict?
---@field stream (fun(codec: surefoot.Codec, request: table): surefoot.Folder)?

---@class surefoot.Format
---@field auth fun(key: string): string  the header line that carries a key
---@field judge fun(reply: surefoot.Reply, document: any): surefoot.Verdict
---@field usage fun(usage: any): surefoot.Usage?
---@field headers (fun(variant: surefoot.Variant, streams: boolean?): string)?  lines for a body that is passed on as it
---  is, where the format demands more than those of JSON
---@field operations table<string, surefoot.Operation>

return {
  ---@type table<string, surefoot.Format>
  formats = formats,
  --- What formats are called elsewhere.
  aliases = { openai_responses = "responses", ["openai-responses"] = "responses", google = "gemini",
    azure_openai = "azure" },
}
