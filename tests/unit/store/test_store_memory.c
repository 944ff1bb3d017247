#include "store/store_memory.h"

#include "store_conformance.h"
#include "testing.h"

static Store *fresh(void *ctx UNUSED) { return store_memory_new(sys_real()); }

static void test_conformance(void **state UNUSED) { store_conformance(fresh, NULL); }

static void test_damage(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  size_t len = 0;
  assert_null(store_memory_bytes(store, "absent", &len));
  assert_ok(store_put(store, "a", bytes_str("0123456789"), PUT_NEW, NULL));
  uint8_t *own = store_memory_bytes(store, "a", &len);
  assert_int_equal(len, 10);
  own[3] = 'X';
  store_expect(store, "a", bytes_str("012X456789"));
  store_memory_truncate(store, "a", 4);
  store_expect(store, "a", bytes_str("012X"));
  assert_ok(store_put(store, "empty", bytes(NULL, 0), PUT_NEW, NULL));
  assert_non_null(store_memory_bytes(store, "empty", &len));
  assert_int_equal(len, 0);
  store_free(store);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_conformance),
      cmocka_unit_test(test_damage),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
