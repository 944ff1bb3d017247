#include <signal.h>

#include "base/timefmt.h"
#include "sys/sys.h"

#include "testing.h"

typedef struct Counter {
  Mutex lock;
  Cond changed;
  int value;
} Counter;

static void counter_init(Counter *c) {
  mutex_init(&c->lock, sys_real());
  cond_init(&c->changed, sys_real());
  c->value = 0;
}

static void counter_free(Counter *c) {
  cond_free(&c->changed);
  mutex_free(&c->lock);
}

static void add_thousand(void *arg) {
  Counter *c = (Counter *)arg;
  for (int i = 0; i < 1000; i++) {
    LOCKED(&c->lock);
    c->value++;
    cond_signal(&c->changed);
  }
}

static void threads_share_a_counter(void **state) {
  (void)state;
  Counter c;
  counter_init(&c);
  Thread *threads[4];
  for (int i = 0; i < 4; i++) assert_ok(thread_start(sys_real(), "adder", add_thousand, &c, &threads[i]));
  mutex_lock(&c.lock);
  while (c.value < 4000) cond_wait(&c.changed, &c.lock);
  mutex_unlock(&c.lock);
  for (int i = 0; i < 4; i++) thread_join(threads[i]);
  assert_int_equal(c.value, 4000);
  counter_free(&c);
}

static void look_at_signals(void *arg) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  *(int *)arg = sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM);
}

static void threads_block_signals(void **state) {
  (void)state;
  int blocked = 0;
  Thread *thread;
  assert_ok(thread_start(sys_real(), "a name longer than fifteen", look_at_signals, &blocked, &thread));
  thread_join(thread);
  assert_true(blocked);
  look_at_signals(&blocked);
  assert_false(blocked); /* ours are as before */
}

static void deadlines_pass(void **state) {
  (void)state;
  Counter c;
  counter_init(&c);
  mutex_lock(&c.lock);
  uint64_t deadline = sys_mono_ns(sys_real()) + NS_PER_SECOND / 100;
  while (cond_wait_until(&c.changed, &c.lock, deadline)) continue;
  assert_true(sys_mono_ns(sys_real()) >= deadline);
  assert_false(cond_wait_until(&c.changed, &c.lock, 1)); /* long gone */
  mutex_unlock(&c.lock);
  counter_free(&c);
}

static void random_bytes_differ(void **state) {
  (void)state;
  uint8_t a[300] = {0}, b[300] = {0};
  sys_random(sys_real(), a, sizeof a);
  sys_random(sys_real(), b, sizeof b);
  assert_memory_not_equal(a, b, sizeof a);
  assert_memory_not_equal(a + 284, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
}

static void the_machine(void **state) {
  (void)state;
  assert_true(sys_cpus(sys_real()) >= 1);
  assert_true(sys_now_ns(sys_real()) > UINT64_C(1700000000) * NS_PER_SECOND);
  uint64_t before = sys_mono_ns(sys_real());
  assert_true(sys_mono_ns(sys_real()) >= before);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_share_a_counter),
      cmocka_unit_test(threads_block_signals),
      cmocka_unit_test(deadlines_pass),
      cmocka_unit_test(random_bytes_differ),
      cmocka_unit_test(the_machine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
