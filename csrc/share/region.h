/*
 * region.h: memory that processes of one user share, by name: places that are found by key, and counts of what is held.
 *
 * A place is made by whoever asks for it first, is initialized before anybody sees it, and stays as long as the region,
 * which outlives its processes (/dev/shm, until reboot or sf_region_unlink; a namespace of pids has regions of its own).
 * Nothing that is shared is locked once a region is open: a process that is killed at any moment leaves at most an unused
 * block. What processes hold is counted in cells, one per process; the cell of one that is gone counts no more once it was
 * reaped.
 */
#ifndef SF_REGION_H
#define SF_REGION_H

#include "../policy/base.h"

enum {
  SF_REGION_PROCESSES = 128, /* that can hold something at the same time */
  SF_REGION_NAME = 64,       /* most bytes of a name: letters, digits, '_', '-' and '.' */
  SF_REGION_KEY = 1024,      /* most bytes of a place's key */
  SF_REGION_PROBLEM = 200,
};

typedef struct sf_region sf_region;

/* Counts by process; part of a place. */
typedef struct sf_cells {
  struct {
    _Atomic uint64_t word; /* epoch of the owner 32, count 32 */
    char apart[56];        /* a cache line for each */
  } cell[SF_REGION_PROCESSES];
} sf_cells;

/* A place, as whoever lists them sees it. */
typedef struct sf_region_entry {
  uint32_t kind;
  size_t size;
  const char *key; /* not terminated */
  size_t key_length;
  void *place;
} sf_region_entry;

SF_BEGIN_DECLS

/*
 * Opens the region, and makes it where there is none (unless `existing`). One handle per process and name, counted.
 * NULL: `problem` (SF_REGION_PROBLEM bytes) says why.
 */
sf_region *sf_region_open(const char *name, bool existing, char *problem);
void sf_region_release(sf_region *region); /* takes NULL */

/* Takes the name away: who has it open keeps it, the next open makes a new one. False: there was none. */
bool sf_region_unlink(const char *name);

/* Where the region of that name is. False: it is no name. */
bool sf_region_path(const char *name, char *path, size_t size);

/*
 * The place of a key; kinds and sizes are names of their own. A new one is cleared, then given to `init` (may be NULL)
 * before others can see it. NULL: the region is full (counted), or the key too long.
 */
void *sf_region_place(sf_region *region, uint32_t kind, const char *key, size_t key_length, size_t size,
                      void (*init)(void *place));

/* The next place; *cursor begins as 0. */
bool sf_region_next(const sf_region *region, size_t *cursor, sf_region_entry *entry);

/* Of places that were asked for and did not fit, ever. */
uint64_t sf_region_refused(const sf_region *region);

/* Ids of the processes that are in it, at most `most`; returns how many. Those that are gone may be among them. */
size_t sf_region_processes(const sf_region *region, int32_t *pids, size_t most);

/* What this process holds: one more, or one less. */
void sf_cells_add(sf_region *region, sf_cells *cells, int change);

/* What all hold; what this process does, of that. */
uint32_t sf_cells_sum(const sf_region *region, const sf_cells *cells);
uint32_t sf_cells_own(const sf_region *region, const sf_cells *cells);

/* Whoever holds some of it, and how many; *cursor begins as 0. */
bool sf_cells_next(const sf_region *region, const sf_cells *cells, size_t *cursor, int32_t *pid, uint32_t *count);

/* Looks for processes that are gone, at most every half a second. True: what they held counts no more. */
bool sf_region_reap(sf_region *region, int64_t now);

SF_END_DECLS

#endif
