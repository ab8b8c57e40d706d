--- surefoot complete: what a shell needs to complete command lines of surefoot.

local M = {
  name = "complete",
  summary = "Print a shell's completion of surefoot's command lines.",
  description = "Prints a script that lets a shell complete surefoot's command lines. make install brings it; the "
    .. "examples show where it belongs otherwise. zsh looks for it in the folders of $fpath.",
  examples = {
    "surefoot complete bash > ~/.local/share/bash-completion/completions/surefoot",
    "surefoot complete zsh > ~/.zfunc/_surefoot",
    "surefoot complete fish > ~/.config/fish/completions/surefoot.fish",
  },
}

--- Adds the arguments.
---@param command table of argparse
function M.configure(command)
  command:argument("shell", "Whose: bash, zsh or fish."):choices { "bash", "zsh", "fish" }
end

--- Runs it.
---@param args table
---@param terminal surefoot.Terminal
---@param parser table of argparse
---@return integer exit_code
function M.run(args, terminal, parser)
  terminal:write(parser["get_" .. args.shell .. "_complete"](parser))
  return 0
end

return M
