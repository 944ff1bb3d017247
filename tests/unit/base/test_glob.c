#include "base/str.h"

#include "testing.h"

static bool matches(const char *pattern, const char *path) { return glob_match(bytes_str(pattern), bytes_str(path)); }

typedef struct Case {
  const char *pattern;
  const char *path;
} Case;

static void these_match(void **state) {
  (void)state;
  static const Case cases[] = {
      {"", ""},
      {"a", "a"},
      {"*", ""},
      {"*", "abc"},
      {"*.db", "app.db"},
      {"*.db", ".db"},
      {"a*b*c", "aXbYbZc"},
      {"?", "x"},
      {"a?c", "abc"},
      {"var/*/x", "var/log/x"},
      {"**", ""},
      {"**", "a/b/c"},
      {"**/x", "x"},
      {"**/x", "a/x"},
      {"**/x", "a/b/x"},
      {"a/**/b", "a/b"},
      {"a/**/b", "a/x/y/b"},
      {"a/**", "a/b/c"},
      {"a**c", "a/b/c"},
      {"**.log", "var/log/x.log"},
      {"**/a*/**/*.c", "x/abc/y/z/f.c"},
      {"**/a*/**/*.c", "a/f.c"},
      {"***/x", "a/b/x"},
      {"[abc]", "b"},
      {"[a-z]x", "qx"},
      {"[!a-z]", "5"},
      {"[^a-z]", "5"},
      {"[]]", "]"},
      {"[!]]", "x"},
      {"[a\\]b]", "]"},
      {"[a-]", "-"},
      {"[\\!a]", "!"},
      {"\\*", "*"},
      {"a\\?", "a?"},
      {"[a", "[a"},
      {"a\\", "a\\"},
      {"\xff*", "\xff\xfe"},
  };
  for (size_t i = 0; i < NELEMS(cases); i++) {
    if (!matches(cases[i].pattern, cases[i].path)) fail_msg("%s does not match %s", cases[i].pattern, cases[i].path);
  }
}

static void these_do_not(void **state) {
  (void)state;
  static const Case cases[] = {
      {"", "a"},
      {"a", ""},
      {"a", "b"},
      {"a", "ab"},
      {"ab", "a"},
      {"*", "a/b"},
      {"*.db", "a/b.db"},
      {"?", "/"},
      {"?", ""},
      {"a?b", "a/b"},
      {"[!a]", "/"},
      {"[.-0]", "/"},
      {"var/*/x", "var/x"},
      {"var/*/x", "var/a/b/x"},
      {"**/x", "ax"},
      {"**/x", "a/bx"},
      {"a/**", "a"},
      {"a/**/b", "ab"},
      {"a/**/b", "a/xb"},
      {"[abc]", "d"},
      {"[a-z]", "A"},
      {"[!a-z]", "m"},
      {"[z-a]", "m"},
      {"\\*", "x"},
      {"[a", "a"},
  };
  for (size_t i = 0; i < NELEMS(cases); i++) {
    if (matches(cases[i].pattern, cases[i].path)) fail_msg("%s matches %s", cases[i].pattern, cases[i].path);
  }
}

/* A matcher that tries every way: exponential, but obviously right. Knows literals, `?`, `*` and `**` without a slash
 * behind it. */
static bool slow_match(const char *p, const char *t) {
  if (!*p) return !*t;
  if (p[0] == '*' && p[1] == '*') {
    if (slow_match(p + 2, t)) return true;
    return *t && slow_match(p, t + 1);
  }
  if (*p == '*') {
    if (slow_match(p + 1, t)) return true;
    return *t && *t != '/' && slow_match(p, t + 1);
  }
  if (!*t) return false;
  return (*p == '?' ? *t != '/' : *p == *t) && slow_match(p + 1, t + 1);
}

static void random_text(uint64_t *seed, const char *letters, size_t max, char *out) {
  size_t len = test_random(seed) % max;
  for (size_t i = 0; i < len; i++) out[i] = letters[test_random(seed) % strlen(letters)];
  out[len] = '\0';
}

static void agrees_with_trying_everything(void **state) {
  (void)state;
  uint64_t seed = 5;
  int matched = 0;
  for (int i = 0; i < 20000; i++) {
    char pattern[9], path[12];
    random_text(&seed, "ab/?**", sizeof pattern, pattern);
    random_text(&seed, "aab/", sizeof path, path);
    if (strstr(pattern, "**/") || strstr(pattern, "***")) continue;
    bool expected = slow_match(pattern, path);
    matched += expected;
    if (matches(pattern, path) != expected) fail_msg("%s on %s: expected %d", pattern, path, expected);
  }
  assert_true(matched > 500);
}

/* Backtracking would need longer than the age of the universe here; the test's own time limit would end it. */
static void hostile_patterns_end(void **state) {
  (void)state;
  AUTO_BUF Buf pattern = {0}, path = {0};
  for (int i = 0; i < 300; i++) buf_add_str(&pattern, i % 6 ? "a*" : "**/");
  buf_add_str(&pattern, "b");
  for (int i = 0; i < 4000; i++) buf_add_str(&path, i % 50 ? "a" : "/");
  assert_false(glob_match(buf_bytes(&pattern), buf_bytes(&path)));
  buf_add_str(&path, "b");
  assert_true(glob_match(buf_bytes(&pattern), buf_bytes(&path)));
}

static void long_patterns_work(void **state) {
  (void)state;
  AUTO_BUF Buf pattern = {0}, path = {0};
  for (int i = 0; i < 1000; i++) {
    buf_add_str(&pattern, "[a-c]");
    buf_add_str(&path, "b");
  }
  assert_true(glob_match(buf_bytes(&pattern), buf_bytes(&path)));
  path.data[999] = 'd';
  assert_false(glob_match(buf_bytes(&pattern), buf_bytes(&path)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(these_match),
      cmocka_unit_test(these_do_not),
      cmocka_unit_test(agrees_with_trying_everything),
      cmocka_unit_test(hostile_patterns_end),
      cmocka_unit_test(long_patterns_work),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
