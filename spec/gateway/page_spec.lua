-- The status page, in a real browser, from a real nginx, with its own policy: figures, states, sizes, light and dark.
-- What it shows are documents of the gateway's own code (spec/gateway/showcase.lua).
local browsers = require "spec.gateway.browser"
local env = require "spec.support.env"
local json = require "surefoot.json"
local nginx = require "spec.support.nginx"
local page = require "surefoot.gateway.page"
local process = require "spec.support.process"
local showcase = require "spec.gateway.showcase"

describe("the status page", function()
  it("is one document that names nothing outside itself", function()
    assert.matches("^<!doctype html>\n", page.html)
    local text = page.html:gsub("http://www%.w3%.org/2000/svg", "")
    assert.is_nil(text:find "https?:")
    assert.is_nil(text:find "@import")
    assert.is_nil(text:find "url%(")
    for _, sink in ipairs { "innerHTML", "outerHTML", "insertAdjacent", "document%.write", "eval%(", "Function%(" } do
      assert.is_nil(text:find(sink), sink)
    end
    for name, value in text:gmatch '%s(%l+)="([^"]*)"' do
      if name == "src" or name == "href" then
        assert.is_true(value == "status.json" or value:find "^data:" ~= nil, value)
      end
    end
    assert.matches("^default%-src 'none'; script%-src 'sha256%-[%w+/=]+'; style%-src 'sha256%-[%w+/=]+'; ", page.policy)
    assert.is_nil(page.policy:find "unsafe")
  end)
end)

-- Serves documents; each has a mode: the HTTP status of the next answers.
local function serve(documents)
  local dir = process.temp_dir "surefoot-page"
  local locations = { ["= /mode"] = [[
    ngx.shared.modes:set(ngx.var.arg_name, ngx.var.arg_to)
    ngx.print "ok"]] }
  for name, document in pairs(documents) do
    process.write(dir .. "/" .. name, assert(json.encode(document)))
    locations["= /" .. name .. "/"] = [[
      local page = require "surefoot.gateway.page"
      ngx.header["content-type"], ngx.header["content-security-policy"] = "text/html; charset=utf-8", page.policy
      ngx.print(page.html)]]
    locations["= /" .. name .. "/status.json"] = ([[
      local mode = ngx.shared.modes:get %q or %q
      if mode:find "^%%d+$" then
        return ngx.exit(tonumber(mode))
      end
      ngx.header["content-type"] = "application/json"
      local file = io.open(%q .. mode)
      ngx.print(file and file:read "*a" or "no document")]]):format(name, name, dir .. "/")
  end
  local server = nginx.start { http = "lua_shared_dict modes 1m;", locations = locations }
  function server.mode(_, name, to)
    assert.equal(200, server:get(("/mode?name=%s&to=%s"):format(name, to)).status)
  end
  return server, dir
end

local ASK = "document.dispatchEvent(new Event('visibilitychange'))" -- as when somebody comes back to the page

-- Texts whose contrast is below 4.5 (WCAG 2.1 AA).
local FAINT = [[(() => {
  const parts = (color) => (color.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92
    : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const color = parts(getComputedStyle(node).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || node.closest("svg, script, style, noscript")) continue;
    const a = light(parts(getComputedStyle(node).color)), b = light(ground(node));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(walker.currentNode.data + " " + contrast.toFixed(2));
  }
  return faint.join("\n");
})()]]

-- Drawings that say nothing to those who cannot see them, and do not say that they need not.
local MUTE = [[(() => [...document.querySelectorAll("svg")].filter((svg) => svg.getAttribute("aria-hidden") !== "true"
  && !(svg.getAttribute("role") === "img" && svg.getAttribute("aria-label"))).length)()]]

