#include "base/mem.h"
#include "codec/secret.h"
#include "store/store_fault.h"
#include "store/store_memory.h"
#include "sys/sim.h"

#include "repo_tools.h"
#include "testing.h"

static Repo *new_repo(Sys *sys) {
  Repo *repo;
  assert_ok(model_repo_init(sys, store_memory_new(sys), NULL, &repo));
  return repo;
}

static void add_random(Model *model, const char *path, bool pages, size_t len, uint64_t *seed) {
  uint8_t *data = (uint8_t *)mem_alloc(len + 1);
  model_fill(data, len, seed);
  model_set(model, path, pages, data, len);
  free(data);
}

static void backup_and_compare(Repo *repo, const Model *model, const ModelBackup *how, Snapshot *out) {
  Snapshot s;
  assert_ok(model_backup(repo, model, how, &s, NULL));
  assert_ok(model_compare(repo, &s, model, NULL));
  if (out)
    *out = s;
  else
    snapshot_free(&s);
}

static void expect_clean(Repo *repo) {
  uint64_t damaged;
  char *first;
  assert_ok(model_verify(repo, 3, &damaged, &first));
  if (damaged) print_error("%s\n", first);
  free(first);
  assert_int_equal(damaged, 0);
}

static void test_round_trip(void **state UNUSED) {
  uint64_t seed = 1;
  Repo *repo = new_repo(sys_real());
  Model model = {0};
  add_random(&model, "small/a", false, 10, &seed);
  add_random(&model, "small/b", false, 4096, &seed);
  add_random(&model, "small/empty", false, 0, &seed);
  add_random(&model, "large", false, 5 * 1000 * 1000, &seed);
  add_random(&model, "db", true, 3 * 1000 * 1000 + 17, &seed);
  add_random(&model, "db-small", true, 100, &seed);
  ModelBackup how = {.source = "m"};
  Snapshot first, second;
  backup_and_compare(repo, &model, &how, &first);
  expect_clean(repo);
  assert_int_equal(first.kind, SNAPSHOT_FULL);
  assert_int_equal(first.stats.files, 6);
  backup_and_compare(repo, &model, &how, &second);
  assert_true(second.stats.stored_bytes < first.stats.stored_bytes / 50);
  assert_int_equal(second.stats.new_bytes, 0);
  expect_clean(repo);
  snapshot_free(&first);
  snapshot_free(&second);
  model_free(&model);
  repo_free(repo);
}

/* Any history of page changes, growth and shrinking: every snapshot gives back its own moment. */
static void test_page_history(void **state UNUSED) {
  for (uint64_t round = 0; round < 6; round++) {
    uint64_t seed = 100 + round;
    Repo *repo = new_repo(sys_real());
    Model model = {0};
    add_random(&model, "db", true, 1000 * 1000 + test_random(&seed) % 300000, &seed);
    enum { STEPS = 24 };
    Snapshot snapshots[STEPS];
    Model moments[STEPS];
    ModelBackup how = {.source = "m"};
    for (int step = 0; step < STEPS; step++) {
      ModelFile *file = &model.files[0];
      size_t changes = test_random(&seed) % 40;
      for (size_t i = 0; i < changes && file->len; i++) file->data[test_random(&seed) % file->len] ^= 0x55;
      if (test_random(&seed) % 3 == 0) {
        size_t len = 800 * 1000 + test_random(&seed) % 700000;
        uint8_t *data = (uint8_t *)mem_alloc(len);
        memcpy(data, file->data, len < file->len ? len : file->len);
        if (len > file->len && test_random(&seed) % 2) model_fill(data + file->len, len - file->len, &seed);
        model_set(&model, "db", true, data, len);
        free(data);
      }
      moments[step] = model_copy(&model);
      backup_and_compare(repo, &model, &how, &snapshots[step]);
    }
    for (int step = 0; step < STEPS; step++) {
      assert_ok(model_compare(repo, &snapshots[step], &moments[step], NULL));
      snapshot_free(&snapshots[step]);
      model_free(&moments[step]);
    }
    expect_clean(repo);
    model_free(&model);
    repo_free(repo);
  }
}

