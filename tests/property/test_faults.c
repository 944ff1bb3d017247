/* A fault at every store operation of an init, a backup, a verification and a restore, for every kind of fault. Each
 * runs under a seeded scheduler, which aborts with the names of the threads when nothing can go on any more; at every
 * fifth operation also on the machine's own threads, for ThreadSanitizer. */
#include "base/mem.h"
#include "base/timefmt.h"
#include "codec/secret.h"
#include "store/store_fault.h"
#include "store/store_memory.h"
#include "store/store_meter.h"
#include "sys/sim.h"

#include "repo_tools.h"
#include "seeds.h"
#include "testing.h"

static const char *const kind_names[] = {
    [FAULT_IO] = "io",     [FAULT_NO_SPACE] = "no space", [FAULT_TEMPORARY] = "temporary", [FAULT_AFTER] = "after",
    [FAULT_DEAD] = "dead", [FAULT_SHORT] = "short",       [FAULT_FLIP] = "flip",           [FAULT_STALE] = "stale"};

/* A repository with one snapshot of moments[0]; moments[1] is what the next backup sees. */
typedef struct Fixture {
  Store *base;
  Model moments[2];
  uint64_t after_ns; /* a time after the first backup */
  uint64_t seed;
  uint64_t scratch_bytes; /* packs that a backup of moments[1] writes into an empty repository */
  bool simulated;
  uint64_t step; /* from one operation that fails to the next */
} Fixture;

static uint64_t pack_bytes_from_scratch(const Model *model) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  tools_backup(repo, model, NULL);
  repo_free(repo);
  uint64_t bytes = tools_bytes(store, "packs/");
  store_free(store);
  return bytes;
}

static int setup(void **state, bool simulated, uint64_t step) {
  Fixture *f = NEW(Fixture);
  f->simulated = simulated;
  f->step = step;
  uint64_t seed = seeds_begin(11);
  f->moments[0] = tools_model(&seed);
  f->base = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), f->base, NULL);
  tools_backup(repo, &f->moments[0], NULL);
  repo_free(repo);
  f->after_ns = sys_now_ns(sys_real()) + 3600 * NS_PER_SECOND;
  f->moments[1] = model_copy(&f->moments[0]);
  tools_change(&f->moments[1], &seed);
  tools_add_random(&f->moments[1], "new", false, 150 * 1000, &seed);
  tools_add_random(&f->moments[1], "new-db", true, 2 * 131072, &seed);
  f->scratch_bytes = pack_bytes_from_scratch(&f->moments[1]);
  *state = f;
  return 0;
}

static int setup_simulated(void **state) { return setup(state, true, 1); }
static int setup_threads(void **state) { return setup(state, false, 5); }

static int teardown(void **state) {
  Fixture *f = (Fixture *)*state;
  store_free(f->base);
  model_free(&f->moments[0]);
  model_free(&f->moments[1]);
  free(f);
  return 0;
}

/* One run: a copy of the base, and a repository opened over a fault store over it. */
typedef struct Run {
  Sys *sys;
  Store *inner;
  Store *fault; /* owned by repo */
  Repo *repo;
} Run;

static Sys *sys_begin(const Fixture *f, uint64_t n, FaultKind kind) {
  if (!f->simulated) return sys_real();
  Sys *sys = sim_new(seeds_begin(f->seed + n * 16 + kind), 2);
  sim_set_now(sys, f->after_ns);
  return sys;
}

static void sys_end(Sys *sys) {
  if (sys != sys_real()) sim_free(sys);
}

static Run run_begin(const Fixture *f, uint64_t n, FaultKind kind) {
  Run run = {.sys = sys_begin(f, n, kind)};
  run.inner = tools_store_copy(run.sys, f->base);
  run.fault = store_fault_new(run.sys, tools_store_borrow(run.inner));
  assert_ok(model_repo_open(run.sys, run.fault, NULL, &run.repo));
  store_fault_at(run.fault, n, kind);
  return run;
}

static void run_end(Run *run) {
  repo_free(run->repo);
  store_free(run->inner);
  sys_end(run->sys);
}

/* What must hold after a backup that met a fault, and after the next one. `known`: it saw the whole index and all
 * packs; what seems to be a damaged segment or a missing pack makes it store again what that has, in other groups. */
