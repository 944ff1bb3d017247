#include "base/buf.h"
#include "base/map.h"

#include "testing.h"

static void basics(void **state) {
  (void)state;
  Map *map = map_new();
  int a = 1, b = 2;
  assert_null(map_get(map, bytes_str("x")));
  assert_null(map_set(map, bytes_str("x"), &a));
  assert_ptr_equal(map_set(map, bytes_str("x"), &b), &a);
  assert_int_equal(map_count(map), 1);
  assert_ptr_equal(map_get(map, bytes_str("x")), &b);
  assert_null(map_set(map, (Bytes){0}, &a)); /* the empty key is a key */
  assert_ptr_equal(map_get(map, bytes_str("")), &a);
  assert_null(map_set(map, bytes("x\0", 2), &a)); /* another key than "x" */
  assert_int_equal(map_count(map), 3);
  assert_ptr_equal(map_remove(map, bytes_str("x")), &b);
  assert_null(map_remove(map, bytes_str("x")));
  assert_int_equal(map_count(map), 2);
  map_free(map);
  map_free(NULL);
}

static void keys_are_copied(void **state) {
  (void)state;
  Map *map = map_new();
  char key[] = "key";
  map_set(map, bytes_str(key), key);
  key[0] = 'x';
  assert_ptr_equal(map_get(map, bytes_str("key")), key);
  assert_null(map_get(map, bytes_str("xey")));
  map_free(map);
}

/* Against an array as the model: random sets, removals and lookups among a thousand keys. */
static void agrees_with_an_array(void **state) {
  (void)state;
  enum { KEYS = 1000 };
  static int values[2];
  void *model[KEYS] = {0};
  size_t count = 0;
  uint64_t seed = 3;
  Map *map = map_new();
  for (int i = 0; i < 100000; i++) {
    uint64_t r = test_random(&seed);
    size_t number = (r >> 8) % KEYS;
    char text[32];
    snprintf(text, sizeof text, "%zu%s", number, number % 2 ? "" : "-a-key-longer-than-8");
    Bytes key = bytes_str(text);
    void **slot = &model[number];
    if (r % 3 == 0) {
      assert_ptr_equal(map_remove(map, key), *slot);
      count -= *slot != NULL;
      *slot = NULL;
    } else if (r % 3 == 1) {
      void *value = &values[(r >> 32) % 2];
      assert_ptr_equal(map_set(map, key, value), *slot);
      count += *slot == NULL;
      *slot = value;
    } else {
      assert_ptr_equal(map_get(map, key), *slot);
    }
    assert_int_equal(map_count(map), count);
  }
  map_free(map);
}

static void iteration_visits_each_once(void **state) {
  (void)state;
  enum { KEYS = 500 };
  int seen[KEYS] = {0};
  Map *map = map_new();
  for (uint32_t i = 0; i < KEYS; i++) map_set(map, bytes(&i, sizeof i), &seen[i]);
  for (uint32_t i = 0; i < KEYS; i += 2) map_remove(map, bytes(&i, sizeof i));
  size_t pos = 0;
  Bytes key;
  void *value;
  while (map_next(map, &pos, &key, &value)) {
    assert_int_equal(key.len, sizeof(uint32_t));
    assert_ptr_equal(value, &seen[load_u32(key.data)]);
    ++*(int *)value;
  }
  for (size_t i = 0; i < KEYS; i++) assert_int_equal(seen[i], i % 2);
  map_free(map);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(basics),
      cmocka_unit_test(keys_are_copied),
      cmocka_unit_test(agrees_with_an_array),
      cmocka_unit_test(iteration_visits_each_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
