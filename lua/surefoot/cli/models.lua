--- surefoot models: which models there are.

local settings = require "surefoot.cli.settings"

local M = {
  name = "models",
  summary = "List the models that a line offers.",
  description = "Lists the models that a line offers, one a line.",
  examples = {
    "surefoot models",
    "surefoot models sonnet --line hk",
    "surefoot models --json | jq -r '.[].id'",
  },
}

--- Adds the arguments.
---@param command table of argparse
function M.configure(command)
  command:argument("part", "Only those whose name has this in it."):args "?"
  command:flag("--json", "Print them as JSON, with all that the provider says of each.")
  settings.options(command)
end

local function matching(models, part)
  local list = {}
  for _, model in ipairs(models) do
    if not part or tostring(model.id):lower():find(part:lower(), 1, true) then
      list[#list + 1] = model
    end
  end
  return list
end

--- Runs it.
---@param args table
---@param terminal surefoot.Terminal
---@return integer exit_code 1 also where none is named so
function M.run(args, terminal)
  local client, problem = settings.client(args)
  if not client then
    terminal:complain(problem)
    return 2
  end
  local models, err = client:models()
  client:close()
  if not models then
    terminal:complain(tostring(err))
    return 1
  end
  local list = matching(models, args.part)
  if args.json then
    terminal:json(require("surefoot").array(list))
  else
    for _, model in ipairs(list) do
      terminal:print(tostring(model.id))
    end
  end
  if #list == 0 then
    terminal:tell(#models == 0 and "the line lists no models" or ("none of the %d models has %q in its name"):format(
      #models, args.part))
    return 1
  end
  return 0
end

return M
