/* Files that are locked by this process, and those who would open them. */
#include "sys/lockguard.h"

#include "testing.h"

enum { FILES = 4, ROUNDS = 20000, THREADS = 4 };

static struct stat file_number(ino_t inode) { return (struct stat){.st_dev = 7, .st_ino = inode}; }

static void test_held_is_not_entered(void **state) {
  (void)state;
  struct stat a = file_number(1), b = file_number(2);
  assert_ok(lockguard_hold(sys_real(), &a, LOCKGUARD_SOURCE, 0, NULL));
  assert_int_equal(lockguard_enter(&a), LOCKGUARD_SOURCE);
  assert_int_equal(lockguard_enter(&b), LOCKGUARD_FREE);
  /* As often as it is held. */
  assert_ok(lockguard_hold(sys_real(), &a, LOCKGUARD_OWN, 0, NULL));
  lockguard_release(&a);
  assert_int_not_equal(lockguard_enter(&a), LOCKGUARD_FREE);
  lockguard_release(&a);
  assert_int_equal(lockguard_enter(&a), LOCKGUARD_FREE);
  lockguard_leave(&a);
  lockguard_leave(&b);
}

static void test_entered_is_not_held(void **state) {
  (void)state;
  struct stat a = file_number(1);
  assert_int_equal(lockguard_enter(&a), LOCKGUARD_FREE);
  assert_int_equal(lockguard_enter(&a), LOCKGUARD_FREE);
  assert_err(lockguard_hold(sys_real(), &a, LOCKGUARD_SOURCE, 5, NULL), ERR_UNREACHABLE);
  lockguard_leave(&a);
  Cancel cancel = {0};
  cancel_set(&cancel, -1);
  assert_err(lockguard_hold(sys_real(), &a, LOCKGUARD_SOURCE, 60000, &cancel), ERR_CANCELLED);
  lockguard_leave(&a);
  assert_ok(lockguard_hold(sys_real(), &a, LOCKGUARD_SOURCE, 0, NULL));
  lockguard_release(&a);
}

typedef struct Crowd {
  _Atomic int inside[FILES]; /* plain descriptors open; -1000: locked */
  _Atomic int wrong;
} Crowd;

static void crowd_run(void *arg) {
  Crowd *crowd = arg;
  for (unsigned i = 0; i < ROUNDS; i++) {
    unsigned n = i % FILES;
    struct stat file = file_number(n + 1);
    if (i % 7 == 0) {
      Error *err = lockguard_hold(sys_real(), &file, LOCKGUARD_SOURCE, 10000, NULL);
      if (err) crowd->wrong++;
      err_free(err);
      if (err) continue;
      if (atomic_fetch_sub(&crowd->inside[n], 1000) > 0) crowd->wrong++;
      crowd->inside[n] += 1000;
      lockguard_release(&file);
    } else if (lockguard_enter(&file) == LOCKGUARD_FREE) {
      if (atomic_fetch_add(&crowd->inside[n], 1) < 0) crowd->wrong++;
      crowd->inside[n]--;
      lockguard_leave(&file);
    }
  }
}

static void test_never_both(void **state) {
  (void)state;
  static Crowd crowd;
  Thread *threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) assert_ok(thread_start(sys_real(), "crowd", crowd_run, &crowd, &threads[i]));
  for (size_t i = 0; i < THREADS; i++) thread_join(threads[i]);
  assert_int_equal(crowd.wrong, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_held_is_not_entered),
      cmocka_unit_test(test_entered_is_not_held),
      cmocka_unit_test(test_never_both),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
