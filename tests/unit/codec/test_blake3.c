#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"
#include "codec/blake3.h"

#include "blake3_vectors.h"
#include "testing.h"

/* ---- the specification, as slowly and plainly as it can be said ---- */

static const uint32_t SPEC_IV[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                                    0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};
static const unsigned SPEC_PERMUTATION[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};

static uint32_t spec_rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void spec_g(uint32_t v[16], int a, int b, int c, int d, uint32_t x, uint32_t y) {
  v[a] = v[a] + v[b] + x;
  v[d] = spec_rotate(v[d] ^ v[a], 16);
  v[c] = v[c] + v[d];
  v[b] = spec_rotate(v[b] ^ v[c], 12);
  v[a] = v[a] + v[b] + y;
  v[d] = spec_rotate(v[d] ^ v[a], 8);
  v[c] = v[c] + v[d];
  v[b] = spec_rotate(v[b] ^ v[c], 7);
}

static void spec_compress(const uint32_t h[8], const uint8_t *block, uint64_t t, uint32_t b, uint32_t d,
                          uint32_t out[8]) {
  uint32_t m[16];
  uint32_t v[16];
  for (int i = 0; i < 16; i++) {
    m[i] = (uint32_t)block[4 * i] | (uint32_t)block[4 * i + 1] << 8 | (uint32_t)block[4 * i + 2] << 16 |
           (uint32_t)block[4 * i + 3] << 24;
    v[i] = i < 8 ? h[i] : i < 12 ? SPEC_IV[i - 8] : 0;
  }
  v[12] = (uint32_t)t;
  v[13] = (uint32_t)(t >> 32);
  v[14] = b;
  v[15] = d;
  for (int round = 0; round < 7; round++) {
    for (int i = 0; i < 4; i++) spec_g(v, i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1]);
    for (int i = 0; i < 4; i++)
      spec_g(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i]);
    uint32_t next[16];
    for (int i = 0; i < 16; i++) next[i] = m[SPEC_PERMUTATION[i]];
    memcpy(m, next, sizeof(m));
  }
  for (int i = 0; i < 8; i++) out[i] = v[i] ^ v[i + 8];
}

/* The chaining value of the subtree over data, whose first chunk has number t; `root` is 0 or the ROOT flag. */
static void spec_subtree(const uint32_t key[8], uint32_t mode, const uint8_t *data, size_t len, uint64_t t,
                         uint32_t root, uint32_t out[8]) {
  if (len <= 1024) {
    uint32_t h[8];
    memcpy(h, key, 32);
    size_t blocks = len == 0 ? 1 : (len + 63) / 64;
    for (size_t i = 0; i < blocks; i++) {
      uint8_t block[64] = {0};
      size_t n = len - i * 64 < 64 ? len - i * 64 : 64;
      if (n > 0) memcpy(block, data + i * 64, n);
      bool last = i + 1 == blocks;
      spec_compress(h, block, t, (uint32_t)n, mode | (i == 0 ? 1u : 0u) | (last ? 2u | root : 0u), h);
    }
    memcpy(out, h, 32);
    return;
  }
  size_t left = 1024;
  while (left * 2 < len) left *= 2;
  uint32_t pair[16];
  spec_subtree(key, mode, data, left, t, 0, pair);
  spec_subtree(key, mode, data + left, len - left, t + left / 1024, 0, pair + 8);
  uint8_t block[64];
  memcpy(block, pair, 64);
  spec_compress(key, block, 0, 64, mode | 4u | root, out);
}

static void spec_keyed(const uint8_t key[32], const uint8_t *data, size_t len, uint8_t out[32]) {
  uint32_t words[8];
  uint32_t result[8];
  memcpy(words, key, 32);
  spec_subtree(words, 16, data, len, 0, 8, result);
  memcpy(out, result, 32);
}

static uint64_t spec_fingerprint(const uint8_t key[32], const uint8_t *data, size_t len, size_t page) {
  uint32_t words[8];
  uint32_t result[8];
  memcpy(words, key, 32);
  size_t from = page * 4096;
  spec_subtree(words, 16, data + from, len - from < 4096 ? len - from : 4096, page * 4, 0, result);
  uint64_t fingerprint;
  memcpy(&fingerprint, result, 8);
  return fingerprint;
}

