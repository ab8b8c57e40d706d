#!/bin/sh
# A short life under valgrind, from the first call to the end of the state: every transport, a fault, a cancel, a timer.
# Whatever is lost for good, read without being set, or touched after it was freed fails the run.
set -e
program=$(mktemp)
trap 'rm -f "$program"' EXIT
cat > "$program" <<'LUA'
local provider = require "spec.support.provider"
local surefoot = require "surefoot"
local p = provider.start { lines = { "a", "b" }, tls = true }
for _, line in ipairs {
  { url = "url" }, { url = "tls_url" }, { url = "tls_url", version = "2" },
} do
  local client = surefoot.new {
    endpoints = { { url = p.lines.a[line.url] }, { url = p.lines.b[line.url], priority = 2 } },
    api_key = "sk-test-0123456789", model = "m", tls = { ca_file = p.ca_file }, http_version = line.version,
  }
  assert(client:chat "x")
  p:profile("a", { fault = "truncate" })
  assert(client:chat "y")
  p:profile("a", { fault = "hang" })
  surefoot.run(function()
    local task = surefoot.spawn(function() return client:chat "z" end)
    surefoot.sleep(0.2)
    task:cancel()
  end)
  p:reset()
  local _, summary = client:batch { "1", "2", "3" }
  assert(summary.succeeded == 3)
  client:stats()
  client:close()
end
p:stop()
os.exit(0, true)
LUA
valgrind -q --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=9 lua5.4 -l spec.helper "$program"
echo "valgrind: clean"
