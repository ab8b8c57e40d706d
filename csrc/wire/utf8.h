/*
 * utf8.h: is a text well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing beyond U+10FFFF)?
 * Linear, no allocation; runs of ASCII are skipped eight bytes at a time.
 */
#ifndef SF_UTF8_H
#define SF_UTF8_H

#include "../policy/base.h"

SF_BEGIN_DECLS

/* Offset of the first byte that is not part of well-formed UTF-8, or `length` when the whole text is. */
size_t sf_utf8_check(const char *text, size_t length);

/* How many bytes, where a check has stopped, one replacement stands for: a "maximal subpart" (Unicode 15, 3.9; what
 * WHATWG's decoders do). */
size_t sf_utf8_subpart(const char *text, size_t length);

SF_END_DECLS

#endif
