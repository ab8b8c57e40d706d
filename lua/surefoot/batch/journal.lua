--- What a batch over a file knows of itself, so that it can be taken up again wherever it was stopped.
--
-- The output and the file of failed rows are the truth: a row is done when it stands in one of them. The journal beside
-- the output says which input they belong to, and keeps a checkpoint, so that only what was written after it has to be
-- read again: what was done, one bit a line, and the place in the input before which all is done.
--
-- A process that is killed loses nothing that was written, since the system has it. For a power cut the files are
-- brought to the disk before each checkpoint, and the journal is replaced in one step: what may be lost are rows that
-- were written after the last checkpoint, and they are asked again.

local binding = require "surefoot.binding"
local ids = require "surefoot.ids"
local json = require "surefoot.json"
local line_set = require "surefoot.batch.line_set"
local row_file = require "surefoot.batch.row_file"

local M = {}

local VERSION = 1
local HEAD_BYTES = 64 * 1024 -- of the input, that tell it from others
local MOST = 16 * 2 ^ 20 -- bytes of a journal in one read

---@class surefoot.JournalPaths
---@field input string
---@field output string
---@field failed string
---@field journal string

---@class surefoot.JournalPlace  all lines of the input before it are done
---@field line integer    how many they are
---@field offset integer  bytes
---@field rows integer    how many of them are not empty

---@class surefoot.Journal
---@field tag string          of this batch, in the ids of its rows
---@field round integer       how often failed rows were taken up again
---@field done surefoot.LineSet    in the output, or failed
---@field failures surefoot.LineSet
---@field place surefoot.JournalPlace
---@field input table         core.file
---@field size integer        of the input
---@field private paths surefoot.JournalPaths
---@field private identity table
---@field private output surefoot.RowFile
---@field private failed surefoot.RowFile?
local Journal = {}
Journal.__index = Journal

-- ------------------------------------------------------------------------------------------------------------- input

-- Two sums of a text: no proof against forgers, but no two files that are not the same begin alike by accident.
local function digest(text)
  local a, b = 1, 7
  for i = 1, #text do
    local byte = text:byte(i)
    a, b = (a * 257 + byte) % 4294967291, (b * 65599 + byte) % 4294967279
  end
  return ("%.0f-%.0f"):format(a, b)
end

