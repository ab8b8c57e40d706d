-- Dependencies point down only: which rooms of lua/surefoot/ may ask which others for something.

-- What a room asks for: the first names behind "surefoot.".
local function asked_by(path)
  local names = {}
  local pipe = assert(io.popen("find " .. path .. " -name '*.lua'"))
  for file in pipe:lines() do
    for line in io.lines(file) do
      local name = not line:find "^%s*%-%-" and line:match 'require%s*%(?%s*"surefoot%.([%w_]+)'
      if name then
        names[name] = names[name] or file
      end
    end
  end
  pipe:close()
  return names
end

local function rooms()
  local pipe, list = assert(io.popen "ls lua/surefoot"), {}
  for name in pipe:lines() do
    list[#list + 1] = name
  end
  pipe:close()
  return list
end

local function set(names)
  local known = {}
  for name in names:gmatch "%S+" do
    known[name] = true
  end
  return known
end

-- On top of the client: what each of them may ask of the others there.
local TOP = { gateway = set "gateway", fleet = set "fleet", cli = set "cli gateway fleet" }

-- Pure: formats know documents, and nothing of clients, loops and clocks.
local PURE = {
  provider = set "binding classify copy json provider sorted",
  dialect = set "binding classify copy json provider sorted dialect",
}

describe("the rooms of the library #once", function()
  it("leave the gateway, the simulations of fleets and the command line to themselves", function()
    local count = 0
    for _, room in ipairs(rooms()) do
      local may = TOP[room] or {}
      for name, file in pairs(asked_by("lua/surefoot/" .. room)) do
        count = count + 1
        assert.is_true(not TOP[name] or may[name] == true, file .. " requires surefoot." .. name)
      end
    end
    assert.is_true(count > 100)
  end)

  it("keep formats pure", function()
    for room, may in pairs(PURE) do
      for name, file in pairs(asked_by("lua/surefoot/" .. room)) do
        assert.is_true(may[name] == true, file .. " requires surefoot." .. name)
      end
    end
  end)
end)