static void test_incremental_is_small(void **state UNUSED) {
  uint64_t seed = 7;
  Repo *repo = new_repo(sys_real());
  Model model = {0};
  size_t len = 32 * MIB;
  add_random(&model, "db", true, len, &seed);
  ModelBackup how = {.source = "m", .pack_size = 4 * MIB, .compression = "none"};
  Snapshot s;
  backup_and_compare(repo, &model, &how, NULL);
  size_t pages = len / 4096 / 100;
  for (size_t i = 0; i < pages; i++) model.files[0].data[(i * 100 + test_random(&seed) % 100) * 4096 + 5] ^= 1;
  backup_and_compare(repo, &model, &how, &s);
  assert_true(s.stats.stored_bytes > pages * 4096);
  assert_true(s.stats.stored_bytes < pages * 4096 * 105 / 100);
  snapshot_free(&s);
  model_free(&model);
  repo_free(repo);
}

/* The whole engine under a scheduler that tries other interleavings with every seed. */
static void test_any_interleaving(void **state UNUSED) {
  for (uint64_t round = 1; round <= 25; round++) {
    uint64_t seed = round;
    Sys *sys = sim_new(round, 2);
    Repo *repo = new_repo(sys);
    Model model = {0};
    for (int i = 0; i < 5; i++) {
      AUTO_FREE char *path = mem_printf("small%d", i);
      add_random(&model, path, false, test_random(&seed) % 70000, &seed);
    }
    add_random(&model, "large", false, 3 * 1000 * 1000, &seed);
    add_random(&model, "db", true, 1500 * 1000, &seed);
    ModelBackup how = {.source = "m", .workers = 1 + (unsigned)(round % 3)};
    backup_and_compare(repo, &model, &how, NULL);
    for (int i = 0; i < 70; i++) model.files[0].data[test_random(&seed) % model.files[0].len] ^= 1;
    backup_and_compare(repo, &model, &how, NULL);
    model_free(&model);
    repo_free(repo);
    sim_free(sys);
  }
}

typedef struct Thief {
  Store *store;
  char *pack;
  unsigned lists;
} Thief;

/* Takes a pack away after the writer has seen it and before it looks again. */
static void steal(void *ctx, const char *op, const char *key, Bytes body UNUSED) {
  Thief *t = (Thief *)ctx;
  if (strcmp(op, "list") == 0 && strcmp(key, "packs/") == 0 && ++t->lists == 2)
    assert_ok(store_remove(t->store, t->pack, NULL));
}

/* Whichever pack vanishes while a backup runs: the backup fails and says which, and no snapshot of it is left. */
static void test_pack_lost_meanwhile(void **state UNUSED) {
  uint64_t seed = 11;
  Store *first = store_memory_new(sys_real());
  Model model = tools_model(&seed);
  Repo *repo = tools_init(sys_real(), first, NULL);
  tools_backup(repo, &model, NULL);
  repo_free(repo);
  AUTO_STRLIST StrList packs = tools_keys(first, "packs/");
  for (size_t i = 0; i < packs.len; i++) {
    Store *store = tools_store_copy(sys_real(), first);
    Store *watched = store_fault_new(sys_real(), tools_store_borrow(store));
    Thief thief = {.store = store, .pack = packs.items[i]};
    store_fault_watch(watched, steal, &thief);
    assert_ok(model_repo_open(sys_real(), watched, NULL, &repo));
    Snapshot s;
    Error *err = model_backup(repo, &model, &(ModelBackup){.source = "m"}, &s, NULL);
    assert_int_equal(thief.lists, 2);
    assert_true(err_is(err, ERR_CORRUPT));
    assert_non_null(strstr(err_text(err), packs.items[i]));
    assert_int_equal(tools_count(store, "snapshots/"), 1);
    err_free(err);
    repo_free(repo);
    store_free(store);
  }
  model_free(&model);
  store_free(first);
}