static void check_backup_after(Run *run, const Fixture *f, bool succeeded, bool known, size_t segments_before) {
  Repo *repo = tools_open(run->sys, run->inner, NULL);
  size_t snapshots = tools_expect_moments(repo, f->moments, 2);
  assert_true(snapshots >= 1);
  if (succeeded) assert_int_equal(snapshots, 2);
  tools_expect_clean(repo);
  bool published = tools_count(run->inner, "index/") > segments_before;
  uint64_t packs_before = tools_bytes(run->inner, "packs/");
  Snapshot next;
  tools_backup(repo, &f->moments[1], &next);
  assert_ok(model_compare(repo, &next, &f->moments[1], NULL));
  uint64_t added = tools_bytes(run->inner, "packs/") - packs_before;
  if (published || snapshots == 2) assert_true(added < f->scratch_bytes);
  if (succeeded && known) assert_int_equal(next.stats.new_bytes, 0);
  tools_expect_clean(repo);
  snapshot_free(&next);
  repo_free(repo);
}

static bool backup_with_fault(const Fixture *f, uint64_t n, FaultKind kind) {
  size_t segments = tools_count(f->base, "index/");
  Run run = run_begin(f, n, kind);
  ModelBackup how = {.source = "m"};
  Snapshot snapshot;
  Error *err = model_backup(run.repo, &f->moments[1], &how, &snapshot, NULL);
  uint64_t done = store_fault_count(run.fault);
  bool known = !str_starts(store_fault_hit_key(run.fault), "index/") && kind != FAULT_STALE;
  store_fault_at(run.fault, 0, FAULT_NONE);
  if (!err) snapshot_free(&snapshot);
  check_backup_after(&run, f, !err, known, segments);
  err_free(err);
  run_end(&run);
  return n <= done;
}

static void faults_of_backup(void **state, FaultKind kind) {
  const Fixture *f = (const Fixture *)*state;
  uint64_t n = 1;
  while (backup_with_fault(f, n, kind)) n += f->step;
  print_message("%u operations\n", (unsigned)n - 1);
  assert_true(n > 35);
}

static void test_backup_io(void **state) { faults_of_backup(state, FAULT_IO); }
static void test_backup_no_space(void **state) { faults_of_backup(state, FAULT_NO_SPACE); }
static void test_backup_temporary(void **state) { faults_of_backup(state, FAULT_TEMPORARY); }
static void test_backup_after(void **state) { faults_of_backup(state, FAULT_AFTER); }
static void test_backup_dead(void **state) { faults_of_backup(state, FAULT_DEAD); }
static void test_backup_short(void **state) { faults_of_backup(state, FAULT_SHORT); }
static void test_backup_flip(void **state) { faults_of_backup(state, FAULT_FLIP); }

/* Which object is left out is drawn: each listing is met several times. */
static void test_backup_stale(void **state) {
  Fixture *f = (Fixture *)*state;
  for (int round = 0; round < 3; round++) {
    faults_of_backup(state, FAULT_STALE);
    f->seed += 1000;
  }
}

/* A put that is ended is gone, whatever came of it (store.h): the request that ends a stream cannot be repeated from
 * outside. */
static bool cannot_be_repeated(Store *fault, FaultKind kind) {
  return kind == FAULT_TEMPORARY && strcmp(store_fault_hit_op(fault), "put_commit") == 0;
}

/* Through the layer that tries again, one lost request or one lost answer costs a backup nothing at all, whichever it
 * is: it succeeds, and what it made is whole. */
static bool retried_with_fault(const Fixture *f, uint64_t n, FaultKind kind, unsigned *failed) {
  Run run = {.sys = sys_begin(f, n, kind)};
  run.inner = tools_store_copy(run.sys, f->base);
  run.fault = store_fault_new(run.sys, tools_store_borrow(run.inner));
  const MeterOptions patient = {.patience_ms = 60 * 1000};
  assert_ok(model_repo_open(run.sys, store_meter_new(run.sys, run.fault, &patient), NULL, &run.repo));
  store_fault_at(run.fault, n, kind);
  ModelBackup how = {.source = "m"};
  Snapshot snapshot = {0};
  Error *err = model_backup(run.repo, &f->moments[1], &how, &snapshot, NULL);
  if (err && !cannot_be_repeated(run.fault, kind)) fail_msg("operation %d: %s", (int)n, err_text(err));
  if (!err) assert_ok(model_compare(run.repo, &snapshot, &f->moments[1], NULL));
  tools_expect_clean(run.repo);
  bool hit = n <= store_fault_count(run.fault);
  assert_int_equal(tools_expect_moments(run.repo, f->moments, 2), err ? 1 : 2);
  *failed += err != NULL;
  err_free(err);
  snapshot_free(&snapshot);
  run_end(&run);
  return hit;
}

