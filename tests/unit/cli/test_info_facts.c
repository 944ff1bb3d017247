#include <stdlib.h>

#include "cli/info_facts.h"

#include "testing.h"

static void check(const char *json, const char *expected) {
  Buf out = {0};
  json_t *facts = json_loads(json, JSON_DECODE_ANY, NULL);
  assert_non_null(facts);
  info_facts_print(facts, &out);
  char *text = buf_steal_str(&out);
  assert_string_equal(text, expected);
  free(text);
  json_decref(facts);
}

static void test_names_and_values(void **state) {
  (void)state;
  check("{\"page_size\": 4096, \"ok\": true, \"none\": null}", "  page size: 4096\n  ok: yes\n  none: -\n");
  check("{\"tables\": [{\"name\": \"t\", \"rows\": 3, \"content\": null}]}", "  tables:\n    - name t, rows 3\n");
  check("{\"a\": {\"b\": [1, \"\\u001b[2J\"]}}", "  a:\n    b:\n      - 1\n      - \\x1b[2J\n");
}

static void test_depth_is_bounded(void **state) {
  (void)state;
  Buf deep = {0};
  for (int i = 0; i < 100; i++) buf_add_str(&deep, "[");
  for (int i = 0; i < 100; i++) buf_add_str(&deep, "]");
  char *text = buf_steal_str(&deep);
  json_t *facts = json_loads(text, 0, NULL);
  Buf out = {0};
  info_facts_print(facts, &out);
  assert_true(out.len < 4096);
  buf_free(&out);
  json_decref(facts);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_names_and_values), cmocka_unit_test(test_depth_is_bounded)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
