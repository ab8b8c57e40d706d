-- One version: lua/surefoot/version.lua. Everything else that states one agrees with it.
local env = require "spec.support.env"
local process = require "spec.support.process"

local version = require "surefoot.version"

describe("the version", function()
  it("is a semantic version", function()
    assert.matches("^%d+%.%d+%.%d+$", version)
  end)

  it("is what the module says", function()
    assert.equal(version, require("surefoot")._VERSION)
  end)

  it("is SF_VERSION, which the core sends as its name, and the core states no other", function()
    assert.is_nil(require("surefoot.core")._VERSION)
    local stated = env.check([=[grep -rhoE '"[0-9]+\.[0-9]+\.[0-9]+"' csrc]=])
    assert.equal(('"%s"\n'):format(version), stated)
  end)

  it("is the newest of the changelog, which has a date or says unreleased", function()
    local newest, when = process.read("CHANGELOG.md"):match "\n## %[([^%]]+)%] %- (%S+)"
    assert.equal(version, newest)
    assert.is_truthy(when == "unreleased" or when:match "^%d%d%d%d%-%d%d%-%d%d$")
  end)

  it("is in the name of each rockspec, as in its text, and no rockspec is ahead of the changelog", function()
    local changelog = process.read "CHANGELOG.md"
    local count = 0
    for name in env.check("ls rockspec"):gmatch "[^\n]+" do
      local text = process.read("rockspec/" .. name)
      local stated = text:match '\nversion = "([^"]+)"'
      assert.equal(name, ("surefoot-%s.rockspec"):format(stated))
      if not stated:match "^scm%-" then
        local released = stated:match "^(.+)%-%d+$"
        assert.is_truthy(changelog:find("## [" .. released .. "] - 2", 1, true), name .. " is not in the changelog")
      end
      count = count + 1
    end
    assert.is_true(count > 0)
  end)
end)
