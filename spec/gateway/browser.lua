-- A headless Chromium, spoken to by its own protocol over two pipes: pages as people see them, on a screen of any size.
--
--   local browser = browsers.start()
--   local page = browser:open("http://127.0.0.1:8080/", { width = 360, height = 800, dark = true })
--   page:eval "document.title"      page:wait("document.body.innerText.includes('up')")      page:shot "/tmp/a.png"
--   page.complaints     -- errors of scripts, and what the page's own policy has blocked

local cjson = require "cjson"
local process = require "spec.support.process"

local M = {}

local NAMES = { "chromium", "chromium-headless-shell", "chromium-browser", "google-chrome" }

---@return string|nil path of the program
function M.find()
  for _, name in ipairs(NAMES) do
    local path = process.which(name)
    if path then
      return path
    end
  end
end

local Browser, Page = {}, {}
Browser.__index, Page.__index = Browser, Page

-- It ends by itself when the pipe does, or the time is over.
local LAUNCH = [[
exec timeout %d %s --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --no-first-run \
  --remote-debugging-pipe --user-data-dir=%s/profile about:blank 3<%s/in 4>%s/out >%s/log 2>&1]]

---Starts one; the seconds bound its whole life.
---@param seconds? number
function M.start(seconds)
  local self = setmetatable({ dir = process.temp_dir "surefoot-browser", id = 0, pages = {} }, Browser)
  local dir = process.quote(self.dir)
  process.capture { "mkfifo", self.dir .. "/in", self.dir .. "/out" }
  self.pid = process.spawn { "sh", "-c", LAUNCH:format(seconds or 60, M.find(), dir, dir, dir, dir) }
  self.input = assert(io.open(self.dir .. "/in", "wb"))
  self.output = assert(io.open(self.dir .. "/out", "rb"))
  self.input:setvbuf "no"
  return self
end

local function read_message(self)
  local parts = {}
  while true do
    local c = self.output:read(1)
    if not c then
      error("the browser has ended: " .. (process.read(self.dir .. "/log") or ""):sub(-2000), 0)
    elseif c == "\0" then
      return cjson.decode(table.concat(parts))
    end
    parts[#parts + 1] = c
  end
end

local function note(self, message)
  local page = self.pages[message.sessionId]
  local what = message.params
  if not page then
    return
  elseif message.method == "Runtime.exceptionThrown" then
    page.complaints[#page.complaints + 1] = what.exceptionDetails.text .. " "
      .. (what.exceptionDetails.exception and what.exceptionDetails.exception.description or "")
  elseif message.method == "Log.entryAdded" and what.entry.level == "error" then
    page.complaints[#page.complaints + 1] = what.entry.text .. " " .. (what.entry.url or "")
  end
end

---Asks, and waits for the answer.
---@return table result
function Browser:ask(method, params, session)
  self.id = self.id + 1
  params = params and next(params) and cjson.encode(params) or "{}"
  local text = ('{"id":%d,"method":"%s","params":%s%s}'):format(self.id, method, params,
    session and (',"sessionId":"%s"'):format(session) or "")
  self.input:write(text, "\0")
  while true do
    local message = read_message(self)
    if message.id == self.id then
      if message.error then
        error(method .. ": " .. message.error.message, 2)
      end
      return message.result
    end
    note(self, message)
  end
end

---@class spec.browser.Screen
---@field width? integer   default 1280
---@field height? integer  default 900
---@field dark? boolean
---@field scale? number    pixels of the picture for one of the page

---Opens a page; it may still be loading.
---@param url string
---@param screen? spec.browser.Screen
function Browser:open(url, screen)
  local target = self:ask("Target.createTarget", { url = "about:blank" }).targetId
  local session = self:ask("Target.attachToTarget", { targetId = target, flatten = true }).sessionId
  local page = setmetatable({ browser = self, session = session, target = target, complaints = {} }, Page)
  self.pages[session] = page
  page:ask "Runtime.enable"
  page:ask "Log.enable"
  page:screen(screen)
  page:ask("Page.navigate", { url = url })
  return page
end

---Ends it.
function Browser:stop()
  pcall(function() self.input:write('{"id":0,"method":"Browser.close"}\0') end)
  self.input:close()
  process.wait_for(function() return not process.alive(self.pid) end, 5)
  process.stop(self.pid, "KILL", 2)
  self.output:close()
  process.remove_dir(self.dir)
end

function Page:ask(method, params)
  return self.browser:ask(method, params, self.session)
end

---Puts it on another screen.
---@param screen? spec.browser.Screen
function Page:screen(screen)
  screen = screen or {}
  local width = screen.width or 1280
  self:ask("Emulation.setDeviceMetricsOverride", { width = width, height = screen.height or 900,
    deviceScaleFactor = screen.scale or 1, mobile = width < 600 })
  self:ask("Emulation.setEmulatedMedia", { features = { { name = "prefers-color-scheme",
    value = screen.dark and "dark" or "light" } } })
end

---The value of an expression in JavaScript.
---@param code string
function Page:eval(code)
  local answer = self:ask("Runtime.evaluate", { expression = code, returnByValue = true, awaitPromise = true })
  if answer.exceptionDetails then
    error(code .. ": " .. (answer.exceptionDetails.exception.description or answer.exceptionDetails.text), 2)
  end
  return answer.result.value
end

---Waits until an expression is true.
---@param code string
---@param seconds? number
function Page:wait(code, seconds)
  local ok, problem
  local value = process.wait_for(function()
    ok, problem = pcall(self.eval, self, code) -- while it navigates there is nothing to ask
    return ok and problem
  end, seconds or 10)
  if not value then
    error(("%s did not come true: %s\n%s"):format(code, ok and "" or problem, table.concat(self.complaints, "\n")), 2)
  end
  return value
end

---Everything that can be read on it.
---@return string
function Page:text()
  return self:eval "document.body.innerText"
end

---Writes what it looks like into a PNG; whole: not only what fits the screen.
---@param path string
---@param whole? boolean
function Page:shot(path, whole)
  local params = { format = "png" }
  if whole then
    params.captureBeyondViewport = true
  end
  local data = self:ask("Page.captureScreenshot", params).data
  process.write(path .. ".b64", data)
  local output, code = process.capture(("base64 -d %s >%s 2>&1"):format(process.quote(path .. ".b64"),
    process.quote(path)))
  os.remove(path .. ".b64")
  assert(code == 0, output)
end

function Page:close()
  self.browser:ask("Target.closeTarget", { targetId = self.target })
  self.browser.pages[self.session] = nil
end

return M
