/*
 * region.c: the file, its places and its processes; see region.h.
 *
 * Places are never freed, so an index of offsets and a count of bytes that were given out are all there is: a block is
 * taken, filled, and only then put into the index. An owner's word holds an epoch that changes with each owner, and cells
 * carry the epoch of who wrote them: nothing needs to be cleared when a process is gone.
 */
#define _GNU_SOURCE /* O_CLOEXEC, O_NOFOLLOW */
#include "region.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x31544f4f46455253) /* "SREFOOT1": changes with this layout */
#define BYTES ((uint64_t)16 << 20)         /* of address space; memory comes with use */
#define PLACES 4096
#define LINE 64
#define REAP_EVERY_NS (500 * SF_MILLISECOND)

typedef struct header {
  _Atomic uint64_t magic; /* last: the rest is there */
  _Atomic uint64_t used;  /* bytes given out, from the start of the region */
  _Atomic uint64_t refused;
  _Atomic uint32_t high; /* processes ever: one more than the last owner's place */
  char apart[LINE - 28];
  _Atomic uint64_t owners[SF_REGION_PROCESSES]; /* pid 22, start 26, epoch 16 bits; pid 0 = free */
  _Atomic uint32_t index[PLACES];               /* offset / LINE of a block; 0 = free */
} header;

typedef struct block {
  uint64_t hash;
  uint32_t kind;
  uint32_t key_length;
  uint64_t size;
  char key[];
} block;

