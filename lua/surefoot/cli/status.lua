--- surefoot status: what processes share by name (`shared = "name"`, and every gateway): circuits, latencies, what is
--- in flight, rates, and what the callers of a gateway hold. It only looks.

local json = require "surefoot.json"
local region = require("surefoot.binding").region
local sorted = require "surefoot.sorted"
local surefoot = require "surefoot"
local text = require "surefoot.config.text"
local words = require "surefoot.cli.words"

local M = {
  name = "status",
  summary = "Show what processes share: circuits, latencies, calls in flight, limits.",
  description = "Shows what processes share by name (shared = \"name\" in a configuration; a gateway's is "
    .. "gateway-ADDRESS_PORT): circuits, latencies, calls in flight, rates. Without a name it lists what there is.",
  examples = {
    "surefoot status",
    "surefoot status gateway-127.0.0.1_8080 --watch",
    "surefoot status gateway-127.0.0.1_8080 --json | jq '.endpoints[] | select(.breaker != \"closed\")'",
    "surefoot status --unlink old-name",
  },
}

local FAILED, MISSING = 1, 2 -- exit codes
local OLD = 30 -- seconds since a latency was measured
local EVERY = 1 -- seconds between two looks of --watch
local TOP, ERASE_LINE, ERASE_BELOW = "\27[H", "\27[K", "\27[J"
local CIRCUIT_COLOURS = { closed = "green", open = "red", half_open = "yellow" }

function M.configure(command)
  command:argument("name", "What the processes call it."):args "?"
  command:flag("--json", "Print JSON, one document a line.")
  command:flag("--watch", "Look again every second, until Ctrl-C.")
  command:option("--unlink", "Remove what is shared by this name; processes that have it open keep it."):argname "NAME"
end

-- ---------------------------------------------------------------------------------------------------- what is there

