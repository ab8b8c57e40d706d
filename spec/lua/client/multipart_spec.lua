-- Forms as browsers write them (WHATWG HTML, "multipart/form-data encoding algorithm"; RFC 7578).
local multipart = require "surefoot.client.multipart"

local function text_of(parts)
  local body, content_type = multipart.encode(parts, "b")
  assert.equal("multipart/form-data; boundary=b", content_type)
  for i, part in ipairs(body) do
    body[i] = type(part) == "table" and "[" .. part.file .. "]" or part
  end
  return table.concat(body)
end

local function disposition(part)
  return text_of({ part }):match "\r\nContent%-Disposition: form%-data; (.-)\r\n"
end

describe("a form", function()
  it("has its parts in order, each with its head", function()
    assert.equal(table.concat({
      "--b", 'Content-Disposition: form-data; name="model"', "", "whisper-1",
      "--b", 'Content-Disposition: form-data; name="file"; filename="a.mp3"', "Content-Type: audio/mpeg", "",
      "[x/a.mp3]",
      "--b", 'Content-Disposition: form-data; name="mask"; filename="m"', "Content-Type: application/octet-stream", "",
      "\0\r\n\255",
      "--b", 'Content-Disposition: form-data; name="extra"', "Content-Type: application/json", "", "{}",
      "--b", 'Content-Disposition: form-data; name="none"', "", "",
      "--b--", "",
    }, "\r\n"), text_of {
      { name = "model", value = "whisper-1" }, { name = "file", file = "x/a.mp3", content_type = "audio/mpeg" },
      { name = "mask", data = "\0\r\n\255", filename = "m" },
      { name = "extra", value = "{}", content_type = "application/json" }, { name = "none", value = "" },
    })
  end)

  it("keeps what is large apart: it is not copied", function()
    local sound = ("x"):rep(1e6)
    local body = multipart.encode({ { name = "a", data = sound, filename = "s" }, { name = "f", file = "/f" } }, "b")
    assert.equal(5, #body)
    assert.is_true(rawequal(sound, body[2]))
    assert.same({ file = "/f" }, body[4])
  end)

  it("escapes names and filenames as browsers do", function()
    assert.equal('name="a%22b"', disposition { name = 'a"b', value = "" })
    assert.equal('name="%0D%0A%0D%0A%0D%0A"', disposition { name = "\n\r\r\n", value = "" })
    assert.equal('name="größe \\ %41"', disposition { name = "größe \\ %41", value = "" })
    assert.equal('name="f"; filename="%0A%0D%22 日本.txt"',
      disposition { name = "f", data = "", filename = "\n\r\" 日本.txt" })
  end)

  it("takes the filename from the end of the path", function()
    assert.equal('name="f"; filename="c.d"', disposition { name = "f", file = "/a/b/c.d" })
    assert.equal('name="f"; filename="c"', disposition { name = "f", file = "c" })
    assert.equal('name="f"; filename="other"', disposition { name = "f", file = "c", filename = "other" })
  end)

  it("refuses parts that say nothing, or too much", function()
    for message, parts in pairs {
      ["multipart: is empty"] = {},
      ["multipart[1]: expected one of value, data and file"] = { { name = "a" } },
      ["multipart[2]: expected one of value, data and file"] = {
        { name = "a", value = "" }, { name = "b", value = "", file = "c" },
      },
      ["multipart[1].filename: is required with data: servers know a file by it"] = { { name = "a", data = "" } },
      ["multipart[1]: a name contains a NUL byte"] = { { name = "a\0", value = "" } },
    } do
      local ok, problem = pcall(multipart.encode, parts, "b")
      assert.same({ false, message }, { ok, problem })
    end
  end)
end)
