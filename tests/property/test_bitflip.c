/* One bit flipped, an object cut short, two exchanged, one under another's name, one missing: in every kind of object,
 * each is found by verification, which names the object, and costs a restore only what it must. */
#include "base/mem.h"
#include "codec/aead.h"
#include "codec/secret.h"
#include "repo/frames.h"
#include "repo/plan.h"
#include "repo/restore.h"
#include "repo/uuid.h"
#include "store/store_memory.h"

#include "repo_tools.h"
#include "seeds.h"
#include "testing.h"

typedef struct Fixture {
  Store *store;
  Model moments[2];
} Fixture;

/* Puts what no command writes yet: a plan, a beat, a fence. */
static void add_rare_objects(Repo *repo) {
  SeriesList list;
  assert_ok(series_list(repo, &list, NULL));
  Session session;
  assert_ok(session_begin(repo, &list.items[0].id, "host", &session, NULL));
  assert_ok(session_beat(repo, &session, NULL));
  assert_ok(repo_put_object(repo, OBJECT_FENCE, &session.series, session.commit_key, bytes_str("{}"), NULL));
  assert_ok(session_end(repo, &session, "failed", NULL));
  series_list_free(&list);
  AUTO_BUF Buf body = {0};
  Uuid gone = uuid_new(repo->sys);
  plan_encode(&gone, 1, &body);
  assert_ok(repo_put_object(repo, OBJECT_PLAN, NULL, "plans/00000001", buf_bytes(&body), NULL));
}

static int setup(void **state) {
  Fixture *f = NEW(Fixture);
  uint64_t seed = seeds_begin(3);
  f->store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), f->store, NULL);
  f->moments[0] = tools_model(&seed);
  tools_backup(repo, &f->moments[0], NULL);
  Slot slot;
  assert_ok(repo_slot_add(repo, SLOT_KEY_FILE, bytes_str("another key file of some length"), "two", &slot, NULL));
  assert_ok(repo_epoch_new(repo, NULL));
  f->moments[1] = model_copy(&f->moments[0]);
  tools_change(&f->moments[1], &seed);
  tools_backup(repo, &f->moments[1], NULL);
  add_rare_objects(repo);
  tools_expect_clean(repo);
  repo_free(repo);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  Fixture *f = (Fixture *)*state;
  store_free(f->store);
  model_free(&f->moments[0]);
  model_free(&f->moments[1]);
  free(f);
  return 0;
}

/* ---- what verification says
 * -------------------------------------------------------------------------------------------------- */

typedef struct Named {
  const char *key;
  bool found;
  unsigned others;
} Named;

static void note_damage(void *ctx, const char *object, const Error *err) {
  Named *n = (Named *)ctx;
  if (strcmp(object, n->key) == 0 || strstr(err_text(err), n->key))
    n->found = true;
  else
    n->others++;
}

/* So that the next flip in the same pack is met by a repository that knows of none. */
static void forget_damage(Store *store) {
  AUTO_STRLIST StrList notes = tools_keys(store, "damaged/");
  for (size_t i = 0; i < notes.len; i++) assert_ok(store_remove(store, notes.items[i], NULL));
}

/* Whether an open repository notices that the object is not as it was, and names it. */
static bool verify_names(Repo *repo, unsigned level, const char *key) {
  Named named = {.key = key};
  VerifyHooks hooks = {.damaged = note_damage, .ctx = &named};
  VerifyOptions options = {.level = level, .workers = 1};
  VerifyStats stats;
  Error *err = repo_verify(repo, &options, &hooks, &stats, NULL);
  if (err) print_error("verify: %s\n", err_text(err));
  assert_null(err);
  forget_damage(repo->store);
  return named.found;
}

static bool is_prefix(const char *key, const char *prefix) { return strncmp(key, prefix, strlen(prefix)) == 0; }

/* Opens the intact repository, damages it, and verifies at the lowest level that must notice and at the highest. */
typedef struct Opened {
  Store *store; /* a copy that may be damaged */
  Repo *repo;
} Opened;

static Opened open_copy(const Fixture *f) {
  Opened o = {.store = tools_store_copy(sys_real(), f->store)};
  o.repo = tools_open(sys_real(), o.store, NULL);
  return o;
}

static void close_copy(Opened *o) {
  repo_free(o->repo);
  store_free(o->store);
}

static unsigned level_for(const char *key) { return is_prefix(key, "packs/") ? 2 : 0; }

static void expect_named(Repo *repo, unsigned level, const char *key, const char *what) {
  if (!verify_names(repo, level, key)) fail_msg("%s: %s was not found at level %u", key, what, level);
}

