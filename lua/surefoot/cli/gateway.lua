--- surefoot gateway: checks a configuration, writes nginx's, and becomes that nginx, in the foreground. From then on
--- signals are nginx's: TERM and INT end it, QUIT lets what is in flight finish, HUP reads the configuration again.

local binding = require "surefoot.binding"
local client_config = require "surefoot.config"
local gateway_config = require "surefoot.gateway.config"
local listeners = require "surefoot.cli.listeners"
local machine = require "surefoot.cli.nginx"
local nginx = require "surefoot.gateway.nginx"
local outputs = require "surefoot.cli.outputs"
local routes = require "surefoot.gateway.routes"
local settings = require "surefoot.cli.settings"

local process, region = binding.process, binding.region

local M = {
  name = "gateway",
  summary = "Serve an OpenAI- and Anthropic-compatible API over many lines.",
  examples = {
    "surefoot gateway config.lua",
    "surefoot gateway config.lua --listen 0.0.0.0:8080 --workers 4",
    "surefoot gateway config.lua --check",
    "kill -HUP PID        # reads config.lua again, no call is dropped",
  },
}

M.description = "Serves an OpenAI- and Anthropic-compatible API over many lines, by nginx in the foreground. "
  .. "TERM and INT (Ctrl-C) end it, QUIT ends it when what is in flight has finished, HUP reads the configuration "
  .. "again."

local WORKER = "nobody" -- whom the workers of a root's nginx run as

local FAILED, MISUSED = 1, 2 -- exit codes

local function workers(given)
  local count = tonumber(given)
  if given == "auto" or count and count >= 1 and count <= 512 and count % 1 == 0 then
    return given
  end
  return nil, "--workers: expected a number from 1 to 512, or auto, got " .. given
end

local function permissions(given)
  if given:find "^0?[0-7][0-7][0-7]$" then
    return given
  end
  return nil, "--socket-mode: expected permissions like 600 or 660, got " .. given
end

function M.configure(command)
  command:argument("config", "Lua file that returns the configuration, with a table `gateway` "
    .. "(default: $SUREFOOT_CONFIG, else ~/.config/surefoot/config.lua)."):args "?"
  command:option("-l --listen", "Address: HOST:PORT, PORT or unix:/PATH."):argname("ADDRESS"):default "127.0.0.1:8080"
  command:option("--socket-mode", "Permissions of a unix: socket."):argname("MODE"):default("600"):convert(permissions)
  command:option("-w --workers", "Processes."):argname("N"):default("auto"):convert(workers)
  command:option("--directory", "Where nginx's files are written, and kept (default: a new one that is removed).")
    :argname "DIR"
  command:option("--user", "Whom the workers run as, when this runs as root."):argname("NAME"):default(WORKER)
  command:option("--access-log", "File, syslog:..., or off (default: standard output)."):argname "FILE"
  command:option("--error-log", "File (default: standard error)."):argname "FILE"
  command:flag("--check", "Only check the configuration, here and in nginx's Lua.")
  command:flag("--print", "Only print nginx's configuration.")
end

-- Ends the command: what was wrong, and its exit code.
local function fail(code, message, ...)
  error({ code = code, message = select("#", ...) > 0 and message:format(...) or message }, 0)
end

local function absolute(name)
  return name:sub(1, 1) == "/" and name or process.directory() .. "/" .. name:gsub("^%./", "")
end

-- ------------------------------------------------------------------------------------------------------ checks

-- Calls what throws texts; those are about the configuration.
local function checked(name, f, ...)
  local ok, value = pcall(f, ...)
  if not ok then
    fail(MISUSED, "%s: %s", name, tostring(value))
  end
  return value
end

-- Gives a path back that nginx can take.
local function nginx_path(option, path)
  local ok, problem = pcall(nginx.path, path, option)
  return ok and path or fail(MISUSED, problem)
end

---@class surefoot.cli.Gateway
---@field config string     absolute path
---@field address surefoot.gateway.Address
---@field client table      the client's configuration, resolved
---@field gateway table     the gateway's, checked

-- Reads and checks everything that the configuration says.
---@return surefoot.cli.Gateway
local function read(args)
  local name = settings.path(args.config)
  if not name then
    fail(MISUSED, "which configuration? Name a Lua file: surefoot gateway config.lua")
  end
  local address, misread = nginx.address(args.listen)
  if not address then
    fail(MISUSED, "--listen: " .. misread)
  end
  nginx_path("--listen", address.text)
  local given, problem = settings.load(name)
  if not given then
    fail(MISUSED, problem)
  end
  local client = {}
  for key, value in pairs(given) do
    client[key] = value
  end
  client.gateway = nil
  client = checked(name, client_config.resolve, client)
  local gateway = checked(name, gateway_config.check, given.gateway, address.text)
  checked(name, gateway_config.check_budgets, gateway, client)
  checked(name, routes.new, { config = client }, gateway.models)
  return { config = absolute(name), address = address, client = client, gateway = gateway }
end

