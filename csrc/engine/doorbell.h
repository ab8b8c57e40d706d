/*
 * doorbell.h: tells a loop that watches only sockets of its own making, as nginx's Lua does, that an fd has become
 * readable.
 *
 * The loop connects to the bell's unix socket, from the process that made it. From then on a thread waits for the fd, and
 * sends one byte to the loop when it is readable; it is silent until the bell is armed anew. The fd is looked at
 * level-triggered each time, so that arming after the work is done loses nothing. The thread takes no signals, and touches
 * nothing but the connection and an epoll set of its own: there is nothing to lock.
 */
#ifndef SF_DOORBELL_H
#define SF_DOORBELL_H

#include "../policy/base.h"

typedef struct sf_doorbell sf_doorbell;

SF_BEGIN_DECLS

/*
 * Listens for the loop, in a directory that only this user may enter: under $TMPDIR, /tmp or /dev/shm. NULL: the system
 * refused (errno). The fd stays the caller's, and may be closed at any time.
 */
sf_doorbell *sf_doorbell_new(int fd);

const char *sf_doorbell_path(const sf_doorbell *bell);

/*
 * Takes the connection that this process has made to the path, removes the path, and begins to watch, armed. False: the
 * system refused, or ENOTCONN: this process has not connected (the bell still listens).
 */
bool sf_doorbell_attach(sf_doorbell *bell);

/*
 * Lets it ring again, now or once the fd is readable. False (errno): never again: ENOTCONN, it is not attached; EBADF or
 * ENOENT, the fd was closed; ESTALE, this is a forked child.
 */
bool sf_doorbell_arm(sf_doorbell *bell);

/*
 * Ends the thread and waits for it, which takes no time; the loop reads the end of the connection. In a forked child only
 * its own copies are closed. Takes NULL.
 */
void sf_doorbell_free(sf_doorbell *bell);

SF_END_DECLS

#endif
