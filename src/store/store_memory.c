#include "store/store_memory.h"

#include "base/mem.h"
#include "base/str.h"

typedef struct Object {
  char *key;
  uint8_t *data; /* never NULL */
  size_t len;
  uint64_t modified_ns;
} Object;

typedef struct MemoryStore {
  Store base;
  Sys *sys;
  Mutex lock;       /* guards what follows */
  Object **objects; /* by key, ascending */
  size_t len;
  size_t cap;
} MemoryStore;

typedef struct MemoryPut {
  StorePut base;
  char *key;
  PutMode mode;
  Buf body;
} MemoryPut;

static MemoryStore *memory_of(Store *store) { return (MemoryStore *)store; }

static void object_free(Object *take) {
  if (!take) return;
  free(take->key);
  free(take->data);
  free(take);
}

/* The first object whose key is not below `key`. Under the lock. */
static size_t lower_bound(const MemoryStore *m, const char *key) {
  size_t low = 0, high = m->len;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    if (strcmp(m->objects[mid]->key, key) < 0)
      low = mid + 1;
    else
      high = mid;
  }
  return low;
}

static Object *find(const MemoryStore *m, const char *key) {
  size_t at = lower_bound(m, key);
  return at < m->len && strcmp(m->objects[at]->key, key) == 0 ? m->objects[at] : NULL;
}

static void insert_at(MemoryStore *m, size_t at, Object *take) {
  if (m->len == m->cap) {
    m->cap = m->cap ? 2 * m->cap : 64;
    m->objects = (Object **)mem_resize(m->objects, m->cap, sizeof(Object *));
  }
  memmove(m->objects + at + 1, m->objects + at, (m->len - at) * sizeof(Object *));
  m->objects[at] = take;
  m->len++;
}

/* Makes the object visible; `take` is consumed. */
static Error *publish(MemoryStore *m, Object *take, PutMode mode) {
  take->modified_ns = sys_now_ns(m->sys);
  mutex_lock(&m->lock);
  size_t at = lower_bound(m, take->key);
  bool taken = at < m->len && strcmp(m->objects[at]->key, take->key) == 0;
  Object *loser = NULL;
  if (!taken) {
    insert_at(m, at, take);
  } else if (mode == PUT_REPLACE) {
    loser = m->objects[at];
    m->objects[at] = take;
  } else {
    loser = take;
  }
  mutex_unlock(&m->lock);
  bool refused = loser == take;
  object_free(loser);
  return refused ? err_new(ERR_EXISTS, "the key is taken") : NULL;
}

static Error *memory_put(Store *store, const char *key, Bytes body, PutMode mode, Cancel *cancel UNUSED) {
  Object *object = NEW(Object);
  object->key = mem_strdup(key);
  object->data = (uint8_t *)mem_alloc(body.len);
  object->len = body.len;
  if (body.len) memcpy(object->data, body.data, body.len);
  return publish(memory_of(store), object, mode);
}

static Error *memory_put_begin(Store *store, const char *key, PutMode mode, StorePut **out, Cancel *cancel UNUSED) {
  MemoryPut *put = NEW(MemoryPut);
  put->base.store = store;
  put->key = mem_strdup(key);
  put->mode = mode;
  *out = &put->base;
  return NULL;
}

static Error *memory_put_write(StorePut *put, Bytes part, Cancel *cancel UNUSED) {
  buf_add(&((MemoryPut *)put)->body, part.data, part.len);
  return NULL;
}

static void memory_put_abort(StorePut *take) {
  MemoryPut *put = (MemoryPut *)take;
  free(put->key);
  buf_free(&put->body);
  free(put);
}

static Error *memory_put_commit(StorePut *take, Cancel *cancel UNUSED) {
  MemoryPut *put = (MemoryPut *)take;
  MemoryStore *m = memory_of(take->store);
  buf_reserve(&put->body, 1); /* so that data is not NULL */
  Object *object = NEW(Object);
  object->key = mem_strdup(put->key);
  object->len = put->body.len;
  object->data = STEAL(put->body.data);
  Error *err = err_wrap(publish(m, object, put->mode), "storing %s in %s", put->key, m->base.name);
  memory_put_abort(take);
  return err;
}