static void test_retried(void **state) {
  const Fixture *f = (const Fixture *)*state;
  if (!f->simulated) return; /* it would wait for real */
  const FaultKind kinds[] = {FAULT_TEMPORARY, FAULT_AFTER};
  for (size_t k = 0; k < NELEMS(kinds); k++) {
    uint64_t n = 1;
    unsigned failed = 0;
    while (retried_with_fault(f, n, kinds[k], &failed)) n++;
    assert_true(n > 60);         /* a backup, a restore and a verification */
    assert_true(failed < n / 5); /* one for each pack */
  }
}

/* A fault that reaches a read must show: as an error or as damage. */
static bool reads_notice(FaultKind kind, const char *op) {
  bool get_only = kind == FAULT_SHORT || kind == FAULT_FLIP;
  return kind != FAULT_NO_SPACE && (!get_only || strcmp(op, "get") == 0);
}

/* What is read twice and was right once costs nothing: the checksum in a pack's trailer, a key slot; and a part of a
 * pack that could not be read at once, but piece by piece. */
static bool harmless(FaultKind kind, const char *op, const char *key, unsigned *allowed) {
  bool in_parts = kind == FAULT_IO || kind == FAULT_SHORT;
  if (in_parts && strcmp(op, "get") == 0 && str_starts(key, "packs/")) return true;
  if ((kind != FAULT_FLIP && kind != FAULT_SHORT) || *allowed == 0) return false;
  if (!str_starts(key, "packs/") && !str_starts(key, "keys/")) return false;
  --*allowed;
  return true;
}

static bool verify_with_fault(const Fixture *f, uint64_t n, FaultKind kind, unsigned *allowed) {
  Run run = run_begin(f, n, kind);
  uint64_t damaged = 0;
  char *first = NULL;
  Error *err = model_verify(run.repo, 3, &damaged, &first);
  bool hit = n <= store_fault_count(run.fault);
  const char *op = store_fault_hit_op(run.fault), *key = store_fault_hit_key(run.fault);
  if (hit && reads_notice(kind, op) && !err && damaged == 0 && !harmless(kind, op, key, allowed))
    fail_msg("verify: %s at operation %d (%s %s) was not noticed", kind_names[kind], (int)n, op, key);
  if (!hit) {
    assert_null(err);
    assert_int_equal(damaged, 0);
  }
  err_free(err);
  free(first);
  store_fault_at(run.fault, 0, FAULT_NONE);
  tools_expect_clean(run.repo);
  run_end(&run);
  return hit;
}

static void test_verify(void **state) {
  const Fixture *f = (const Fixture *)*state;
  for (FaultKind kind = FAULT_IO; kind <= FAULT_FLIP; kind++) {
    uint64_t n = 1;
    /* Of the trailer, which is read twice, each reading uses another part. */
    unsigned allowed = (unsigned)(kind == FAULT_FLIP ? 2 * tools_count(f->base, "packs/") : 0) + 1;
    while (verify_with_fault(f, n, kind, &allowed)) n += f->step;
    assert_true(n > 15);
  }
}

