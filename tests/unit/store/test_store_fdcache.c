#include <fcntl.h>
#include <unistd.h>

#include "store/store_fdcache.h"

#include "testing.h"

static int new_fd(void) {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  return fd;
}

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static void test_shares(void **state UNUSED) {
  FdCache *cache = fdcache_new(sys_real(), 2);
  assert_null(fdcache_acquire(cache, "a"));
  int fd = new_fd();
  CachedFd *first = fdcache_add(cache, "a", fd), *second = fdcache_acquire(cache, "a");
  assert_int_equal(fdcache_fd(first), fd);
  assert_int_equal(fdcache_fd(second), fd);
  fdcache_release(cache, first);
  fdcache_release(cache, second);
  assert_true(is_open(fd));
  fdcache_free(cache);
  assert_false(is_open(fd));
}

static void test_pushes_out_the_oldest(void **state UNUSED) {
  FdCache *cache = fdcache_new(sys_real(), 2);
  int a = new_fd(), b = new_fd(), c = new_fd();
  fdcache_release(cache, fdcache_add(cache, "a", a));
  fdcache_release(cache, fdcache_add(cache, "b", b));
  fdcache_release(cache, fdcache_acquire(cache, "a"));
  fdcache_release(cache, fdcache_add(cache, "c", c));
  assert_true(is_open(a) && is_open(c));
  assert_false(is_open(b));
  assert_null(fdcache_acquire(cache, "b"));
  fdcache_free(cache);
  assert_false(is_open(a) || is_open(c));
}

/* What is in use when it is forgotten, replaced or pushed out stays open until its user is done. */
static void test_in_use(void **state UNUSED) {
  FdCache *cache = fdcache_new(sys_real(), 1);
  int fds[4];
  for (size_t i = 0; i < NELEMS(fds); i++) fds[i] = new_fd();
  CachedFd *forgotten = fdcache_add(cache, "a", fds[0]);
  fdcache_forget(cache, "a");
  fdcache_forget(cache, "a");
  assert_null(fdcache_acquire(cache, "a"));
  CachedFd *replaced = fdcache_add(cache, "a", fds[1]);
  CachedFd *pushed = fdcache_add(cache, "a", fds[2]);
  CachedFd *last = fdcache_add(cache, "b", fds[3]);
  for (size_t i = 0; i < NELEMS(fds); i++) assert_true(is_open(fds[i]));
  fdcache_release(cache, forgotten);
  fdcache_release(cache, replaced);
  fdcache_release(cache, pushed);
  fdcache_release(cache, last);
  for (size_t i = 0; i < 3; i++) assert_false(is_open(fds[i]));
  assert_true(is_open(fds[3]));
  fdcache_free(cache);
  assert_false(is_open(fds[3]));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_shares),
      cmocka_unit_test(test_pushes_out_the_oldest),
      cmocka_unit_test(test_in_use),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
