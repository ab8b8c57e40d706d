-- MD5 of what is too long to hold, by the OpenSSL that nginx is linked with.

local ffi = require "ffi"

ffi.cdef [[
typedef struct evp_md_ctx_st EVP_MD_CTX;
typedef struct evp_md_st EVP_MD;
EVP_MD_CTX *EVP_MD_CTX_new(void);
void EVP_MD_CTX_free(EVP_MD_CTX *ctx);
const EVP_MD *EVP_md5(void);
int EVP_DigestInit_ex(EVP_MD_CTX *ctx, const EVP_MD *type, void *engine);
int EVP_DigestUpdate(EVP_MD_CTX *ctx, const void *data, size_t bytes);
int EVP_DigestFinal_ex(EVP_MD_CTX *ctx, unsigned char *out, unsigned int *bytes);
]]

local M = {}

---@param bytes string
---@return string
function M.hex(bytes)
  return (bytes:gsub(".", function(byte)
    return ("%02x"):format(byte:byte())
  end))
end

---@return { add: fun(data: string), finish: fun(): string }
function M.md5()
  local state = ffi.gc(ffi.C.EVP_MD_CTX_new(), ffi.C.EVP_MD_CTX_free)
  assert(ffi.C.EVP_DigestInit_ex(state, ffi.C.EVP_md5(), nil) == 1)
  return {
    add = function(data)
      assert(ffi.C.EVP_DigestUpdate(state, data, #data) == 1)
    end,
    finish = function()
      local out = ffi.new "unsigned char[16]"
      assert(ffi.C.EVP_DigestFinal_ex(state, out, nil) == 1)
      return M.hex(ffi.string(out, 16))
    end,
  }
end

return M
