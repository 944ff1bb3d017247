#include "store/store_fault.h"

#include <stdio.h>

#include "base/mem.h"

typedef void FaultWatch(void *ctx, const char *op, const char *key, Bytes body);

typedef struct FaultStore {
  Store base;
  Sys *sys;
  Store *inner;
  Mutex lock; /* guards what follows */
  uint64_t count;
  uint64_t at; /* 0: never */
  FaultKind kind;
  bool dead;
  char hit_op[16], hit_key[128]; /* of the operation at which it happened */
  FaultWatch *watch;
  void *watch_ctx;
} FaultStore;

typedef struct FaultPut {
  StorePut base;
  StorePut *inner;
  char *key;
  /* The last part arrived but its answer was lost: it is expected once more, and taken as the same, like a part of a
   * multipart upload that is sent again under its number. */
  bool repeat;
  uint8_t *lost;
  size_t lost_len;
} FaultPut;

static FaultStore *fault_of(Store *store) { return (FaultStore *)store; }

/* Counts an operation, lets the watcher see it, and says what is to go wrong with it. */
static FaultKind begin(FaultStore *f, const char *op, const char *key, Bytes body) {
  mutex_lock(&f->lock);
  f->count++;
  FaultKind kind = f->count == f->at ? f->kind : FAULT_NONE;
  if (f->count == f->at) {
    snprintf(f->hit_op, sizeof f->hit_op, "%s", op);
    snprintf(f->hit_key, sizeof f->hit_key, "%s", key ? key : "");
  }
  if (kind == FAULT_DEAD) f->dead = true;
  if (f->dead) kind = FAULT_DEAD;
  FaultWatch *watch = f->watch;
  void *ctx = f->watch_ctx;
  mutex_unlock(&f->lock);
  if (watch) watch(ctx, op, key, body);
  return kind;
}

/* The error instead of doing anything, or NULL when the operation goes on. */
static Error *refuse(FaultKind kind, bool reads) {
  switch (kind) {
    case FAULT_IO: return err_new(ERR_IO, "injected fault");
    case FAULT_NO_SPACE: return reads ? NULL : err_new(ERR_NO_SPACE, "injected fault: no space left");
    case FAULT_TEMPORARY: return err_new(ERR_TEMPORARY, "injected fault: try again");
    case FAULT_DEAD: return err_new(ERR_IO, "injected fault: dead");
    default: return NULL;
  }
}

/* What the caller hears of an operation that was done. */
static Error *answer(FaultKind kind, Error *take) {
  if (take || kind != FAULT_AFTER) return take;
  return err_new(ERR_TEMPORARY, "injected fault: the answer was lost");
}

static Error *fault_put(Store *store, const char *key, Bytes body, PutMode mode, Cancel *cancel) {
  FaultStore *f = fault_of(store);
  FaultKind kind = begin(f, "put", key, body);
  TRY(refuse(kind, false));
  return answer(kind, f->inner->ops->put(f->inner, key, body, mode, cancel));
}

static Error *fault_put_begin(Store *store, const char *key, PutMode mode, StorePut **out, Cancel *cancel) {
  FaultStore *f = fault_of(store);
  FaultKind kind = begin(f, "put_begin", key, bytes(NULL, 0));
  TRY(refuse(kind, false));
  StorePut *inner;
  TRY(f->inner->ops->put_begin(f->inner, key, mode, &inner, cancel));
  Error *err = answer(kind, NULL);
  if (err) {
    store_put_abort(inner);
    return err;
  }
  FaultPut *put = NEW(FaultPut);
  *put = (FaultPut){.base.store = store, .inner = inner, .key = mem_strdup(key)};
  *out = &put->base;
  return NULL;
}

static Error *fault_put_write(StorePut *base, Bytes part, Cancel *cancel) {
  FaultPut *put = (FaultPut *)base;
  FaultStore *f = fault_of(base->store);
  FaultKind kind = begin(f, "put_write", put->key, part);
  TRY(refuse(kind, false));
  if (put->repeat) {
    /* A caller that goes on with other bytes would have lost the right to its object's order. */
    CHECK(bytes_equal(part, bytes(put->lost, put->lost_len)));
    put->repeat = kind == FAULT_AFTER;
    return answer(kind, NULL);
  }
  Error *err = f->inner->ops->put_write(put->inner, part, cancel);
  if (err || kind != FAULT_AFTER) return err;
  free(put->lost);
  put->lost = (uint8_t *)mem_dup(part.data, part.len);
  put->lost_len = part.len;
  put->repeat = true;
  return answer(kind, NULL);
}

static void put_destroy(FaultPut *put) {
  free(put->lost);
  free(put->key);
  free(put);
}

static void fault_put_abort(StorePut *take) {
  FaultPut *put = (FaultPut *)take;
  store_put_abort(put->inner);
  put_destroy(put);
}

static Error *fault_put_commit(StorePut *take, Cancel *cancel) {
  FaultPut *put = (FaultPut *)take;
  FaultStore *f = fault_of(take->store);
  FaultKind kind = begin(f, "put_commit", put->key, bytes(NULL, 0));
  Error *err = refuse(kind, false);
  if (err) {
    fault_put_abort(take);
    return err;
  }
  err = answer(kind, f->inner->ops->put_commit(put->inner, cancel));
  put_destroy(put);
  return err;
}