-- The names that this user can open; and those of others, for the message.
local function names()
  local own, others = {}, {}
  for _, one in ipairs(region.list()) do
    local list = one.own and own or others
    list[#list + 1] = one.name
  end
  table.sort(own)
  return own, others
end

local function has(list, name)
  for _, one in ipairs(list) do
    if one == name then
      return true
    end
  end
  return false
end

local FEW = 5 -- names in a message

local function missing(name)
  local own, others = names()
  if has(others, name) then
    return ("%q is shared by processes of another user (or in another container): look as that user"):format(name)
  end
  local near = text.hint(name, own)
  if near == "" then
    near = #own > FEW and "; surefoot status lists what is" or #own > 0 and ", only by " .. table.concat(own, ", ")
      or ", nor anything else"
  end
  return ("nothing is shared by the name %q%s"):format(name, near)
end

local function by_name(a, b)
  return (a.name or a.endpoint or "") .. (a.url or "") .. (a.model or "")
    < (b.name or b.endpoint or "") .. (b.url or "") .. (b.model or "")
end

-- Process ids as JSON has them: names.
local function with_names(counts)
  local named = {}
  for pid, count in pairs(counts) do
    named[("%d"):format(pid)] = count
  end
  return json.object(named)
end

-- Keys of providers are told apart by numbers.
local function number_keys(lanes)
  local numbers, counts = {}, {}
  for _, lane in ipairs(lanes) do
    local place = lane.endpoint .. "\n" .. lane.url
    local id = place .. "\n" .. lane.key
    if not numbers[id] then
      counts[place] = (counts[place] or 0) + 1
      numbers[id] = counts[place]
    end
    lane.key = numbers[id]
  end
end

-- What a key of the gateway has spent stands with what else is known of it.
local function join_spends(document)
  local callers, place = {}, {}
  for _, list in ipairs { document.allowances, document.spends } do
    for _, one in ipairs(list) do
      local name = (one.name or ""):gsub("^key ", "")
      if not place[name] then
        place[name] = { name = name, by_process = {}, in_flight = 0, spends = json.array() }
        callers[#callers + 1] = place[name]
      end
      if list == document.spends then
        one.name = nil
        table.insert(place[name].spends, one)
      else
        for key, value in pairs(one) do
          place[name][key] = key == "name" and name or value
        end
      end
    end
  end
  document.allowances, document.spends = nil, nil
  return callers
end

---@param name string
---@return table? document
---@return string? problem
local function read(name)
  local own = names()
  if not has(own, name) then
    return nil, missing(name)
  end
  local document, problem = region.read(name)
  if not document then
    return nil, problem
  end
  document.name = name
  document.callers = join_spends(document)
  for _, list in ipairs { document.endpoints, document.lanes, document.callers } do
    table.sort(list, by_name)
  end
  number_keys(document.lanes)
  table.sort(document.processes)
  return document
end

local function as_json(document)
  for _, key in ipairs { "endpoints", "lanes", "callers", "processes" } do
    json.array(document[key])
    for _, one in ipairs(document[key]) do
      if type(one) == "table" and one.by_process then
        one.by_process = with_names(one.by_process)
      end
    end
  end
  if document.client then
    document.client.by_process = with_names(document.client.by_process)
  end
  return document
end

-- ------------------------------------------------------------------------------------------------------ for people

local function processes_of(counts)
  local parts = {}
  for i, pid in ipairs(sorted(counts)) do
    parts[i] = ("%d: %d"):format(pid, counts[pid])
  end
  return table.concat(parts, ", ")
end

local function full_in(one)
  local parts = {}
  if one.requests_full_in then
    parts[#parts + 1] = "requests in " .. words.duration(one.requests_full_in)
  end
  if one.tokens_full_in then
    parts[#parts + 1] = "tokens in " .. words.duration(one.tokens_full_in)
  end
  return table.concat(parts, ", ")
end

local function circuit(terminal, endpoint)
  local left = endpoint.breaker_seconds_left
  return terminal:colour(CIRCUIT_COLOURS[endpoint.breaker], (endpoint.breaker:gsub("_", "-")))
    .. (left and " for " .. words.duration(left) or "")
end

local function in_flight(one)
  return ("%d%s"):format(one.in_flight, one.limit and " of " .. one.limit or "")
end

-- What routing counts with: the time until the first token, where a failure counts as `routing.penalty` at least. An
-- old value is told with its age.
local function slowness(endpoint)
  if not endpoint.latency then
    return "-"
  end
  local age = endpoint.latency_age
  return words.duration(endpoint.latency) .. (age > OLD and (", %s ago"):format(words.duration(age)) or "")
end

local function pace(lane)
  local parts = {}
  if lane.requests_per_second then
    parts[#parts + 1] = ("%.3g requests/s"):format(lane.requests_per_second)
  end
  if lane.tokens_per_second then
    parts[#parts + 1] = ("%.3g tokens/s"):format(lane.tokens_per_second)
  end
  return table.concat(parts, ", ")
end

local function spent(spends)
  local parts = {}
  for i, one in ipairs(spends) do
    local per = one.per == "total" and "in all" or "in this " .. (one.per == "seconds" and "period" or one.per)
    parts[i] = ("%s %s"):format(words.money(one.spent), per)
      .. (one.resets_in and (", %s left"):format(words.duration(one.resets_in)) or "")
  end
  return table.concat(parts, "; ")
end

-- The tables: titles of columns, and the cells of a row.
local TABLES = {
  { list = "endpoints", titles = { "line", "circuit", "slowness", "in flight", "by process" },
    cells = function(terminal, one)
      return { one.name, circuit(terminal, one), slowness(one), in_flight(one), processes_of(one.by_process) }
    end },
  { list = "lanes", titles = { "model", "line", "key", "sent", "tokens", "learned pace", "full again", "blocked" },
    cells = function(terminal, one)
      return { one.model == "" and "-" or one.model, one.endpoint, "#" .. one.key, words.grouped(one.sent),
        words.grouped(one.sent_tokens), pace(one), full_in(one),
        one.blocked_for and terminal:colour("yellow", words.duration(one.blocked_for)) or "" }
    end },
  { list = "callers", titles = { "caller", "in flight", "by process", "spent", "full again" },
    cells = function(_, one)
      return { one.name, in_flight(one), processes_of(one.by_process), spent(one.spends), full_in(one) }
    end },
}

local function table_lines(terminal, part, list)
  local rows = { {} }
  for i, title in ipairs(part.titles) do
    rows[1][i] = terminal:colour("bold", title)
  end
  for _, one in ipairs(list) do
    rows[#rows + 1] = part.cells(terminal, one)
  end
  return words.columns(rows)
end

local function summary(terminal, document)
  local client = document.client or { in_flight = 0, retry_spent = 0 }
  local parts = { terminal:colour("bold", document.name),
    ("%d %s"):format(#document.processes, #document.processes == 1 and "process" or "processes"),
    in_flight(client) .. " in flight", ("%.0f of the retry budget spent"):format(client.retry_spent) }
  if client.requests_full_in or client.tokens_full_in then
    parts[#parts + 1] = "limits full again: " .. full_in(client)
  end
  if document.refused > 0 then
    parts[#parts + 1] = terminal:colour("yellow", ("%s found no room and are private")
      :format(words.grouped(document.refused)))
  end
  return table.concat(parts, "   ")
end

local function lines_of(terminal, document)
  local lines = { summary(terminal, document) }
  for _, part in ipairs(TABLES) do
    local list = document[part.list]
    if #list > 0 then
      lines[#lines + 1] = ""
      for _, line in ipairs(table_lines(terminal, part, list)) do
        lines[#lines + 1] = line
      end
    end
  end
  return lines
end

-- --------------------------------------------------------------------------------------------------------- running

local function show(terminal, document, as_document)
  if as_document then
    return terminal:json(as_json(document))
  end
  for _, line in ipairs(lines_of(terminal, document)) do
    terminal:print(line)
  end
end

-- The new state over the old one, without a flicker.
local function redraw(terminal, document)
  local lines = { TOP }
  for _, line in ipairs(lines_of(terminal, document)) do
    lines[#lines + 1] = line .. ERASE_LINE .. "\n"
  end
  terminal:write(table.concat(lines), ERASE_BELOW)
  terminal:flush()
end

local function watch(args, terminal)
  local is_drawn = terminal.is_tty and not args.json
  if is_drawn then
    terminal:write(TOP, ERASE_BELOW)
  end
  while true do
    local document, problem = read(args.name)
    if not document then
      terminal:complain(problem)
      return MISSING
    elseif is_drawn then
      redraw(terminal, document)
    else
      show(terminal, document, args.json)
      terminal:flush()
    end
    surefoot.sleep(EVERY)
  end
end

local function list(args, terminal)
  local own = names()
  if args.json then
    terminal:json(json.array(own))
    return 0
  elseif #own == 0 then
    terminal:tell "nothing is shared: no process of this user runs with `shared`, and no gateway"
    return 0
  end
  for _, name in ipairs(own) do
    terminal:print(name)
  end
  return 0
end

local function unlink(name, terminal)
  local own = names()
  if not has(own, name) then
    terminal:complain(missing(name))
    return MISSING
  end
  local ok, problem = region.unlink(name)
  if not ok then
    terminal:complain(("%s: %s"):format(name, problem))
    return FAILED
  end
  return 0
end

--- Runs the command.
---@param args table
---@param terminal surefoot.Terminal
---@return integer exit_code
function M.run(args, terminal)
  if args.unlink then
    return unlink(args.unlink, terminal)
  elseif not args.name then
    return list(args, terminal)
  elseif args.watch then
    return watch(args, terminal)
  end
  local document, problem = read(args.name)
  if not document then
    terminal:complain(problem)
    return MISSING
  end
  show(terminal, document, args.json)
  return 0
end

return M
