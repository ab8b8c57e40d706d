/*
 * headers.h: reading a raw response header block ("Name: value" lines, CRLF or LF, without the status line) in place.
 * No allocation; values are slices of the block, trimmed.
 */
#ifndef SF_HEADERS_H
#define SF_HEADERS_H

#include "../policy/base.h"
#include "slice.h"

SF_BEGIN_DECLS

/* The next header at *offset: true and its name and value, or false at the end. Malformed lines are skipped. */
bool sf_headers_next(const char *block, size_t length, size_t *offset, sf_slice *name, sf_slice *value);

/* The first header of this name (any case): true and its value. */
bool sf_headers_find(const char *block, size_t length, const char *name, sf_slice *value);

bool sf_slice_equals_nocase(sf_slice slice, const char *text);

SF_END_DECLS

#endif
