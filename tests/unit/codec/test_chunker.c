#include <stdlib.h>

#include "base/mem.h"
#include "codec/chunker.h"

#include "testing.h"

static const uint8_t KEY[32] = {1, 2, 3};
static const uint8_t OTHER_KEY[32] = {1, 2, 4};

static uint8_t *random_data(uint64_t seed, size_t len) {
  uint8_t *data = mem_alloc(len);
  for (size_t i = 0; i < len; i++) data[i] = (uint8_t)test_random(&seed);
  return data;
}

/* All boundaries of a stream, cut the way a reader with a window of max bytes does it. */
typedef struct Cuts {
  size_t *ends;
  size_t len;
} Cuts;

static Cuts cut_all(const Chunker *c, const uint8_t *data, size_t len) {
  Cuts cuts = {.ends = NEW_ARRAY(size_t, len / c->min + 2)};
  for (size_t at = 0; at < len;) {
    size_t left = len - at;
    size_t n = chunker_cut(c, data + at, left < c->max ? left : c->max);
    assert_true(n > 0 && n <= left && n <= c->max);
    if (n < left) assert_true(n > c->min);
    at += n;
    cuts.ends[cuts.len++] = at;
  }
  return cuts;
}

static size_t common_ends(Cuts a, Cuts b, size_t shift) {
  size_t common = 0;
  for (size_t i = 0, j = 0; i < a.len && j < b.len;) {
    size_t x = a.ends[i] + shift;
    common += x == b.ends[j];
    if (x <= b.ends[j])
      i++;
    else
      j++;
  }
  return common;
}

static void test_default_sizes(void **state) {
  (void)state;
  Chunker c;
  chunker_init(&c, KEY);
  assert_int_equal(c.min, 64 * 1024);
  assert_int_equal(c.avg, 256 * 1024);
  assert_int_equal(c.max, 1024 * 1024);
  assert_int_equal(__builtin_popcountll(c.mask_small), 20);
  assert_int_equal(__builtin_popcountll(c.mask_large), 16);
}

/* The definition, byte by byte: hash of the last 64 bytes, two masks, minimum and maximum. */
static size_t slow_cut(const Chunker *c, const uint8_t *data, size_t len) {
  for (size_t i = c->min; i < len && i < c->max; i++) {
    uint64_t hash = 0;
    for (size_t j = i - 63; j <= i; j++) hash = (hash << 1) + c->gear[data[j]];
    if ((hash & (i < c->avg ? c->mask_small : c->mask_large)) == 0) return i + 1;
  }
  return len < c->max ? len : c->max;
}

static void test_equals_definition(void **state) {
  (void)state;
  uint64_t seed = 5;
  for (int round = 0; round < 60; round++) {
    Chunker c;
    size_t avg = (size_t)64 << (test_random(&seed) % 5);
    size_t min = 64 + test_random(&seed) % (avg - 63);
    size_t max = avg + test_random(&seed) % (4 * avg);
    chunker_init_sizes(&c, KEY, min, avg, max);
    size_t len = 1 + test_random(&seed) % 20000;
    uint8_t *data = random_data(test_random(&seed), len);
    for (size_t at = 0; at < len;) {
      size_t n = chunker_cut(&c, data + at, len - at);
      assert_int_equal(n, slow_cut(&c, data + at, len - at));
      at += n;
    }
    free(data);
  }
}

static void test_average_and_bounds(void **state) {
  (void)state;
  const size_t len = 32 * 1024 * 1024;
  Chunker c;
  chunker_init(&c, KEY);
  uint8_t *data = random_data(6, len);
  Cuts cuts = cut_all(&c, data, len);
  size_t mean = len / cuts.len;
  assert_in_range(mean, 200 * 1024, 340 * 1024);
  size_t at_max = 0;
  for (size_t i = 1; i < cuts.len; i++) at_max += cuts.ends[i] - cuts.ends[i - 1] == c.max;
  assert_true(at_max * 20 <= cuts.len); /* forced ends are rare in random data */
  Cuts again = cut_all(&c, data, len);
  assert_int_equal(again.len, cuts.len);
  assert_memory_equal(again.ends, cuts.ends, cuts.len * sizeof(size_t));
  free(cuts.ends);
  free(again.ends);
  free(data);
}

static void test_resynchronises(void **state) {
  (void)state;
  const size_t len = 4 * 1024 * 1024;
  Chunker c;
  chunker_init_sizes(&c, KEY, 2048, 8192, 32768);
  uint8_t *data = random_data(7, len);
  uint8_t *edited = mem_alloc(len + 3);
  memcpy(edited, data, 1000000);
  memcpy(edited + 1000000, "new", 3);
  memcpy(edited + 1000003, data + 1000000, len - 1000000);
  Cuts a = cut_all(&c, data, len);
  Cuts b = cut_all(&c, edited, len + 3);
  size_t before = common_ends(a, b, 0);
  size_t after = common_ends(a, b, 3);
  assert_true(before + after + 12 >= a.len); /* only the neighbourhood of the insertion differs */
  assert_int_equal(a.ends[a.len - 1] + 3, b.ends[b.len - 1]);
  free(a.ends);
  free(b.ends);
  free(data);
  free(edited);
}

static void test_key_decides(void **state) {
  (void)state;
  const size_t len = 2 * 1024 * 1024;
  Chunker c;
  Chunker other;
  chunker_init_sizes(&c, KEY, 1024, 4096, 16384);
  chunker_init_sizes(&other, OTHER_KEY, 1024, 4096, 16384);
  assert_memory_not_equal(c.gear, other.gear, sizeof(c.gear));
  uint8_t *data = random_data(8, len);
  Cuts a = cut_all(&c, data, len);
  Cuts b = cut_all(&other, data, len);
  assert_true(common_ends(a, b, 0) * 50 < a.len);
  free(a.ends);
  free(b.ends);
  free(data);
}

static void test_tails(void **state) {
  (void)state;
  Chunker c;
  chunker_init_sizes(&c, KEY, 64, 1024, 4096);
  uint8_t *data = random_data(9, 64);
  for (size_t len = 1; len <= 64; len++) assert_int_equal(chunker_cut(&c, data, len), len);
  free(data);
}

/* A run of one byte has one hash: it ends at the first place or at max, the same every time. */
static void test_uniform_data(void **state) {
  (void)state;
  Chunker c;
  chunker_init_sizes(&c, KEY, 128, 1024, 4096);
  uint8_t *data = mem_alloc(10000);
  size_t first = chunker_cut(&c, data, 10000);
  assert_true(first == 129 || first == 1025 || first == 4096);
  assert_int_equal(chunker_cut(&c, data, 4096), first);
  free(data);
}

/* The gear table is part of the format: two versions of the program must cut alike. */
static void test_table_is_stable(void **state) {
  (void)state;
  static const uint8_t zero_key[32];
  Chunker c;
  chunker_init(&c, zero_key);
  assert_true(c.gear[0] == UINT64_C(0x3ae7c30faa565c26));
  assert_true(c.gear[255] == UINT64_C(0x3bb258f35e0e5abe));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_default_sizes),      cmocka_unit_test(test_equals_definition),
      cmocka_unit_test(test_average_and_bounds), cmocka_unit_test(test_resynchronises),
      cmocka_unit_test(test_key_decides),        cmocka_unit_test(test_tails),
      cmocka_unit_test(test_uniform_data),       cmocka_unit_test(test_table_is_stable),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
