#include "repo_tools.h"

#include "base/mem.h"
#include "store/store_memory.h"

#include "testing.h"

/* ---- a store that is not owned -------------------------------------------------------------------------------------
 */

typedef struct BorrowedStore {
  Store base;
  Store *inner;
} BorrowedStore;

static Store *inner_of(Store *store) { return ((BorrowedStore *)store)->inner; }

static Error *borrow_put(Store *store, const char *key, Bytes body, PutMode mode, Cancel *cancel) {
  return store_put(inner_of(store), key, body, mode, cancel);
}

/* The put names the inner store: its other calls mostly go there without us. */
static Error *borrow_put_begin(Store *store, const char *key, PutMode mode, StorePut **out, Cancel *cancel) {
  return store_put_begin(inner_of(store), key, mode, out, cancel);
}

static Error *borrow_put_write(StorePut *put, Bytes part, Cancel *cancel) { return store_put_write(put, part, cancel); }

static Error *borrow_put_commit(StorePut *take, Cancel *cancel) { return store_put_commit(take, cancel); }

static Error *borrow_get(Store *store, const char *key, uint64_t off, uint64_t len, uint8_t *out, Cancel *cancel) {
  return store_get(inner_of(store), key, off, len, out, cancel);
}

static Error *borrow_stat(Store *store, const char *key, StoreStat *out, Cancel *cancel) {
  return store_stat(inner_of(store), key, out, cancel);
}

static Error *borrow_list(Store *store, const char *prefix, StoreVisit *visit, void *ctx, Cancel *cancel) {
  return store_list(inner_of(store), prefix, visit, ctx, cancel);
}

static Error *borrow_remove(Store *store, const char *key, Cancel *cancel) {
  return store_remove(inner_of(store), key, cancel);
}

static void borrow_free(Store *take) {
  free(take->name);
  free(take);
}

Store *tools_store_borrow(Store *inner) {
  static const StoreOps ops = {.put = borrow_put,
                               .put_begin = borrow_put_begin,
                               .put_write = borrow_put_write,
                               .put_commit = borrow_put_commit,
                               .put_abort = store_put_abort,
                               .get = borrow_get,
                               .stat = borrow_stat,
                               .list = borrow_list,
                               .remove = borrow_remove,
                               .free = borrow_free};
  BorrowedStore *b = NEW(BorrowedStore);
  b->base = (Store){.ops = &ops, .name = mem_strdup(inner->name), .append_only = inner->append_only};
  b->inner = inner;
  return &b->base;
}

/* ---- looking into stores
 * --------------------------------------------------------------------------------------------- */

static Error *keep_key(void *ctx, const char *key, const StoreStat *stat UNUSED) {
  strlist_add((StrList *)ctx, key);
  return NULL;
}

static Error *add_size(void *ctx, const char *key UNUSED, const StoreStat *stat) {
  *(uint64_t *)ctx += stat->size_bytes;
  return NULL;
}

StrList tools_keys(Store *store, const char *prefix) {
  StrList keys = {0};
  assert_ok(store_list(store, prefix, keep_key, &keys, NULL));
  return keys;
}

size_t tools_count(Store *store, const char *prefix) {
  AUTO_STRLIST StrList keys = tools_keys(store, prefix);
  return keys.len;
}

uint64_t tools_bytes(Store *store, const char *prefix) {
  uint64_t total = 0;
  assert_ok(store_list(store, prefix, add_size, &total, NULL));
  return total;
}

Buf tools_get(Store *store, const char *key) {
  Buf body = {0};
  assert_ok(store_get_all(store, key, UINT64_C(1) << 30, &body, NULL));
  return body;
}

void tools_set(Store *store, const char *key, Bytes body) {
  assert_ok(store_remove(store, key, NULL));
  assert_ok(store_put(store, key, body, PUT_NEW, NULL));
}

Store *tools_store_copy(Sys *sys, Store *from) {
  Store *copy = store_memory_new(sys);
  AUTO_STRLIST StrList keys = tools_keys(from, "");
  for (size_t i = 0; i < keys.len; i++) {
    AUTO_BUF Buf body = tools_get(from, keys.items[i]);
    assert_ok(store_put(copy, keys.items[i], buf_bytes(&body), PUT_NEW, NULL));
  }
  return copy;
}

/* ---- models
 * ------------------------------------------------------------------------------------------------------------ */

void tools_add_random(Model *model, const char *path, bool pages, size_t len, uint64_t *seed) {
  uint8_t *data = (uint8_t *)mem_alloc(len + 1);
  model_fill(data, len, seed);
  model_set(model, path, pages, data, len);
  free(data);
}

Model tools_model(uint64_t *seed) {
  Model model = {0};
  tools_add_random(&model, "a/empty", false, 0, seed);
  tools_add_random(&model, "a/one", false, 700, seed);
  tools_add_random(&model, "a/two", false, 30 * 1000, seed);
  tools_add_random(&model, "db", true, 2 * 131072 + 4096 + 17, seed);
  tools_add_random(&model, "long", false, 250 * 1000, seed);
  return model;
}

void tools_change(Model *model, uint64_t *seed) {
  for (size_t i = 0; i < model->len; i++) {
    ModelFile *file = &model->files[i];
    if (strcmp(file->path, "db") == 0)
      for (int k = 0; k < 9; k++) file->data[test_random(seed) % file->len] ^= 0x11;
    if (strcmp(file->path, "a/one") == 0) file->data[5] ^= (uint8_t)(1 + test_random(seed) % 255);
  }
}

/* ---- repositories
 * ------------------------------------------------------------------------------------------------------ */

Repo *tools_init(Sys *sys, Store *inner, const char *cache_dir) {
  Repo *repo = NULL;
  assert_ok(model_repo_init(sys, tools_store_borrow(inner), cache_dir, &repo));
  return repo;
}

Repo *tools_open(Sys *sys, Store *inner, const char *cache_dir) {
  Repo *repo = NULL;
  assert_ok(model_repo_open(sys, tools_store_borrow(inner), cache_dir, &repo));
  return repo;
}

void tools_backup(Repo *repo, const Model *model, Snapshot *out) {
  ModelBackup how = {.source = "m"};
  Snapshot snapshot;
  assert_ok(model_backup(repo, model, &how, &snapshot, NULL));
  if (out)
    *out = snapshot;
  else
    snapshot_free(&snapshot);
}

void tools_expect_clean(Repo *repo) {
  uint64_t damaged = 0;
  char *first = NULL;
  assert_ok(model_verify(repo, 3, &damaged, &first));
  if (damaged) print_error("%s\n", first);
  free(first);
  assert_int_equal(damaged, 0);
}

size_t tools_expect_moments(Repo *repo, const Model *moments, size_t len) {
  SnapshotList list;
  assert_ok(snapshot_list(repo, NULL, &list, NULL, NULL, NULL));
  assert_true(list.len <= len);
  for (size_t i = 0; i < list.len; i++) assert_ok(model_compare(repo, &list.items[i], &moments[i], NULL));
  size_t found = list.len;
  snapshot_list_free(&list);
  return found;
}
