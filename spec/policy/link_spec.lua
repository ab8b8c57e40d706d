-- The link-time test: what the objects of csrc/policy and csrc/wire need from outside is arithmetic and bytes, and
-- nothing else: no clock, socket, allocator, libcurl, stdio.
local env = require "spec.support.env"

local allowed = {}
for name in ([[exp pow cbrt ceil floor fmin fmax sqrt memchr memcmp memcpy memmove memset strcmp strlen
  __stack_chk_fail _GLOBAL_OFFSET_TABLE_]]):gmatch "%S+" do
  allowed[name] = true
end

-- Names that the sources together leave open.
local function open_symbols(sources)
  local folder = os.tmpname()
  os.remove(folder)
  env.check { "mkdir", folder }
  env.check("for source in " .. sources .. "; do object=" .. folder .. "/$(echo $source | tr / _).o; "
    .. "gcc -std=gnu11 -O2 -fPIC -fvisibility=hidden -Icsrc -c $source -o $object || exit 1; done; "
    .. "ld -r -o " .. folder .. "/all.o " .. folder .. "/*.o")
  local names = {}
  for name in env.check({ "nm", "-u", folder .. "/all.o" }):gmatch "U (%S+)" do
    names[#names + 1] = name
  end
  env.check { "rm", "-r", folder }
  return names
end

local function forbidden(names)
  local list = {}
  for _, name in ipairs(names) do
    if not allowed[name] then list[#list + 1] = name end
  end
  return list
end

describe("policies and parsers #once", function()
  it("need nothing but arithmetic and bytes", function()
    local names = open_symbols "csrc/policy/*.c csrc/wire/*.c"
    assert.is_true(#names > 0) -- nm was read
    assert.are.same({}, forbidden(names))
  end)

  it("would be found out", function()
    local source = os.tmpname() .. ".c"
    local file = assert(io.open(source, "w"))
    file:write("#include <stdlib.h>\n#include <time.h>\nlong sf_now(void);\n",
      "long sf_now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + rand(); }\n")
    file:close()
    local found = forbidden(open_symbols(source))
    os.remove(source)
    table.sort(found)
    assert.are.same({ "clock_gettime", "rand" }, found)
  end)
end)