/* ---- one bit
 * ------------------------------------------------------------------------------------------------------------- */

static void flip(Store *store, const char *key, size_t bit) {
  size_t len;
  uint8_t *data = store_memory_bytes(store, key, &len);
  assert_non_null(data);
  assert_true(bit / 8 < len);
  data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
}

/* Both ends, and a few places in between; small objects in the clear at every byte. */
static size_t flip_places(const char *key, size_t len, size_t *out, size_t cap, uint64_t *seed) {
  size_t n = 0;
  bool clear = strcmp(key, "holdfast.json") == 0 || is_prefix(key, "keys/");
  if (clear) {
    for (size_t i = 0; i < len && n < cap; i++) out[n++] = i * 8 + (i % 2 ? 5 : test_random(seed) % 8);
    return n;
  }
  const size_t fixed[] = {0, 4, 5, 7, 8, 12, 16, 32, 48, 64, 95, 96, 100};
  for (size_t i = 0; i < NELEMS(fixed); i++)
    if (fixed[i] < len) out[n++] = fixed[i] * 8 + test_random(seed) % 8;
  for (size_t back = 1; back <= 64 && back <= len; back += 9) out[n++] = (len - back) * 8 + test_random(seed) % 8;
  for (unsigned i = seeds_rounds(10); i > 0 && n < cap; i--) out[n++] = test_random(seed) % (len * 8);
  return n;
}

static void test_flip(void **state) {
  const Fixture *f = (const Fixture *)*state;
  uint64_t seed = seeds_begin(9);
  AUTO_STRLIST StrList keys = tools_keys(f->store, "");
  Opened o = open_copy(f);
  for (size_t k = 0; k < keys.len; k++) {
    const char *key = keys.items[k];
    size_t len, places[2048];
    store_memory_bytes(o.store, key, &len);
    size_t n = flip_places(key, len, places, NELEMS(places), &seed);
    for (size_t i = 0; i < n; i++) {
      flip(o.store, key, places[i]);
      if (!verify_names(o.repo, level_for(key), key))
        fail_msg("%s: bit %zu of byte %zu of %zu was not noticed", key, places[i] % 8, places[i] / 8, len);
      if (i % 16 == 0) expect_named(o.repo, 3, key, "a flipped bit");
      flip(o.store, key, places[i]);
    }
  }
  tools_expect_clean(o.repo);
  close_copy(&o);
}

/* Every byte of a pack's header, stripe table and trailer, both ends of its footer, and in each frame the ends of the
 * ciphertext and of the tag. */
static size_t pack_places(const uint8_t *data, size_t len, const PackFooter *footer, size_t *out, size_t cap) {
  PackTrailer t;
  size_t n = 0;
  assert_ok(pack_trailer_decode(data + len - PACK_TRAILER_LEN, len, &t));
  size_t footer_end = (size_t)t.footer_offset + t.footer_len;
  for (size_t at = 0; at < OBJECT_HEADER_LEN; at++) out[n++] = at;
  for (size_t at = footer_end; at < len; at++) out[n++] = at;
  for (size_t i = 0; i < 24; i++) {
    out[n++] = (size_t)t.footer_offset + i;
    out[n++] = footer_end - 1 - i;
  }
  for (size_t i = 0; i < footer->frames_len; i++) {
    const PackFrame *f = &footer->frames[i];
    const size_t in_frame[] = {0, f->stored / 2, f->stored - AEAD_TAG_LEN, f->stored - 1};
    for (size_t k = 0; k < NELEMS(in_frame); k++) out[n++] = f->offset + in_frame[k];
  }
  assert_true(n <= cap);
  return n;
}

static void test_flip_in_packs(void **state) {
  const Fixture *f = (const Fixture *)*state;
  uint64_t seed = seeds_begin(10);
  Opened o = open_copy(f);
  AUTO_STRLIST StrList packs = tools_keys(o.store, "packs/");
  for (size_t k = 0; k < packs.len; k++) {
    size_t len, places[2048];
    Uuid id;
    PackFooter footer;
    const uint8_t *data = store_memory_bytes(o.store, packs.items[k], &len);
    assert_true(pack_name_parse(packs.items[k], &id));
    assert_ok(pack_read_footer(o.repo, &id, len, &footer, NULL));
    size_t n = pack_places(data, len, &footer, places, NELEMS(places));
    for (size_t i = 0; i < n; i++) {
      size_t bit = places[i] * 8 + test_random(&seed) % 8;
      flip(o.store, packs.items[k], bit);
      if (!verify_names(o.repo, 2, packs.items[k]))
        fail_msg("%s: byte %zu of %zu was not noticed", packs.items[k], places[i], len);
      flip(o.store, packs.items[k], bit);
    }
    pack_footer_free(&footer);
  }
  tools_expect_clean(o.repo);
  close_copy(&o);
}

