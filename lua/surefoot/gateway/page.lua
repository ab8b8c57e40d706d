--- The status page: one HTML document that needs nothing but status.json beside it. Its own policy allows nothing else:
--- no other script, no other style, no other host.

local core = require "surefoot.binding"
local script = require "surefoot.gateway.page.script"
local style = require "surefoot.gateway.page.style"

local M = {}

local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(bytes)
  local text = bytes:gsub("..?.?", function(three)
    local a, b, c = three:byte(1, 3)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    local digits = ""
    for place = 3, 0, -1 do
      local digit = math.floor(n / 64 ^ place) % 64
      digits = digits .. DIGITS:sub(digit + 1, digit + 1)
    end
    return digits:sub(1, #three + 1) .. ("="):rep(3 - #three)
  end)
  return text
end

-- What a policy calls a script or a style that stands in the page.
local function source(text)
  local digest = core.sha256(text):gsub("%x%x", function(hex)
    return string.char(tonumber(hex, 16))
  end)
  return "'sha256-" .. base64(digest) .. "'"
end

--- For the header Content-Security-Policy.
---@type string
M.policy = table.concat({
  "default-src 'none'", "script-src " .. source(script), "style-src " .. source(style), "connect-src 'self'",
  "img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
}, "; ")

local ICON = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath "
  .. "d='M2 11h3l2-7 3 9 2-5h2' fill='none' stroke='%232f6fd0' stroke-width='2' stroke-linejoin='round'/%3E%3C/svg%3E"

--- The document.
---@type string
M.html = table.concat {
  [[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>surefoot</title>
<link rel="icon" href="]], ICON, [[">
<style>]], style, [[</style>
</head>
<body>
<div class="page">
<header class="top">
<span class="brand">surefoot</span><span id="facts"></span><span id="live" class="live paused">asking</span>
</header>
<div id="alarm" class="alarm" hidden>
<p id="problem" role="alert"></p><span id="next" class="soft"></span><button id="again" type="button">Ask now</button>
</div>
<noscript><p class="alarm">The page needs its script; <a href="status.json">status.json</a> has the numbers.</p>
</noscript>
<main id="status"></main>
<footer id="foot"></footer>
</div>
<script>]], script, [[</script>
</body>
</html>
]],
}

return M