-- Ends the command where it cannot listen: who does, or what is wrong with the address.
local function refuse_address(address, problem)
  if problem:find("in use", 1, true) then
    fail(FAILED, "--listen %s: %s: %s", address.text, problem, listeners.told(address))
  end
  fail(problem:find("denied", 1, true) and FAILED or MISUSED, "--listen %s: %s", address.text, problem)
end

-- Looks whether nginx can listen; a socket of the machine is made here, since nginx would let everybody in: it takes
-- the one that it inherits. Gives its number.
local function open_address(address, mode)
  if address.host then
    local free, problem = process.can_listen(address.host, address.port)
    return not free and refuse_address(address, problem) or nil
  end
  local path = address.text:match "^unix:(.*)"
  local fd, problem = process.listen(path, mode)
  if not fd then
    refuse_address(address, problem)
  end
  process.remove_after(path, fd)
  return fd
end

-- Whom the workers run as: nil for whoever runs this, if not root.
local function find_user(name, files)
  if process.user().id ~= 0 then
    return nil
  end
  local user, problem = process.user(name)
  if not user then
    fail(MISUSED, "--user %s: %s", name, problem)
  end
  for _, file in ipairs(files) do
    if not process.can_read(file, name) then
      fail(MISUSED, "the workers would run as %s, who cannot read %s: install surefoot where everybody can, or choose "
        .. "another --user (root can)", name, file)
    end
  end
  return user
end

-- ------------------------------------------------------------------------------------------------------ folder

local function read_file(name)
  local file = io.open(name, "rb")
  local text = file and file:read "*a"
  if file then
    file:close()
  end
  return text
end

local function write_file(name, text)
  local file, problem = io.open(name, "wb")
  if not file then
    fail(FAILED, problem)
  end
  local ok, unwritten = file:write(text)
  local closed, unflushed = file:close()
  if not ok or not closed then
    fail(FAILED, "%s: %s", name, unwritten or unflushed)
  end
end

-- The folder that was named, as nginx will.
local function named_folder(name)
  return nginx_path("--directory", (absolute(name):gsub("(.)/+$", "%1")))
end

-- A folder that was named is made where it is missing, and belongs to one gateway at a time.
local function own_folder(folder)
  os.execute("mkdir -p -m 0700 -- '" .. folder .. "' 2>/dev/null")
  local well, problem = outputs.check(folder .. "/nginx.conf")
  if not well then
    fail(MISUSED, "--directory: %s", problem)
  end
  local pid = (read_file(folder .. "/nginx.pid") or ""):match "%d+"
  if pid and (read_file("/proc/" .. pid .. "/cmdline") or ""):find(folder .. "/nginx.conf", 1, true) then
    fail(FAILED, "--directory %s: the gateway with pid %s runs there", folder, pid)
  end
  return folder
end

