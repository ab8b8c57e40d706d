--- The LuaCATS annotations are whole: a public function names its parameters and what it returns, and every type that
--- an annotation names exists. An editor completes and checks by them; this keeps them from lying.


local function sources()
  local pipe = assert(io.popen "find lua -name '*.lua' | sort")
  local files = {}
  for path in pipe:lines() do
    local file = assert(io.open(path))
    local lines = {}
    for line in file:lines() do
      lines[#lines + 1] = line
    end
    file:close()
    files[path] = lines
  end
  pipe:close()
  return files
end

-- The comment block that ends right above a line.
local function doc_above(lines, at)
  local doc = {}
  at = at - 1
  while at > 0 and lines[at]:match "^%-%-%-" do
    table.insert(doc, 1, lines[at])
    at = at - 1
  end
  return table.concat(doc, "\n")
end

local function returns_something(lines, at)
  for i = at, #lines do
    if lines[i]:match "^end" then
      return false
    elseif lines[i]:match "^  return%s+[^%s]" then -- at the function's own level
      return true
    end
  end
end

-- Calls f(where, name, parameters, doc, lines, number) for every function that is reached from outside.
local function each_public(f)
  local count = 0
  for path, lines in pairs(sources()) do
    for i, line in ipairs(lines) do
      local owner, name, parameters = line:match "^function ([%u][%w]*)[.:]([%w_]+)%((.-)%)"
      local doc = owner and doc_above(lines, i) or ""
      if owner and not doc:find("@private", 1, true) and doc ~= "" then
        count = count + 1
        f(("%s:%d %s"):format(path, i, name), parameters, doc, lines, i)
      end
    end
  end
  return count
end

describe("LuaCATS annotations", function()
  it("name every parameter of a documented function", function()
    local missing = {}
    local count = each_public(function(where, parameters, doc)
      for parameter in parameters:gmatch "[%w_.]+" do
        local plain = parameter:gsub("%.", "%%.")
        if not doc:find("@param " .. plain .. "%??%s") then
          missing[#missing + 1] = where .. ": " .. parameter
        end
      end
    end)
    assert.is_true(count > 60)
    assert.same({}, missing)
  end)

  it("tell what a documented function returns", function()
    local missing = {}
    each_public(function(where, _, doc, lines, at)
      if returns_something(lines, at + 1) and not doc:find("@return", 1, true) then
        missing[#missing + 1] = where
      end
    end)
    assert.same({}, missing)
  end)

  it("name only types that exist", function()
    local known, used = {}, {}
    for path, lines in pairs(sources()) do
      for i, line in ipairs(lines) do
        local class = line:match "^%s*%-%-%-@class ([%w_.]+)" or line:match "^%s*%-%-%-@alias ([%w_.]+)"
        if class then
          known[class] = true
        end
        if line:match "^%s*%-%-%-@%a+" then
          for name in line:gmatch "surefoot%.[%u][%w_]*" do
            used[name] = ("%s:%d"):format(path, i)
          end
        end
      end
    end
    local unknown = {}
    for name, where in pairs(used) do
      if not known[name] then
        unknown[#unknown + 1] = name .. " at " .. where
      end
    end
    assert.same({}, unknown)
  end)

  it("cover all that a user can reach", function()
    local documented = {}
    each_public(function(where)
      documented[where:match "(%S+)$"] = true
    end)
    for _, name in ipairs {
      "new", "simulate", "chat", "embeddings", "models", "request", "batch", "each", "verify", "warm", "stats", "close",
      "wait", "cancel", "run", "spawn", "all", "sleep", "now", "pollfd", "step", "use", "array", "object",
    } do
      assert(documented[name], name .. " has no documentation")
    end
  end)
end)
