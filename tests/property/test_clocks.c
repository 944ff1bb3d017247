/* Machines whose clocks are wrong: a year ahead, a year behind, at the beginning of time, and set while a backup runs.
 * Clocks name and order snapshots; what a snapshot holds never depends on them. */
#include "base/timefmt.h"
#include "codec/secret.h"
#include "store/store_fault.h"
#include "store/store_memory.h"
#include "sys/sim.h"

#include "repo_tools.h"
#include "seeds.h"
#include "testing.h"

#define YEAR_NS (365 * 24 * 3600 * NS_PER_SECOND)
#define START_NS (UINT64_C(1795167000) * NS_PER_SECOND)

enum { MOMENTS_MAX = 32 };

typedef struct Made {
  Uuid id;
  Model model;
} Made;

static void check_all(Repo *repo, const Made *made, size_t len) {
  SnapshotList list;
  assert_ok(snapshot_list(repo, NULL, &list, NULL, NULL, NULL));
  assert_int_equal(list.len, len);
  for (size_t i = 0; i < list.len; i++) {
    if (i > 0) assert_true(list.items[i - 1].time_ns <= list.items[i].time_ns);
    size_t k = 0;
    while (k < len && !uuid_equal(&made[k].id, &list.items[i].id)) k++;
    assert_true(k < len);
    assert_ok(model_compare(repo, &list.items[i], &made[k].model, NULL));
  }
  snapshot_list_free(&list);
}

/* Several machines, each with a clock of its own, take turns with one source. */
static void test_clocks_apart(void **state UNUSED) {
  const uint64_t clocks[] = {START_NS, START_NS + YEAR_NS, START_NS - YEAR_NS, 0, START_NS + 1, 40 * YEAR_NS};
  uint64_t seed = seeds_begin(1);
  Sys *sys = sim_new(3, 2);
  Store *store = store_memory_new(sys);
  sim_set_now(sys, START_NS);
  repo_free(tools_init(sys, store, NULL));
  Model model = tools_model(&seed);
  Made made[MOMENTS_MAX];
  size_t len = 0;
  uint64_t first = 0;
  for (int round = 0; round < 3; round++) {
    for (size_t c = 0; c < NELEMS(clocks); c++) {
      sim_set_now(sys, clocks[c]);
      Repo *repo = tools_open(sys, store, NULL);
      tools_change(&model, &seed);
      Snapshot s;
      tools_backup(repo, &model, &s);
      assert_true(s.time_ns >= clocks[c] && s.time_ns < clocks[c] + YEAR_NS / 365);
      if (len == 0)
        first = s.stats.new_bytes;
      else
        assert_true(s.stats.new_bytes < first / 2); /* each finds a parent, and what is known */
      made[len++] = (Made){.id = s.id, .model = model_copy(&model)};
      snapshot_free(&s);
      repo_free(repo);
    }
  }
  Repo *repo = tools_open(sys, store, NULL);
  check_all(repo, made, len);
  tools_expect_clean(repo);
  repo_free(repo);
  for (size_t i = 0; i < len; i++) model_free(&made[i].model);
  model_free(&model);
  store_free(store);
  sim_free(sys);
}

typedef struct Setter {
  Sys *sys;
  uint64_t seen;
} Setter;

/* Somebody corrects the clock, again and again, before every third operation. */
static void set_clock(void *ctx, const char *op UNUSED, const char *key UNUSED, Bytes body UNUSED) {
  Setter *s = (Setter *)ctx;
  uint64_t n = __atomic_add_fetch(&s->seen, 1, __ATOMIC_RELAXED);
  if (n % 3 == 0) sim_set_now(s->sys, n % 2 ? START_NS + YEAR_NS : START_NS - YEAR_NS);
}

static void test_clock_set_meanwhile(void **state UNUSED) {
  uint64_t seed = seeds_begin(2);
  Sys *sys = sim_new(4, 2);
  sim_set_now(sys, START_NS);
  Store *store = store_memory_new(sys);
  repo_free(tools_init(sys, store, NULL));
  Setter setter = {.sys = sys};
  Model model = tools_model(&seed);
  Made made[MOMENTS_MAX];
  size_t len = 0;
  for (int round = 0; round < 6; round++) {
    Store *fault = store_fault_new(sys, tools_store_borrow(store));
    store_fault_watch(fault, set_clock, &setter);
    Repo *repo;
    assert_ok(model_repo_open(sys, fault, NULL, &repo));
    tools_change(&model, &seed);
    Snapshot s;
    tools_backup(repo, &model, &s);
    assert_true(s.stats.duration_ns < YEAR_NS / 365); /* measured by the other clock */
    made[len++] = (Made){.id = s.id, .model = model_copy(&model)};
    snapshot_free(&s);
    check_all(repo, made, len);
    tools_expect_clean(repo);
    repo_free(repo);
  }
  assert_true(setter.seen > 100);
  for (size_t i = 0; i < len; i++) model_free(&made[i].model);
  model_free(&model);
  store_free(store);
  sim_free(sys);
}

int main(void) {
  seeds_say();
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_clocks_apart),
      cmocka_unit_test(test_clock_set_meanwhile),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
