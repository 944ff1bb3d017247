#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/secret.h"

#include "testing.h"

static char *folder; /* one scratch folder for the whole program, as cmocka's group fixture gives no typed state */

static int make_folder(void **state) {
  (void)state;
  folder = mem_strdup("/tmp/test_secret.XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  int failed = rmdir(folder);
  free(folder);
  return failed;
}

/* Owned path of a new file with this content. */
static char *write_file(const char *name, const void *data, size_t len, mode_t mode) {
  char *path = mem_printf("%s/%s", folder, name);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, data, len), (ssize_t)len);
  assert_int_equal(fchmod(fd, mode), 0);
  close(fd);
  return path;
}

static void check_read(Bytes content, bool keep_newline, mode_t mode, Bytes expected, bool expected_open) {
  char *path = write_file("secret", content.data, content.len, mode);
  uint8_t *secret = NULL;
  size_t len = 0;
  bool mode_open = !expected_open;
  assert_ok(secret_read_file(path, keep_newline, &secret, &len, &mode_open));
  assert_true(bytes_equal(bytes(secret, len), expected));
  assert_int_equal(mode_open, expected_open);
  secret_free(secret);
  unlink(path);
  free(path);
}

static void test_read_file(void **state) {
  (void)state;
  check_read(bytes_str("hunter2\n"), false, 0600, bytes_str("hunter2"), false);
  check_read(bytes_str("hunter2\n"), true, 0600, bytes_str("hunter2\n"), false);
  check_read(bytes_str("hunter2\n\n"), false, 0400, bytes_str("hunter2\n"), false);
  check_read(bytes_str("hunter2"), false, 0640, bytes_str("hunter2"), true);
  check_read(bytes("a\0b\n", 4), false, 0600, bytes("a\0b", 3), false);
  uint8_t *big = mem_alloc(65536);
  check_read(bytes(big, 65536), true, 0600, bytes(big, 65536), false);
  free(big);
}

static void check_refused(const void *data, size_t len, bool keep_newline, ErrCode code) {
  char *path = write_file("secret", data, len, 0600);
  uint8_t *secret = NULL;
  size_t secret_len = 0;
  bool mode_open = false;
  Error *err = secret_read_file(path, keep_newline, &secret, &secret_len, &mode_open);
  assert_non_null(err);
  assert_int_equal(err_code(err), code);
  assert_non_null(strstr(err_text(err), path));
  assert_null(secret);
  err_free(err);
  unlink(path);
  free(path);
}

static void test_read_refuses(void **state) {
  (void)state;
  check_refused("", 0, false, ERR_USAGE);
  check_refused("", 0, true, ERR_USAGE);
  check_refused("\n", 1, false, ERR_USAGE);
  uint8_t *big = mem_alloc(65537);
  check_refused(big, 65537, true, ERR_LIMIT);
  free(big);
  uint8_t *secret = NULL;
  size_t len = 0;
  bool mode_open = false;
  assert_err(secret_read_file("/nonexistent/key", false, &secret, &len, &mode_open), ERR_NOT_FOUND);
  assert_err(secret_read_file(folder, false, &secret, &len, &mode_open), ERR_IO);
}

/* `--password-file <(command)` hands over a pipe. */
static void test_read_pipe(void **state) {
  (void)state;
  int ends[2];
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  assert_int_equal(write(ends[1], "from a pipe\n", 12), 12);
  close(ends[1]);
  char *path = mem_printf("/dev/fd/%d", ends[0]);
  uint8_t *secret = NULL;
  size_t len = 0;
  bool mode_open = true;
  assert_ok(secret_read_file(path, false, &secret, &len, &mode_open));
  assert_true(bytes_equal(bytes(secret, len), bytes_str("from a pipe")));
  assert_false(mode_open);
  secret_free(secret);
  free(path);
  close(ends[0]);
}

static void test_memory(void **state) {
  (void)state;
  static const uint8_t zeros[100];
  uint8_t *p = secret_alloc(100);
  assert_memory_equal(p, zeros, 100);
  memset(p, 7, 100);
  secret_wipe(p, 100);
  assert_memory_equal(p, zeros, 100);
  secret_free(p);
  secret_free(NULL);
  secret_wipe(NULL, 0);
  void *nothing = secret_alloc(0);
  secret_free(nothing);
}

/* A write behind the end kills the process instead of reaching its neighbour. */
static void test_guard_page(void **state) {
  (void)state;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL); /* cmocka and sanitizers catch it */
    volatile uint8_t *p = secret_alloc(32);
    for (size_t i = 0; i < 8192; i++) p[i] = 1;
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGSEGV);
}

static void test_equal(void **state) {
  (void)state;
  assert_true(secret_equal("abc", "abc", 3));
  assert_false(secret_equal("abc", "abd", 3));
  assert_true(secret_equal("abc", "abd", 2));
  assert_true(secret_equal(NULL, NULL, 0));
}

static void test_no_core_dumps(void **state) {
  (void)state;
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
  limit.rlim_cur = limit.rlim_max; /* as a shell with `ulimit -c unlimited` starts us */
  assert_int_equal(setrlimit(RLIMIT_CORE, &limit), 0);
  secret_init();
  secret_init();
  assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
  assert_int_equal(limit.rlim_cur, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_read_file),     cmocka_unit_test(test_read_refuses), cmocka_unit_test(test_read_pipe),
      cmocka_unit_test(test_memory),        cmocka_unit_test(test_guard_page),   cmocka_unit_test(test_equal),
      cmocka_unit_test(test_no_core_dumps),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
