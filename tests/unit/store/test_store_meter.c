#include "base/mem.h"
#include "store/store_fault.h"
#include "store/store_memory.h"
#include "store/store_meter.h"
#include "sys/sim.h"

#include "store_conformance.h"
#include "testing.h"

/* requests[] and failures[] of MeterStats */
enum { PUT, PUT_BEGIN, PUT_WRITE, PUT_COMMIT, GET, STAT, LIST, REMOVE };

static const uint64_t second_ns = 1000000000u;

static Store *fresh(void *ctx UNUSED) {
  MeterOptions options = {.patience_ms = 10};
  return store_meter_new(sys_real(), store_memory_new(sys_real()), &options);
}

static void test_conformance(void **state UNUSED) { store_conformance(fresh, NULL); }

/* A meter over a fault over memory, in simulated time: waiting costs nothing and can be measured exactly. */
typedef struct Rig {
  Sys *sys;
  Store *memory; /* borrowed, like fault */
  Store *fault;
  Store *store;
} Rig;

static Rig rig_new(const MeterOptions *options) {
  Rig rig = {.sys = sim_new(1, 2)};
  rig.memory = store_memory_new(rig.sys);
  rig.fault = store_fault_new(rig.sys, rig.memory);
  rig.store = store_meter_new(rig.sys, rig.fault, options);
  return rig;
}

static void rig_free(Rig *rig) {
  store_free(rig->store);
  sim_free(rig->sys);
}

static Rig patient(uint64_t patience_ms) {
  MeterOptions options = {.patience_ms = patience_ms};
  return rig_new(&options);
}

static Error *put_streamed(Store *store, const char *key, PutMode mode) {
  StorePut *put;
  TRY(store_put_begin(store, key, mode, &put, NULL));
  Error *err = store_put_write(put, bytes_str("part one, "), NULL);
  if (!err) err = store_put_write(put, bytes_str("part two"), NULL);
  if (!err) return store_put_commit(put, NULL);
  store_put_abort(put);
  return err;
}

static Error *count_visit(void *ctx, const char *key UNUSED, const StoreStat *st UNUSED) {
  ++*(unsigned *)ctx;
  return NULL;
}

/* Ten operations. */
static Error *workload(Store *store) {
  TRY(store_put(store, "a", bytes_str("whole"), PUT_NEW, NULL));
  TRY(store_put(store, "b", bytes(NULL, 0), PUT_NEW, NULL));
  TRY(put_streamed(store, "c", PUT_NEW));
  uint8_t got[5];
  TRY(store_get(store, "a", 0, sizeof got, got, NULL));
  assert_memory_equal(got, "whole", sizeof got);
  StoreStat st;
  TRY(store_stat(store, "c", &st, NULL));
  assert_int_equal(st.size_bytes, 18);
  unsigned visits = 0;
  TRY(store_list(store, "", count_visit, &visits, NULL));
  assert_int_equal(visits, 3);
  return store_remove(store, "b", NULL);
}

static void check_workload_done(Store *memory) {
  assert_int_equal(store_count(memory, ""), 2);
  store_expect(memory, "a", bytes_str("whole"));
  store_expect(memory, "c", bytes_str("part one, part two"));
}

/* Whichever operation fails or loses its answer, the work is done as if nothing had been. Only a commit that really
 * failed cannot be repeated. */
static void test_every_operation(void **state UNUSED) {
  enum { OPERATIONS = 10, COMMIT = 6 };
  static const FaultKind kinds[] = {FAULT_TEMPORARY, FAULT_AFTER};
  for (size_t k = 0; k < NELEMS(kinds); k++) {
    for (uint64_t n = 1; n <= OPERATIONS + 1; n++) {
      Rig rig = patient(60000);
      store_fault_at(rig.fault, n, kinds[k]);
      if (n == COMMIT && kinds[k] == FAULT_TEMPORARY) {
        assert_err(workload(rig.store), ERR_TEMPORARY);
        StoreStat st;
        assert_err(store_stat(rig.memory, "c", &st, NULL), ERR_NOT_FOUND);
      } else {
        assert_ok(workload(rig.store));
        check_workload_done(rig.memory);
        MeterStats stats;
        store_meter_stats(rig.store, &stats);
        assert_int_equal(stats.retries, n > OPERATIONS || n == COMMIT ? 0 : 1);
      }
      rig_free(&rig);
    }
  }
}

