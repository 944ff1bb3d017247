#include "base/mem.h"

#include "testing.h"

static void arithmetic_is_checked(void **state) {
  (void)state;
  uint32_t small;
  uint64_t large;
  assert_false(ADD_OVERFLOWS(UINT64_MAX - 1, UINT64_C(1), &large));
  assert_true(large == UINT64_MAX);
  assert_true(ADD_OVERFLOWS(UINT64_MAX, UINT64_C(1), &large));
  assert_true(MUL_OVERFLOWS(UINT64_C(1) << 32, UINT64_C(1) << 32, &large));
  assert_true(ADD_OVERFLOWS(UINT64_C(1) << 32, UINT64_C(0), &small));
}

static void allocations_are_zeroed(void **state) {
  (void)state;
  AUTO_FREE uint8_t *a = (uint8_t *)mem_alloc(100);
  AUTO_FREE uint32_t *b = NEW_ARRAY(uint32_t, 50);
  uint8_t *pages = (uint8_t *)mem_pages(10000);
  for (size_t i = 0; i < 100; i++) assert_int_equal(a[i], 0);
  for (size_t i = 0; i < 50; i++) assert_int_equal(b[i], 0);
  for (size_t i = 0; i < 10000; i++) assert_int_equal(pages[i], 0);
  assert_int_equal((uintptr_t)pages % 4096, 0);
  mem_free_pages(pages, 10000);
}

static void duplicates(void **state) {
  (void)state;
  assert_null(mem_dup("x", 0));
  assert_null(mem_strdup(NULL));
  AUTO_FREE char *cut = mem_strndup("holdfast", 4);
  assert_string_equal(cut, "hold");
  AUTO_FREE char *printed = mem_printf("%d-%s", 3, "x");
  assert_string_equal(printed, "3-x");
  AUTO_FREE char *dup = (char *)mem_dup("a\0b", 3);
  assert_memory_equal(dup, "a\0b", 3);
}

static void steal_empties_the_variable(void **state) {
  (void)state;
  AUTO_FREE char *a = mem_strdup("x");
  AUTO_FREE char *b = STEAL(a);
  assert_null(a);
  assert_string_equal(b, "x");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arithmetic_is_checked),
      cmocka_unit_test(allocations_are_zeroed),
      cmocka_unit_test(duplicates),
      cmocka_unit_test(steal_empties_the_variable),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
