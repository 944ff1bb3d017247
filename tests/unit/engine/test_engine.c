/* What all engines share: the list of types, reports. */
#include "engine/engine.h"

#include "testing.h"

static void test_types_open(void **state) {
  (void)state;
  size_t count = 0;
  for (const char *const *type = engine_types(); *type; type++, count++) {
    SourceSpec spec = {.type = *type};
    Engine *engine = NULL;
    assert_ok(engine_open(sys_real(), &spec, &engine)); /* for restore and check, without paths */
    assert_non_null(engine->ops->restore);
    engine_free(engine);
  }
  assert_int_equal(count, 3);
}

static void test_unknown_type(void **state) {
  (void)state;
  SourceSpec spec = {.type = "oracle"};
  Engine *engine = NULL;
  assert_err(engine_open(sys_real(), &spec, &engine), ERR_USAGE);
  spec.type = NULL;
  assert_err(engine_open(sys_real(), &spec, &engine), ERR_USAGE);
  engine_free(NULL);
}

static void test_report(void **state) {
  (void)state;
  CheckReport report = {0};
  for (int i = 0; i < 40; i++) check_report_add(&report, i % 4 != 0, "rows", "1", i % 2 ? "1" : NULL);
  assert_int_equal(report.len, 40);
  assert_int_equal(check_report_passed(&report), 30);
  assert_null(report.items[0].found);
  assert_string_equal(report.items[1].expected, "1");
  check_report_free(&report);
  assert_int_equal(report.len, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_types_open),
      cmocka_unit_test(test_unknown_type),
      cmocka_unit_test(test_report),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
