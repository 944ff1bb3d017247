/* store_fdcache.h: open descriptors of the objects read last, so that many ranged reads of one pack open it once.
 * Descriptors are counted: one that is forgotten or pushed out while in use is closed by its last user. Thread-safe. */
#ifndef HF_STORE_STORE_FDCACHE_H
#define HF_STORE_STORE_FDCACHE_H

#include "sys/sys.h"

typedef struct FdCache FdCache;
typedef struct CachedFd CachedFd;

FdCache *fdcache_new(Sys *sys, size_t capacity);
void fdcache_free(FdCache *take); /* nothing may be in use */
/* NULL when the key is not there. */
CachedFd *fdcache_acquire(FdCache *cache, const char *key);
/* Adds and acquires; an older descriptor of the same key is forgotten. */
CachedFd *fdcache_add(FdCache *cache, const char *key, int take_fd);
int fdcache_fd(const CachedFd *cached);
void fdcache_release(FdCache *cache, CachedFd *take);
/* Forgets a key: the next read opens it anew. */
void fdcache_forget(FdCache *cache, const char *key);

#endif
