#include <string.h>

#include "base/suggest.h"

#include "testing.h"

static const char *best_of(const char *word, const char *const *candidates) {
  Suggestion s = {0};
  for (size_t i = 0; candidates[i]; i++) suggest(&s, bytes_str(word), candidates[i]);
  return s.best;
}

static void test_the_nearest_wins(void **state UNUSED) {
  static const char *const words[] = {"restore", "repo", "report", "backup", "differential", "key", NULL};
  static const struct {
    const char *typed, *meant;
  } cases[] = {{"restroe", "restore"}, {"backpu", "backup"}, {"bakup", "backup"},
               {"reprot", "report"},   {"repo", "repo"},     {"diff", "differential"},
               {"kye", "key"},         {"xyz", NULL},        {"", NULL},
               {"backupbackup", NULL}};
  for (size_t i = 0; i < NELEMS(cases); i++) {
    const char *best = best_of(cases[i].typed, words);
    if (cases[i].meant)
      assert_string_equal(best, cases[i].meant);
    else
      assert_null(best);
  }
}

static void test_long_words_are_left_alone(void **state UNUSED) {
  char longest[200];
  memset(longest, 'a', sizeof longest);
  Suggestion s = {0};
  suggest(&s, bytes(longest, sizeof longest), "aaaa");
  assert_null(s.best);
  longest[sizeof longest - 1] = '\0';
  suggest(&s, bytes_str("aaaa"), longest);
  assert_null(s.best);
}

static void test_any_bytes(void **state UNUSED) {
  Suggestion s = {0};
  suggest(&s, bytes("ke\0", 3), "key");
  assert_string_equal(s.best, "key");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_nearest_wins),
      cmocka_unit_test(test_long_words_are_left_alone),
      cmocka_unit_test(test_any_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
