-- The library runs on 5.1, LuaJIT, 5.2, 5.3 and 5.4: only what they all have, and what it looks for by itself.
std = "min"
read_globals = {
  "jit", "loadstring", "setfenv", "unpack",
  math = { fields = { "tointeger", "type" } },
  table = { fields = { "pack", "unpack" } },
}
max_line_length = 120
include_files = { "**/*.lua", "**/*.rockspec", ".busted", ".luacheckrc", "spec/provider/run" }
exclude_files = { "build" }

-- Hosts that a file adapts to.
files["lua/surefoot/loop"].read_globals = { "ngx", "vim" }
files["lua/surefoot/gateway"].globals = { "ngx" }

files["spec"].std = "max+busted"
files["spec"].ignore = { "122" } -- a spec may stand in for a part of the standard library
files["spec/provider/sim"].std = "ngx_lua"
files["examples"].std = "max"
files["rockspec"].std = "rockspec"
