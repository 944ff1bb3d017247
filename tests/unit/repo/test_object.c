#include "codec/secret.h"
#include "repo/object.h"

#include "testing.h"

static Keys *new_keys(uint8_t which) {
  Uuid id;
  uint8_t root[KEY_LEN];
  memset(&id, which, sizeof id);
  memset(root, which, sizeof root);
  Keys *keys = keys_new(&id, root);
  keys->epochs = 2;
  memset(keys->epoch_secret[0], which + 1, KEY_LEN);
  memset(keys->epoch_secret[1], which + 2, KEY_LEN);
  return keys;
}

static void test_round_trip(void **state UNUSED) {
  Keys *keys = new_keys(1);
  Uuid series = {{4, 5}};
  for (ObjectType type = OBJECT_SEGMENT; type <= OBJECT_LOG_INDEX; type++) {
    AUTO_BUF Buf sealed = {0}, body = {0};
    ObjectHeader header;
    assert_ok(object_seal(sys_real(), keys, type, &series, "some/name", bytes_str("the body"), &sealed));
    assert_int_equal(sealed.len, OBJECT_HEADER_LEN + 8 + 16);
    assert_ok(object_open(keys, type, "some/name", buf_bytes(&sealed), &body, &header));
    assert_memory_equal(body.data, "the body", 8);
    assert_int_equal(header.epoch, 1);
    assert_true(uuid_equal(&header.series, &series));
    /* As another type, under another name, in another repository, without its epoch. */
    ObjectType other = type == OBJECT_PLAN ? OBJECT_FENCE : OBJECT_PLAN;
    assert_err(object_open(keys, other, "some/name", buf_bytes(&sealed), &body, NULL), ERR_CORRUPT);
    assert_err(object_open(keys, type, "some/nam", buf_bytes(&sealed), &body, NULL), ERR_CORRUPT);
    Keys *others = new_keys(2);
    assert_err(object_open(others, type, "some/name", buf_bytes(&sealed), &body, NULL), ERR_CORRUPT);
    others->repo = keys->repo;
    assert_err(object_open(others, type, "some/name", buf_bytes(&sealed), &body, NULL), ERR_CORRUPT);
    keys_free(others);
    keys->epochs = 1;
    assert_err(object_open(keys, type, "some/name", buf_bytes(&sealed), &body, NULL), ERR_CORRUPT);
    keys->epochs = 2;
  }
  keys_free(keys);
}

/* Every bit counts, those of the header too, and every length but the right one fails. */
static void test_every_bit(void **state UNUSED) {
  Keys *keys = new_keys(1);
  AUTO_BUF Buf sealed = {0}, body = {0};
  assert_ok(object_seal(sys_real(), keys, OBJECT_SNAPSHOT, NULL, "n", bytes_str("body"), &sealed));
  for (size_t bit = 0; bit < sealed.len * 8; bit++) {
    sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    Error *err = object_open(keys, OBJECT_SNAPSHOT, "n", buf_bytes(&sealed), &body, NULL);
    if (!err_is(err, ERR_CORRUPT)) fail_msg("bit %zu", bit); /* the version too: holdfast.json said which it is */
    err_free(err);
    sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  for (size_t len = 0; len < sealed.len; len++)
    assert_err(object_open(keys, OBJECT_SNAPSHOT, "n", bytes(sealed.data, len), &body, NULL), ERR_CORRUPT);
  buf_put_u8(&sealed, 0);
  assert_err(object_open(keys, OBJECT_SNAPSHOT, "n", buf_bytes(&sealed), &body, NULL), ERR_CORRUPT);
  keys_free(keys);
}

/* Equal bodies under equal names look nothing like each other. */
static void test_salted(void **state UNUSED) {
  Keys *keys = new_keys(1);
  AUTO_BUF Buf a = {0}, b = {0};
  assert_ok(object_seal(sys_real(), keys, OBJECT_PLAN, NULL, "n", bytes_str("the same"), &a));
  assert_ok(object_seal(sys_real(), keys, OBJECT_PLAN, NULL, "n", bytes_str("the same"), &b));
  assert_memory_not_equal(a.data + 64, b.data + 64, 32);
  assert_memory_not_equal(a.data + OBJECT_HEADER_LEN, b.data + OBJECT_HEADER_LEN, 8);
  keys_free(keys);
}

/* A key of one class, series, epoch or object is no other's. */
static void test_keys_differ(void **state UNUSED) {
  Keys *keys = new_keys(1);
  enum { KEYS = 5 * 2 * 3 };
  uint8_t all[KEYS][KEY_LEN];
  Uuid series[2] = {{{1}}, {{2}}};
  size_t n = 0;
  for (uint32_t epoch = 0; epoch < 2; epoch++)
    for (KeyClass cls = KEY_CLASS_INDEX; cls <= KEY_CLASS_META; cls++)
      for (int s = 0; s < 3; s++) assert_ok(keys_class(keys, epoch, cls, s ? &series[s - 1] : NULL, all[n++]));
  assert_int_equal(n, KEYS);
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < i; k++) assert_memory_not_equal(all[i], all[k], KEY_LEN);
  uint8_t salt[32] = {0}, a[KEY_LEN], b[KEY_LEN];
  keys_object(all[0], salt, OBJECT_PACK, a);
  keys_object(all[0], salt, OBJECT_SEGMENT, b);
  assert_memory_not_equal(a, b, KEY_LEN);
  salt[31] = 1;
  keys_object(all[0], salt, OBJECT_PACK, b);
  assert_memory_not_equal(a, b, KEY_LEN);
  assert_err(keys_class(keys, 2, KEY_CLASS_META, NULL, a), ERR_CORRUPT);
  keys_free(keys);
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_every_bit),
      cmocka_unit_test(test_salted),
      cmocka_unit_test(test_keys_differ),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
