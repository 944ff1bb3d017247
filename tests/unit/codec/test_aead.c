#include <sodium.h>
#include <stdlib.h>

#include "base/str.h"
#include "codec/aead.h"

#include "testing.h"

static void fill(uint64_t *seed, uint8_t *data, size_t len) {
  for (size_t i = 0; i < len; i++) data[i] = (uint8_t)test_random(seed);
}

/* Test cases 13 and 14 of the GCM specification (NIST): AES-256, a zero key, a zero nonce. */
static void test_nist_vectors(void **state) {
  (void)state;
  static const uint8_t zeros[32];
  uint8_t out[32];
  char text[65];
  Aead *a = aead_new();
  aead_set_key(a, zeros);
  aead_seal(a, 0, bytes(NULL, 0), zeros, 0, out);
  hex_encode(out, 16, text);
  assert_string_equal(text, "530f8afbc74536b9a963b4f1c4cb738b");
  aead_seal(a, 0, bytes(NULL, 0), zeros, 16, out);
  hex_encode(out, 32, text);
  assert_string_equal(text, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
  aead_free(a);
}

/* libsodium has an AES-256-GCM of its own: ours must be the same function, with the nonce as documented. */
static void test_equals_libsodium(void **state) {
  (void)state;
  assert_true(sodium_init() >= 0);
  if (!crypto_aead_aes256gcm_is_available()) skip();
  uint64_t seed = 11;
  Aead *a = aead_new();
  for (int round = 0; round < 100; round++) {
    uint8_t key[32];
    uint8_t aad[100];
    uint8_t in[3000];
    uint8_t ours[3016];
    uint8_t theirs[3016];
    uint8_t nonce[12] = {0};
    unsigned long long theirs_len = 0;
    fill(&seed, key, sizeof(key));
    fill(&seed, aad, sizeof(aad));
    fill(&seed, in, sizeof(in));
    size_t aad_len = test_random(&seed) % (sizeof(aad) + 1);
    size_t len = test_random(&seed) % (sizeof(in) + 1);
    uint64_t number = test_random(&seed) >> (test_random(&seed) % 64);
    for (size_t i = 0; i < 8; i++) nonce[i] = (uint8_t)(number >> (8 * i));
    aead_set_key(a, key);
    aead_seal(a, number, bytes(aad, aad_len), in, len, ours);
    crypto_aead_aes256gcm_encrypt(theirs, &theirs_len, in, len, aad, aad_len, NULL, nonce, key);
    assert_int_equal(theirs_len, len + AEAD_TAG_LEN);
    assert_memory_equal(ours, theirs, len + AEAD_TAG_LEN);
  }
  aead_free(a);
}

/* Many frames under one key, sealing and opening mixed, also in place. */
static void test_round_trips(void **state) {
  (void)state;
  enum { FRAMES = 20, ROOM = 5000 };
  uint64_t seed = 12;
  static uint8_t plain[FRAMES][ROOM];
  static uint8_t sealed[FRAMES][ROOM + AEAD_TAG_LEN];
  static uint8_t opened[ROOM + AEAD_TAG_LEN];
  size_t lens[FRAMES];
  uint8_t key[32];
  Bytes aad = bytes_str("pack 7");
  Aead *a = aead_new();
  fill(&seed, key, sizeof(key));
  aead_set_key(a, key);
  for (size_t i = 0; i < FRAMES; i++) {
    lens[i] = i == 0 ? 0 : test_random(&seed) % ROOM;
    fill(&seed, plain[i], lens[i]);
    memcpy(sealed[i], plain[i], lens[i]);
    aead_seal(a, i, aad, sealed[i], lens[i], sealed[i]);
    if (lens[i] > 16) assert_memory_not_equal(sealed[i], plain[i], lens[i]);
    size_t j = test_random(&seed) % (i + 1);
    assert_ok(aead_open(a, j, aad, bytes(sealed[j], lens[j] + AEAD_TAG_LEN), opened));
    assert_memory_equal(opened, plain[j], lens[j]);
  }
  for (size_t i = FRAMES; i-- > 0;) {
    memcpy(opened, sealed[i], lens[i] + AEAD_TAG_LEN);
    assert_ok(aead_open(a, i, aad, bytes(opened, lens[i] + AEAD_TAG_LEN), opened));
    assert_memory_equal(opened, plain[i], lens[i]);
  }
  aead_free(a);
}

static void test_same_text_other_number(void **state) {
  (void)state;
  static const uint8_t key[32] = {1};
  static const uint8_t text[64];
  uint8_t one[80];
  uint8_t two[80];
  Aead *a = aead_new();
  aead_set_key(a, key);
  aead_seal(a, 1, bytes(NULL, 0), text, sizeof(text), one);
  aead_seal(a, 2, bytes(NULL, 0), text, sizeof(text), two);
  assert_memory_not_equal(one, two, 64);
  aead_free(a);
}

/* Whatever differs, the frame does not open, and no plaintext stays behind. */
static void test_refuses_what_changed(void **state) {
  (void)state;
  static const uint8_t zeros[100];
  uint8_t key[32] = {7};
  uint8_t sealed[100 + AEAD_TAG_LEN];
  uint8_t text[100];
  uint8_t out[100];
  Bytes aad = bytes_str("frame");
  Aead *a = aead_new();
  memset(text, 'x', sizeof(text));
  aead_set_key(a, key);
  aead_seal(a, 5, aad, text, sizeof(text), sealed);
  for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
    sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    assert_err(aead_open(a, 5, aad, bytes(sealed, sizeof(sealed)), out), ERR_CORRUPT);
    assert_memory_equal(out, zeros, sizeof(out));
    sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  assert_err(aead_open(a, 6, aad, bytes(sealed, sizeof(sealed)), out), ERR_CORRUPT);
  assert_err(aead_open(a, 5, bytes_str("framf"), bytes(sealed, sizeof(sealed)), out), ERR_CORRUPT);
  assert_err(aead_open(a, 5, bytes(NULL, 0), bytes(sealed, sizeof(sealed)), out), ERR_CORRUPT);
  assert_err(aead_open(a, 5, aad, bytes(sealed, sizeof(sealed) - 1), out), ERR_CORRUPT);
  for (size_t len = 0; len < AEAD_TAG_LEN; len++)
    assert_err(aead_open(a, 5, aad, bytes(sealed, len), out), ERR_CORRUPT);
  assert_ok(aead_open(a, 5, aad, bytes(sealed, sizeof(sealed)), out));
  assert_memory_equal(out, text, sizeof(text));
  key[0] = 8;
  aead_set_key(a, key);
  assert_err(aead_open(a, 5, aad, bytes(sealed, sizeof(sealed)), out), ERR_CORRUPT);
  aead_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_nist_vectors),         cmocka_unit_test(test_equals_libsodium),
      cmocka_unit_test(test_round_trips),          cmocka_unit_test(test_same_text_other_number),
      cmocka_unit_test(test_refuses_what_changed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