/* ---- cut short, missing, exchanged, replayed
 * -------------------------------------------------------------------------------- */

static void test_truncated(void **state) {
  const Fixture *f = (const Fixture *)*state;
  AUTO_STRLIST StrList keys = tools_keys(f->store, "");
  for (size_t k = 0; k < keys.len; k++) {
    const char *key = keys.items[k];
    size_t len;
    store_memory_bytes(f->store, key, &len);
    const size_t cuts[] = {0, 1, 50, 97, len / 2, len - 1};
    for (size_t i = 0; i < NELEMS(cuts); i++) {
      if (cuts[i] >= len) continue;
      Opened o = open_copy(f);
      store_memory_truncate(o.store, key, cuts[i]);
      expect_named(o.repo, 0, key, "cut short");
      close_copy(&o);
    }
  }
}

/* What nobody can miss: ended sessions, a plan, a fence, snapshots themselves (removing one is how it is forgotten),
 * and a slot (removing one is `key remove`). */
static bool may_vanish(const char *key) {
  return is_prefix(key, "sessions/") || is_prefix(key, "plans/") || is_prefix(key, "snapshots/") ||
         is_prefix(key, "keys/");
}

static bool verify_finds(Repo *repo, unsigned level) {
  uint64_t damaged = 0;
  assert_ok(model_verify(repo, level, &damaged, NULL));
  return damaged > 0;
}

static void test_missing(void **state) {
  const Fixture *f = (const Fixture *)*state;
  AUTO_STRLIST StrList keys = tools_keys(f->store, "");
  for (size_t k = 0; k < keys.len; k++) {
    const char *key = keys.items[k];
    Opened o = open_copy(f);
    assert_ok(store_remove(o.store, key, NULL));
    bool found = verify_finds(o.repo, 3);
    if (is_prefix(key, "keyring/00000000/slots/")) { /* the newer epoch's grant has all that was in it */
      tools_expect_clean(o.repo);
    } else if (found == may_vanish(key)) {
      fail_msg("%s: missing, and verification %s", key, found ? "minds" : "does not mind");
    }
    if (is_prefix(key, "packs/")) expect_named(o.repo, 0, key, "missing");
    close_copy(&o);
  }
}

static void exchange(Store *store, const char *a, const char *b) {
  AUTO_BUF Buf first = tools_get(store, a), second = tools_get(store, b);
  tools_set(store, a, buf_bytes(&second));
  tools_set(store, b, buf_bytes(&first));
}

/* Neighbours in the listing are mostly of one kind, the others come for free. */
static void test_exchanged(void **state) {
  const Fixture *f = (const Fixture *)*state;
  AUTO_STRLIST StrList keys = tools_keys(f->store, "");
  for (size_t k = 0; k + 1 < keys.len; k++) {
    const char *a = keys.items[k], *b = keys.items[k + 1];
    Opened o = open_copy(f);
    exchange(o.store, a, b);
    unsigned level = is_prefix(a, "packs/") && is_prefix(b, "packs/") ? 3 : level_for(a);
    expect_named(o.repo, level, a, "exchanged");
    expect_named(o.repo, is_prefix(b, "packs/") ? 3 : 0, b, "exchanged");
    close_copy(&o);
  }
}

/* "…/<hex>" with the last digits changed: a name of the same form that is not taken. */
static char *another_name(Store *store, const char *key) {
  char *name = mem_strdup(key);
  size_t len = strlen(name);
  StoreStat stat;
  for (char digit = '0'; digit <= '9'; digit++) {
    name[len - 1] = digit;
    Error *err = store_stat(store, name, &stat, NULL);
    bool is_free = err_is(err, ERR_NOT_FOUND);
    err_free(err);
    if (is_free) return name;
  }
  fail_msg("no free name beside %s", key);
  return NULL;
}

