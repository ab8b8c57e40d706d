/*
 * objects.h: the userdata of the engine floor as the binding files share them. A call's uservalue is a table that anchors
 * its client, its engine and the bodies of its variants, so that C may point into Lua strings.
 */
#ifndef SF_BINDING_OBJECTS_H
#define SF_BINDING_OBJECTS_H

#include "../engine/call.h"
#include "binding.h"

#define SF_ENGINE_TYPE "surefoot.engine"
#define SF_CLIENT_TYPE "surefoot.core_client"
#define SF_CALL_TYPE "surefoot.core_call"

typedef struct sf_lua_engine {
  sf_engine *engine;
} sf_lua_engine;

typedef struct sf_lua_client {
  sf_client *client;
} sf_lua_client;

typedef struct sf_lua_call {
  sf_call *call;
} sf_lua_call;

SF_BEGIN_DECLS

/* The engine at this argument, renewed if the process forked; throws when it is closed or no engine. */
sf_engine *sf_check_engine(lua_State *L, int arg);
sf_client *sf_check_client(lua_State *L, int arg);

/* Seconds (a number, infinity = never) as nanoseconds; throws on NaN and below 0. nil gives `otherwise`. */
int64_t sf_check_seconds(lua_State *L, int arg, int64_t otherwise);

void sf_push_seconds(lua_State *L, int64_t ns); /* SF_NEVER = infinity */

/* t[name] = value, t on top of the stack. */
void sf_set_number(lua_State *L, const char *name, double value);
void sf_set_count(lua_State *L, const char *name, uint64_t value);
void sf_set_string(lua_State *L, const char *name, const char *value);
void sf_set_flag(lua_State *L, const char *name, bool value);

/*
 * The object at `arg` if it is of this type, else an error. Methods carry their class's metatable as upvalue 1 (see
 * sf_new_class), so that the common case costs no look-up in the registry.
 */
void *sf_check_object(lua_State *L, int arg, const char *type);

/* Makes a metatable with these methods, and gc. */
void sf_new_class(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction gc);

/* A table of hedging options at `index`; anything else switches it off. What is not in it stays. In client.c */
void sf_lua_read_hedging(lua_State *L, int index, sf_hedging *hedging);
/* client:submit, in call.c */
int sf_lua_submit(lua_State *L);
/* The call at argument 1, as it is; throws when it was freed. In call.c */
sf_call *sf_check_call(lua_State *L);
/* call:trail, call:info, call:events, core.read_receipt, in call_report.c */
int sf_lua_call_trail(lua_State *L);
int sf_lua_call_info(lua_State *L);
int sf_lua_call_events(lua_State *L);
int sf_lua_read_receipt(lua_State *L);
/* Pushes the receipt of a call that succeeded at once, else nil. */
void sf_push_receipt(lua_State *L, const sf_call *call);
/*
 * options.upload and options.output of client:submit, the table at `table`: what they name is opened. False: it cannot be,
 * and why is pushed. In call_files.c
 */
bool sf_lua_open_files(lua_State *L, int table, sf_call_options *options);
void sf_lua_close_files(sf_call_options *options);
/* client:stats, client:histograms, in stats.c */
int sf_lua_stats(lua_State *L);
int sf_lua_histograms(lua_State *L);
/* engine:started, engine:script, in simulation.c */
int sf_lua_started(lua_State *L);
int sf_lua_script(lua_State *L);

SF_END_DECLS

#endif
