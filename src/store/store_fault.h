/* store_fault.h: a decorator that breaks things on purpose, for tests. Operations (each put, put_begin, put_write,
 * put_commit, get, stat, list, remove) are counted from 1 across threads. */
#ifndef HF_STORE_STORE_FAULT_H
#define HF_STORE_STORE_FAULT_H

#include "store/store.h"

typedef enum FaultKind {
  FAULT_NONE,
  FAULT_IO,        /* ERR_IO, nothing done */
  FAULT_NO_SPACE,  /* ERR_NO_SPACE, nothing done (reads pass) */
  FAULT_TEMPORARY, /* ERR_TEMPORARY, nothing done */
  FAULT_AFTER,     /* the operation is done, then ERR_TEMPORARY: a lost answer */
  FAULT_DEAD,      /* this and every later operation fails with ERR_IO: the process or the network died */
  FAULT_SHORT,     /* get: the last byte is not delivered, ERR_CORRUPT */
  FAULT_FLIP,      /* get: one bit of the answer is wrong, success */
  FAULT_STALE,     /* list: one object that is there is left out, success */
} FaultKind;

/* Takes `take_inner`. */
Store *store_fault_new(Sys *sys, Store *take_inner);
/* At operation n (from now counted anew from 1) do this. */
void store_fault_at(Store *store, uint64_t n, FaultKind kind);
uint64_t store_fault_count(Store *store); /* operations since store_fault_at */
/* Which operation it happened at: "put", … and its key; "" when it did not. Borrowed, until the store is used again. */
const char *store_fault_hit_op(Store *store);
const char *store_fault_hit_key(Store *store);
/* Called before every operation, for tests that look or kill. `op` is "put", "get", … */
void store_fault_watch(Store *store, void (*watch)(void *ctx, const char *op, const char *key, Bytes body), void *ctx);

#endif