-- Where files go that are of no use afterwards, and nginx can name them. Others than its user do not get through the
-- first one.
local function temporary(is_for_others)
  local list = {}
  for _, name in ipairs { not is_for_others and "XDG_RUNTIME_DIR" or "", "TMPDIR" } do
    local folder = os.getenv(name)
    if folder and folder:sub(1, 1) == "/" and pcall(nginx.path, folder, name) then
      list[#list + 1] = folder:gsub("/+$", "")
    end
  end
  list[#list + 1] = "/tmp"
  return list
end

-- A new one, that goes when nginx has ended. Whom the workers run as has to get through it.
local function new_folder(user)
  local is_for_others = user ~= nil and user.id ~= 0
  local folder, problem
  for _, base in ipairs(temporary(is_for_others)) do
    if not folder then
      folder, problem = process.make_folder(base .. "/surefoot-gateway-")
    end
  end
  if not folder then
    fail(FAILED, "cannot make a folder for nginx's files: " .. problem)
  end
  process.remove_after(folder)
  if is_for_others then
    process.allow(folder, "711")
  end
  return folder
end

-- ------------------------------------------------------------------------------------------------------- nginx

-- A file of a log, as nginx will open it.
local function log_file(option, target)
  if not target or target == "off" or target:find "^syslog:" then
    return target
  end
  target = nginx_path(option, absolute(target))
  local well, problem = outputs.check(target)
  return well and target or fail(MISUSED, "%s: %s", option, problem)
end

-- What nginx.write needs.
local function describe(args, plan)
  local program, none = machine.find()
  if not program then
    fail(FAILED, none)
  end
  local paths, missing = machine.paths()
  if not paths then
    fail(FAILED, missing)
  end
  local user = find_user(args.user, paths.files)
  local files, connections = machine.capacity()
  return {
    program = program, user_found = user, config = plan.config, listen = plan.address.text, workers = args.workers,
    modules = program.modules, user = user and user.name .. (user.group and " " .. user.group or ""),
    lua_path = paths.lua_path, lua_cpath = paths.lua_cpath, fallback_path = paths.fallback_path,
    files = files, connections = connections, environment = machine.environment(),
    max_body_bytes = plan.gateway.max_body_bytes, error_log = log_file("--error-log", args.error_log),
    access_log = log_file("--access-log", args.access_log),
  }
end

-- nginx's configuration. What it cannot take here was found on this machine.
local function written(description)
  local ok, text = pcall(nginx.write, description)
  return ok and text or fail(FAILED, text)
end

-- Standard output cannot always be opened by name: under systemd it is a socket.
local function choose_access_log(description, terminal)
  if description.access_log then
    return
  end
  local file = io.open("/dev/stdout", "a")
  if file then
    file:close()
  else
    description.access_log = "off"
    terminal:tell("surefoot gateway: standard output cannot be opened by its name, so there is no access log; "
      .. "--access-log FILE or --access-log syslog:server=unix:/dev/log writes one")
  end
end

local function command_of(description)
  local words = { description.program.binary }
  for _, word in ipairs(description.program.arguments) do
    words[#words + 1] = word
  end
  local folder = description.directory
  for _, word in ipairs { "-p", folder .. "/", "-c", folder .. "/nginx.conf" } do
    words[#words + 1] = word
  end
  return words
end

local function shell_line(words, unset)
  local parts = { "env" }
  for _, name in ipairs(unset) do
    parts[#parts + 1] = "-u " .. name
  end
  for _, word in ipairs(words) do
    parts[#parts + 1] = "'" .. word .. "'" -- no quotes in them: nginx.path has seen to that
  end
  return table.concat(parts, " ")
end

local function shared_names()
  local names = {}
  for _, one in ipairs(region.list()) do
    if one.own then -- another user may have one of the same name
      names[one.name] = true
    end
  end
  return names
end

-- What nobody shares yet, and did not before, is there because of us.
local function forget_shared(before)
  for name in pairs(shared_names()) do
    local document = not before[name] and region.read(name)
    if document and #document.processes == 0 then
      region.unlink(name)
    end
  end
end

-- Lets nginx load the configuration, and end before it listens.
local function try(description)
  local before = shared_names()
  description.is_trial, description.access_log = true, "off"
  write_file(description.directory .. "/nginx.conf", written(description))
  local pipe = assert(io.popen(shell_line(command_of(description), machine.hidden()) .. " 2>&1 </dev/null", "r"))
  local said = pipe:read "*a"
  pipe:close()
  forget_shared(before)
  if said:sub(-4) ~= "well" then
    fail(MISUSED, "in nginx's Lua: " .. (said:match "problem: (.*)$" or said))
  end
end

local function count(list)
  local number = 0
  for _ in pairs(list or {}) do
    number = number + 1
  end
  return number
end

local function plural(number, word)
  return ("%d %s%s"):format(number, word, number == 1 and "" or "s")
end

local function summary(plan)
  local keys = count(plan.gateway.keys)
  return table.concat({
    plural(#plan.client.endpoints, "line"),
    plan.gateway.models and plural(count(plan.gateway.models), "model") or "any model",
    keys > 0 and plural(keys, "key") or "no keys",
  }, ", ")
end

local function access_log(target)
  return not target and "access log on standard output" or target == "off" and "no access log"
    or "access log in " .. target
end

local function start(description, plan, terminal, mode)
  local fd = open_address(plan.address, mode)
  local conf = description.directory .. "/nginx.conf"
  write_file(conf, written(description))
  local user = description.user_found
  if user and not process.can_read(conf, user.name) then
    fail(MISUSED, "the workers would run as %s, who cannot get into %s: chmod 711 lets them", user.name,
      description.directory)
  end
  terminal:tell(("surefoot gateway: %s/v1: %s; %s; nginx %s in %s"):format(plan.address.url, summary(plan),
    access_log(description.access_log), description.program.version, description.directory))
  local command, hidden = command_of(description), machine.hidden()
  if fd then -- as nginx hands its sockets over to a newer nginx
    table.insert(command, 1, "env")
    table.insert(command, 2, ("NGINX=%d;"):format(fd))
  end
  local _, problem = process.exec(command, hidden)
  fail(FAILED, "%s: %s", description.program.binary, problem)
end

local function run(args, terminal)
  local plan, folder = read(args), args.directory and named_folder(args.directory)
  for _, remark in ipairs(gateway_config.remarks(plan.gateway, plan.client)) do
    terminal:tell(("surefoot gateway: %s: %s"):format(plan.config, remark))
  end
  local description = describe(args, plan)
  if args.print then
    description.directory = folder or named_folder "surefoot-gateway"
    terminal:write(written(description))
    return 0
  end
  choose_access_log(description, terminal)
  description.directory = folder and not args.check and own_folder(folder)
    or new_folder(description.user_found)
  if args.check then
    try(description)
    terminal:print(("%s is well: %s; for %s"):format(plan.config, summary(plan), plan.address.url))
    return 0
  end
  return start(description, plan, terminal, args.socket_mode)
end

--- Runs the command. Where all is well it does not return: this process is nginx then.
---@param args table
---@param terminal surefoot.Terminal
---@return integer exit_code
function M.run(args, terminal)
  local ok, result = pcall(run, args, terminal)
  if ok then
    return result
  elseif type(result) == "table" and result.code then
    terminal:complain(result.message)
    return result.code
  end
  error(result, 0)
end

return M
