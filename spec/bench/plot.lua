-- The plots of the benches and of the fleet: the command line's.

return require "surefoot.cli.plot"
