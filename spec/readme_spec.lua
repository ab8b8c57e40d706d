--- The README says what is so: its reference is the configuration's own, its commands exist, its code parses and its
--- promises run.

local reference = require "spec.support.reference"
local surefoot = require "surefoot"

local readme = reference.read "README.md"
local load = rawget(_G, "loadstring") or load

local function blocks()
  local list = {}
  for code in readme:gmatch "```lua\n(.-)```" do
    list[#list + 1] = code
  end
  return list
end

describe("README.md", function()
  it("holds the configuration reference as it is (make reference)", function()
    assert.equal(reference.renew(readme), readme)
  end)

  it("has nothing left to be filled in", function()
    assert.is_nil(readme:match "@@%w*")
    assert.is_nil(readme:match "TODO")
  end)

  it("names only targets that the Makefile has", function()
    local makefile = reference.read "Makefile"
    local seen = 0
    for target in readme:gmatch "[`\n]make ([%a%-]+)" do
      assert(makefile:find("\n" .. target:gsub("%-", "%%-") .. ":"), "no target " .. target)
      seen = seen + 1
    end
    assert.is_true(seen > 5)
  end)

  it("shows Lua that parses", function()
    local list = blocks()
    assert.is_true(#list >= 8)
    for i, code in ipairs(list) do
      code = code:gsub("do %.%.%. end", "do end")
      local ok, problem = load(code)
      assert(ok, ("block %d: %s\n%s"):format(i, tostring(problem), code))
    end
  end)

  it("names files that exist", function()
    for path in readme:gmatch "`?([%w_/%-%.]+%.%a+)`?" do
      if path:match "^examples/" or path:match "^lua/surefoot/" or path:match "^spec/" or path:match "^rockspec/" then
        assert(io.open(path), path):close()
      end
    end
  end)

  it("tells the truth about the simulation", function()
    for _, code in ipairs(blocks()) do
      if code:find("surefoot.simulate", 1, true) then
        local printed = {}
        local chunk = assert(load("local surefoot, print = ...\n" .. code))
        chunk(surefoot, function(...)
          printed[#printed + 1] = { ... }
        end)
        assert.equal("hi", printed[1][1])
        assert.near(120.2, printed[1][2], 1e-6)
        return
      end
    end
    error "the block about the simulation is gone"
  end)

  it("shows policies that can be made as shown", function()
    for _, code in ipairs(blocks()) do
      if code:find("policy.wrap", 1, true) then
        local chunk = assert(load("local any_function, headers, status, body = ...\n" .. code .. "\nreturn guarded"))
        local guarded = chunk(function(x) return x, nil end, { ["retry-after"] = "2" }, 503, "{}")
        assert.same({ n = 2, 7 }, { n = select("#", guarded(7)), (guarded(7)) })
        return
      end
    end
    error "the block about the policies is gone"
  end)

  it("asks for the libcurl that the sources ask for", function()
    local least = reference.read "csrc/engine/transport_curl.h":match "surefoot needs libcurl ([%d.]+) or newer"
    assert.equal(least, readme:match "libcurl ([%d.]+) or later")
  end)
end)