struct sf_region {
  sf_region *next;
  header *map;
  int fd;
  char name[SF_REGION_NAME + 1]; /* "" once its file was unlinked */
  unsigned references;
  _Atomic uint64_t seat; /* ours among the owners, one word for all threads: forks 32, epoch 16, place + 1 16 bits */
  _Atomic int64_t reaped_at;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static sf_region *open_regions;
static unsigned long forks;

/* The child of a fork is another owner; and whoever held the mutex is not there to give it back. */
static void in_child(void)
{
  forks++;
  pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
  mutex = fresh;
}

static void watch_forks(void)
{
  pthread_atfork(NULL, NULL, in_child);
}

/* ---- owners ---- */

static uint64_t owner_word(uint32_t pid, uint32_t start, uint32_t epoch)
{
  return (uint64_t)(pid & 0x3fffff) << 42 | (uint64_t)(start & 0x3ffffff) << 16 | (epoch & 0xffff);
}

static uint32_t owner_pid(uint64_t word)
{
  return (uint32_t)(word >> 42);
}

static uint32_t owner_start(uint64_t word)
{
  return (uint32_t)(word >> 16) & 0x3ffffff;
}

static uint32_t owner_epoch(uint64_t word)
{
  return (uint32_t)word & 0xffff;
}

typedef enum { PROCESS_LIVES, PROCESS_GONE, PROCESS_UNKNOWN } process_state;

/* Whether the process lives, and when it began, in ticks since boot. Who cannot look (no file to spare) does not know. */
static process_state look_at(uint32_t pid, uint32_t *start)
{
  char path[32], text[1024];
  snprintf(path, sizeof path, "/proc/%u/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    bool absent = errno == ENOENT || errno == ESRCH;
    return absent && access("/proc/self/stat", R_OK) == 0 ? PROCESS_GONE : PROCESS_UNKNOWN;
  }
  ssize_t length = read(fd, text, sizeof text - 1);
  int error = errno;
  close(fd);
  if (length <= 0) return length < 0 && error == ESRCH ? PROCESS_GONE : PROCESS_UNKNOWN;
  text[length] = '\0';
  const char *field = strrchr(text, ')'); /* the name before it may hold anything */
  if (field == NULL || field[1] == '\0') return PROCESS_UNKNOWN;
  if (field[2] == 'Z' || field[2] == 'X') return PROCESS_GONE;
  for (int i = 2; i < 22 && field != NULL; i++) field = strchr(field + 1, ' ');
  if (field == NULL) return PROCESS_UNKNOWN;
  *start = (uint32_t)strtoull(field + 1, NULL, 10) & 0x3ffffff;
  return PROCESS_LIVES;
}

static bool is_gone(uint64_t word)
{
  uint32_t start = 0;
  process_state state = look_at(owner_pid(word), &start);
  return state == PROCESS_GONE || (state == PROCESS_LIVES && start != owner_start(word));
}

/* Frees the places of processes that are gone: their epoch is over. */
static bool reap(header *map)
{
  bool any = false;
  uint32_t high = atomic_load_explicit(&map->high, memory_order_acquire);
  for (uint32_t i = 0; i < high && i < SF_REGION_PROCESSES; i++) {
    uint64_t word = atomic_load_explicit(&map->owners[i], memory_order_acquire);
    if (owner_pid(word) == 0 || !is_gone(word)) continue;
    uint64_t empty = owner_word(0, 0, owner_epoch(word) + 1);
    any |= atomic_compare_exchange_strong_explicit(&map->owners[i], &word, empty, memory_order_acq_rel,
                                                   memory_order_relaxed);
  }
  return any;
}

/* ---- our seat among them */

static uint64_t seat_word(int place, uint32_t epoch)
{
  return (uint64_t)(uint32_t)forks << 32 | (uint64_t)(epoch & 0xffff) << 16 | (uint64_t)(place + 1);
}

/* -1: none was free. */
static int seat_place(uint64_t seat)
{
  return (int)(seat & 0xffff) - 1;
}

static uint32_t seat_epoch(uint64_t seat)
{
  return (uint32_t)(seat >> 16) & 0xffff;
}

/* Not so before the first claim, in the child of a fork, and where somebody took this process for gone. */
static bool is_ours(const sf_region *region, uint64_t seat)
{
  if (seat >> 32 != (uint32_t)forks) return false;
  if (seat_place(seat) < 0) return true;
  uint64_t word = atomic_load_explicit(&region->map->owners[seat_place(seat)], memory_order_relaxed);
  return owner_pid(word) != 0 && owner_epoch(word) == seat_epoch(seat);
}

static bool claim_free(header *map, uint32_t pid, uint32_t start, uint64_t *seat)
{
  for (uint32_t i = 0; i < SF_REGION_PROCESSES; i++) {
    uint64_t word = atomic_load_explicit(&map->owners[i], memory_order_acquire);
    uint32_t epoch = (owner_epoch(word) + 1) & 0xffff;
    if (owner_pid(word) != 0) continue;
    if (!atomic_compare_exchange_strong_explicit(&map->owners[i], &word, owner_word(pid, start, epoch),
                                                 memory_order_acq_rel, memory_order_relaxed))
      continue;
    uint32_t high = atomic_load_explicit(&map->high, memory_order_relaxed);
    while (high < i + 1 && !atomic_compare_exchange_weak_explicit(&map->high, &high, i + 1, memory_order_release,
                                                                  memory_order_relaxed)) {
    }
    *seat = seat_word((int)i, epoch);
    return true;
  }
  return false;
}

static uint64_t claim(sf_region *region)
{
  uint32_t pid = (uint32_t)getpid(), start = 0;
  uint64_t seat = seat_word(-1, 0);
  if (look_at(pid, &start) != PROCESS_LIVES) return seat; /* it is tried again */
  if (!claim_free(region->map, pid, start, &seat) && !(reap(region->map) && claim_free(region->map, pid, start, &seat)))
    atomic_fetch_add_explicit(&region->map->refused, 1, memory_order_relaxed);
  atomic_store_explicit(&region->seat, seat, memory_order_release);
  return seat;
}

/* The mutex is for the first time: of threads that come together one claims, for all. */
static uint64_t take_seat(sf_region *region)
{
  uint64_t seat = atomic_load_explicit(&region->seat, memory_order_acquire);
  if (is_ours(region, seat)) return seat;
  pthread_mutex_lock(&mutex);
  seat = atomic_load_explicit(&region->seat, memory_order_acquire);
  if (!is_ours(region, seat)) seat = claim(region);
  pthread_mutex_unlock(&mutex);
  return seat;
}

static void leave(sf_region *region)
{
  uint64_t seat = atomic_load_explicit(&region->seat, memory_order_acquire);
  if (seat_place(seat) < 0 || !is_ours(region, seat)) return;
  _Atomic uint64_t *owner = &region->map->owners[seat_place(seat)];
  uint64_t word = atomic_load_explicit(owner, memory_order_acquire);
  uint64_t empty = owner_word(0, 0, owner_epoch(word) + 1);
  if (owner_pid(word) == (uint32_t)getpid() && owner_epoch(word) == seat_epoch(seat))
    atomic_compare_exchange_strong_explicit(owner, &word, empty, memory_order_acq_rel, memory_order_relaxed);
}

bool sf_region_reap(sf_region *region, int64_t now)
{
  int64_t last = atomic_load_explicit(&region->reaped_at, memory_order_relaxed);
  if (last != 0 && now - last < REAP_EVERY_NS) return false;
  if (!atomic_compare_exchange_strong_explicit(&region->reaped_at, &last, now, memory_order_relaxed,
                                               memory_order_relaxed))
    return false;
  return reap(region->map);
}

size_t sf_region_processes(const sf_region *region, int32_t *pids, size_t most)
{
  size_t count = 0;
  for (uint32_t i = 0; i < SF_REGION_PROCESSES && count < most; i++) {
    uint32_t pid = owner_pid(atomic_load_explicit(&region->map->owners[i], memory_order_acquire));
    if (pid != 0) pids[count++] = (int32_t)pid;
  }
  return count;
}

/* ---- cells ---- */

uint32_t sf_cells_own(const sf_region *region, const sf_cells *cells)
{
  uint64_t seat = atomic_load_explicit(&region->seat, memory_order_acquire);
  if (seat_place(seat) < 0 || !is_ours(region, seat)) return 0;
  uint64_t word = atomic_load_explicit(&cells->cell[seat_place(seat)].word, memory_order_relaxed);
  return word >> 32 == seat_epoch(seat) ? (uint32_t)word : 0;
}

void sf_cells_add(sf_region *region, sf_cells *cells, int change)
{
  uint64_t seat = take_seat(region);
  if (seat_place(seat) < 0) return;
  _Atomic uint64_t *cell = &cells->cell[seat_place(seat)].word;
  uint64_t word = atomic_load_explicit(cell, memory_order_relaxed), next;
  do {
    uint32_t count = word >> 32 == seat_epoch(seat) ? (uint32_t)word : 0;
    if (change < 0 && count < (uint32_t)-change) return; /* held before a fork: the parent's to give back */
    next = (uint64_t)seat_epoch(seat) << 32 | (uint32_t)((int64_t)count + change);
  } while (!atomic_compare_exchange_weak_explicit(cell, &word, next, memory_order_relaxed, memory_order_relaxed));
}

/* What the process at this place of the owners holds; 0 where it is gone. */
static uint32_t held_by(const sf_region *region, const sf_cells *cells, size_t i, int32_t *pid)
{
  uint64_t owner = atomic_load_explicit(&region->map->owners[i], memory_order_relaxed);
  uint64_t word = atomic_load_explicit(&cells->cell[i].word, memory_order_relaxed);
  *pid = (int32_t)owner_pid(owner);
  return *pid != 0 && word >> 32 == owner_epoch(owner) ? (uint32_t)word : 0;
}

uint32_t sf_cells_sum(const sf_region *region, const sf_cells *cells)
{
  uint32_t sum = 0, high = atomic_load_explicit(&region->map->high, memory_order_acquire);
  int32_t pid;
  for (uint32_t i = 0; i < high && i < SF_REGION_PROCESSES; i++) sum += held_by(region, cells, i, &pid);
  return sum;
}

bool sf_cells_next(const sf_region *region, const sf_cells *cells, size_t *cursor, int32_t *pid, uint32_t *count)
{
  while (*cursor < SF_REGION_PROCESSES)
    if ((*count = held_by(region, cells, (*cursor)++, pid)) > 0) return true;
  return false;
}

/* ---- places ---- */

static uint64_t hash_of(uint32_t kind, const char *key, size_t key_length, size_t size)
{
  uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ kind ^ (uint64_t)size << 32; /* FNV-1a */
  for (size_t i = 0; i < key_length; i++) hash = (hash ^ (unsigned char)key[i]) * UINT64_C(0x100000001b3);
  return hash ^ hash >> 29;
}

static uint64_t aligned(uint64_t bytes)
{
  return (bytes + LINE - 1) / LINE * LINE;
}

static block *block_at(const header *map, uint32_t line)
{
  return (block *)((char *)(uintptr_t)map + (uint64_t)line * LINE);
}

static void *place_of(block *each)
{
  return (char *)each + aligned(sizeof *each + each->key_length);
}

/* Memory for these bytes; a signal on the way is no refusal. */
static bool have_memory(int fd, uint64_t at, uint64_t bytes)
{
  int code;
  do code = fallocate(fd, 0, (off_t)at, (off_t)bytes);
  while (code != 0 && errno == EINTR);
  return code == 0;
}

/*
 * A block that is filled and that nobody sees yet; NULL: there is no room. Memory is had before it is touched, and before
 * it is given out: what there is no memory for uses up nothing.
 */
static block *make_block(sf_region *region, const block *wanted, const char *key, void (*init)(void *))
{
  header *map = region->map;
  uint64_t bytes = aligned(sizeof *wanted + wanted->key_length) + aligned(wanted->size);
  uint64_t at = atomic_load_explicit(&map->used, memory_order_relaxed);
  do {
    if (bytes > BYTES || at > BYTES - bytes || !have_memory(region->fd, at, bytes)) return NULL;
  } while (
      !atomic_compare_exchange_weak_explicit(&map->used, &at, at + bytes, memory_order_relaxed, memory_order_relaxed));
  block *made = block_at(map, (uint32_t)(at / LINE));
  *made = *wanted;
  memcpy(made->key, key, wanted->key_length);
  memset(place_of(made), 0, wanted->size);
  if (init != NULL) init(place_of(made));
  return made;
}

static bool is_wanted(const block *each, const block *wanted, const char *key)
{
  return each->hash == wanted->hash && each->kind == wanted->kind && each->size == wanted->size &&
         each->key_length == wanted->key_length && memcmp(each->key, key, wanted->key_length) == 0;
}

static void *refuse_place(header *map)
{
  atomic_fetch_add_explicit(&map->refused, 1, memory_order_relaxed);
  return NULL;
}

void *sf_region_place(sf_region *region, uint32_t kind, const char *key, size_t key_length, size_t size,
                      void (*init)(void *))
{
  header *map = region->map;
  block *made = NULL;
  if (key_length > SF_REGION_KEY) return refuse_place(map);
  block wanted = { hash_of(kind, key, key_length, size), kind, (uint32_t)key_length, size };
  for (uint32_t i = 0; i < PLACES; i++) {
    _Atomic uint32_t *slot = &map->index[(wanted.hash + i) % PLACES];
    uint32_t line = atomic_load_explicit(slot, memory_order_acquire);
    if (line == 0) {
      if (made == NULL) made = make_block(region, &wanted, key, init);
      if (made == NULL) break;
      uint32_t mine = (uint32_t)(((char *)made - (char *)map) / LINE);
      if (atomic_compare_exchange_strong_explicit(slot, &line, mine, memory_order_acq_rel, memory_order_acquire))
        return place_of(made);
    }
    if (is_wanted(block_at(map, line), &wanted, key)) return place_of(block_at(map, line));
  }
  return refuse_place(map);
}

bool sf_region_next(const sf_region *region, size_t *cursor, sf_region_entry *entry)
{
  while (*cursor < PLACES) {
    uint32_t line = atomic_load_explicit(&region->map->index[(*cursor)++], memory_order_acquire);
    if (line == 0) continue;
    block *each = block_at(region->map, line);
    *entry = (sf_region_entry){ each->kind, each->size, each->key, each->key_length, place_of(each) };
    return true;
  }
  return false;
}

uint64_t sf_region_refused(const sf_region *region)
{
  return atomic_load_explicit(&region->map->refused, memory_order_relaxed);
}

/* ---- the file ---- */

bool sf_region_path(const char *name, char *path, size_t size)
{
  struct stat pids = { .st_ino = 0 }; /* what a pid means */
  size_t length = strlen(name);
  if (length == 0 || length > SF_REGION_NAME || name[0] == '.') return false;
  for (const char *c = name; *c != '\0'; c++)
    if (!isalnum((unsigned char)*c) && strchr("_-.", *c) == NULL) return false;
  if (stat("/proc/self/ns/pid", &pids) != 0) pids.st_ino = 0;
  snprintf(path, size, "/dev/shm/surefoot-%u-%lx-%s", (unsigned)geteuid(), (unsigned long)pids.st_ino, name);
  return true;
}

/* Nobody else's file is trusted, nor one that others may write. */
static const char *distrust(int fd)
{
  struct stat info;
  if (fstat(fd, &info) != 0) return strerror(errno);
  if (!S_ISREG(info.st_mode)) return "it is no regular file";
  if (info.st_uid != geteuid()) return "it belongs to another user";
  if ((info.st_mode & 077) != 0) return "others than its owner may open it";
  if (info.st_size != 0 && (uint64_t)info.st_size != BYTES) return "it was made by another version";
  return NULL;
}

static bool lock_file(int fd)
{
  int code;
  do code = flock(fd, LOCK_EX);
  while (code != 0 && errno == EINTR);
  return code == 0;
}

/* The mapped file, made ready by whoever comes first; NULL and why. */
static header *map_file(int fd, const char **why)
{
  if (!lock_file(fd) ||
      ((*why = distrust(fd)) == NULL && (ftruncate(fd, (off_t)BYTES) != 0 || !have_memory(fd, 0, sizeof(header)))))
    *why = strerror(errno);
  if (*why != NULL) return NULL;
  header *map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) {
    *why = strerror(errno);
    return NULL;
  }
  uint64_t magic = atomic_load_explicit(&map->magic, memory_order_acquire);
  if (magic == 0) {
    atomic_store_explicit(&map->used, aligned(sizeof *map), memory_order_relaxed);
    atomic_store_explicit(&map->magic, MAGIC, memory_order_release);
  } else if (magic != MAGIC) {
    *why = "it was made by another version";
    munmap(map, BYTES);
    return NULL;
  }
  return map;
}

