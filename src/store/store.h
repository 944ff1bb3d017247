/* store.h: where objects live. A store maps keys ("packs/3f/3f02…") to immutable byte strings.
 *
 * The contract that every backend keeps, and tests/unit/store_conformance checks:
 *  - put is whole and durable when it returns, or absent; a half-written object is never visible, not even after a
 * crash;
 *  - PUT_NEW on a taken key is ERR_EXISTS, and of two concurrent PUT_NEW exactly one succeeds;
 *  - get beyond the end is ERR_CORRUPT ("shorter than expected"), of an absent key ERR_NOT_FOUND;
 *  - list yields every object that was complete before it began, keys ascending in byte order, never temporary files;
 *  - remove of an absent key succeeds.
 * Keys: 1…512 bytes of [A-Za-z0-9._-] components of at most 255 bytes separated by '/', no component empty or starting
 * with '.', the first not "tmp" (where the file store writes); anything else is ERR_USAGE. No key may be another's
 * directory: a caller never stores both "a" and "a/b".
 * A put that failed with ERR_TEMPORARY, ERR_TIMEOUT or ERR_IO may have happened all the same. A put_write that failed
 * with ERR_TEMPORARY or ERR_TIMEOUT added nothing that repeating it would double; after any other error the put can
 * only be aborted.
 * Every method is thread-safe. A Cancel may be NULL. ERR_TEMPORARY and ERR_TIMEOUT are worth retrying (store_meter.h
 * does it).
 */
#ifndef HF_STORE_STORE_H
#define HF_STORE_STORE_H

#include "base/buf.h"
#include "sys/cancel.h"

typedef struct Store Store;
typedef struct StorePut StorePut;

typedef enum PutMode {
  PUT_NEW,     /* fails with ERR_EXISTS when the key is taken */
  PUT_REPLACE, /* never used for repository objects; for probes and local markers */
} PutMode;

typedef struct StoreStat {
  uint64_t size_bytes;
  uint64_t modified_ns; /* UTC by the store's clock; 0 when unknown */
} StoreStat;

typedef Error *StoreVisit(void *ctx, const char *key, const StoreStat *stat);

typedef struct StoreOps {
  Error *(*put)(Store *, const char *key, Bytes body, PutMode mode, Cancel *);
  Error *(*put_begin)(Store *, const char *key, PutMode mode, StorePut **out, Cancel *);
  Error *(*put_write)(StorePut *, Bytes part,
                      Cancel *);                  /* in order; the bytes are copied or written before it returns */
  Error *(*put_commit)(StorePut *take, Cancel *); /* consumes the put, also on failure */
  void (*put_abort)(StorePut *take);              /* nothing becomes visible */
  Error *(*get)(Store *, const char *key, uint64_t off, uint64_t len, uint8_t *out, Cancel *); /* exactly len bytes */
  Error *(*stat)(Store *, const char *key, StoreStat *out, Cancel *);
  Error *(*list)(Store *, const char *prefix, StoreVisit *visit, void *ctx, Cancel *);
  Error *(*remove)(Store *, const char *key, Cancel *);
  void (*free)(Store *take);
} StoreOps;

/* Every backend's struct starts with this. */
struct Store {
  const StoreOps *ops;
  char *name;       /* for messages: "/backup", "s3://acme/prod"; never holds a secret; owned */
  bool append_only; /* put-if-absent is not honoured: nothing may be swept here */
};
struct StorePut {
  Store *store;
};

Error *store_put(Store *store, const char *key, Bytes body, PutMode mode, Cancel *cancel) NODISCARD;
Error *store_put_begin(Store *store, const char *key, PutMode mode, StorePut **out, Cancel *cancel) NODISCARD;
Error *store_put_write(StorePut *put, Bytes part, Cancel *cancel) NODISCARD;
Error *store_put_commit(StorePut *take, Cancel *cancel) NODISCARD;
void store_put_abort(StorePut *take); /* NULL is fine */
/* Exactly len bytes at off into out. */
Error *store_get(Store *store, const char *key, uint64_t off, uint64_t len, uint8_t *out, Cancel *cancel) NODISCARD;
/* The whole object appended to *out; ERR_LIMIT when it is larger than max. */
Error *store_get_all(Store *store, const char *key, uint64_t max, Buf *out, Cancel *cancel) NODISCARD;
Error *store_stat(Store *store, const char *key, StoreStat *out, Cancel *cancel) NODISCARD;
/* Keys that start with prefix (any text, "" for all). An error from visit ends the listing and is returned. */
Error *store_list(Store *store, const char *prefix, StoreVisit *visit, void *ctx, Cancel *cancel) NODISCARD;
Error *store_remove(Store *store, const char *key, Cancel *cancel) NODISCARD;
void store_free(Store *take); /* NULL is fine */

bool store_key_valid(const char *key);
/* Writes one probe object twice (PUT_NEW) and removes it: sets store->append_only when the second succeeds. */
Error *store_probe(Store *store, Sys *sys, Cancel *cancel) NODISCARD;

/* Opens by address: "/path", "file:///path", "memory:". With `create` a missing directory is made (0700). ERR_USAGE for
 * a scheme that is not built; ERR_NOT_FOUND when the directory is not there. */
Error *store_open(Sys *sys, const char *url, bool create, Store **out) NODISCARD;

#endif
