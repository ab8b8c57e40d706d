/* sha256.h: SHA-256 of bytes that are there as a whole. Source: FIPS 180-4. */
#ifndef SF_SHA256_H
#define SF_SHA256_H

#include "../policy/base.h"

enum { SF_SHA256_BYTES = 32 };

SF_BEGIN_DECLS

void sf_sha256(const void *data, size_t length, uint8_t digest[SF_SHA256_BYTES]);

SF_END_DECLS

#endif