/* Whatever lies under another name than its own does not count. */
static void test_replayed(void **state) {
  const Fixture *f = (const Fixture *)*state;
  AUTO_STRLIST StrList keys = tools_keys(f->store, "");
  for (size_t k = 0; k < keys.len; k++) {
    const char *key = keys.items[k];
    bool named_anyhow = strcmp(key, "holdfast.json") == 0 || is_prefix(key, "packs/") || strstr(key, "/slots/") ||
                        str_ends(key, "/grant") || is_prefix(key, "sessions/");
    if (named_anyhow) continue; /* a pack that no segment names, a slot's grant without the slot: never looked at */
    Opened o = open_copy(f);
    AUTO_FREE char *name = another_name(o.store, key);
    AUTO_BUF Buf body = tools_get(o.store, key);
    assert_ok(store_put(o.store, name, buf_bytes(&body), PUT_NEW, NULL));
    expect_named(o.repo, 0, name, "an old object under a new name");
    close_copy(&o);
  }
}

/* ---- what damage costs
 * --------------------------------------------------------------------------------------------------- */

typedef struct Damage {
  const Model *expected;
  unsigned right, wrong, failed;
} Damage;

typedef struct DamageFile {
  const ModelFile *file;
  uint8_t *data;
} DamageFile;

static bool select_all(void *ctx UNUSED, const Entry *entry UNUSED) { return true; }

static Error *create_file(void *ctx, const Entry *entry, void **out) {
  Damage *d = (Damage *)ctx;
  DamageFile *file = NEW(DamageFile);
  for (size_t i = 0; i < d->expected->len; i++)
    if (bytes_equal(bytes_str(d->expected->files[i].path), entry->path)) file->file = &d->expected->files[i];
  assert_non_null(file->file);
  assert_int_equal(file->file->len, entry->size);
  file->data = (uint8_t *)mem_alloc(entry->size + 1);
  memset(file->data, 0, entry->size + 1);
  *out = file;
  return NULL;
}

static Error *write_file(void *ctx UNUSED, void *handle, uint64_t offset, Bytes data) {
  DamageFile *file = (DamageFile *)handle;
  CHECK(offset + data.len <= file->file->len);
  memcpy(file->data + offset, data.data, data.len);
  return NULL;
}

static Error *finish_file(void *ctx, void *handle, const Error *failed) {
  Damage *d = (Damage *)ctx;
  DamageFile *file = (DamageFile *)handle;
  if (failed)
    d->failed++;
  else if (file->file->len == 0 || memcmp(file->data, file->file->data, file->file->len) == 0)
    d->right++;
  else
    d->wrong++;
  free(file->data);
  free(file);
  return NULL;
}

static Error *restore_all(Repo *repo, const Snapshot *s, Damage *d) {
  static const RestoreOps ops = {
      .select = select_all, .create = create_file, .write = write_file, .finish = finish_file};
  Index *index;
  TRY(index_open_reading(repo, &index, NULL));
  RestoreOptions options = {.workers = 2};
  RestoreStats stats;
  Error *err = restore_fetch(repo, index, &s->root, &ops, d, &options, &stats, NULL);
  index_free(index);
  return err;
}

/* A flipped bit anywhere in a pack of content: the file that needs it fails, the others are restored, none is wrong. */
static void test_restore_damaged(void **state) {
  const Fixture *f = (const Fixture *)*state;
  uint64_t seed = seeds_begin(21);
  unsigned rounds = seeds_rounds(60);
  Opened o = open_copy(f);
  AUTO_STRLIST StrList packs = tools_keys(o.store, "packs/");
  SnapshotList list;
  assert_ok(snapshot_list(o.repo, NULL, &list, NULL, NULL, NULL));
  assert_int_equal(list.len, 2);
  unsigned costly = 0, partly = 0;
  for (unsigned round = 0; round < rounds; round++) {
    const char *key = packs.items[test_random(&seed) % packs.len];
    size_t len;
    store_memory_bytes(o.store, key, &len);
    size_t bit = test_random(&seed) % (len * 8);
    flip(o.store, key, bit);
    Damage d = {.expected = &f->moments[0]};
    Error *err = restore_all(o.repo, &list.items[0], &d);
    assert_int_equal(d.wrong, 0);
    if (d.failed) {
      costly++;
      assert_true(err_is(err, ERR_CORRUPT));
      if (d.right) partly++;
    }
    if (d.right < f->moments[0].len) assert_non_null(err);
    err_free(err);
    flip(o.store, key, bit);
  }
  assert_true(costly > rounds / 10);
  assert_true(partly > rounds / 10);
  snapshot_list_free(&list);
  close_copy(&o);
}