static bool restore_with_fault(const Fixture *f, uint64_t n, FaultKind kind, unsigned *unharmed) {
  Run run = run_begin(f, n, kind);
  store_fault_at(run.fault, 0, FAULT_NONE);
  SnapshotList list;
  assert_ok(snapshot_list(run.repo, NULL, &list, NULL, NULL, NULL));
  store_fault_at(run.fault, n, kind);
  Error *err = model_compare(run.repo, &list.items[0], &f->moments[0], NULL);
  bool hit = n <= store_fault_count(run.fault);
  if (err_is(err, ERR_CHECK_FAILED))
    fail_msg("restore: %s at operation %d: wrong data: %s", kind_names[kind], (int)n, err_text(err));
  if (!hit) assert_null(err);
  /* A range may be read over gaps, and be read again in smaller pieces; what an index segment says, the packs say as
   * well; and a data key is asked for again: a fault there need not cost anything. */
  const char *op = store_fault_hit_op(run.fault), *key = store_fault_hit_key(run.fault);
  bool may_pass = strcmp(op, "get") == 0 || str_starts(key, "index/") || str_starts(key, "keyring/");
  if (hit && reads_notice(kind, op) && !may_pass && !err)
    fail_msg("restore: %s at operation %d (%s %s) was not noticed", kind_names[kind], (int)n, op, key);
  *unharmed += hit && !err && strcmp(op, "get") == 0 && str_starts(key, "packs/");
  err_free(err);
  store_fault_at(run.fault, 0, FAULT_NONE);
  assert_ok(model_compare(run.repo, &list.items[0], &f->moments[0], NULL));
  snapshot_list_free(&list);
  run_end(&run);
  return hit;
}

static void test_restore(void **state) {
  const Fixture *f = (const Fixture *)*state;
  for (FaultKind kind = FAULT_IO; kind <= FAULT_FLIP; kind++) {
    uint64_t n = 1;
    unsigned unharmed = 0;
    while (restore_with_fault(f, n, kind, &unharmed)) n += f->step;
    assert_true(n > 5);
    /* A range that cannot be read as a whole (a bad sector, a short answer) is read frame by frame. */
    if (f->step == 1 && (kind == FAULT_IO || kind == FAULT_SHORT)) assert_true(unharmed > 0);
  }
}

/* An init that met a fault can be repeated: in the end there is one repository, and it can be used. */
static bool init_with_fault(const Fixture *f, uint64_t n, FaultKind kind) {
  Sys *sys = sys_begin(f, n, kind);
  Store *inner = store_memory_new(sys);
  Store *fault = store_fault_new(sys, tools_store_borrow(inner));
  store_fault_at(fault, n, kind);
  Store *counted = tools_store_borrow(fault); /* so that the count can be asked afterwards */
  Repo *repo = NULL;
  Error *err = model_repo_init(sys, counted, NULL, &repo);
  bool hit = n <= store_fault_count(fault);
  store_free(fault);
  if (err) {
    Error *again = model_repo_init(sys, tools_store_borrow(inner), NULL, &repo);
    if (kind == FAULT_AFTER && err_is(again, ERR_EXISTS)) { /* the answer to the last put was lost */
      err_free(again);
      again = model_repo_open(sys, tools_store_borrow(inner), NULL, &repo);
    }
    assert_ok(again);
  }
  err_free(err);
  repo_free(repo);
  repo = tools_open(sys, inner, NULL);
  Model model = {0};
  uint64_t seed = seeds_begin(1);
  tools_add_random(&model, "f", false, 1000, &seed);
  tools_backup(repo, &model, NULL);
  tools_expect_clean(repo);
  model_free(&model);
  repo_free(repo);
  store_free(inner);
  sys_end(sys);
  return hit;
}

static void test_init(void **state) {
  const Fixture *f = (const Fixture *)*state;
  for (FaultKind kind = FAULT_IO; kind <= FAULT_FLIP; kind++) {
    uint64_t n = 1;
    while (init_with_fault(f, n, kind)) n += f->step;
    assert_true(n > 5);
  }
}

int main(void) {
  seeds_say();
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_init),
      cmocka_unit_test(test_backup_io),
      cmocka_unit_test(test_backup_no_space),
      cmocka_unit_test(test_backup_temporary),
      cmocka_unit_test(test_backup_after),
      cmocka_unit_test(test_backup_dead),
      cmocka_unit_test(test_backup_short),
      cmocka_unit_test(test_backup_flip),
      cmocka_unit_test(test_backup_stale),
      cmocka_unit_test(test_retried),
      cmocka_unit_test(test_verify),
      cmocka_unit_test(test_restore),
  };
  int failed = SEEDS_REAL_THREADS_ONLY ? 0 : cmocka_run_group_tests(tests, setup_simulated, teardown);
  return failed + cmocka_run_group_tests(tests, setup_threads, teardown);
}