describe("the status page in a browser #once", function()
  local server, dir, browser, busy

  setup(function()
    if not browsers.find() or not nginx.find() then
      return
    end
    busy = showcase.busy()
    server, dir = serve { busy = busy, fresh = showcase.fresh(), harsh = showcase.harsh() }
    browser = browsers.start()
  end)

  teardown(function()
    if browser then
      browser:stop()
      server:stop()
      process.remove_dir(dir)
    end
  end)

  local function open(name, screen)
    env.need("nginx", "nginx")
    if not browser then
      env.skip "no Chromium was found: install the package chromium"
    end
    server:mode(name, name)
    local tab = browser:open(("%s/%s/"):format(server.url, name), screen)
    tab:wait "document.querySelector('h1') !== null"
    return tab
  end

  local function close(tab)
    assert.same({}, tab.complaints)
    tab:close()
  end

  local SCREENS = {
    { width = 360, height = 800 }, { width = 360, height = 800, dark = true }, { width = 800, height = 900 },
    { width = 1280, height = 900 }, { width = 1280, height = 900, dark = true },
  }

  local FIGURES = { "1 of 3 lines is shut off", "hong-kong", "api-sg.example.com", "shut off, again in 41 s", "up",
    "13", "100 %", "4 workers", "3 d 4 h", "$41.27 of $100.00", "100.4 % spent", "resets in 9 d", "4 of 20",
    "401 unauthorized", "p99", "staging", "no budget" }

  -- As many as there are buckets that hold something, and all of them inside.
  local function check_bars(tab)
    local expected = 0
    for _, line in ipairs(busy.lines) do
      for _, what in ipairs { "latency", "first_token" } do
        for _, count in ipairs(line.recent[what] and line.recent[what].counts or {}) do
          expected = expected + (count > 0 and 1 or 0)
        end
      end
    end
    assert.is_true(expected > 20)
    assert.equal(expected, tab:eval "document.querySelectorAll('.spread .f-bar').length")
    assert.equal(60, tab:eval "document.querySelectorAll('.f-hover').length")
    assert.is_true(tab:eval [[[...document.querySelectorAll(".spread svg")].every((svg) => {
      const box = svg.viewBox.baseVal;
      return [...svg.querySelectorAll("rect")].every((r) => r.x.baseVal.value >= 0 && r.y.baseVal.value >= 0
        && r.x.baseVal.value + r.width.baseVal.value <= box.width
        && r.y.baseVal.value + r.height.baseVal.value <= box.height + 0.001);
    })]])
  end

  it("shows the figures on a phone and on a desk, by day and by night", function()
    local tab = open "busy"
    for _, screen in ipairs(SCREENS) do
      tab:screen(screen)
      local text = tab:text()
      for _, part in ipairs(FIGURES) do
        assert.is_truthy(text:find(part, 1, true), part .. " is missing on " .. screen.width .. "\n" .. text)
      end
      assert.equal(screen.width, tab:eval "document.documentElement.scrollWidth", "nothing is wider than the screen")
      assert.equal("", tab:eval(FAINT))
      assert.equal(0, tab:eval(MUTE))
    end
    check_bars(tab)
    tab:eval "document.documentElement.style.setProperty('--soft', '#4d5661')"
    assert.is_true(#tab:eval(FAINT) > 100, "the check of contrasts sees what is faint")
    close(tab)
  end)

  it("is live, and touches only what has changed", function()
    local tab = open "busy"
    tab:eval "window.kept = document.querySelector('#lines')"
    server:mode("busy", "fresh")
    tab:wait "document.querySelector('h1').innerText.includes('Both lines are up')" -- by itself
    assert.is_true(tab:eval "window.kept === document.querySelector('#lines')")
    local text = tab:text()
    for _, part in ipairs { "No request has ended in the last five minutes.", "There are no keys", "not asked",
      "None yet.", "1 worker", "none waiting" } do
      assert.is_truthy(text:find(part, 1, true), part)
    end
    assert.is_nil(text:find("NaN", 1, true))
    assert.is_nil(text:find("undefined", 1, true))
    assert.is_nil(text:find("hong-kong", 1, true))
    server:mode("busy", "busy")
    tab:eval(ASK)
    tab:wait "document.body.innerText.includes('hong-kong')"
    close(tab)
  end)

  it("says when there is no answer, keeps what it knew, asks less often, and comes back", function()
    local tab = open "busy"
    server:mode("busy", "502")
    tab:eval(ASK)
    tab:wait "document.body.innerText.includes('The gateway answers with HTTP 502.')"
    assert.matches("What is shown is as it was at %d%d:%d%d:%d%d%.", tab:text())
    assert.matches("Asking again in [34] s", tab:text())
    assert.matches("no answer", tab:text())
    assert.is_truthy(tab:text():find("hong-kong", 1, true))
    assert.is_true(tab:eval "document.querySelector('#status').classList.contains('stale')")
    assert.equal("alert", tab:eval "document.querySelector('#problem').getAttribute('role')")
    tab:eval "document.querySelector('#again').click()"
    tab:wait "/Asking again in [78] s/.test(document.body.innerText)"
    server:mode("busy", "401")
    tab:eval "document.querySelector('#again').click()"
    tab:wait "document.body.innerText.includes('does not show its numbers to you (HTTP 401)')"
    server:mode("busy", "nothing")
    tab:eval "document.querySelector('#again').click()"
    tab:wait "document.body.innerText.includes('answer cannot be read')"
    server:mode("busy", "busy")
    tab:eval "document.querySelector('#again').click()"
    tab:wait "document.querySelector('#alarm').hidden"
    assert.is_false(tab:eval "document.querySelector('#status').classList.contains('stale')")
    tab.complaints = {} -- the browser's own, of the answers above
    close(tab)
  end)

  it("says so when there has never been an answer", function()
    open("fresh"):close()
    server:mode("fresh", "503")
    local tab = browser:open(server.url .. "/fresh/", { width = 360, height = 800 })
    tab:wait "document.body.innerText.includes('The gateway answers with HTTP 503.')"
    assert.is_nil(tab:text():find("What is shown", 1, true))
    assert.equal(360, tab:eval "document.documentElement.scrollWidth")
    assert.equal("", tab:eval(FAINT))
    tab:close()
  end)

  it("shows names as they are, whatever is in them, and fits what does not fit", function()
    local tab = open "harsh"
    assert.is_nil(tab:text():find("key-300", 1, true))
    tab:eval "document.querySelector('.more-keys button').click()"
    assert.is_truthy(tab:text():find("key-300", 1, true))
    assert.equal(0, tab:eval "document.querySelectorAll('.more-keys').length")
    for _, width in ipairs { 360, 1280 } do
      tab:screen { width = width, height = 800 }
      assert.equal("surefoot", tab:eval "document.title")
      assert.equal(0, tab:eval "document.querySelectorAll('img').length")
      assert.is_truthy(tab:text():find('<img src=x onerror="document.title=1">', 1, true))
      assert.equal(width, tab:eval "document.documentElement.scrollWidth")
      assert.is_nil(tab:text():find("NaN", 1, true))
    end
    close(tab)
  end)
end)

-- Kept for whoever changes the page: SUREFOOT_SHOTS=folder writes what it looks like.
if os.getenv "SUREFOOT_SHOTS" then
  describe("pictures of the status page #once", function()
    it("are written", function()
      local server, dir = serve { busy = showcase.busy(), fresh = showcase.fresh(), harsh = showcase.harsh() }
      local browser = browsers.start()
      for _, name in ipairs { "busy", "fresh", "harsh" } do
        for _, screen in ipairs { { 360, 800 }, { 1280, 900 }, { 360, 800, true }, { 1280, 900, true } } do
          local tab = browser:open(("%s/%s/"):format(server.url, name),
            { width = screen[1], height = screen[2], dark = screen[3] })
          tab:wait "document.querySelector('h1') !== null"
          tab:shot(("%s/%s-%d%s.png"):format(os.getenv "SUREFOOT_SHOTS", name, screen[1],
            screen[3] and "-dark" or ""), true)
          tab:close()
        end
      end
      browser:stop()
      server:stop()
      process.remove_dir(dir)
    end)
  end)
end