static void test_impatient(void **state UNUSED) {
  for (uint64_t n = 1; n <= 10; n++) {
    Rig rig = patient(0);
    store_fault_at(rig.fault, n, FAULT_TEMPORARY);
    assert_err(workload(rig.store), ERR_TEMPORARY);
    assert_int_equal(store_fault_count(rig.fault), n);
    rig_free(&rig);
  }
}

static void test_other_errors_pass(void **state UNUSED) {
  Rig rig = patient(60000);
  StoreStat st;
  store_fault_at(rig.fault, 1, FAULT_IO);
  assert_err(store_put(rig.store, "a", bytes_str("x"), PUT_NEW, NULL), ERR_IO);
  assert_int_equal(store_fault_count(rig.fault), 1);
  assert_err(store_stat(rig.store, "a", &st, NULL), ERR_NOT_FOUND);
  assert_int_equal(store_fault_count(rig.fault), 2);
  rig_free(&rig);
}

static void fail_always(void *ctx, const char *op UNUSED, const char *key UNUSED, Bytes body UNUSED) {
  store_fault_at((Store *)ctx, 1, FAULT_TEMPORARY);
}

static void test_patience_ends(void **state UNUSED) {
  Rig rig = patient(30000);
  store_fault_watch(rig.fault, fail_always, rig.fault);
  store_fault_at(rig.fault, 1, FAULT_TEMPORARY);
  uint64_t before = sys_mono_ns(rig.sys);
  Error *err = store_put(rig.store, "a", bytes_str("x"), PUT_NEW, NULL);
  assert_true(err_is(err, ERR_TEMPORARY));
  assert_non_null(strstr(err_text(err), "tries in 30 s"));
  assert_non_null(err_hint_text(err));
  err_free(err);
  uint64_t spent = sys_mono_ns(rig.sys) - before;
  assert_in_range(spent, 30 * second_ns, 31 * second_ns);
  MeterStats stats;
  store_meter_stats(rig.store, &stats);
  /* 100 ms doubled, halved by chance at most: between 8 and 12 tries fit. */
  assert_in_range(stats.requests[PUT], 8, 13);
  assert_int_equal(stats.failures[PUT], stats.requests[PUT]);
  assert_int_equal(stats.retries, stats.requests[PUT] - 1);
  assert_int_equal(stats.written_bytes, 0);
  rig_free(&rig);
}

static void cancel_on_get(void *ctx, const char *op, const char *key UNUSED, Bytes body UNUSED) {
  if (strcmp(op, "get") == 0) cancel_set((Cancel *)ctx, -1);
}

static void test_cancel_while_waiting(void **state UNUSED) {
  Rig rig = patient(60000);
  Cancel cancel = {0};
  uint8_t byte;
  store_fault_watch(rig.fault, cancel_on_get, &cancel);
  store_fault_at(rig.fault, 1, FAULT_TEMPORARY);
  assert_err(store_get(rig.store, "a", 0, 1, &byte, &cancel), ERR_CANCELLED);
  assert_int_equal(store_fault_count(rig.fault), 1);
  rig_free(&rig);
}

/* ---- whose object is it? ---- */

typedef struct Rival {
  Store *memory;
  const char *op; /* comes before this operation, its second time for "put" */
  const char *body;
  unsigned seen;
} Rival;

static void intrude(void *ctx, const char *op, const char *key, Bytes body UNUSED) {
  Rival *rival = (Rival *)ctx;
  if (strcmp(op, rival->op) != 0) return;
  rival->seen++;
  bool now = strcmp(op, "put") != 0 || rival->seen == 2;
  if (now) assert_ok(store_put(rival->memory, key, bytes_str(rival->body), PUT_NEW, NULL));
}

