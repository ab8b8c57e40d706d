-- Builds the C programs that specs bring along, for the interpreter that runs, into a folder of their own.

local env = require "spec.support.env"
local process = require "spec.support.process"

local M = {}

local function flags(what)
  return (process.capture("pkg-config " .. what .. " " .. env.variant):gsub("%s+$", ""))
end

local function compile(source, target, options)
  env.need("cc", "gcc")
  local names = process.quote(target) .. " " .. process.quote(source)
  env.check(("${CC:-cc} -std=gnu11 -O1 -g -Wall -Wextra -o %s %s"):format(names, options))
  return target
end

---A folder that is taken away by `clean`.
---@return string
function M.folder()
  M.made = M.made or process.temp_dir "surefoot-spec"
  return M.made
end

---@param source string path of a C file
---@return string path of the library: a Lua module, or something to be preloaded
function M.library(source)
  local name = source:match "([^/]+)%.c$"
  return compile(source, M.folder() .. "/" .. name .. ".so", "-shared -fPIC " .. flags "--cflags" .. " -ldl")
end

---@param source string path of a C file
---@return string path of the program, linked with Lua
function M.program(source)
  local name = source:match "([^/]+)%.c$"
  return compile(source, M.folder() .. "/" .. name, flags "--cflags" .. " -Wl,-E " .. flags "--libs")
end

function M.clean()
  if M.made then
    process.remove_dir(M.made)
    M.made = nil
  end
end

return M