static Error *fault_get(Store *store, const char *key, uint64_t off, uint64_t len, uint8_t *out, Cancel *cancel) {
  FaultStore *f = fault_of(store);
  FaultKind kind = begin(f, "get", key, bytes(NULL, 0));
  TRY(refuse(kind, true));
  bool is_short = kind == FAULT_SHORT && len > 0;
  TRY(f->inner->ops->get(f->inner, key, off, is_short ? len - 1 : len, out, cancel));
  if (is_short) return err_new(ERR_CORRUPT, "injected fault: shorter than expected");
  if (kind == FAULT_FLIP && len > 0) {
    uint64_t at;
    sys_random(f->sys, &at, sizeof at);
    out[at / 8 % len] ^= (uint8_t)(1u << (at % 8));
  }
  return answer(kind, NULL);
}

static Error *fault_stat(Store *store, const char *key, StoreStat *out, Cancel *cancel) {
  FaultStore *f = fault_of(store);
  FaultKind kind = begin(f, "stat", key, bytes(NULL, 0));
  TRY(refuse(kind, true));
  return answer(kind, f->inner->ops->stat(f->inner, key, out, cancel));
}

static Error *count_key(void *ctx, const char *key UNUSED, const StoreStat *stat UNUSED) {
  ++*(uint64_t *)ctx;
  return NULL;
}

typedef struct StaleList {
  StoreVisit *visit;
  void *ctx;
  uint64_t left_out, at;
} StaleList;

static Error *visit_stale(void *ctx, const char *key, const StoreStat *stat) {
  StaleList *list = (StaleList *)ctx;
  return list->at++ == list->left_out ? NULL : list->visit(list->ctx, key, stat);
}

static Error *list_stale(FaultStore *f, const char *prefix, StoreVisit *visit, void *ctx, Cancel *cancel) {
  uint64_t there = 0, drawn;
  TRY(f->inner->ops->list(f->inner, prefix, count_key, &there, cancel));
  sys_random(f->sys, &drawn, sizeof drawn);
  StaleList list = {.visit = visit, .ctx = ctx, .left_out = there ? drawn % there : 0};
  return f->inner->ops->list(f->inner, prefix, visit_stale, &list, cancel);
}

static Error *fault_list(Store *store, const char *prefix, StoreVisit *visit, void *ctx, Cancel *cancel) {
  FaultStore *f = fault_of(store);
  FaultKind kind = begin(f, "list", prefix, bytes(NULL, 0));
  TRY(refuse(kind, true));
  if (kind == FAULT_STALE) return list_stale(f, prefix, visit, ctx, cancel);
  return answer(kind, f->inner->ops->list(f->inner, prefix, visit, ctx, cancel));
}

static Error *fault_remove(Store *store, const char *key, Cancel *cancel) {
  FaultStore *f = fault_of(store);
  FaultKind kind = begin(f, "remove", key, bytes(NULL, 0));
  TRY(refuse(kind, false));
  return answer(kind, f->inner->ops->remove(f->inner, key, cancel));
}

static void fault_free(Store *take) {
  FaultStore *f = fault_of(take);
  store_free(f->inner);
  mutex_free(&f->lock);
  free(f->base.name);
  free(f);
}

static const StoreOps fault_ops = {
    .put = fault_put,
    .put_begin = fault_put_begin,
    .put_write = fault_put_write,
    .put_commit = fault_put_commit,
    .put_abort = fault_put_abort,
    .get = fault_get,
    .stat = fault_stat,
    .list = fault_list,
    .remove = fault_remove,
    .free = fault_free,
};

Store *store_fault_new(Sys *sys, Store *take_inner) {
  FaultStore *f = NEW(FaultStore);
  f->base.ops = &fault_ops;
  f->base.name = mem_strdup(take_inner->name);
  f->base.append_only = take_inner->append_only;
  f->sys = sys;
  f->inner = take_inner;
  mutex_init(&f->lock, sys);
  return &f->base;
}

void store_fault_at(Store *store, uint64_t n, FaultKind kind) {
  CHECK(store->ops == &fault_ops);
  FaultStore *f = fault_of(store);
  LOCKED(&f->lock);
  f->count = 0;
  f->at = n;
  f->kind = kind;
  f->dead = false;
  f->hit_op[0] = f->hit_key[0] = '\0';
}

const char *store_fault_hit_op(Store *store) { return fault_of(store)->hit_op; }

const char *store_fault_hit_key(Store *store) { return fault_of(store)->hit_key; }

uint64_t store_fault_count(Store *store) {
  CHECK(store->ops == &fault_ops);
  FaultStore *f = fault_of(store);
  LOCKED(&f->lock);
  return f->count;
}

void store_fault_watch(Store *store, void (*watch)(void *ctx, const char *op, const char *key, Bytes body), void *ctx) {
  CHECK(store->ops == &fault_ops);
  FaultStore *f = fault_of(store);
  LOCKED(&f->lock);
  f->watch = watch;
  f->watch_ctx = ctx;
}
