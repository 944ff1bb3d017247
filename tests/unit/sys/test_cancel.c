#include <signal.h>
#include <sys/time.h>

#include "base/timefmt.h"
#include "sys/cancel.h"
#include "sys/sim.h"

#include "testing.h"

static void first_reason_stays(void **state) {
  (void)state;
  Cancel cancel = {0};
  assert_false(cancel_is_set(&cancel));
  assert_ok(cancel_check(&cancel));
  cancel_set(&cancel, SIGINT);
  cancel_set(&cancel, SIGTERM);
  assert_true(cancel_is_set(&cancel));
  assert_int_equal(cancel_reason(&cancel), SIGINT);
  AUTO_ERR Error *err = cancel_check(&cancel);
  assert_true(err_is(err, ERR_CANCELLED));
  assert_string_equal(err_text(err), "stopped by SIGINT");
}

static void other_reasons(void **state) {
  (void)state;
  Cancel cancel = {0};
  cancel_set(&cancel, 0); /* zero means "not set" inside and must not get lost */
  assert_true(cancel_is_set(&cancel));
  assert_int_equal(cancel_reason(&cancel), -1);
  assert_err(cancel_check(&cancel), ERR_CANCELLED);
}

static void null_never_stops(void **state) {
  (void)state;
  assert_false(cancel_is_set(NULL));
  assert_int_equal(cancel_reason(NULL), 0);
  assert_ok(cancel_check(NULL));
  assert_ok(cancel_sleep_ms(sys_real(), 1, NULL));
}

static void a_cancelled_sleep_does_not_begin(void **state) {
  (void)state;
  Cancel cancel = {0};
  cancel_set(&cancel, -1);
  assert_err(cancel_sleep_ms(sys_real(), UINT64_MAX, &cancel), ERR_CANCELLED);
}

static Cancel by_signal;

static void on_alarm(int number) { cancel_set(&by_signal, number); }

static void a_signal_ends_a_sleep(void **state) {
  (void)state;
  struct sigaction action = {.sa_handler = on_alarm}, before;
  sigaction(SIGALRM, &action, &before);
  struct itimerval timer = {.it_value = {.tv_usec = 20000}};
  setitimer(ITIMER_REAL, &timer, NULL);
  /* Were it not noticed, the test would run into its time limit. */
  assert_err(cancel_sleep_ms(sys_real(), 3600 * 1000, &by_signal), ERR_CANCELLED);
  sigaction(SIGALRM, &before, NULL);
}

typedef struct Sleeper {
  Sys *sys;
  Cancel cancel;
  uint64_t woke_ns;
} Sleeper;

static void sleep_long(void *arg) {
  Sleeper *s = (Sleeper *)arg;
  err_ignore(cancel_sleep_ms(s->sys, 60 * 1000, &s->cancel));
  s->woke_ns = sys_mono_ns(s->sys);
}

/* In simulated time the promise "within 50 ms" can be asserted exactly. */
static void noticed_within_50_ms(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 50; seed++) {
    Sleeper s = {.sys = sim_new(seed, 2)};
    Thread *thread;
    assert_ok(thread_start(s.sys, "sleeper", sleep_long, &s, &thread));
    assert_ok(cancel_sleep_ms(s.sys, 1000 + seed * 7, NULL));
    uint64_t set_ns = sys_mono_ns(s.sys);
    cancel_set(&s.cancel, -1);
    thread_join(thread);
    assert_true(s.woke_ns >= set_ns && s.woke_ns - set_ns <= NS_PER_SECOND / 20);
    sim_free(s.sys);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(first_reason_stays),    cmocka_unit_test(other_reasons),
      cmocka_unit_test(null_never_stops),      cmocka_unit_test(a_cancelled_sleep_does_not_begin),
      cmocka_unit_test(a_signal_ends_a_sleep), cmocka_unit_test(noticed_within_50_ms),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
