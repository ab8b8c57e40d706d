-- The program `surefoot`: LuaRocks installs it as it is, what `make` and `make install` write brings paths and runs it.

local ok, cli = pcall(require, "surefoot.cli")
if ok then
  os.exit(cli.main(arg), true)
elseif tostring(cli):find("interrupted!", 1, true) then -- by Ctrl-C, as Lua's own handler has it
  os.exit(130)
end
io.stderr:write(tostring(cli), "\n")
os.exit(1)
