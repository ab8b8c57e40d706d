-- The program `surefoot`, as LuaRocks installs it; `make` and `make install` write their own, with paths.
os.exit(require("surefoot.cli").main(arg), true)
