--- The parts of a message: OpenAI's written as Gemini's. Pure; nothing given is written to.
--
-- What has no counterpart is refused (surefoot.provider.refusal).

local common = require "surefoot.provider.common"
local refusal = require "surefoot.provider.refusal"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, some_text = common.some, common.some_table, common.some_text

local refuse = refusal.refuse

--- A value as a message shows it.
---@param value any
---@return string
function M.quoted(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(some(value))
end

-- What an address without a media type is taken for; the API wants one for most files.
local TYPES = {}
for extension, kind in ([[png image/png jpg image/jpeg jpeg image/jpeg webp image/webp gif image/gif heic image/heic
    heif image/heif pdf application/pdf txt text/plain csv text/csv html text/html json application/json wav audio/wav
    mp3 audio/mp3 aac audio/aac ogg audio/ogg flac audio/flac aiff audio/aiff mp4 video/mp4 mpeg video/mpeg
    mov video/mov webm video/webm wmv video/wmv]]):gmatch "(%S+) (%S+)" do
  TYPES[extension] = kind
end

local function type_of(name)
  local extension = name:match "^[^?#]*%.(%w+)$" or name:match "^[^?#]*%.(%w+)[?#]"
  return extension and TYPES[extension:lower()]
end

-- "data:image/png;base64,...": bytes in place; any other address is for Gemini to fetch. The file's name may tell its
-- type where the address does not.
local function media(url, path, name)
  if type(url) ~= "string" then
    refuse(path, "a URL expected, got " .. type(some(url)))
  elseif not url:find "^[Dd][Aa][Tt][Aa]:" then
    return { fileData = { fileUri = url, mimeType = type_of(url) or type_of(name or "") } }
  end
  local head, data = url:match "^.....([^,]*),(.*)$"
  local kind = head and head:match "^([^;]+)"
  if not kind or not head:lower():find ";%s*base64%s*$" then
    refuse(path, "a data URL needs a media type and base64: data:image/png;base64,...")
  end
  return { inlineData = { mimeType = kind, data = data } }
end

local function url_of(value)
  return type(value) == "table" and value.url or value
end

local kinds = {}

function kinds.text(part, path)
  if type(part.text) ~= "string" then
    refuse(path .. ".text", "a text expected, got " .. type(some(part.text)))
  end
  return { text = part.text }
end

function kinds.refusal(part, path)
  return kinds.text({ text = part.refusal }, path)
end

function kinds.image_url(part, path)
  return media(url_of(part.image_url), path .. ".image_url.url")
end

function kinds.video_url(part, path)
  return media(url_of(part.video_url), path .. ".video_url.url")
end

function kinds.input_audio(part, path)
  local audio = some_table(part.input_audio) or NOTHING
  if not some_text(audio.data) or not some_text(audio.format) then
    refuse(path .. ".input_audio", "data and format expected")
  end
  return { inlineData = { mimeType = "audio/" .. audio.format, data = audio.data } }
end

function kinds.file(part, path)
  local file = some_table(part.file) or NOTHING
  if some(file.file_data) then
    return media(file.file_data, path .. ".file.file_data")
  elseif some(file.file_url) then
    return media(file.file_url, path .. ".file.file_url", some_text(file.filename))
  elseif not some_text(file.file_id) then
    refuse(path .. ".file", "file_data (a data URL), file_url or file_id (the file's URI) expected")
  end
  return { fileData = { fileUri = file.file_id, mimeType = some_text(file.mime_type) } }
end

local function part_of(part, path)
  if type(part) == "string" then
    return { text = part }
  elseif type(part) ~= "table" then
    refuse(path, "a table expected, got " .. type(part))
  elseif part.type == nil then
    return part -- Gemini's own
  end
  local translate = kinds[part.type]
  if not translate then
    refuse(path .. ".type", "Gemini has no counterpart for %s", M.quoted(part.type))
  end
  return translate(part, path)
end

--- The parts of a message's content: a text, a list of parts, or nothing.
---@param content any
---@param path string
---@return table[] parts a new list
function M.of_content(content, path)
  content = some(content)
  if content == nil or content == "" then
    return {}
  elseif type(content) == "string" then
    return { { text = content } }
  elseif type(content) ~= "table" or #content == 0 and next(content) ~= nil then
    refuse(path, "a text or a list of parts expected")
  end
  local list = {}
  for i = 1, #content do
    list[i] = part_of(content[i], ("%s[%d]"):format(path, i))
  end
  return list
end

--- The arguments of a call: a JSON object as text, or as a table.
---@param value any
---@param path string
---@param codec surefoot.Codec
---@return table arguments
function M.object(value, path, codec)
  value = some(value)
  if value == nil or type(value) == "string" and not value:find "%S" then
    return {}
  elseif type(value) == "table" and value[1] == nil then
    return value
  elseif type(value) ~= "string" then
    refuse(path, "a JSON object expected, got a " .. (type(value) == "table" and "list" or type(value)))
  end
  local decoded, _, problem = codec.decode(value)
  if type(decoded) ~= "table" or not value:find "^%s*{" then
    refuse(path, "a JSON object expected, got %s%s", common.beginning(value), problem and ": " .. problem or "")
  end
  return decoded
end

--- What a tool has said: a JSON object as it is, anything else as { result = text }; media apart.
---@param content any
---@param path string
---@param codec surefoot.Codec
---@return table response
---@return table[]? media
function M.of_result(content, path, codec)
  local texts, others = {}, {}
  for _, part in ipairs(M.of_content(content, path)) do
    if type(part.text) == "string" then
      texts[#texts + 1] = part.text
    else
      others[#others + 1] = part
    end
  end
  local text = table.concat(texts)
  local decoded = text:find "^%s*{" and codec.decode(text)
  return type(decoded) == "table" and decoded or { result = text }, #others > 0 and others or nil
end

return M
