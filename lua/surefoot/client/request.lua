--- client:request: any other request to the API. Its job, and what its answer means.
--
-- What is large is never held in memory: files go out while they are read, and come in while they are written.

local binding = require "surefoot.binding"
local bounds = require "surefoot.client.bounds"
local check = require "surefoot.config.check"
local coalesce = require "surefoot.coalesce"
local header_lines = require "surefoot.client.header_lines"
local multipart = require "surefoot.client.multipart"
local plans = require "surefoot.client.plan"
local providers = require "surefoot.provider"
local schema = require "surefoot.config.schema"
local url = require "surefoot.config.url"

local M = {}

---@class surefoot.Request
---@field method string?    default: POST with a body, else GET
---@field path string       appended to the endpoint's URL
---@field json any          the body, to be encoded
---@field body string | { file: string } | nil  the body as it is; a file is read while it is sent
---@field multipart surefoot.Part[]?            the body as a form
---@field headers table<string, string>?
---@field endpoint string?  only there
---@field output { file: string }?  where the body of a 2xx answer goes, instead of into memory

---@class surefoot.Result
---@field file string?    where the body is, with `output`; in `validate`: where it was written, beside its place
---@field bytes integer?  of it

-- Any 2xx, decoded where it says that it is JSON.
local function judge(job, reply, variant)
  local format, codec = providers.formats[variant.provider], job.client.codec
  local is_json = (binding.header(reply.headers, "content-type") or ""):lower():find "[/+]json"
  if reply.status < 200 or reply.status >= 300 then
    return nil, format.judge(reply, (codec.decode(reply.body)))
  elseif type(reply.body) == "number" then -- of bytes that are in the file
    local bytes = reply.body
    reply.body = nil
    return { file = job.output .. ".part", bytes = bytes }
  elseif not is_json or reply.body == "" then
    return { body = reply.body }
  end
  local document, problem, message = codec.decode(reply.body)
  if document == nil then
    return nil, { class = "transient", kind = problem, message = "the answer is no whole JSON: " .. message }
  end
  return { body = document, usage = type(document) == "table" and format.usage(document.usage) or nil }
end

local work = {
  name = "request", judge = judge,
  encode = function(job)
    return job.method, job.path, job.headers, job.body
  end,
}

-- The one body that was given: as text, or as parts to be read while they are sent; and its content type.
local function body_of(client, request)
  local given = 0
  for _, name in ipairs { "json", "body", "multipart" } do
    given = given + (request[name] ~= nil and 1 or 0)
    if given > 1 then
      check.fail(name, "give one of json, body and multipart")
    end
  end
  if request.json ~= nil then
    local text, problem = client.codec.encode(request.json)
    return text or check.fail("json", "%s", problem), nil, "application/json"
  elseif request.multipart then
    if request.headers and request.headers["content-type"] then
      check.fail("headers.content-type", "is set by surefoot itself with multipart: it names the boundary")
    end
    return nil, multipart.encode(request.multipart, "surefoot-" .. client.host.new_id())
  elseif type(request.body) == "table" then
    return nil, { request.body }, "application/octet-stream"
  end
  return request.body, nil, request.body and "application/octet-stream"
end

local function route_of(client, request)
  if not request.endpoint then
    return {}
  end
  for i, endpoint in ipairs(client.config.endpoints) do
    if endpoint.name == request.endpoint then
      return { endpoint = i }
    end
  end
  check.fail("endpoint", "no endpoint is named %s", check.show(request.endpoint))
end

--- The job for a request. What is wrong with it is thrown as a string.
---@param client surefoot.Client
---@param request surefoot.Request
---@param options surefoot.CallOptions checked
---@return surefoot.Job
function M.job(client, request, options)
  if type(request) ~= "table" then
    error("expected a table, got " .. check.show(request), 0)
  end
  request = check.fields(schema.request, request, "")
  local problem = url.path_problem(request.path)
  if problem then
    check.fail("path", "%s", problem)
  end
  local body, upload, content_type = body_of(client, request)
  local headers = { accept = "application/json", ["content-type"] = content_type }
  if request.output then -- libcurl does not notice the cut of a content coding, as a document that is decoded does
    headers.accept, headers["accept-encoding"] = "*/*", "identity"
  end
  for name, value in pairs(request.headers or {}) do
    headers[name] = value
  end
  local routes = { route_of(client, request) }
  local method = request.method or (body or upload) and "POST" or "GET"
  return {
    client = client, options = options, plan = plans.of(client, routes), routes = routes, request = request.json,
    method = method, path = request.path, has_effects = method ~= "GET" and method ~= "HEAD",
    headers = header_lines(headers), body = body, upload = upload, output = request.output and request.output.file,
    work = work, timeout = bounds.timeout(options),
    estimate = bounds.estimate(client, request.json, body and #body or 0, options),
  }
end

--- Performs a job.
---@async
---@param job surefoot.Job
---@return surefoot.Result?
---@return surefoot.Error?
function M.perform(job)
  local result, err = coalesce.perform(job)
  if result and job.output then -- it is in its place now
    result.file = job.output
  end
  return result, err
end

return M