static Error *memory_get(Store *store, const char *key, uint64_t off, uint64_t len, uint8_t *out,
                         Cancel *cancel UNUSED) {
  MemoryStore *m = memory_of(store);
  LOCKED(&m->lock);
  const Object *object = find(m, key);
  if (!object) return err_new(ERR_NOT_FOUND, "no such object");
  if (off > object->len || len > object->len - off)
    return err_new(ERR_CORRUPT, "shorter than expected: %zu bytes", object->len);
  if (len) memcpy(out, object->data + off, (size_t)len);
  return NULL;
}

static Error *memory_stat(Store *store, const char *key, StoreStat *out, Cancel *cancel UNUSED) {
  MemoryStore *m = memory_of(store);
  LOCKED(&m->lock);
  const Object *object = find(m, key);
  if (!object) return err_new(ERR_NOT_FOUND, "no such object");
  *out = (StoreStat){.size_bytes = object->len, .modified_ns = object->modified_ns};
  return NULL;
}

/* The first object at or behind `from` (behind it when `after`) that starts with prefix: an owned key, or NULL. */
static char *next_key(MemoryStore *m, const char *from, bool after, const char *prefix, StoreStat *out) {
  LOCKED(&m->lock);
  size_t at = lower_bound(m, from);
  if (after && at < m->len && strcmp(m->objects[at]->key, from) == 0) at++;
  if (at == m->len || !str_starts(m->objects[at]->key, prefix)) return NULL;
  const Object *object = m->objects[at];
  *out = (StoreStat){.size_bytes = object->len, .modified_ns = object->modified_ns};
  return mem_strdup(object->key);
}

/* The lock is not held while visiting, and taken anew for every key: like a real listing this one races with writers.
 */
static Error *memory_list(Store *store, const char *prefix, StoreVisit *visit, void *ctx, Cancel *cancel) {
  MemoryStore *m = memory_of(store);
  AUTO_FREE char *last = NULL;
  for (;;) {
    TRY(cancel_check(cancel));
    StoreStat st;
    char *key = next_key(m, last ? last : prefix, last != NULL, prefix, &st);
    if (!key) return NULL;
    free(last);
    last = key;
    TRY(visit(ctx, key, &st));
  }
}

static Error *memory_remove(Store *store, const char *key, Cancel *cancel UNUSED) {
  MemoryStore *m = memory_of(store);
  mutex_lock(&m->lock);
  size_t at = lower_bound(m, key);
  Object *gone = NULL;
  if (at < m->len && strcmp(m->objects[at]->key, key) == 0) {
    gone = m->objects[at];
    m->len--;
    memmove(m->objects + at, m->objects + at + 1, (m->len - at) * sizeof(Object *));
  }
  mutex_unlock(&m->lock);
  object_free(gone);
  return NULL;
}

static void memory_free(Store *take) {
  MemoryStore *m = memory_of(take);
  for (size_t i = 0; i < m->len; i++) object_free(m->objects[i]);
  free(m->objects);
  mutex_free(&m->lock);
  free(m->base.name);
  free(m);
}

static const StoreOps memory_ops = {
    .put = memory_put,
    .put_begin = memory_put_begin,
    .put_write = memory_put_write,
    .put_commit = memory_put_commit,
    .put_abort = memory_put_abort,
    .get = memory_get,
    .stat = memory_stat,
    .list = memory_list,
    .remove = memory_remove,
    .free = memory_free,
};

Store *store_memory_new(Sys *sys) {
  MemoryStore *m = NEW(MemoryStore);
  m->base.ops = &memory_ops;
  m->base.name = mem_strdup("memory");
  m->sys = sys;
  mutex_init(&m->lock, sys);
  return &m->base;
}

uint8_t *store_memory_bytes(Store *store, const char *key, size_t *out_len) {
  CHECK(store->ops == &memory_ops);
  MemoryStore *m = memory_of(store);
  LOCKED(&m->lock);
  Object *object = find(m, key);
  if (!object) return NULL;
  *out_len = object->len;
  return object->data;
}

void store_memory_truncate(Store *store, const char *key, size_t len) {
  CHECK(store->ops == &memory_ops);
  MemoryStore *m = memory_of(store);
  LOCKED(&m->lock);
  Object *object = find(m, key);
  CHECK(object && len <= object->len);
  object->len = len;
}
