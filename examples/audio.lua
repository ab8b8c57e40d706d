--- Speaks a text into a file, then sends the file to be written down again. Neither is held in memory.
---   lua5.4 examples/audio.lua [PRESET or URL] [TEXT] [FILE]

local surefoot = require "surefoot"

local where, text, file = arg[1] or "openai", arg[2] or "Careful people try again.", arg[3] or "speech.mp3"
local is_url = where:find "^https?://" ~= nil

local ok, client = pcall(surefoot.new, {
  preset = not is_url and where or nil, base_url = is_url and where or nil,
  timeout = { attempt = 300, total = 900 }, -- an attempt lasts from the first byte sent to the last one received
})
if not ok then -- no key in the environment ...
  io.stderr:write(client, "\n")
  os.exit(2)
end

local function check(reply, err)
  if not reply then
    io.stderr:write(tostring(err), "\n")
    os.exit(1)
  end
  return reply
end

local spoken = check(client:request {
  path = "/audio/speech", json = { model = "tts-1", voice = "alloy", input = text },
  output = { file = file }, -- there when it is whole, not before
})
local bytes, kind = spoken.bytes, spoken.headers["content-type"]
print(("%s: %d bytes of %s in %.1f s"):format(spoken.file, bytes, kind, spoken.latency))

local heard = check(client:request {
  path = "/audio/transcriptions", multipart = {
    { name = "model", value = "whisper-1" },
    { name = "file", file = file, content_type = "audio/mpeg" },
  },
})
print(heard.body.text)
client:close()
