-- A base URL that is refused was never shown, even where it holds no secret.
local url = require "surefoot.config.url"

local function problem(text)
  local parsed, message = url.parse(text)
  assert.is_nil(parsed)
  return message
end

describe("a URL that is refused", function()
  it("is shown where it is a host and nothing else", function()
    assert.equal('no scheme: got "api.x.com", begin with https://', problem "api.x.com")
    assert.equal('no scheme: got "api.x.com:8080/...", begin with https://', problem "api.x.com:8080/v1")
    assert.equal('no scheme: got "127.0.0.1:80/...", begin with https://', problem "127.0.0.1:80/v1")
    assert.equal('no scheme: got "localhost:80", begin with https://', problem "localhost:80")
    assert.equal('the scheme is neither https nor http: got "ftp"', problem "ftp://example.com")
    assert.equal("the port is out of range: got 99999, allowed are 1 to 65535", problem "https://a:99999/")
  end)

  it("is not where it may hold a secret", function()
    for _, text in ipairs { "sk-proj-abcdef0123456789", "user:secret@api.x.com", "api.x.com?key=secret",
      "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc",
      "0123456789abcdef0123456789abcdef.secret", "Secret.value", "" } do
      assert.equal("no scheme: begin with https://", problem(text))
    end
    assert.is_nil(problem("api.x.com/secret/v1"):find "secret")
    assert.is_nil(problem("S3cret://x"):find "S3cret")
  end)
end)
