/*
 * policy.h: what the policy objects of Lua share. An object is a userdata that holds a policy's words and configuration;
 * its uservalue is one table { clock, random, object }, which permits and slots hold as well, so that the object outlives
 * them. The configuration has been checked and completed in Lua; the reader here only takes it over.
 */
#ifndef SF_BINDING_POLICY_H
#define SF_BINDING_POLICY_H

#include "../policy/breaker.h"
#include "binding.h"

typedef enum { SF_OPTION_SECONDS, SF_OPTION_NUMBER, SF_OPTION_COUNT, SF_OPTION_FLAG, SF_OPTION_ENUM } sf_option_type;

typedef struct sf_option {
  const char *name;
  sf_option_type type;       /* int64_t ns, double, uint32_t, bool, int */
  size_t offset;             /* of the field in the struct that is filled */
  const char *const *values; /* SF_OPTION_ENUM: names in the order of the enum, NULL at the end */
} sf_option;

SF_BEGIN_DECLS

/* Fills a struct from the table at `index`. An absent option leaves its field as it is. */
void sf_policy_read(lua_State *L, int index, const sf_option *options, size_t count, void *into);

/* Fills a breaker's configuration from the table at `index`. */
void sf_policy_read_breaker(lua_State *L, int index, sf_breaker_config *config);

/* Pushes a zeroed object of this metatable; clock and random come from the configuration at index 1. */
void *sf_policy_new(lua_State *L, size_t size, const char *name);

/* Pushes a zeroed part (permit, slot) of the object at `owner`, which it keeps alive. */
void *sf_policy_new_part(lua_State *L, int owner, size_t size, const char *name);

/* The time and a random number of the object (or part) at `index`. These call Lua. */
int64_t sf_policy_now(lua_State *L, int index);
double sf_policy_random(lua_State *L, int index);

/* Makes a metatable whose __index is its methods; `gc` may be NULL. */
void sf_policy_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc);

/* Arguments, strictly typed: a number from `least` on (never NaN or infinite), seconds as ns, one of the names; and what
 * is thrown where one is something else: its name, what is expected, and what it is. */
double sf_policy_arg_number(lua_State *L, int arg, const char *name, double least);
int64_t sf_policy_arg_seconds(lua_State *L, int arg, const char *name);
int sf_policy_arg_enum(lua_State *L, int arg, const char *name, const char *const *names, int otherwise);
int sf_policy_arg_error(lua_State *L, int arg, const char *name, const char *expected);

void sf_policy_push_seconds(lua_State *L, int64_t ns);

/* The constructors of the other policy files, into the table on top of the stack. */
void sf_open_policy_guards(lua_State *L);
void sf_open_policy_balancer(lua_State *L);
void sf_open_policy_hedge(lua_State *L);

SF_END_DECLS

#endif
