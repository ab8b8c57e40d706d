--- Where commands write: colour, status lines and bars on terminals alone.

local terminals = require "surefoot.cli.terminal"

-- A file that keeps what is written.
local function paper()
  return {
    text = "",
    write = function(self, ...)
      self.text = self.text .. table.concat { ... }
      return self
    end,
    flush = function() end,
  }
end

local function new(options)
  local out, err = paper(), paper()
  local variables = options.variables or { LANG = "C" }
  options.environment = function(name) return variables[name] end
  return terminals.new(out, err, options), out, err
end

describe("a terminal", function()
  it("is none where a file is", function()
    local terminal, out, err = new { width = 40 }
    terminal:status "working"
    terminal:progress { done = 1, total = 2 }
    terminal:print(terminal:colour("red", "text"), 1)
    terminal:tell "note"
    terminal:complain "it failed"
    assert.equal("text1\n", out.text)
    assert.equal("note\nsurefoot: it failed\n", err.text)
  end)

  it("has colours, unless they are unwanted", function()
    local terminal = new { is_tty = true }
    assert.equal("\27[31mx\27[0m", terminal:colour("red", "x"))
    assert.equal("x", terminal:colour("red", "x", "stderr"))
    assert.equal("x", new({ is_tty = true, variables = { NO_COLOR = "1" } }):colour("red", "x"))
    assert.equal("\27[1mx\27[0m", new({ is_tty = true, variables = { NO_COLOR = "" } }):colour("bold", "x"))
    assert.equal("x", new({ is_tty = true, variables = { TERM = "dumb" } }):colour("red", "x"))
    assert.has_error(function() terminal:colour("mauve", "x") end)
  end)

  it("overwrites its status line, and prints above it", function()
    local terminal, out, err = new { is_tty = true, error_is_tty = true, width = 20 }
    terminal:status "one"
    terminal:print "result"
    terminal:status("two\nlines of a long status", true)
    terminal:clear()
    terminal:clear()
    assert.equal("result\n", out.text)
    assert.equal("\r\27[Kone\r\27[K\r\27[Ktwo lines of a long\r\27[K", err.text)
  end)

  it("draws no status twice, and seldom", function()
    local terminal, _, err = new { error_is_tty = true, width = 40 }
    for i = 1, 1000 do
      terminal:status("state " .. i)
    end
    local _, drawn = err.text:gsub("state", "")
    assert.is_true(drawn < 100)
    terminal:status("last", true)
    assert.matches("last$", err.text)
  end)

  it("shows how far something is", function()
    local terminal, _, err = new { error_is_tty = true, width = 60, variables = { LANG = "C", NO_COLOR = "1" } }
    assert.equal("[#####.....]", terminal:bar(1, 2, 10))
    assert.equal("[##########]", terminal:bar(3, 2, 10))
    assert.equal("[##########]", terminal:bar(0, 0, 10))
    terminal:progress { done = 2, total = 2, text = "3 errors" }
    assert.matches("%[#+%] 100 %%  3 errors$", err.text)
    local modern = new { error_is_tty = true, variables = { LC_ALL = "de_DE.UTF-8", NO_COLOR = "1" } }
    assert.equal("━━╌╌", modern:bar(1, 2, 4))
  end)

  it("counts characters, not bytes or colours", function()
    assert.equal(4, terminals.columns "\27[31mäö\27[0m━x")
    assert.equal("\27[31mäö\27[0m━", terminals.cut("\27[31mäö\27[0m━x", 3))
    assert.equal("", terminals.cut("äö", 0))
    assert.equal(2, terminals.columns "\255\254") -- what is no UTF-8 does not stop it
  end)

  it("writes JSON by the line", function()
    local terminal, out = new {}
    terminal:json { b = 1, a = { 1, 2 } }
    assert.equal('{"a":[1,2],"b":1}\n', out.text)
  end)

  it("is as wide as its window, COLUMNS, or 80", function()
    assert.equal(33, new({ width = 33 }).width)
    assert.equal(44, new({ variables = { COLUMNS = "44" } }).width)
    assert.equal(80, new({}).width)
  end)
end)
