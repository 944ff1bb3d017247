#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/secret.h"
#include "ops/secret_source.h"

#include "testing.h"

static char *text(const char *literal) { return (char *)(uintptr_t)literal; }

static void expect(const SecretSource *source, bool raw, const char *expected) {
  uint8_t *secret;
  size_t len;
  assert_ok(secret_source_read(sys_real(), source, raw, NULL, &secret, &len, NULL));
  assert_int_equal(len, strlen(expected));
  assert_memory_equal(secret, expected, len);
  secret_free(secret);
}

static void fails(const SecretSource *source, ErrCode code) {
  uint8_t *secret;
  size_t len;
  Error *err = secret_source_read(sys_real(), source, false, NULL, &secret, &len, NULL);
  assert_non_null(err);
  assert_int_equal(err_code(err), code);
  assert_null(strstr(err_text(err), "hunter2"));
  err_free(err);
}

static void test_file(void **state UNUSED) {
  char path[] = "/tmp/holdfast-test-secret-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, "hunter2\n", 8), 8);
  SecretSource source = {.file = path};
  expect(&source, false, "hunter2");
  expect(&source, true, "hunter2\n");
  assert_int_equal(fchmod(fd, 0644), 0);
  uint8_t *secret;
  size_t len;
  bool open_to_others = false;
  assert_ok(secret_source_read(sys_real(), &source, false, NULL, &secret, &len, &open_to_others));
  assert_true(open_to_others);
  secret_free(secret);
  assert_int_equal(unlink(path), 0);
  close(fd);
  fails(&source, ERR_NOT_FOUND);
}

static void test_env(void **state UNUSED) {
  assert_int_equal(setenv("TEST_SECRET", "hunter2", 1), 0);
  SecretSource source = {.env = text("TEST_SECRET")};
  expect(&source, false, "hunter2");
  expect(&source, false, "hunter2"); /* the variable is still there */
  assert_int_equal(setenv("TEST_SECRET", "", 1), 0);
  fails(&source, ERR_USAGE);
  assert_int_equal(unsetenv("TEST_SECRET"), 0);
  fails(&source, ERR_USAGE);
}

static void test_command(void **state UNUSED) {
  expect(&(SecretSource){.command = text("printf 'a b\\n'")}, false, "a b");
  expect(&(SecretSource){.command = text("echo one | tr o 0")}, false, "0ne");
  expect(&(SecretSource){.command = text("printf 'x\\n'")}, true, "x\n");
  fails(&(SecretSource){.command = text("true")}, ERR_USAGE); /* empty */
  fails(&(SecretSource){.command = text("echo hunter2; exit 3")}, ERR_IO);
  fails(&(SecretSource){.command = text("yes hunter2")}, ERR_LIMIT);
  Cancel cancel = {0};
  cancel_set(&cancel, 2);
  uint8_t *secret;
  size_t len;
  assert_err(
      secret_source_read(sys_real(), &(SecretSource){.command = text("sleep 60")}, false, &cancel, &secret, &len, NULL),
      ERR_CANCELLED);
}

static void test_nothing_named(void **state UNUSED) { fails(&(SecretSource){0}, ERR_USAGE); }

static void described(const SecretSource *source, const char *expected) {
  AUTO_FREE char *shown = secret_source_describe(source);
  assert_string_equal(shown, expected);
}

static void test_description_has_no_secret(void **state UNUSED) {
  described(&(SecretSource){.file = text("/etc/key\n")}, "file /etc/key\\x0a");
  described(&(SecretSource){.env = text("NAME")}, "variable NAME");
  described(&(SecretSource){.command = text("pass show hunter2")}, "command pass …");
  described(&(SecretSource){.command = text("TOKEN=hunter2 fetch")}, "command …");
  described(&(SecretSource){0}, "nowhere");
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_file),
      cmocka_unit_test(test_env),
      cmocka_unit_test(test_command),
      cmocka_unit_test(test_nothing_named),
      cmocka_unit_test(test_description_has_no_secret),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
