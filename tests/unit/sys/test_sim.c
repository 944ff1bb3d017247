#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/timefmt.h"
#include "sys/cancel.h"
#include "sys/sim.h"

#include "testing.h"

typedef struct World {
  Sys *sys;
  Mutex lock;
  Mutex second;
  Cond changed;
  int value;
  Buf trace; /* who did something, in order; only one thread runs at a time, so it needs no lock */
} World;

static void world_init(World *w, uint64_t seed) {
  *w = (World){.sys = sim_new(seed, 3)};
  mutex_init(&w->lock, w->sys);
  mutex_init(&w->second, w->sys);
  cond_init(&w->changed, w->sys);
}

static void world_free(World *w) {
  cond_free(&w->changed);
  mutex_free(&w->second);
  mutex_free(&w->lock);
  sim_free(w->sys);
  buf_free(&w->trace);
}

static Thread *start(World *w, const char *name, void (*run)(void *)) {
  Thread *thread;
  assert_ok(thread_start(w->sys, name, run, w, &thread));
  return thread;
}

/* Forgets that another may come between reading and writing back. */
static void increment_carelessly(void *arg) {
  World *w = (World *)arg;
  mutex_lock(&w->lock);
  int value = w->value;
  mutex_unlock(&w->lock);
  mutex_lock(&w->lock);
  w->value = value + 1;
  mutex_unlock(&w->lock);
}

static void a_race_shows_both_outcomes(void **state) {
  (void)state;
  int outcomes[3] = {0};
  for (uint64_t seed = 0; seed < 100; seed++) {
    World w;
    world_init(&w, seed);
    Thread *a = start(&w, "a", increment_carelessly), *b = start(&w, "b", increment_carelessly);
    thread_join(a);
    thread_join(b);
    assert_in_range(w.value, 1, 2);
    outcomes[w.value]++;
    world_free(&w);
  }
  assert_true(outcomes[1] >= 10);
  assert_true(outcomes[2] >= 10);
}

static void leave_traces(void *arg) {
  World *w = (World *)arg;
  uint64_t number;
  mutex_lock(&w->lock);
  char me = (char)('a' + w->value++);
  mutex_unlock(&w->lock);
  for (int i = 0; i < 10; i++) {
    mutex_lock(&w->lock);
    buf_put_u8(&w->trace, (uint8_t)me);
    cond_broadcast(&w->changed);
    mutex_unlock(&w->lock);
    sys_random(w->sys, &number, sizeof number);
    buf_put_u64(&w->trace, number);
    err_ignore(cancel_sleep_ms(w->sys, number % 5, NULL));
    buf_put_u64(&w->trace, sys_mono_ns(w->sys));
  }
}

static void run_traced(uint64_t seed, Buf *out, uint64_t *steps) {
  World w;
  world_init(&w, seed);
  Thread *threads[3];
  for (int i = 0; i < 3; i++) threads[i] = start(&w, "tracer", leave_traces);
  mutex_lock(&w.lock);
  while (w.value < 3) cond_wait(&w.changed, &w.lock);
  mutex_unlock(&w.lock);
  for (int i = 0; i < 3; i++) thread_join(threads[i]);
  *steps = sim_steps(w.sys);
  buf_add(out, w.trace.data, w.trace.len);
  world_free(&w);
}

