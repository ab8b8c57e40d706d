/*
 * members.h: where the members of a JSON document's top-level object stand, found in one pass without decoding: what a proxy
 * needs to know of a body that it passes on as it came. No allocation, no recursion; long strings go by at memory speed.
 *
 * The whole text must be one object by the grammar of RFC 8259 (brackets, strings and their escapes, numbers, literals), nested
 * at most SF_MEMBERS_DEPTH deep, with nothing but white space around it. So what is found here is what the receiver's parser
 * finds, and no text means one thing to the check and another to the server behind it. For the same reason these are problems:
 * a wanted name that stands twice, a name that equals a wanted one only when letters' case is ignored (Go's parser does that),
 * and names that are no well-formed UTF-8. Other names may be repeated, and strings deeper down hold any bytes from 0x20 on.
 */
#ifndef SF_MEMBERS_H
#define SF_MEMBERS_H

#include "../policy/base.h"

#define SF_MEMBERS_DEPTH 512 /* arrays and objects inside one another, the outermost counted */

/* A value in the text, from its first byte up to before `end`; begin = end = 0: the member is not there. */
typedef struct sf_member {
  size_t begin, end;
} sf_member;

SF_BEGIN_DECLS

/*
 * Looks for `count` names (ASCII, all different even when case is ignored): found[i] is the value of names[i]. Escapes in the
 * text's names are understood. NULL when all is well; else what is wrong, and *problem is where; found is unspecified then.
 */
const char *sf_members_find(const char *text, size_t length, const char *const *names, size_t count, sf_member *found,
                            size_t *problem);

SF_END_DECLS

#endif