static void test_rival_put(void **state UNUSED) {
  static const char *const bodies[] = {"rival", "a longer rival", ""};
  for (size_t i = 0; i < NELEMS(bodies); i++) {
    Rig rig = patient(60000);
    Rival rival = {.memory = rig.memory, .op = "put", .body = bodies[i]};
    store_fault_watch(rig.fault, intrude, &rival);
    store_fault_at(rig.fault, 1, FAULT_TEMPORARY);
    assert_err(store_put(rig.store, "a", bytes_str("mine!"), PUT_NEW, NULL), ERR_EXISTS);
    store_expect(rig.memory, "a", bytes_str(bodies[i]));
    rig_free(&rig);
  }
}

static void test_rival_commit(void **state UNUSED) {
  static const char *const bodies[] = {"PART ONE, PART TWO", "part one"};
  for (size_t i = 0; i < NELEMS(bodies); i++) {
    Rig rig = patient(60000);
    Rival rival = {.memory = rig.memory, .op = "put_commit", .body = bodies[i]};
    store_fault_watch(rig.fault, intrude, &rival);
    store_fault_at(rig.fault, 4, FAULT_TEMPORARY);
    assert_err(put_streamed(rig.store, "a", PUT_NEW), ERR_EXISTS);
    store_fault_watch(rig.fault, NULL, NULL);
    store_fault_at(rig.fault, 4, FAULT_TEMPORARY);
    assert_err(put_streamed(rig.store, "a", PUT_REPLACE), ERR_TEMPORARY); /* did not replace: not done */
    store_expect(rig.memory, "a", bytes_str(bodies[i]));
    rig_free(&rig);
  }
}

/* The same bytes under a taken key are another's as long as no answer of ours was lost. */
static void test_taken_at_once(void **state UNUSED) {
  Rig rig = patient(60000);
  assert_ok(store_put(rig.memory, "a", bytes_str("same"), PUT_NEW, NULL));
  assert_err(store_put(rig.store, "a", bytes_str("same"), PUT_NEW, NULL), ERR_EXISTS);
  MeterStats stats;
  store_meter_stats(rig.store, &stats);
  assert_int_equal(stats.requests[PUT], 1);
  assert_int_equal(stats.failures[PUT], 0); /* an answer is no failure */
  rig_free(&rig);
}

typedef struct Looking {
  Store *fault;
  uint64_t fail_at; /* counted from the commit on */
} Looking;

static void fail_looking(void *ctx, const char *op, const char *key UNUSED, Bytes body UNUSED) {
  Looking *looking = (Looking *)ctx;
  if (strcmp(op, "put_commit") == 0) store_fault_at(looking->fault, looking->fail_at, FAULT_TEMPORARY);
}

/* A large object is compared piece by piece, and looking is retried as well. */
static void test_lost_answer_large(void **state UNUSED) {
  enum { LEN = 3000001, LOOKS = 4 }; /* stat, three pieces */
  AUTO_FREE uint8_t *data = store_sample(8, LEN);
  for (uint64_t fail_at = 1; fail_at <= LOOKS + 1; fail_at++) {
    Rig rig = patient(60000);
    StorePut *put;
    assert_ok(store_put_begin(rig.store, "a", PUT_NEW, &put, NULL));
    assert_ok(store_put_write(put, bytes(data, LEN), NULL));
    Looking looking = {.fault = rig.fault, .fail_at = fail_at};
    store_fault_watch(rig.fault, fail_looking, &looking);
    store_fault_at(rig.fault, 1, FAULT_AFTER);
    assert_ok(store_put_commit(put, NULL));
    store_expect(rig.memory, "a", bytes(data, LEN));
    assert_int_equal(store_fault_count(rig.fault), fail_at <= LOOKS ? LOOKS + 1 : LOOKS);
    rig_free(&rig);
  }
}

/* ---- listing ---- */

static Error *fail_visit(void *ctx, const char *key UNUSED, const StoreStat *st UNUSED) {
  ++*(unsigned *)ctx;
  return err_new(ERR_TEMPORARY, "the visitor's own");
}

