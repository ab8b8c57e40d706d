--- The wire formats that surefoot speaks, by name. A format is a table of pure functions; surefoot.provider.openai says
--- what each of them does.

local openai = require "surefoot.provider.openai"

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

---@class surefoot.Operation
---@field method string
---@field path string
---@field encode fun(request: table?, model: string?, changes: table?, codec: surefoot.Codec): string?, string?
---@field decode fun(reply: surefoot.Reply, codec: surefoot.Codec, request: table?): table?, surefoot.Verdict?

---@class surefoot.Format
---@field auth fun(key: string): string  the header line that carries a key
---@field judge fun(reply: surefoot.Reply, document: any): surefoot.Verdict
---@field operations table<string, surefoot.Operation>

return {
  ---@type table<string, surefoot.Format>
  formats = { openai = openai },
}
