--- Request ids: UUIDs of version 4 from the system's random source. Forked processes share none.

local core = require "surefoot.binding"

return {
  --- A new id.
  ---@type fun(): string
  new = core.unique_id,
}
