--- The wire formats in which callers ask surefoot, by the ends of their paths: the counterpart of surefoot.provider,
--- whose formats are those that providers are asked in. The gateway answers in all of them, a batch in OpenAI's.
--
-- A dialect is a table of pure functions. It reads a caller's document as a request in OpenAI's chat shape, which
-- surefoot takes, and writes results as its API would have given them: whole, or event by event.
--
-- Where a line speaks the dialect itself (`native`), the gateway passes the caller's bytes on as they are.

---@class surefoot.Dialect
---@field native table<string, true>  providers' formats that are the same
---@field path string                 of the operation at a provider
---@field operation string            of a provider's format
---@field farewell string?            what ends a stream that was passed on
---@field mark string?                what stands in a body that is passed on as `as_native` has it
---@field as_native (fun(document: table): table)?
---@field passes (fun(document: table): boolean)?  whether a document may go to such a line as it is (default: it may)
---@field read fun(document: table, context: surefoot.dialect.Context): table?, string?, string?
---@field whole fun(result: surefoot.Result, context: surefoot.dialect.Context): table
---@field events (fun(context: surefoot.dialect.Context): surefoot.dialect.Events)?
---@field error fun(fields: surefoot.dialect.Failure): table

---@class surefoot.dialect.Context
---@field codec surefoot.Codec
---@field document table?   what the caller asked
---@field model string      the name it asked for
---@field id string
---@field created integer   unix seconds

---@class surefoot.dialect.Events  writes one answer in pieces: text for the wire
---@field chunk fun(self: surefoot.dialect.Events, chunk: surefoot.Chunk): string
---@field finish fun(self: surefoot.dialect.Events, result: surefoot.Result): string
---@field failure fun(self: surefoot.dialect.Events, fields: surefoot.dialect.Failure): string

---@class surefoot.dialect.Failure  what a caller is told of an error
---@field status integer?
---@field message string
---@field type string         in OpenAI's words
---@field code string?
---@field param string?       the field of the request that is at fault
---@field details any         of the provider's error
---@field request_id string?

---@type table<string, surefoot.Dialect>
return {
  ["/chat/completions"] = require "surefoot.dialect.chat",
  ["/embeddings"] = require "surefoot.dialect.embeddings",
  ["/messages"] = require "surefoot.dialect.messages",
  ["/responses"] = require "surefoot.dialect.responses",
}
