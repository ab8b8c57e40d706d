-- examples/openresty/nginx.conf as it stands, but for the place, the port and the provider.

local nginx = require "spec.support.nginx"
local process = require "spec.support.process"

local M = {}

local CHANGES = {
  { "load_module [^;]*;", "" },
  { "daemon off;", "{{modules}}\n{{user}}\ndaemon off;" },
  { "pid [^;]*;", "pid {{dir}}/nginx.pid;" },
  { "error_log [^;]*;", "error_log {{dir}}/error.log warn;" },
  { "worker_processes auto;", "worker_processes {{workers}};" },
  { "http {", "http {\n  client_body_temp_path {{dir}}/body;" },
  { "%$prefix/%.%./%.%./build/luajit", "{{root}}/{{build}}" },
  { "%$prefix/%.%./%.%./", "{{root}}/" },
  { 'preset = "openai",', 'preset = "openai", base_url = "{{url}}",' },
  { "listen 127%.0%.0%.1:8080;", "listen 127.0.0.1:{{port}};\n    {{harness}}" },
}

---@param p table the provider
---@return table nginx
function M.start(p)
  local text = assert(process.read "examples/openresty/nginx.conf")
  for _, change in ipairs(CHANGES) do
    local count
    text, count = text:gsub(change[1], (change[2]:gsub("{{url}}", p.lines.a.url)))
    assert(count > 0, "the example has changed: " .. change[1])
  end
  return nginx.start { template = text, env = { OPENAI_API_KEY = "sk-test-0123456789" }, locations = {} }
end

return M