/* What only repeats what the packs say themselves costs a restore nothing, whichever of its bits is wrong. */
static void test_restore_despite(void **state) {
  static const char *const spare[] = {"index/", "sessions/", "series/", "plans/"};
  const Fixture *f = (const Fixture *)*state;
  uint64_t seed = seeds_begin(22);
  Opened o = open_copy(f);
  SnapshotList list;
  assert_ok(snapshot_list(o.repo, NULL, &list, NULL, NULL, NULL));
  AUTO_STRLIST StrList keys = tools_keys(o.store, "");
  for (size_t k = 0; k < keys.len; k++) {
    bool spared = false;
    for (size_t i = 0; i < NELEMS(spare); i++) spared = spared || is_prefix(keys.items[k], spare[i]);
    size_t len;
    store_memory_bytes(o.store, keys.items[k], &len);
    for (size_t at = 0; spared && at < len; at += at < OBJECT_HEADER_LEN ? 1 : len / 5 + 1) {
      size_t bit = at * 8 + test_random(&seed) % 8;
      flip(o.store, keys.items[k], bit);
      Damage d = {.expected = &f->moments[1]};
      Error *err = restore_all(o.repo, &list.items[1], &d);
      if (err) fail_msg("%s: byte %zu: %s", keys.items[k], at, err_text(err));
      assert_int_equal(d.right, f->moments[1].len);
      flip(o.store, keys.items[k], bit);
    }
  }
  snapshot_list_free(&list);
  close_copy(&o);
}

/* Both snapshots that lost something are named, not only the first one that was looked at. */
static void test_every_snapshot_named(void **state) {
  const Fixture *f = (const Fixture *)*state;
  AUTO_STRLIST StrList packs = tools_keys(f->store, "packs/");
  bool both = false;
  for (size_t i = 0; i < packs.len; i++) {
    Opened o = open_copy(f);
    assert_ok(store_remove(o.store, packs.items[i], NULL));
    unsigned named = 0, lost = 0;
    SnapshotList list;
    assert_ok(snapshot_list(o.repo, NULL, &list, NULL, NULL, NULL));
    for (size_t s = 0; s < list.len; s++) {
      Error *err = model_compare(o.repo, &list.items[s], &f->moments[s], NULL);
      if (err) lost++;
      err_free(err);
      named += verify_names(o.repo, 1, list.items[s].key);
    }
    assert_int_equal(named, lost);
    both = both || lost == 2;
    snapshot_list_free(&list);
    close_copy(&o);
  }
  assert_true(both);
}

/* Two snapshots that share most of their tree: what is lost in the shared part is reported for both. */
static void test_shared_part_named_twice(void **state UNUSED) {
  enum { FILES = 1500 };
  uint64_t seed = 31;
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Model model = {0};
  for (int i = 0; i < FILES; i++) {
    AUTO_FREE char *path = mem_printf("folder/file-%05d", i);
    tools_add_random(&model, path, false, 100, &seed);
  }
  tools_add_random(&model, "a-first", false, 300 * 1000, &seed); /* in the part of the tree that stays */
  tools_backup(repo, &model, NULL);
  Model before = model_copy(&model);
  tools_add_random(&model, "zz-last", false, 100, &seed);
  tools_backup(repo, &model, NULL);
  tools_expect_clean(repo);
  SnapshotList list;
  assert_ok(snapshot_list(repo, NULL, &list, NULL, NULL, NULL));
  AUTO_STRLIST StrList packs = tools_keys(store, "packs/");
  unsigned both = 0;
  for (size_t i = 0; i < packs.len; i++) {
    AUTO_BUF Buf body = tools_get(store, packs.items[i]);
    assert_ok(store_remove(store, packs.items[i], NULL));
    for (size_t k = 0; k < list.len; k++) {
      Error *lost = model_compare(repo, &list.items[k], k ? &model : &before, NULL);
      assert_int_equal(verify_names(repo, 1, list.items[k].key), lost != NULL);
      both += lost != NULL;
      err_free(lost);
    }
    tools_set(store, packs.items[i], buf_bytes(&body));
  }
  assert_true(both > packs.len);
  snapshot_list_free(&list);
  model_free(&model);
  model_free(&before);
  repo_free(repo);
  store_free(store);
}

int main(void) {
  seeds_say();
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_flip),
      cmocka_unit_test(test_flip_in_packs),
      cmocka_unit_test(test_truncated),
      cmocka_unit_test(test_missing),
      cmocka_unit_test(test_exchanged),
      cmocka_unit_test(test_replayed),
      cmocka_unit_test(test_restore_damaged),
      cmocka_unit_test(test_restore_despite),
      cmocka_unit_test(test_every_snapshot_named),
      cmocka_unit_test(test_shared_part_named_twice),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
