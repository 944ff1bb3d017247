#include <sodium.h>
#include <stdlib.h>

#include "base/str.h"
#include "codec/kdf.h"

#include "testing.h"

static void assert_key(const uint8_t key[KEY_LEN], const char *expected) {
  char text[2 * KEY_LEN + 1];
  hex_encode(key, KEY_LEN, text);
  assert_string_equal(text, expected);
}

/* RFC 5869, appendix A.1 to A.3: the first 32 bytes of each output. */
static void test_hkdf_rfc5869(void **state) {
  (void)state;
  uint8_t ikm[80];
  uint8_t salt[80];
  char info[81] = {0};
  uint8_t out[KEY_LEN];

  memset(ikm, 0x0b, 22);
  for (int i = 0; i < 13; i++) salt[i] = (uint8_t)i;
  for (int i = 0; i < 10; i++) info[i] = (char)(0xf0 + i);
  kdf_hkdf_bytes(bytes(ikm, 22), bytes(salt, 13), info, out);
  assert_key(out, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");

  kdf_hkdf_bytes(bytes(ikm, 22), bytes(NULL, 0), "", out);
  assert_key(out, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");

  for (int i = 0; i < 80; i++) {
    ikm[i] = (uint8_t)i;
    salt[i] = (uint8_t)(0x60 + i);
    info[i] = (char)(0xb0 + i);
  }
  kdf_hkdf_bytes(bytes(ikm, 80), bytes(salt, 80), info, out);
  assert_key(out, "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c");
}

/* The context follows the text; everything that goes in changes what comes out. */
static void test_hkdf_context(void **state) {
  (void)state;
  uint8_t key[KEY_LEN] = {1};
  uint8_t a[KEY_LEN];
  uint8_t b[KEY_LEN];
  kdf_hkdf(key, bytes_str("salt"), "holdfast/pack", bytes_str("/7"), a);
  kdf_hkdf_bytes(bytes(key, KEY_LEN), bytes_str("salt"), "holdfast/pack/7", b);
  assert_memory_equal(a, b, KEY_LEN);
  kdf_hkdf(key, bytes_str("salt"), "holdfast/pack", bytes_str("/8"), b);
  assert_memory_not_equal(a, b, KEY_LEN);
  kdf_hkdf(key, bytes_str("Salt"), "holdfast/pack", bytes_str("/7"), b);
  assert_memory_not_equal(a, b, KEY_LEN);
  key[31] = 1;
  kdf_hkdf(key, bytes_str("salt"), "holdfast/pack", bytes_str("/7"), b);
  assert_memory_not_equal(a, b, KEY_LEN);
}

/* Values of the argon2 command (Debian package argon2): -id -v 13 -p 1 -l 32. */
static void test_argon2id_known_values(void **state) {
  (void)state;
  static const struct {
    Argon2Params params;
    const char *expected;
  } CASES[] = {
      {{.memory_kib = 65536, .passes = 3}, "94c86f541abdb3d9aabfea59aa03963549483e9c0b1a79336e76b54cee6c917e"},
      {{.memory_kib = 8, .passes = 1}, "5dd4c928fbd5a4474236ef76d9d8304178fe5df3884d2d383e91b7703327e6c1"},
      {{.memory_kib = 1024, .passes = 2}, "94902f24ba7806d7269922ac2617c4ee3fe6cf48bae9bb7a927741a87afbd218"},
  };
  for (size_t i = 0; i < NELEMS(CASES); i++) {
    uint8_t out[KEY_LEN];
    assert_ok(kdf_argon2id(bytes_str("correct horse battery staple"), (const uint8_t *)"0123456789abcdef",
                           CASES[i].params, out));
    assert_key(out, CASES[i].expected);
  }
  assert_int_equal(ARGON2_DEFAULT.memory_kib, 65536);
  assert_int_equal(ARGON2_DEFAULT.passes, 3);
}

static void test_argon2id_ranges(void **state) {
  (void)state;
  static const uint8_t salt[16];
  static const Argon2Params BAD[] = {{7, 1}, {0, 1}, {1024 * 1024 + 1, 1}, {UINT32_MAX, 1}, {8, 0}, {8, 65}};
  uint8_t out[KEY_LEN] = {0};
  for (size_t i = 0; i < NELEMS(BAD); i++) assert_err(kdf_argon2id(bytes_str("x"), salt, BAD[i], out), ERR_LIMIT);
  static const uint8_t untouched[KEY_LEN];
  assert_memory_equal(out, untouched, KEY_LEN);
  assert_ok(kdf_argon2id(bytes(NULL, 0), salt, (Argon2Params){.memory_kib = 8, .passes = 1}, out));
  assert_memory_not_equal(out, untouched, KEY_LEN);
}

static void test_box_round_trip(void **state) {
  (void)state;
  uint8_t seed[KEY_LEN] = {5};
  uint8_t public_key[BOX_PUBLIC_LEN];
  uint8_t secret_key[BOX_SECRET_LEN];
  uint8_t again[BOX_PUBLIC_LEN];
  uint8_t sealed[100 + BOX_OVERHEAD];
  uint8_t other[100 + BOX_OVERHEAD];
  uint8_t text[100];
  uint8_t out[100];
  memset(text, 'k', sizeof(text));
  box_keypair(seed, public_key, secret_key);
  assert_int_equal(crypto_scalarmult_base(again, secret_key), 0);
  assert_memory_equal(again, public_key, sizeof(again));
  for (size_t len = 0; len <= 100; len += 25) {
    box_seal(public_key, bytes(text, len), sealed);
    assert_ok(box_open(public_key, secret_key, bytes(sealed, len + BOX_OVERHEAD), out));
    assert_memory_equal(out, text, len);
  }
  box_seal(public_key, bytes(text, 100), other); /* a fresh key inside each time */
  assert_memory_not_equal(other, sealed, sizeof(sealed));
}

static void test_box_refuses(void **state) {
  (void)state;
  uint8_t seed[KEY_LEN] = {5};
  uint8_t public_key[BOX_PUBLIC_LEN];
  uint8_t secret_key[BOX_SECRET_LEN];
  uint8_t sealed[32 + BOX_OVERHEAD];
  uint8_t out[32 + BOX_OVERHEAD];
  box_keypair(seed, public_key, secret_key);
  box_seal(public_key, bytes(seed, 32), sealed);
  for (size_t i = 0; i < sizeof(sealed); i++) {
    sealed[i] ^= 1;
    assert_err(box_open(public_key, secret_key, bytes(sealed, sizeof(sealed)), out), ERR_CORRUPT);
    sealed[i] ^= 1;
  }
  for (size_t len = 0; len < sizeof(sealed); len++)
    assert_err(box_open(public_key, secret_key, bytes(sealed, len), out), ERR_CORRUPT);
  assert_ok(box_open(public_key, secret_key, bytes(sealed, sizeof(sealed)), out));
  seed[0] = 6;
  box_keypair(seed, public_key, secret_key);
  assert_err(box_open(public_key, secret_key, bytes(sealed, sizeof(sealed)), out), ERR_CORRUPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_hkdf_rfc5869),          cmocka_unit_test(test_hkdf_context),
      cmocka_unit_test(test_argon2id_known_values), cmocka_unit_test(test_argon2id_ranges),
      cmocka_unit_test(test_box_round_trip),        cmocka_unit_test(test_box_refuses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
