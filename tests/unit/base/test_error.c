#include <errno.h>

#include "testing.h"

static Error *fail_with(ErrCode code) { return err_new(code, "opening %s: bad magic", "x"); }

static Error *try_twice(int *reached) {
  TRY(NULL);
  *reached = 1;
  TRY(fail_with(ERR_CORRUPT));
  *reached = 2;
  return NULL;
}

static void wrap_prepends(void **state) {
  (void)state;
  AUTO_ERR Error *err = err_wrap(fail_with(ERR_CORRUPT), "restoring %d", 7);
  assert_string_equal(err_text(err), "restoring 7: opening x: bad magic");
  assert_int_equal(err_code(err), ERR_CORRUPT);
  assert_true(err_is(err, ERR_CORRUPT));
  assert_false(err_is(err, ERR_IO));
  assert_false(err_is(NULL, ERR_IO));
}

static void first_hint_stays(void **state) {
  (void)state;
  AUTO_ERR Error *err = fail_with(ERR_IO);
  assert_null(err_hint_text(err));
  err = err_hint(err, "near %d", 1);
  err = err_hint(err, "far");
  assert_string_equal(err_hint_text(err), "near 1");
}

static void null_stays_null(void **state) {
  (void)state;
  assert_null(err_wrap(NULL, "x"));
  assert_null(err_hint(NULL, "x"));
  assert_null(err_recode(NULL, ERR_IO));
  assert_null(err_copy(NULL));
  assert_null(err_first(NULL, NULL));
  err_free(NULL);
}

static void errno_decides_the_code(void **state) {
  (void)state;
  static const struct {
    int number;
    ErrCode code;
  } cases[] = {{ENOSPC, ERR_NO_SPACE}, {EDQUOT, ERR_NO_SPACE}, {ENOENT, ERR_NOT_FOUND}, {EEXIST, ERR_EXISTS},
               {EACCES, ERR_DENIED},   {EPERM, ERR_DENIED},    {EROFS, ERR_DENIED},     {EIO, ERR_IO}};
  for (size_t i = 0; i < NELEMS(cases); i++) assert_err(err_errno(cases[i].number, "x"), cases[i].code);
  AUTO_ERR Error *err = err_errno(ENOENT, "opening %s", "/a");
  assert_string_equal(err_text(err), "opening /a: No such file or directory");
}

static void copy_is_independent(void **state) {
  (void)state;
  Error *err = err_hint(fail_with(ERR_DENIED), "ask");
  AUTO_ERR Error *copy = err_copy(err);
  err_free(err);
  assert_string_equal(err_text(copy), "opening x: bad magic");
  assert_string_equal(err_hint_text(copy), "ask");
  assert_int_equal(err_code(copy), ERR_DENIED);
}

static void first_wins(void **state) {
  (void)state;
  assert_err(err_first(fail_with(ERR_IO), fail_with(ERR_LIMIT)), ERR_IO);
  assert_err(err_first(NULL, fail_with(ERR_LIMIT)), ERR_LIMIT);
  assert_err(err_first(fail_with(ERR_IO), NULL), ERR_IO);
  assert_err(err_recode(fail_with(ERR_IO), ERR_TEMPORARY), ERR_TEMPORARY);
}

static void try_returns_early(void **state) {
  (void)state;
  int reached = 0;
  assert_err(try_twice(&reached), ERR_CORRUPT);
  assert_int_equal(reached, 1);
}

static void every_code_has_its_own_name(void **state) {
  (void)state;
  for (int a = ERR_INTERNAL; a <= ERR_CHECK_FAILED; a++) {
    assert_non_null(err_code_name((ErrCode)a));
    for (int b = ERR_INTERNAL; b < a; b++)
      assert_string_not_equal(err_code_name((ErrCode)a), err_code_name((ErrCode)b));
  }
  assert_string_equal(err_code_name(ERR_WRONG_KEY), "wrong_key");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(wrap_prepends),       cmocka_unit_test(first_hint_stays),
      cmocka_unit_test(null_stays_null),     cmocka_unit_test(errno_decides_the_code),
      cmocka_unit_test(copy_is_independent), cmocka_unit_test(first_wins),
      cmocka_unit_test(try_returns_early),   cmocka_unit_test(every_code_has_its_own_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
