#include "sys/lockguard.h"

#include <stdlib.h>

#include "base/mem.h"

enum { POLL_MS = 2 };

typedef struct Guarded {
  dev_t device;
  ino_t inode;
  LockGuard why;
  size_t held, entered;
} Guarded;

/* Few: databases in use, and one file for each reading thread. */
typedef struct Table {
  pthread_mutex_t lock; /* for all of it */
  Guarded *items;
  size_t len, cap;
} Table;

/* The one thing here that is not reached through an argument: the locks it is about are the process's too. */
static Table *table_locked(void) {
  static Table table = {.lock = PTHREAD_MUTEX_INITIALIZER};
  CHECK(pthread_mutex_lock(&table.lock) == 0);
  return &table;
}

static void table_unlock(Table *table) { CHECK(pthread_mutex_unlock(&table->lock) == 0); }

static Guarded *table_find(const Table *table, const struct stat *file) {
  for (size_t i = 0; i < table->len; i++)
    if (table->items[i].device == file->st_dev && table->items[i].inode == file->st_ino) return &table->items[i];
  return NULL;
}

static Guarded *table_take(Table *table, const struct stat *file) {
  Guarded *found = table_find(table, file);
  if (found) return found;
  if (table->len == table->cap) {
    table->cap = table->cap ? table->cap * 2 : 8;
    table->items = mem_resize(table->items, table->cap, sizeof(Guarded));
  }
  table->items[table->len] = (Guarded){.device = file->st_dev, .inode = file->st_ino};
  return &table->items[table->len++];
}

/* Gives the memory back with the last, so that nothing is left at the end of a process. */
static void table_drop(Table *table, Guarded *item) {
  if (item->held || item->entered) return;
  *item = table->items[--table->len];
  if (table->len) return;
  free(table->items);
  table->items = NULL;
  table->cap = 0;
}

static bool try_hold(const struct stat *file, LockGuard why) {
  Table *table = table_locked();
  Guarded *item = table_take(table, file);
  bool free = item->entered == 0;
  if (free) {
    item->held++;
    if (item->why != LOCKGUARD_OWN) item->why = why;
  }
  table_unlock(table);
  return free;
}

Error *lockguard_hold(Sys *sys, const struct stat *file, LockGuard why, uint64_t wait_ms, Cancel *cancel) {
  CHECK(why != LOCKGUARD_FREE);
  uint64_t deadline_ns = sys_mono_ns(sys) + wait_ms * 1000000;
  while (!try_hold(file, why)) {
    if (sys_mono_ns(sys) >= deadline_ns)
      return err_new(ERR_UNREACHABLE, "this process is reading it as a plain file at the moment");
    TRY(cancel_sleep_ms(sys, POLL_MS, cancel));
  }
  return NULL;
}

void lockguard_release(const struct stat *file) {
  Table *table = table_locked();
  Guarded *item = table_find(table, file);
  CHECK(item && item->held > 0);
  item->held--;
  table_drop(table, item);
  table_unlock(table);
}

LockGuard lockguard_enter(const struct stat *file) {
  Table *table = table_locked();
  const Guarded *held = table_find(table, file);
  LockGuard why = held && held->held ? held->why : LOCKGUARD_FREE;
  if (why == LOCKGUARD_FREE) table_take(table, file)->entered++;
  table_unlock(table);
  return why;
}

void lockguard_leave(const struct stat *file) {
  Table *table = table_locked();
  Guarded *item = table_find(table, file);
  CHECK(item && item->entered > 0);
  item->entered--;
  table_drop(table, item);
  table_unlock(table);
}
