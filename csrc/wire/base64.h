/* base64.h: base64 with padding (RFC 4648, section 4). */
#ifndef SF_BASE64_H
#define SF_BASE64_H

#include "../policy/base.h"

#define SF_BASE64_LENGTH(bytes) (((bytes) + 2) / 3 * 4)

SF_BEGIN_DECLS

/* Writes SF_BASE64_LENGTH(length) characters, without a NUL; returns how many. */
size_t sf_base64_encode(const uint8_t *bytes, size_t length, char *text);

SF_END_DECLS

#endif
