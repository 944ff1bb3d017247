/* Sessions and the contested commit. */
#include "base/mem.h"
#include "codec/secret.h"
#include "repo/session.h"
#include "repo/snapshot.h"
#include "repo/uuid.h"
#include "store/store_fault.h"
#include "store/store_memory.h"

#include "repo_tools.h"
#include "testing.h"

typedef struct Fixture {
  Store *store, *fault;
  Repo *repo;
  Uuid series;
  Session session;
} Fixture;

static int setup(void **state) {
  Fixture *f = NEW(Fixture);
  f->store = store_memory_new(sys_real());
  repo_free(tools_init(sys_real(), f->store, NULL));
  f->fault = store_fault_new(sys_real(), tools_store_borrow(f->store));
  assert_ok(model_repo_open(sys_real(), f->fault, NULL, &f->repo));
  f->series = uuid_new(sys_real());
  assert_ok(session_begin(f->repo, &f->series, "host", &f->session, NULL));
  *state = f;
  return 0;
}

static int teardown(void **state) {
  Fixture *f = (Fixture *)*state;
  repo_free(f->repo);
  store_free(f->store);
  free(f);
  return 0;
}

static Snapshot small_snapshot(const Fixture *f) {
  static char source[] = "s", engine[] = "files", facts[] = "{}";
  return (Snapshot){.id = f->session.snapshot,
                    .series = f->series,
                    .source = source,
                    .engine = engine,
                    .facts_json = facts,
                    .time_ns = f->session.started_ns};
}

static size_t listed(const Fixture *f) {
  SnapshotList list;
  assert_ok(snapshot_list(f->repo, NULL, &list, NULL, NULL, NULL));
  size_t len = list.len;
  if (len) {
    assert_true(uuid_equal(&list.items[0].id, &f->session.snapshot));
    assert_string_equal(list.items[0].key, f->session.commit_key);
  }
  snapshot_list_free(&list);
  return len;
}

static void test_records(void **state) {
  Fixture *f = (Fixture *)*state;
  assert_int_equal(tools_count(f->store, "sessions/"), 1);
  for (int i = 0; i < 3; i++) assert_ok(session_beat(f->repo, &f->session, NULL));
  assert_ok(session_end(f->repo, &f->session, "cancelled", NULL));
  assert_int_equal(tools_count(f->store, "sessions/"), 5);
  assert_err(session_end(f->repo, &f->session, "committed", NULL), ERR_EXISTS); /* it ends once */
  assert_true(store_key_valid(f->session.commit_key));
  assert_true(strlen(f->session.commit_key) < COMMIT_KEY_LEN);
  tools_expect_clean(f->repo);
}

static void test_commit(void **state) {
  Fixture *f = (Fixture *)*state;
  Snapshot s = small_snapshot(f);
  assert_ok(snapshot_commit(f->repo, &f->session, &s, NULL));
  assert_int_equal(listed(f), 1);
  assert_ok(snapshot_commit(f->repo, &f->session, &s, NULL)); /* its own is there already */
  assert_int_equal(listed(f), 1);
}

static void test_fenced(void **state) {
  Fixture *f = (Fixture *)*state;
  assert_ok(repo_put_object(f->repo, OBJECT_FENCE, &f->series, f->session.commit_key, bytes_str("{}"), NULL));
  Snapshot s = small_snapshot(f);
  assert_err(snapshot_commit(f->repo, &f->session, &s, NULL), ERR_REFUSED);
  assert_int_equal(listed(f), 0);
  tools_expect_clean(f->repo);
}

/* Another session's snapshot under our key is not ours. */
static void test_taken_by_another(void **state) {
  Fixture *f = (Fixture *)*state;
  Session other = f->session;
  other.snapshot = uuid_new(sys_real());
  Snapshot s = small_snapshot(f);
  s.id = other.snapshot;
  assert_ok(snapshot_commit(f->repo, &other, &s, NULL));
  s.id = f->session.snapshot;
  assert_err(snapshot_commit(f->repo, &f->session, &s, NULL), ERR_REFUSED);
}

static void test_lost_answer(void **state) {
  Fixture *f = (Fixture *)*state;
  Snapshot s = small_snapshot(f);
  store_fault_at(f->fault, 1, FAULT_AFTER);
  assert_ok(snapshot_commit(f->repo, &f->session, &s, NULL));
  assert_int_equal(listed(f), 1);
}

static void test_failed_put(void **state) {
  Fixture *f = (Fixture *)*state;
  Snapshot s = small_snapshot(f);
  const FaultKind kinds[] = {FAULT_TEMPORARY, FAULT_IO, FAULT_NO_SPACE};
  const ErrCode codes[] = {ERR_TEMPORARY, ERR_IO, ERR_NO_SPACE};
  for (size_t i = 0; i < NELEMS(kinds); i++) {
    store_fault_at(f->fault, 1, kinds[i]);
    assert_err(snapshot_commit(f->repo, &f->session, &s, NULL), codes[i]);
    assert_int_equal(listed(f), 0);
  }
}

/* A whole backup whose place is fenced: refused, nothing is listed, the next one succeeds and stores nothing again. */
typedef struct Fencer {
  Repo *collector;
  bool done;
} Fencer;

static void fence_on_sight(void *ctx, const char *op, const char *key, Bytes body UNUSED) {
  Fencer *fencer = (Fencer *)ctx;
  if (fencer->done || strcmp(op, "put") != 0 || strncmp(key, "snapshots/", 10) != 0) return;
  fencer->done = true;
  Uuid series;
  char text[33];
  memcpy(text, key + 10, 32);
  text[32] = 0;
  assert_true(uuid_parse(text, &series));
  assert_ok(repo_put_object(fencer->collector, OBJECT_FENCE, &series, key, bytes_str("{}"), NULL));
}

static void test_backup_fenced(void **state) {
  Fixture *f = (Fixture *)*state;
  uint64_t seed = 1;
  Model model = tools_model(&seed);
  Fencer fencer = {.collector = tools_open(sys_real(), f->store, NULL)};
  store_fault_watch(f->fault, fence_on_sight, &fencer);
  ModelBackup how = {.source = "m"};
  Snapshot s;
  assert_err(model_backup(f->repo, &model, &how, &s, NULL), ERR_REFUSED);
  assert_true(fencer.done);
  assert_int_equal(listed(f), 0);
  tools_backup(f->repo, &model, &s);
  assert_int_equal(s.stats.new_bytes, 0);
  assert_ok(model_compare(f->repo, &s, &model, NULL));
  tools_expect_clean(f->repo);
  snapshot_free(&s);
  model_free(&model);
  repo_free(fencer.collector);
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_records, setup, teardown),
      cmocka_unit_test_setup_teardown(test_commit, setup, teardown),
      cmocka_unit_test_setup_teardown(test_fenced, setup, teardown),
      cmocka_unit_test_setup_teardown(test_taken_by_another, setup, teardown),
      cmocka_unit_test_setup_teardown(test_lost_answer, setup, teardown),
      cmocka_unit_test_setup_teardown(test_failed_put, setup, teardown),
      cmocka_unit_test_setup_teardown(test_backup_fenced, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
