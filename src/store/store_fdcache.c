#include "store/store_fdcache.h"

#include <unistd.h>

#include "base/mem.h"

struct CachedFd {
  char *key;
  int fd;
  unsigned users;
  bool listed; /* in the cache; when not, the last user closes it */
  uint64_t used;
};

struct FdCache {
  Mutex lock; /* guards everything below, and the counters of every CachedFd */
  CachedFd **items;
  size_t len;
  size_t capacity;
  uint64_t clock; /* orders the uses */
};

FdCache *fdcache_new(Sys *sys, size_t capacity) {
  CHECK(capacity > 0);
  FdCache *cache = NEW(FdCache);
  cache->items = NEW_ARRAY(CachedFd *, capacity);
  cache->capacity = capacity;
  mutex_init(&cache->lock, sys);
  return cache;
}

static void destroy(CachedFd *take) {
  if (!take) return;
  close(take->fd);
  free(take->key);
  free(take);
}

void fdcache_free(FdCache *take) {
  if (!take) return;
  for (size_t i = 0; i < take->len; i++) {
    CHECK(take->items[i]->users == 0);
    destroy(take->items[i]);
  }
  mutex_free(&take->lock);
  free(take->items);
  free(take);
}

static CachedFd *find(const FdCache *cache, const char *key, size_t *out_at) {
  for (size_t i = 0; i < cache->len; i++) {
    if (strcmp(cache->items[i]->key, key) != 0) continue;
    *out_at = i;
    return cache->items[i];
  }
  return NULL;
}

/* Takes an item out of the list; returns it when it is the caller's to destroy (outside the lock). */
static CachedFd *unlist(FdCache *cache, size_t at) {
  CachedFd *item = cache->items[at];
  cache->items[at] = cache->items[--cache->len];
  item->listed = false;
  return item->users == 0 ? item : NULL;
}

static size_t least_recent(const FdCache *cache) {
  size_t at = 0;
  for (size_t i = 1; i < cache->len; i++)
    if (cache->items[i]->used < cache->items[at]->used) at = i;
  return at;
}

CachedFd *fdcache_acquire(FdCache *cache, const char *key) {
  LOCKED(&cache->lock);
  size_t at;
  CachedFd *item = find(cache, key, &at);
  if (!item) return NULL;
  item->users++;
  item->used = ++cache->clock;
  return item;
}

CachedFd *fdcache_add(FdCache *cache, const char *key, int take_fd) {
  CachedFd *item = NEW(CachedFd);
  *item = (CachedFd){.key = mem_strdup(key), .fd = take_fd, .users = 1, .listed = true};
  mutex_lock(&cache->lock);
  size_t at = 0;
  CachedFd *gone = NULL;
  if (find(cache, key, &at))
    gone = unlist(cache, at);
  else if (cache->len == cache->capacity)
    gone = unlist(cache, least_recent(cache));
  cache->items[cache->len++] = item;
  item->used = ++cache->clock;
  mutex_unlock(&cache->lock);
  destroy(gone);
  return item;
}

int fdcache_fd(const CachedFd *cached) { return cached->fd; }

void fdcache_release(FdCache *cache, CachedFd *take) {
  mutex_lock(&cache->lock);
  take->users--;
  bool last = take->users == 0 && !take->listed;
  mutex_unlock(&cache->lock);
  if (last) destroy(take);
}

void fdcache_forget(FdCache *cache, const char *key) {
  mutex_lock(&cache->lock);
  size_t at = 0;
  CachedFd *gone = find(cache, key, &at) ? unlist(cache, at) : NULL;
  mutex_unlock(&cache->lock);
  destroy(gone);
}
