/* No key ever meets the same nonce twice. This is looked at from two sides: what the cipher is asked to do, whether or
 * not it ever reaches a store (nonce_watch.h); and what a store is handed: every object is under a key of its own,
 * HKDF(base key, salt in its header), and numbers its frames from 0, so no two objects may have a salt in common, and
 * within a pack every frame its own number. Sealed boxes have a key pair of their own each.
 */
#include <sys/stat.h>

#include "base/map.h"
#include "base/mem.h"
#include "codec/secret.h"
#include "repo/content_runs.h"
#include "repo/frames.h"
#include "store/store_fault.h"
#include "store/store_memory.h"
#include "sys/fs.h"
#include "sys/sim.h"

#include "nonce_watch.h"
#include "repo_tools.h"
#include "seeds.h"
#include "testing.h"

/* ---- recording
 * ------------------------------------------------------------------------------------------------------------- */

enum { HEAD_KEPT = 4096 };

typedef struct Stream {
  char *key;
  Buf head; /* the first bytes of large objects; small ones whole */
} Stream;

typedef struct Record {
  Mutex lock;
  Stream *streams;
  size_t len, cap;
} Record;

static Record *record_new(void) {
  Record *r = NEW(Record);
  mutex_init(&r->lock, sys_real());
  return r;
}

static void record_free(Record *take) {
  for (size_t i = 0; i < take->len; i++) {
    free(take->streams[i].key);
    buf_free(&take->streams[i].head);
  }
  free(take->streams);
  mutex_free(&take->lock);
  free(take);
}

static Stream *record_stream(Record *r, const char *key, bool begin) {
  for (size_t i = r->len; i-- > 0 && !begin;)
    if (strcmp(r->streams[i].key, key) == 0) return &r->streams[i];
  if (r->len == r->cap) {
    r->cap = r->cap ? r->cap * 2 : 64;
    r->streams = (Stream *)mem_resize(r->streams, r->cap, sizeof *r->streams);
  }
  r->streams[r->len] = (Stream){.key = mem_strdup(key)};
  return &r->streams[r->len++];
}

static void record_op(void *ctx, const char *op, const char *key, Bytes body) {
  Record *r = (Record *)ctx;
  bool begin = strcmp(op, "put") == 0 || strcmp(op, "put_begin") == 0;
  if (!begin && strcmp(op, "put_write") != 0) return;
  LOCKED(&r->lock);
  Stream *s = record_stream(r, key, begin);
  size_t room = HEAD_KEPT - s->head.len;
  buf_add(&s->head, body.data, body.len < room ? body.len : room);
}

/* ---- judging
 * --------------------------------------------------------------------------------------------------------------- */

/* The objects that have a header, each with another salt. Returns how many. */
static size_t expect_salts_unique(const Record *r) {
  Map *salts = map_new();
  size_t objects = 0;
  for (size_t i = 0; i < r->len; i++) {
    const Stream *s = &r->streams[i];
    bool sealed_otherwise =
        str_starts(s->key, "keys/") || str_starts(s->key, "keyring/") || str_starts(s->key, "probe-");
    if (s->head.len < OBJECT_HEADER_LEN || sealed_otherwise || strcmp(s->key, "holdfast.json") == 0) continue;
    assert_memory_equal(s->head.data, "HFOB", 4);
    const char *other = (const char *)map_set(salts, bytes(s->head.data + 64, 32), s->key);
    if (other) fail_msg("%s and %s have the same salt", s->key, other);
    objects++;
  }
  map_free(salts);
  return objects;
}

/* Each sealed box begins with the public half of a key pair made for it alone. */
static void expect_box(Map *boxes, const Stream *s, Bytes public_key) {
  const char *other = (const char *)map_set(boxes, public_key, s->key);
  if (other && strcmp(other, s->key) != 0) fail_msg("%s and %s: two boxes of one key pair", s->key, other);
}

static size_t expect_boxes_unique(const Record *r) {
  Map *boxes = map_new();
  size_t count = 0;
  for (size_t i = 0; i < r->len; i++) {
    const Stream *s = &r->streams[i];
    bool data = str_starts(s->key, "keyring/") && strstr(s->key, "/data/");
    bool grant = str_starts(s->key, "keyring/") && !data;
    if ((!data && !grant) || s->head.len == 0) continue;
    Cursor c = cursor(buf_bytes(&s->head));
    uint32_t slots = grant ? cursor_u32(&c) : 1;
    for (uint32_t k = 0; k < slots; k++, count++) {
      uint32_t len = BOX_PUBLIC_LEN;
      if (grant) {
        cursor_take(&c, sizeof(Uuid));
        len = cursor_u32(&c);
      }
      Bytes box = cursor_take(&c, len);
      assert_false(c.failed);
      expect_box(boxes, s, bytes(box.data, BOX_PUBLIC_LEN));
    }
  }
  map_free(boxes);
  return count;
}