local function identity_of(file, status, head_bytes)
  local head, problem = file:read(0, math.min(HEAD_BYTES, head_bytes or HEAD_BYTES))
  if not head then
    return nil, problem
  end
  return { size = status.size, modified = status.modified, head = digest(head), head_bytes = #head }
end

-- Opens the input and says which one it is.
local function open_input(path)
  local file, problem = binding.file(path, "read")
  local status, identity
  if file then
    status, problem = file:status()
  end
  if status and not status.is_regular then
    problem = "not a regular file: a batch that can be taken up again needs one"
  elseif status then
    identity, problem = identity_of(file, status)
  end
  if not identity then
    return nil, ("%s: %s"):format(path, problem)
  end
  return file, identity, status.id
end

-- Whether this is the input that the journal knows: nil and what is different.
local function check_input(self, known, accepts_changes)
  local now, paths = self.identity, self.paths
  local head, problem = identity_of(self.input, now, known.head_bytes)
  if not head then
    return nil, ("%s: %s"):format(paths.input, problem)
  elseif head.head ~= known.head then
    return nil, ("%s is another input than the one that %s was begun with: it begins otherwise. Choose another output")
      :format(paths.input, paths.output)
  elseif now.size < self.place.offset then
    return nil, ("%s was cut to %d bytes, but %d of it are done"):format(paths.input, now.size, self.place.offset)
  elseif accepts_changes or now.size == known.size and now.modified == known.modified then
    return true
  end
  local what = now.size == known.size and "was written to"
    or ("has %d bytes instead of %d"):format(now.size, known.size)
  return nil, ("%s %s since %s was begun with it. If the lines that were there are still the same, say so "
    .. "(accept_changed_input)"):format(paths.input, what, paths.output)
end

-- ----------------------------------------------------------------------------------------------------------- journal

-- The journal as it was written last: nil and nothing where there is none.
local function read_journal(path)
  local file, message, code = binding.file(path, "read")
  if not file then
    return nil, code ~= 2 and ("%s: %s"):format(path, message) or nil -- 2: there is no such file
  end
  local parts, size = {}, 0
  local text
  repeat
    text, message = file:read(size, MOST)
    parts[#parts + 1], size = text, size + #(text or "")
  until not text or text == ""
  file:close()
  if not text then
    return nil, ("%s: %s"):format(path, message)
  end
  local document = json.decode(table.concat(parts))
  if type(document) ~= "table" or document.version ~= VERSION then
    return nil, path .. " is no journal of this version of surefoot"
  end
  return document
end

local function folder_of(path)
  return path:match "^(.*)/[^/]*$" or "."
end

-- Puts a text in the place of a file: after a power cut it is the one or the other.
local function replace(path, text)
  local new = path .. ".new"
  local file, problem = binding.file(new, "append")
  if not file then
    return nil, ("%s: %s"):format(new, problem)
  end
  local ok = true
  for _, step in ipairs { { file.truncate, 0 }, { file.append, text }, { file.sync } } do
    if ok then
      ok, problem = step[1](file, step[2])
    end
  end
  file:close()
  if not ok then
    return nil, ("%s: %s"):format(new, problem)
  end
  ok, problem = os.rename(new, path)
  if not ok then
    return nil, problem
  end
  local folder = binding.file(folder_of(path), "read")
  if folder then
    folder:sync() -- some file systems cannot; then this is all that there is
    folder:close()
  end
  return true
end

--- Remembers where it stands.
---@param place surefoot.JournalPlace? nil: where it stood
---@return boolean?
---@return string? problem
function Journal:checkpoint(place)
  self.place = place or self.place
  for _, file in ipairs { self.output, self.failed } do
    local ok, problem = file:sync()
    if not ok then
      return nil, problem
    end
  end
  return replace(self.paths.journal, assert(json.encode {
    version = VERSION, tag = self.tag, round = self.round, input = self.identity, place = self.place,
    output = self.output.size, failed = self.failed and self.failed.size or 0,
    done = self.done:text(), failures = self.failures:text(),
  }) .. "\n")
end

-- ------------------------------------------------------------------------------------------------------------- rows

--- Writes the row of an answer.
---@param line integer
---@param row string
---@return boolean?
---@return string? problem
function Journal:succeeded(line, row)
  local ok, problem = self.output:append(row)
  if ok then
    self.done:add(line)
  end
  return ok, problem
end

--- Writes the row of a failure.
---@param line integer
---@param row string
---@return boolean?
---@return string? problem
function Journal:failed_row(line, row)
  local ok, problem = true, nil
  if not self.failed then
    self.failed, problem = row_file.open(self.paths.failed)
    ok = self.failed ~= nil
  end
  if ok then
    ok, problem = self.failed:append(row)
  end
  if ok then
    self.done:add(line)
    self.failures:add(line)
  end
  return ok, problem
end

--- The id of the row of a line.
---@param line integer
---@return string
function Journal:id(line)
  return row_file.id(self.tag, line)
end

-- ---------------------------------------------------------------------------------------------------------- taking up

local function exists(path)
  local file = binding.file(path, "read")
  if file then
    file:close()
  end
  return file ~= nil
end

-- A batch that nobody has begun before.
local function begin(self)
  for _, file in ipairs { self.output, self.failed } do
    if file.size > 0 then
      return nil, ("%s is not empty, and %s does not say what it is: choose another name, or remove it")
        :format(file.path, self.paths.journal)
    end
  end
  self.tag, self.round = ids.new():sub(1, 8), 0
  self.done, self.failures = line_set.new(), line_set.new()
  self.place = { line = 0, offset = 0, rows = 0 }
  return self:checkpoint()
end

local function recover(self, known)
  local ok, problem = self.output:recover(known.output, self.tag, function(line)
    self.done:add(line)
  end)
  if ok and self.failed then
    ok, problem = self.failed:recover(known.failed, self.tag, function(line)
      if self.done:add(line) then
        self.failures:add(line)
      end
    end)
  end
  return ok, problem
end

local function is_whole(known)
  local place = known.place
  return type(place) == "table" and type(known.tag) == "string" and type(known.round) == "number"
    and type(known.input) == "table" and type(known.output) == "number" and type(known.failed) == "number"
    and type(place.line) == "number" and type(place.offset) == "number" and type(place.rows) == "number"
    and type(known.done) == "string" and type(known.failures) == "string"
end

-- Whether all rows are there that were when the journal was written.
local function check_rows(self, known)
  for name, size in pairs { output = known.output, failed = known.failed } do
    if (self[name] and self[name].size or 0) < size then
      return nil, ("%s has lost rows that were in it. To begin anew remove %s, %s and %s"):format(self.paths[name],
        self.paths.output, self.paths.failed, self.paths.journal)
    end
  end
  return true
end

-- One that was begun before.
local function take_up(self, known, accepts_changes)
  if is_whole(known) then
    self.done, self.failures = line_set.parse(known.done), line_set.parse(known.failures)
  end
  if not self.done or not self.failures then
    return nil, self.paths.journal .. " is damaged: choose another output"
  end
  self.tag, self.round, self.place = known.tag, known.round, known.place
  local ok, problem = check_rows(self, known)
  if ok then
    ok, problem = check_input(self, known.input, accepts_changes)
  end
  if ok then
    ok, problem = recover(self, known)
  end
  return ok, problem
end

-- What failed is open again.
local function forget_failures(self)
  for line in self.failures:each() do
    self.done:remove(line)
  end
  self.failures, self.round = line_set.new(), self.round + 1
  self.place = { line = 0, offset = 0, rows = 0 }
  local failed = self.failed
  self.failed = nil
  local ok, problem = self:checkpoint() -- before the rows go: killed in between, they are failed again
  self.failed = failed
  if ok and failed then
    ok, problem = failed:cut(0)
  end
  if ok and failed then
    ok, problem = failed:sync()
  end
  return ok, problem
end

local function open_rows(path, input_id)
  local file, problem = row_file.open(path)
  if file and file.id == input_id then
    file:close()
    return nil, path .. " is the input"
  end
  return file, problem
end

local function open_files(self)
  local problem, id
  self.input, self.identity, id = open_input(self.paths.input)
  if not self.input then
    return nil, self.identity
  end
  self.size = self.identity.size
  self.output, problem = open_rows(self.paths.output, id)
  if self.output and exists(self.paths.failed) then
    self.failed, problem = open_rows(self.paths.failed, id)
  end
  return not problem, problem
end

local function open(self, options)
  local ok, problem = open_files(self)
  if not ok then
    return nil, problem
  end
  local known
  known, problem = read_journal(self.paths.journal)
  if problem then
    return nil, problem
  end
  if known then
    ok, problem = take_up(self, known, options.accept_changed_input)
  else
    ok, problem = begin(self)
  end
  if ok and options.retry_failed and self.failures.count > 0 then
    ok, problem = forget_failures(self)
  end
  return ok, problem
end

--- Takes up a batch where it was stopped, or begins it.
---@param paths surefoot.JournalPaths
---@param options { retry_failed: boolean?, accept_changed_input: boolean? }
---@return surefoot.Journal?
---@return string? problem
function M.open(paths, options)
  local self = setmetatable({ paths = paths }, Journal)
  local ok, problem = open(self, options)
  if not ok then
    self:close()
    return nil, problem
  end
  return self
end

--- Lets go of the files.
function Journal:close()
  if self.input then
    self.input:close()
  end
  if self.failed then
    self.failed:close(true)
  end
  if self.output then
    self.output:close()
  end
end

return M