static void the_same_seed_is_the_same_run(void **state) {
  (void)state;
  AUTO_BUF Buf first = {0};
  int different = 0;
  for (uint64_t seed = 0; seed < 20; seed++) {
    AUTO_BUF Buf a = {0}, b = {0};
    uint64_t steps_a, steps_b;
    run_traced(seed, &a, &steps_a);
    run_traced(seed, &b, &steps_b);
    assert_true(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
    assert_true(steps_a == steps_b && steps_a > 100);
    if (seed == 0) buf_add(&first, a.data, a.len);
    different += !bytes_equal(buf_bytes(&a), buf_bytes(&first));
  }
  assert_int_equal(different, 19);
}

static void time_moves_only_when_all_wait(void **state) {
  (void)state;
  World w;
  world_init(&w, 1);
  uint64_t mono = sys_mono_ns(w.sys), now = sys_now_ns(w.sys);
  for (int i = 0; i < 100; i++) {
    mutex_lock(&w.lock);
    mutex_unlock(&w.lock);
  }
  assert_true(sys_mono_ns(w.sys) == mono);
  assert_ok(cancel_sleep_ms(w.sys, 3600 * 1000, NULL));
  assert_true(sys_mono_ns(w.sys) == mono + 3600 * NS_PER_SECOND);
  assert_true(sys_now_ns(w.sys) == now + 3600 * NS_PER_SECOND);
  sim_set_now(w.sys, 5 * NS_PER_SECOND);
  assert_true(sys_now_ns(w.sys) == 5 * NS_PER_SECOND);
  assert_true(sys_mono_ns(w.sys) == mono + 3600 * NS_PER_SECOND);
  assert_int_equal(sys_cpus(w.sys), 3);
  world_free(&w);
}

static void signal_after_two_seconds(void *arg) {
  World *w = (World *)arg;
  err_ignore(cancel_sleep_ms(w->sys, 2000, NULL));
  LOCKED(&w->lock);
  w->value = 1;
  cond_signal(&w->changed);
}

/* Waits until value is set or the deadline passes; true when it was set. */
static bool await_value(World *w, uint64_t seconds) {
  uint64_t deadline = sys_mono_ns(w->sys) + seconds * NS_PER_SECOND;
  LOCKED(&w->lock);
  while (w->value == 0) {
    if (!cond_wait_until(&w->changed, &w->lock, deadline)) return w->value != 0;
  }
  return true;
}

static void deadlines_are_kept(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 50; seed++) {
    World w;
    world_init(&w, seed);
    uint64_t begin = sys_mono_ns(w.sys);
    Thread *thread = start(&w, "signaller", signal_after_two_seconds);
    assert_false(await_value(&w, 1));
    assert_true(sys_mono_ns(w.sys) == begin + NS_PER_SECOND);
    assert_true(await_value(&w, 10));
    assert_true(sys_mono_ns(w.sys) == begin + 2 * NS_PER_SECOND);
    thread_join(thread);
    world_free(&w);
  }
}

static void lock_first_then_second(void *arg) {
  World *w = (World *)arg;
  LOCKED(&w->lock);
  LOCKED(&w->second);
  w->value++;
}

static void lock_second_then_first(void *arg) {
  World *w = (World *)arg;
  LOCKED(&w->second);
  LOCKED(&w->lock);
  w->value++;
}

static void run_lock_order_bug(uint64_t seed) {
  World w;
  world_init(&w, seed);
  Thread *a = start(&w, "alice", lock_first_then_second), *b = start(&w, "bob", lock_second_then_first);
  thread_join(a);
  thread_join(b);
  world_free(&w);
}

static void wait_for_nobody(uint64_t seed) {
  World w;
  world_init(&w, seed);
  mutex_lock(&w.lock);
  while (w.value == 0) cond_wait(&w.changed, &w.lock);
}

static void lock_twice(uint64_t seed) {
  World w;
  world_init(&w, seed);
  mutex_lock(&w.lock);
  mutex_lock(&w.lock);
}

static void unlock_unlocked(uint64_t seed) {
  World w;
  world_init(&w, seed);
  mutex_unlock(&w.lock);
}

/* Runs it in a child; true when that aborted. *out gets what it said. */
static bool aborts(void (*run)(uint64_t), uint64_t seed, Buf *out) {
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(fds[1], 2);
    signal(SIGABRT, SIG_DFL); /* cmocka catches it */
    run(seed);
    _exit(0);
  }
  close(fds[1]);
  char text[4096];
  ssize_t n;
  while ((n = read(fds[0], text, sizeof text)) > 0) buf_add(out, text, (size_t)n);
  close(fds[0]);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static bool says(Buf *text, const char *what) { return memmem(text->data, text->len, what, strlen(what)) != NULL; }

static void deadlocks_are_found_and_explained(void **state) {
  (void)state;
  int found = 0;
  for (uint64_t seed = 0; seed < 40; seed++) {
    AUTO_BUF Buf text = {0};
    if (!aborts(run_lock_order_bug, seed, &text)) continue;
    found++;
    assert_true(says(&text, "alice: waits for mutex") && says(&text, "held by bob"));
    assert_true(says(&text, "bob: waits for mutex") && says(&text, "held by alice"));
    assert_true(says(&text, "main: joins alice"));
  }
  assert_in_range(found, 2, 38); /* the bug needs the right interleaving */
  AUTO_BUF Buf text = {0};
  assert_true(aborts(wait_for_nobody, 1, &text));
  assert_true(says(&text, "main: waits for condition"));
}

static void misuse_aborts(void **state) {
  (void)state;
  AUTO_BUF Buf text = {0};
  assert_true(aborts(lock_twice, 1, &text));
  assert_true(aborts(unlock_unlocked, 1, &text));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_race_shows_both_outcomes),        cmocka_unit_test(the_same_seed_is_the_same_run),
      cmocka_unit_test(time_moves_only_when_all_wait),     cmocka_unit_test(deadlines_are_kept),
      cmocka_unit_test(deadlocks_are_found_and_explained), cmocka_unit_test(misuse_aborts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