static void expect_never_repeated(size_t least) {
  size_t repeated, sealed = nonce_watch_end(&repeated);
  print_message("%zu encryptions\n", sealed);
  assert_true(sealed >= least);
  assert_int_equal(repeated, 0);
}

static void expect_numbers_unique(Repo *repo) {
  AUTO_STRLIST StrList packs = tools_keys(repo->store, "packs/");
  for (size_t i = 0; i < packs.len; i++) {
    Uuid id;
    StoreStat stat;
    PackFooter footer;
    assert_true(pack_name_parse(packs.items[i], &id));
    assert_ok(store_stat(repo->store, packs.items[i], &stat, NULL));
    assert_ok(pack_read_footer(repo, &id, stat.size_bytes, &footer, NULL));
    assert_int_equal(footer.keys_len, 1);
    for (size_t n = 0; n < footer.frames_len; n++) assert_int_equal(footer.frames[n].number, n);
    pack_footer_free(&footer);
  }
}

static Repo *open_recorded(Sys *sys, Store *inner, const char *cache, Record *r, uint64_t n, FaultKind kind) {
  Store *fault = store_fault_new(sys, tools_store_borrow(inner));
  Repo *repo;
  store_fault_watch(fault, record_op, r);
  assert_ok(model_repo_open(sys, fault, cache, &repo));
  store_fault_at(fault, n, kind);
  return repo;
}

/* Backups that fail or die at every third operation, each resumed; further rounds at those between. */
static void test_aborted_and_resumed(void **state UNUSED) {
  uint64_t seed = seeds_begin(1);
  unsigned rounds = seeds_rounds(36);
  Record *r = record_new();
  Store *store = store_memory_new(sys_real());
  nonce_watch_begin();
  repo_free(tools_init(sys_real(), store, NULL));
  Model model = tools_model(&seed);
  for (unsigned round = 0; round < rounds; round++) {
    uint64_t n = 2 + round % 36 * 3 + round / 36 % 3;
    tools_change(&model, &seed);
    tools_add_random(&model, "long", false, 300 * 1000, &seed);
    const FaultKind kinds[] = {FAULT_DEAD, FAULT_IO, FAULT_AFTER, FAULT_NO_SPACE};
    Repo *repo = open_recorded(sys_real(), store, NULL, r, n, kinds[(n + round / 108) % 4]);
    ModelBackup how = {.source = "m"};
    Snapshot s;
    Error *err = model_backup(repo, &model, &how, &s, NULL);
    if (!err) snapshot_free(&s);
    err_free(err);
    repo_free(repo);
    repo = open_recorded(sys_real(), store, NULL, r, 0, FAULT_NONE);
    tools_backup(repo, &model, NULL);
    repo_free(repo);
  }
  expect_never_repeated(rounds * 10);
  assert_in_range(expect_salts_unique(r), rounds * 4, SIZE_MAX);
  assert_true(expect_boxes_unique(r) > rounds / 4);
  Repo *repo = tools_open(sys_real(), store, NULL);
  expect_numbers_unique(repo);
  tools_expect_clean(repo);
  repo_free(repo);
  model_free(&model);
  store_free(store);
  record_free(r);
}

static void copy_file(const char *from, const char *to) {
  AUTO_BUF Buf body = {0};
  assert_ok(fs_read_file(from, 1 << 30, &body));
  assert_ok(fs_replace_file(to, buf_bytes(&body), 0600));
}

/* Two machines that were one: the same cache, the same state, both go on. */
static void test_cloned_cache(void **state UNUSED) {
  uint64_t seed = seeds_begin(2);
  char template[] = "/tmp/holdfast-clone-XXXXXX";
  assert_non_null(mkdtemp(template));
  AUTO_FREE char *cache_a = fs_join(template, "a"), *cache_b = fs_join(template, "b");
  Record *r = record_new();
  Store *store = store_memory_new(sys_real());
  nonce_watch_begin();
  repo_free(tools_init(sys_real(), store, cache_a));
  Model model = tools_model(&seed);
  Repo *a = open_recorded(sys_real(), store, cache_a, r, 0, FAULT_NONE);
  tools_backup(a, &model, NULL);
  AUTO_STRLIST StrList segments = tools_keys(store, "index/");
  Repo *b = open_recorded(sys_real(), store, cache_b, r, 0, FAULT_NONE);
  AUTO_FREE char *index_b = fs_join(b->cache_dir, "index");
  assert_ok(fs_make_dirs(index_b, 0700));
  for (size_t i = 0; i < segments.len; i++) {
    AUTO_FREE char *from = fs_join(a->cache_dir, segments.items[i]), *to = fs_join(b->cache_dir, segments.items[i]);
    copy_file(from, to);
  }
  for (unsigned i = seeds_rounds(3); i > 0; i--) {
    tools_change(&model, &seed);
    tools_backup(a, &model, NULL);
    tools_backup(b, &model, NULL);
  }
  expect_never_repeated(50);
  assert_true(expect_salts_unique(r) > 20);
  expect_numbers_unique(a);
  tools_expect_clean(b);
  repo_free(a);
  repo_free(b);
  model_free(&model);
  store_free(store);
  record_free(r);
  assert_ok(fs_remove_tree(template));
}