static void test_list_visitor(void **state UNUSED) {
  Rig rig = patient(60000);
  assert_ok(store_put(rig.memory, "a", bytes_str("x"), PUT_NEW, NULL));
  unsigned visits = 0;
  assert_err(store_list(rig.store, "", fail_visit, &visits, NULL), ERR_TEMPORARY);
  assert_int_equal(visits, 1);
  MeterStats stats;
  store_meter_stats(rig.store, &stats);
  assert_int_equal(stats.requests[LIST], 1);
  assert_int_equal(stats.failures[LIST], 0);
  rig_free(&rig);
}

/* ---- counting and rates ---- */

static void test_counts(void **state UNUSED) {
  Rig rig = patient(60000);
  assert_ok(workload(rig.store));
  MeterStats stats;
  store_meter_stats(rig.store, &stats);
  static const uint64_t requests[8] = {
      [PUT] = 2, [PUT_BEGIN] = 1, [PUT_WRITE] = 2, [PUT_COMMIT] = 1, [GET] = 1, [STAT] = 1, [LIST] = 1, [REMOVE] = 1};
  for (size_t i = 0; i < NELEMS(requests); i++) {
    assert_int_equal(stats.requests[i], requests[i]);
    assert_int_equal(stats.failures[i], 0);
  }
  assert_int_equal(stats.written_bytes, 5 + 18);
  assert_int_equal(stats.read_bytes, 5);
  assert_int_equal(stats.retries, 0);
  rig_free(&rig);
}

static void test_rates(void **state UNUSED) {
  enum { LEN = 500000, TIMES = 10 };
  MeterOptions options = {.read_bytes_per_second = 4 * LEN, .write_bytes_per_second = LEN};
  Rig rig = rig_new(&options);
  AUTO_FREE uint8_t *data = store_sample(1, LEN);
  uint64_t start = sys_mono_ns(rig.sys);
  for (int i = 0; i < TIMES; i++) assert_ok(store_put(rig.store, "a", bytes(data, LEN), PUT_REPLACE, NULL));
  uint64_t written = sys_mono_ns(rig.sys);
  assert_in_range(written - start, 9 * second_ns, 11 * second_ns);
  for (int i = 0; i < TIMES; i++) assert_ok(store_get(rig.store, "a", 0, LEN, data, NULL));
  uint64_t read = sys_mono_ns(rig.sys);
  assert_in_range(read - written, 2 * second_ns, 3 * second_ns);
  /* A pause saves up no more than a moment's worth. */
  assert_ok(cancel_sleep_ms(rig.sys, 100000, NULL));
  uint64_t rested = sys_mono_ns(rig.sys);
  assert_ok(put_streamed(rig.store, "b", PUT_NEW));
  for (int i = 0; i < TIMES; i++) assert_ok(store_put(rig.store, "a", bytes(data, LEN), PUT_REPLACE, NULL));
  assert_in_range(sys_mono_ns(rig.sys) - rested, 9 * second_ns, 11 * second_ns);
  rig_free(&rig);
}

static void test_rate_and_cancel(void **state UNUSED) {
  MeterOptions options = {.read_bytes_per_second = 1};
  Rig rig = rig_new(&options);
  uint8_t got[4];
  Cancel cancel = {0};
  assert_ok(store_put(rig.store, "a", bytes_str("0123"), PUT_NEW, NULL));
  store_fault_watch(rig.fault, cancel_on_get, &cancel);
  assert_ok(store_get(rig.store, "a", 0, 1, got, &cancel));
  assert_err(store_get(rig.store, "a", 0, 4, got, &cancel), ERR_CANCELLED);
  MeterStats stats;
  store_meter_stats(rig.store, &stats);
  assert_int_equal(stats.requests[GET], 1);
  rig_free(&rig);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_conformance),   cmocka_unit_test(test_every_operation),
      cmocka_unit_test(test_impatient),     cmocka_unit_test(test_other_errors_pass),
      cmocka_unit_test(test_patience_ends), cmocka_unit_test(test_cancel_while_waiting),
      cmocka_unit_test(test_rival_put),     cmocka_unit_test(test_rival_commit),
      cmocka_unit_test(test_taken_at_once), cmocka_unit_test(test_lost_answer_large),
      cmocka_unit_test(test_list_visitor),  cmocka_unit_test(test_counts),
      cmocka_unit_test(test_rates),         cmocka_unit_test(test_rate_and_cancel),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