/* Whichever pack was lost before: the next backup reads everything again, stores what was lost, and restores. */
static void test_pack_lost_before(void **state UNUSED) {
  uint64_t seed = 13;
  Store *first = store_memory_new(sys_real());
  Model model = tools_model(&seed);
  Repo *repo = tools_init(sys_real(), first, NULL);
  tools_backup(repo, &model, NULL);
  repo_free(repo);
  AUTO_STRLIST StrList packs = tools_keys(first, "packs/");
  for (size_t i = 0; i < packs.len; i++) {
    Store *store = tools_store_copy(sys_real(), first);
    assert_ok(store_remove(store, packs.items[i], NULL));
    repo = tools_open(sys_real(), store, NULL);
    Snapshot s;
    tools_backup(repo, &model, &s);
    assert_ok(model_compare(repo, &s, &model, NULL));
    snapshot_free(&s);
    repo_free(repo);
    store_free(store);
  }
  model_free(&model);
  store_free(first);
}

/* Packs of the usual size, so that what a restore needs next to each other is more than one request may fetch. */
static void test_large_packs(void **state UNUSED) {
  uint64_t seed = 14;
  Repo *repo = new_repo(sys_real());
  Model model = {0};
  tools_add_random(&model, "large", false, 40 * MIB, &seed);
  tools_add_random(&model, "db", true, 11 * MIB, &seed);
  ModelBackup how = {.source = "m", .pack_size = PACK_TARGET_SIZE, .compression = "none"};
  backup_and_compare(repo, &model, &how, NULL);
  assert_int_equal(tools_count(repo->store, "packs/"), 2);
  /* No beat before its time. */
  AUTO_STRLIST StrList sessions = tools_keys(repo->store, "sessions/");
  assert_int_equal(sessions.len, 2);
  expect_clean(repo);
  model_free(&model);
  repo_free(repo);
}

/* Whichever segment was lost before: what a backup takes over unread from its parent is not committed unless it can be
 * found. Each backup fails or restores, and a full one always restores. */
static void test_segment_lost_before(void **state UNUSED) {
  uint64_t seed = 12;
  Store *first = store_memory_new(sys_real());
  Model model = tools_model(&seed);
  Repo *repo = tools_init(sys_real(), first, NULL);
  tools_backup(repo, &model, NULL);
  repo_free(repo);
  AUTO_STRLIST StrList segments = tools_keys(first, "index/");
  unsigned refused = 0;
  assert_true(segments.len > 0); /* how many depends on how packs and their segments overtake each other */
  for (size_t i = 0; i < segments.len; i++) {
    Store *store = tools_store_copy(sys_real(), first);
    assert_ok(store_remove(store, segments.items[i], NULL));
    repo = tools_open(sys_real(), store, NULL);
    Snapshot s;
    Error *err = model_backup(repo, &model, &(ModelBackup){.source = "m"}, &s, NULL);
    refused += err != NULL;
    if (!err) {
      assert_ok(model_compare(repo, &s, &model, NULL));
      snapshot_free(&s);
    }
    err_free(err);
    assert_ok(model_backup(repo, &model, &(ModelBackup){.source = "m", .full = true}, &s, NULL));
    assert_ok(model_compare(repo, &s, &model, NULL));
    snapshot_free(&s);
    repo_free(repo);
    store_free(store);
  }
  print_message("%u of %u refused\n", refused, (unsigned)segments.len);
  model_free(&model);
  store_free(first);
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),           cmocka_unit_test(test_page_history),
      cmocka_unit_test(test_incremental_is_small), cmocka_unit_test(test_any_interleaving),
      cmocka_unit_test(test_pack_lost_meanwhile),  cmocka_unit_test(test_segment_lost_before),
      cmocka_unit_test(test_pack_lost_before),     cmocka_unit_test(test_large_packs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