/* Simulations with one seed draw the same numbers, as they should; the machine never does, whatever ran before. */
static void test_real_randomness(void **state UNUSED) {
  Keys *keys[4];
  Repo *repos[4];
  Store *stores[4];
  for (int i = 0; i < 4; i++) {
    Sys *sim = sim_new(1, 2);
    sim_free(sim);
    stores[i] = store_memory_new(sys_real());
    repos[i] = tools_init(sys_real(), stores[i], NULL);
    keys[i] = repos[i]->keys;
    for (int k = 0; k < i; k++) {
      assert_memory_not_equal(keys[i]->root, keys[k]->root, KEY_LEN);
      assert_memory_not_equal(keys[i]->epoch_secret[0], keys[k]->epoch_secret[0], KEY_LEN);
      assert_memory_not_equal(keys[i]->id[FRAME_DATA], keys[k]->id[FRAME_DATA], KEY_LEN);
    }
  }
  for (int i = 0; i < 4; i++) {
    repo_free(repos[i]);
    store_free(stores[i]);
  }
}

/* ---- a user's file equal to a node of ours
 * ---------------------------------------------------------------------------------------- */

typedef struct Nodes {
  FrameSource *source;
  Model *model;
  unsigned trees, maps;
} Nodes;

static void add_node(Nodes *n, FrameType type, const FrameId *id) {
  AUTO_BUF Buf raw = {0};
  assert_ok(n->source->get(n->source, type, id, &raw));
  unsigned number = type == FRAME_TREE ? n->trees++ : n->maps++;
  AUTO_FREE char *path = mem_printf("node-%d-%u", (int)type, number);
  AUTO_FREE char *paged = mem_printf("node-pages-%d-%u", (int)type, number);
  model_set(n->model, path, false, raw.data, raw.len);
  model_set(n->model, paged, true, raw.data, raw.len);
}

static bool see_tree(void *ctx, const FrameId *id) {
  add_node((Nodes *)ctx, FRAME_TREE, id);
  return false;
}

static Error *see_map(void *ctx, FrameType type, const FrameId *id) {
  if (type == FRAME_MAP) add_node((Nodes *)ctx, FRAME_MAP, id);
  return NULL;
}

static Error *see_entry(void *ctx, const TreeEntry *entry) {
  return content_visit(((Nodes *)ctx)->source, &entry->content, see_map, ctx);
}

static void test_user_file_is_a_node(void **state UNUSED) {
  static const TreeWalk walk = {.skip = see_tree, .entry = see_entry};
  uint64_t seed = seeds_begin(4);
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Model model = tools_model(&seed);
  for (int round = 0; round < 3; round++) {
    Snapshot s;
    tools_backup(repo, &model, &s);
    assert_ok(model_compare(repo, &s, &model, NULL));
    tools_expect_clean(repo);
    Index *index;
    assert_ok(index_open(repo, &index, NULL));
    FrameReader *reader = frame_reader_new(repo, index, NULL);
    Nodes nodes = {.source = frame_reader_source(reader), .model = &model};
    assert_ok(tree_walk(nodes.source, &s.root, &walk, &nodes));
    assert_true(nodes.trees >= 1 && nodes.maps >= 2);
    frame_reader_free(reader);
    index_free(index);
    snapshot_free(&s);
  }
  /* The ids of equal bytes differ by type. */
  Bytes raw = bytes_str("the same bytes");
  FrameId ids[] = {keys_frame_id(repo->keys, FRAME_DATA, raw), keys_frame_id(repo->keys, FRAME_TREE, raw),
                   keys_frame_id(repo->keys, FRAME_MAP, raw)};
  assert_false(frame_id_equal(&ids[0], &ids[1]) || frame_id_equal(&ids[0], &ids[2]) ||
               frame_id_equal(&ids[1], &ids[2]));
  model_free(&model);
  repo_free(repo);
  store_free(store);
}

int main(void) {
  seeds_say();
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_aborted_and_resumed),
      cmocka_unit_test(test_cloned_cache),
      cmocka_unit_test(test_real_randomness),
      cmocka_unit_test(test_user_file_is_a_node),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
