#include <string.h>

#include "ops/yaml_tree.h"

#include "testing.h"

static void test_lines_and_shapes(void **state UNUSED) {
  YamlNode *root;
  assert_ok(yaml_tree_parse(bytes_str("# one\na: 1\nb:\n  - x\n  - \"\"\n  - { c: [], d: }\ne:\n  f\n"), "f", &root));
  assert_int_equal(root->kind, YAML_MAPPING);
  assert_int_equal(yaml_get(root, "a")->line, 2);
  const YamlNode *b = yaml_get(root, "b");
  assert_int_equal(b->kind, YAML_SEQUENCE);
  assert_int_equal(b->line, 3); /* its key's */
  assert_int_equal(b->len, 3);
  assert_int_equal(b->items[1]->line, 5);
  assert_true(b->items[1]->quoted);
  assert_false(yaml_get(b->items[2], "d")->quoted);
  assert_string_equal(yaml_get(b->items[2], "d")->text, "");
  assert_int_equal(yaml_get(b->items[2], "c")->kind, YAML_SEQUENCE);
  assert_int_equal(yaml_get(root, "e")->line, 7);
  assert_null(yaml_get(root, "z"));
  assert_null(yaml_get(b, "a"));
  assert_null(yaml_get(NULL, "a"));
  yaml_tree_free(root);
}

static void test_nothing_is_null(void **state UNUSED) {
  const char *texts[] = {"", "# x", "---", "--- # x\n..."};
  for (size_t i = 0; i < NELEMS(texts); i++) {
    YamlNode *root = NULL;
    assert_ok(yaml_tree_parse(bytes_str(texts[i]), "f", &root));
    assert_null(root);
  }
}

static void test_limits(void **state UNUSED) {
  YamlNode *root;
  AUTO_BUF Buf deep = {0};
  for (int i = 0; i < YAML_DEPTH_MAX; i++) buf_add_str(&deep, "[");
  for (int i = 0; i < YAML_DEPTH_MAX; i++) buf_add_str(&deep, "]");
  assert_ok(yaml_tree_parse(buf_bytes(&deep), "f", &root));
  yaml_tree_free(root);
  AUTO_BUF Buf deeper = {0};
  buf_printf(&deeper, "[%.*s]", (int)deep.len, (const char *)deep.data);
  assert_err(yaml_tree_parse(buf_bytes(&deeper), "f", &root), ERR_LIMIT);
  AUTO_BUF Buf keys = {0};
  for (int i = 0; i < 300; i++) buf_printf(&keys, "k%d: 1\n", i);
  assert_err(yaml_tree_parse(buf_bytes(&keys), "f", &root), ERR_LIMIT);
}

static void test_problems_are_sorted_and_bounded(void **state UNUSED) {
  Problems problems = {.file = "f"};
  assert_null(problems_finish(&problems));
  problem_add(&problems, 9, "late");
  problem_add(&problems, 2, "early %d", 1);
  problem_add(&problems, 2, "early %d", 2);
  Error *err = problems_finish(&problems);
  assert_string_equal(err_text(err), "f:2: early 1\nf:2: early 2\nf:9: late");
  err_free(err);
  assert_null(problems_finish(&problems));
  for (unsigned i = 0; i < PROBLEMS_MAX + 5; i++) problem_add(&problems, i + 1, "x");
  err = problems_finish(&problems);
  assert_non_null(strstr(err_text(err), "\nf: and 5 more"));
  err_free(err);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lines_and_shapes),
      cmocka_unit_test(test_nothing_is_null),
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_problems_are_sorted_and_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
