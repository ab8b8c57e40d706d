-- Files in and out: multipart bodies told part by part, bytes that are not text, and a sink that keeps nothing.
-- Source: openai/openai-openapi (/audio/speech, /audio/transcriptions, /files).

local cjson = require "cjson.safe"
local digest = require "sim.digest"
local multipart = require "sim.multipart"
local openai = require "sim.openai"
local text = require "sim.text"

local M = {}

local SPEECH = 32768
local TYPES = {
  mp3 = "audio/mpeg", opus = "audio/opus", aac = "audio/aac", flac = "audio/flac", wav = "audio/wav", pcm = "audio/pcm",
}

local function reply(status, body, headers)
  headers = headers or { ["Content-Type"] = "application/json" }
  return { status = status, headers = headers, body = type(body) == "table" and cjson.encode(body) or body }
end

-- Every value of a byte, zeros too, and not in an order that a text filter would leave alone.
local function noise(bytes)
  local block = {}
  for i = 0, 255 do
    block[i + 1] = string.char((i * 167 + 13) % 256)
  end
  local cycle = table.concat(block)
  return cycle:rep(math.ceil(bytes / #cycle)):sub(1, bytes)
end

---Bytes: as many as the profile's `answer.bytes`, or the query's `bytes`, says.
---@return table reply
function M.speech(_, request, answer)
  if type(request.input) ~= "string" then
    return reply(400, openai.error(400, "Missing required parameter: 'input'."))
  end
  local body = noise(answer.bytes or tonumber(ngx.var.arg_bytes) or SPEECH)
  return reply(200, body, {
    ["Content-Type"] = TYPES[request.response_format] or TYPES.mp3, ["x-sim-md5"] = ngx.md5(body),
  })
end

-- What the spec wants to know of the parts, and the values of those that are no files.
local function told(parts)
  local list, values = {}, {}
  for i, part in ipairs(parts) do
    list[i] = {
      name = part.name, filename = part.filename, content_type = part.content_type, bytes = #part.body,
      md5 = ngx.md5(part.body), sha1 = digest.hex(ngx.sha1_bin(part.body)),
      value = not part.filename and part.body or nil,
    }
    if part.name then
      values[part.name] = part
    end
  end
  return text.list(list), values
end

local function with_file(ctx, run)
  local parts, err = multipart.parse(ngx.var.http_content_type, ctx.body)
  if not parts then
    return reply(400, openai.error(400, err))
  end
  local list, values = told(parts)
  if not (values.file and values.file.filename) then
    return reply(400, openai.error(400, "Missing required parameter: 'file'."))
  end
  return run(list, values)
end

---@return table reply
function M.transcription(ctx, _, answer)
  return with_file(ctx, function(list, values)
    local said = answer.text or ("echo: " .. values.file.filename)
    local format = values.response_format and values.response_format.body
    if format == "text" or format == "srt" or format == "vtt" then
      return reply(200, said .. "\n", { ["Content-Type"] = "text/plain; charset=utf-8" })
    end
    local input, output = text.tokens(#values.file.body), text.tokens(#said)
    return reply(200, text.encode { text = said, parts = list, usage = {
      type = "tokens", input_tokens = input, input_token_details = { text_tokens = 0, audio_tokens = input },
      output_tokens = output, total_tokens = input + output,
    } })
  end)
end

---@return table reply
function M.file(ctx)
  return with_file(ctx, function(list, values)
    return reply(200, text.encode {
      id = ("file-%s-%d"):format(ctx.line, ctx.number), object = "file", bytes = #values.file.body,
      created_at = ctx.time, filename = values.file.filename, status = "processed",
      purpose = values.purpose and values.purpose.body or cjson.null, parts = list,
    })
  end)
end

---Says what arrived; `ctx.upload` is what sim.upload made of it.
---@return table reply
function M.upload(ctx)
  return reply(200, ctx.upload)
end

return M
