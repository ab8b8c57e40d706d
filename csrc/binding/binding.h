/*
 * binding.h: the rooms of the binding. Each file registers its part into the module table on top of the stack.
 * Only misuse throws; what the world does comes back as values. No lua_State is ever stored.
 */
#ifndef SF_BINDING_H
#define SF_BINDING_H

#include "../policy/base.h"
#include "compat.h"

SF_BEGIN_DECLS

void sf_open_policy(lua_State *L);    /* core.policy: the policies alone */
void sf_open_wire(lua_State *L);      /* core.header, core.headers, core.retry_after, core.sse, ... */
void sf_open_plain(lua_State *L);     /* core.is_plain, core.utf8_error, core.unique_id */
void sf_open_engine(lua_State *L);    /* core.engine, core.simulation, core.now */
void sf_open_client(lua_State *L);    /* core.client */
void sf_open_doorbell(lua_State *L);  /* core.doorbell */
void sf_open_call(lua_State *L);      /* the call metatable */
void sf_open_region(lua_State *L);    /* core.region: what processes share, for the command line */
void sf_open_process(lua_State *L);   /* core.process: what the command line needs of the system */
void sf_open_files(lua_State *L);     /* core.file */
void sf_open_allowance(lua_State *L); /* core.allowance, core.sha256 */

SF_END_DECLS

#endif
