-- The command line as people start it, beside a simulated provider: build/surefoot with a configuration file.

local env = require "spec.support.env"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local M = {}

local Lab = {}
Lab.__index = Lab

---Starts a provider with the lines a and b, and a folder for files.
---@param options? table for the provider
function M.start(options)
  options = options or {}
  options.lines = options.lines or { "a", "b" }
  local self = setmetatable({ provider = provider.start(options), dir = process.temp_dir "cli" }, Lab)
  return self
end

---@param name string
---@return string
function Lab:path(name)
  return self.dir .. "/" .. name
end

---Writes the configuration file: these lines in this order, and more fields as Lua.
---@param lines? string[]
---@param more? string
function Lab:configure(lines, more)
  local endpoints = {}
  for i, name in ipairs(lines or { "a", "b" }) do
    local line = self.provider.lines[name]
    endpoints[i] = ("{ url = %q, name = %q, priority = %d }"):format(line and line.url or name,
      line and name or "other", i)
  end
  process.write(self:path "config.lua", ("return { api_key = 'sk-test-0123456789', model = 'sim-large', endpoints = "
    .. "{ %s }, %s }"):format(table.concat(endpoints, ", "), more or ""))
end

---The words of a command line, without configuration.
function Lab.bare(_, ...)
  return { "build/surefoot", ... }
end

---The words of a command line.
function Lab:words(command, ...)
  return { "build/surefoot", command, "--config", self:path "config.lua", ... }
end

---Runs a command line to its end.
---@return { status: integer, stdout: string, stderr: string }
function Lab:run(...)
  return env.run(self:words(...))
end

---The same with a text on standard input.
function Lab:pipe(input, ...)
  process.write(self:path "input", input)
  return env.run(process.command(self:words(...)) .. " <" .. process.quote(self:path "input"))
end

function Lab:stop()
  self.provider:stop()
  process.remove_dir(self.dir)
end

return M