/* ---- helpers ---- */

static const char *const BACKENDS[] = {"portable", "avx2", "avx512"};

static uint8_t *random_bytes(uint64_t *seed, size_t len) {
  uint8_t *data = mem_alloc(len + 8);
  for (size_t i = 0; i < len; i += 8) {
    uint64_t word = test_random(seed);
    memcpy(data + i, &word, 8);
  }
  return data;
}

static void assert_hex(const uint8_t *got, const char *expected) {
  char text[2 * 131 + 1];
  size_t len = strlen(expected) / 2;
  assert_true(len <= 131);
  hex_encode(got, len, text);
  assert_string_equal(text, expected);
}

static void assert_vector(const Blake3 *h, const char *expected) {
  uint8_t out[131];
  blake3_final_xof(h, out, strlen(expected) / 2);
  assert_hex(out, expected);
}

static void check_vector(const Blake3Vector *v, const uint8_t *data) {
  const uint8_t *key = (const uint8_t *)VECTOR_KEY;
  char first[65] = {0};
  uint8_t out[32];
  Blake3 h;

  blake3_hash(data, v->len, out);
  assert_hex(out, memcpy(first, v->hash, 64));
  blake3_keyed(key, data, v->len, out);
  assert_hex(out, memcpy(first, v->keyed, 64));
  blake3_derive_key(VECTOR_CONTEXT, data, v->len, out);
  assert_hex(out, memcpy(first, v->derived, 64));

  blake3_init(&h);
  blake3_update(&h, data, v->len);
  assert_vector(&h, v->hash);
  blake3_init_keyed(&h, key);
  blake3_update(&h, data, v->len);
  assert_vector(&h, v->keyed);
  blake3_init_derive_key(&h, VECTOR_CONTEXT);
  blake3_update(&h, data, v->len);
  assert_vector(&h, v->derived);
}

/* ---- tests ---- */

static void test_official_vectors(void **state) {
  (void)state;
  uint8_t *data = mem_alloc(102400);
  for (size_t i = 0; i < 102400; i++) data[i] = (uint8_t)(i % 251);
  for (size_t b = 0; b < NELEMS(BACKENDS); b++) {
    if (!blake3_force_backend(BACKENDS[b])) continue;
    assert_string_equal(blake3_backend(), BACKENDS[b]);
    for (size_t i = 0; i < NELEMS(BLAKE3_VECTORS); i++) check_vector(&BLAKE3_VECTORS[i], data);
  }
  blake3_force_backend(NULL);
  free(data);
}

static void test_backend_names(void **state) {
  (void)state;
  assert_false(blake3_force_backend("neon"));
  assert_true(blake3_force_backend("portable"));
  assert_string_equal(blake3_backend(), "portable");
  assert_true(blake3_force_backend(NULL));
}

/* Every backend, every path, on one input: whole, in random pieces, with fingerprints. */
static void check_input(const uint8_t key[32], const uint8_t *data, size_t len, uint64_t *seed) {
  uint8_t expected[32];
  uint8_t out[32];
  spec_keyed(key, data, len, expected);
  for (size_t b = 0; b < NELEMS(BACKENDS); b++) {
    if (!blake3_force_backend(BACKENDS[b])) continue;
    blake3_keyed(key, data, len, out);
    assert_memory_equal(out, expected, 32);

    Blake3 h;
    blake3_init_keyed(&h, key);
    for (size_t at = 0; at < len;) {
      size_t limit = (size_t)1 << (test_random(seed) % 19);
      size_t n = test_random(seed) % (limit + 1);
      if (n > len - at) n = len - at;
      blake3_update(&h, data + at, n);
      at += n;
    }
    blake3_final(&h, out);
    assert_memory_equal(out, expected, 32);

    if (len == 0 || len > 256 * KIB) continue;
    size_t pages = (len + 4095) / 4096;
    uint64_t *fingerprints = NEW_ARRAY(uint64_t, pages); /* exactly that many: sanitizers see one too many */
    blake3_keyed_pages(key, data, len, out, fingerprints);
    assert_memory_equal(out, expected, 32);
    for (size_t i = 0; i < pages; i++) assert_true(fingerprints[i] == spec_fingerprint(key, data, len, i));
    free(fingerprints);
  }
}