static sf_region *find_open(const char *name)
{
  for (sf_region *each = open_regions; each != NULL; each = each->next)
    if (strcmp(each->name, name) == 0) return each;
  return NULL;
}

static sf_region *open_file(const char *name, const char *path, bool existing, char *problem)
{
  const char *why = NULL;
  int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | (existing ? 0 : O_CREAT), 0600);
  header *map = NULL;
  sf_region *region = calloc(1, sizeof *region);
  if (fd < 0) why = strerror(errno);
  else if (region == NULL) why = "not enough memory";
  else map = map_file(fd, &why);
  if (fd >= 0) flock(fd, LOCK_UN);
  if (map == NULL) {
    if (fd >= 0) close(fd);
    snprintf(problem, SF_REGION_PROBLEM, "the shared memory %.100s cannot be used: %s", path, why);
    free(region);
    return NULL;
  }
  region->map = map;
  region->fd = fd;
  snprintf(region->name, sizeof region->name, "%s", name);
  region->next = open_regions;
  open_regions = region;
  atomic_init(&region->seat, (uint64_t)(uint32_t)(forks - 1) << 32); /* claimed once something is held */
  return region;
}

sf_region *sf_region_open(const char *name, bool existing, char *problem)
{
  char path[SF_REGION_NAME + 64];
  if (!sf_region_path(name, path, sizeof path)) {
    snprintf(problem, SF_REGION_PROBLEM, "expected a name of 1 to %d letters, digits, '_', '-' and '.'",
             SF_REGION_NAME);
    return NULL;
  }
  pthread_once(&once, watch_forks);
  pthread_mutex_lock(&mutex);
  sf_region *region = find_open(name);
  if (region == NULL) region = open_file(name, path, existing, problem);
  if (region != NULL) region->references++;
  pthread_mutex_unlock(&mutex);
  return region;
}

void sf_region_release(sf_region *region)
{
  if (region == NULL) return;
  pthread_mutex_lock(&mutex);
  if (--region->references == 0) {
    sf_region **link = &open_regions;
    while (*link != region) link = &(*link)->next;
    *link = region->next;
    leave(region);
    munmap(region->map, BYTES);
    close(region->fd);
    free(region);
  }
  pthread_mutex_unlock(&mutex);
}

bool sf_region_unlink(const char *name)
{
  char path[SF_REGION_NAME + 64];
  errno = EINVAL;
  if (!sf_region_path(name, path, sizeof path)) return false;
  pthread_mutex_lock(&mutex);
  sf_region *region = find_open(name);
  if (region != NULL) region->name[0] = '\0';
  pthread_mutex_unlock(&mutex);
  return unlink(path) == 0;
}