static void test_random_inputs(void **state) {
  (void)state;
  uint64_t seed = 1;
  uint8_t *key = random_bytes(&seed, 32);
  for (int round = 0; round < 120; round++) {
    size_t limit = (size_t)1 << (6 + test_random(&seed) % 14);
    size_t len = test_random(&seed) % (limit < 300 * KIB ? limit : 300 * KIB);
    size_t offset = test_random(&seed) % 64;
    uint8_t *room = random_bytes(&seed, offset + len);
    uint8_t *data = mem_alloc(offset + len); /* exact end: a kernel that reads past it is found */
    memcpy(data, room, offset + len);
    check_input(key, data + offset, len, &seed);
    free(room);
    free(data);
  }
  blake3_force_backend(NULL);
  free(key);
}

/* Around every boundary of lanes, pages, groups and subtrees. */
static void test_edge_lengths(void **state) {
  (void)state;
  uint64_t seed = 2;
  uint8_t *key = random_bytes(&seed, 32);
  uint8_t *data = random_bytes(&seed, 1100 * KIB);
  for (size_t chunks = 1; chunks <= 40; chunks++)
    for (size_t delta = 0; delta < 3; delta++) check_input(key, data, chunks * 1024 + delta - 1, &seed);
  static const size_t CHUNKS[] = {64, 100, 127, 128, 129, 255, 256, 257, 511, 512, 513, 768, 1024, 1031};
  for (size_t i = 0; i < NELEMS(CHUNKS); i++)
    for (size_t delta = 0; delta < 3; delta++) check_input(key, data + 1, CHUNKS[i] * 1024 + delta - 1, &seed);
  blake3_force_backend(NULL);
  free(key);
  free(data);
}

/* A long output is one stream: any prefix of it is what a shorter request gives. */
static void test_xof_prefix(void **state) {
  (void)state;
  Blake3 h;
  uint8_t all[1000];
  uint8_t part[1000];
  blake3_init(&h);
  blake3_update(&h, "holdfast", 8);
  blake3_final_xof(&h, all, sizeof(all));
  for (size_t n = 0; n < sizeof(all); n += 37) {
    memset(part, 0xee, sizeof(part));
    blake3_final_xof(&h, part, n);
    assert_memory_equal(part, all, n);
    assert_int_equal(part[n], 0xee);
  }
}

/* Asking for the hash does not end the stream. */
static void test_final_then_update(void **state) {
  (void)state;
  uint64_t seed = 3;
  uint8_t *data = random_bytes(&seed, 10000);
  uint8_t got[32];
  uint8_t expected[32];
  Blake3 h;
  blake3_init(&h);
  blake3_update(&h, data, 5000);
  blake3_final(&h, got);
  blake3_hash(data, 5000, expected);
  assert_memory_equal(got, expected, 32);
  blake3_update(&h, data + 5000, 5000);
  blake3_final(&h, got);
  blake3_hash(data, 10000, expected);
  assert_memory_equal(got, expected, 32);
  free(data);
}

/* One changed byte changes the fingerprint of its page and of no other. */
static void test_fingerprints_are_local(void **state) {
  (void)state;
  uint64_t seed = 4;
  uint8_t *key = random_bytes(&seed, 32);
  uint8_t *data = random_bytes(&seed, 128 * KIB);
  uint8_t out[32];
  uint64_t before[32];
  uint64_t after[32];
  blake3_keyed_pages(key, data, 128 * KIB, out, before);
  for (size_t page = 0; page < 32; page++) {
    data[page * 4096 + test_random(&seed) % 4096] ^= 1;
    blake3_keyed_pages(key, data, 128 * KIB, out, after);
    for (size_t i = 0; i < 32; i++) {
      if (i == page)
        assert_true(before[i] != after[i]);
      else
        assert_true(before[i] == after[i]);
    }
    memcpy(before, after, sizeof(before));
  }
  free(key);
  free(data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_official_vectors),
      cmocka_unit_test(test_backend_names),
      cmocka_unit_test(test_random_inputs),
      cmocka_unit_test(test_edge_lengths),
      cmocka_unit_test(test_xof_prefix),
      cmocka_unit_test(test_final_then_update),
      cmocka_unit_test(test_fingerprints_are_local),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
