#include <lzma.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/compress.h"

#include "testing.h"

static Compression setting(const char *text) {
  Compression c = {0};
  assert_ok(compression_parse(text, &c));
  return c;
}

static void test_costs(void **state) {
  (void)state;
  enum { FRAME = 1024 * 1024 };
  const uint64_t mib = 1024 * 1024;
  assert_true(compressor_memory(setting("lz4"), FRAME) < mib);
  assert_true(compressor_memory(setting("zstd:1"), FRAME) < 2 * mib);
  assert_true(compressor_memory(setting("zstd:19"), FRAME) > 16 * mib);
  assert_true(compressor_memory(setting("xz:9"), FRAME) > 12 * mib);
  assert_true(compressor_memory(setting("xz:9"), FRAME) < 32 * mib); /* the window ends where the frame does */
  static const char *const codecs[] = {"zstd:19", "gzip:9", "bzip2:9", "xz:9"};
  for (size_t i = 0; i < NELEMS(codecs); i++) {
    Compression c = setting(codecs[i]);
    uint64_t before = UINT64_MAX;
    unsigned levels = 0;
    do {
      uint64_t now = compressor_memory(c, FRAME);
      assert_true(now <= before);
      before = now;
      levels++;
    } while (compression_lower(&c));
    assert_true(before < 4 * mib && levels >= 9);
  }
  Compression none = setting("none");
  assert_false(compression_lower(&none));
}

static const char *const ALL[] = {"zstd:1", "zstd:19", "auto",    "lz4",   "gzip:1", "gzip:9",
                                  "gzip",   "bzip2:1", "bzip2:9", "bzip2", "xz:0",   "xz:6"};

/* Rows of a made-up table: what a database page looks like to a compressor. */
static uint8_t *rows(uint64_t seed, size_t len) {
  AUTO_BUF Buf buf = {0};
  while (buf.len < len)
    buf_printf(&buf, "%llu|user-%llu@example.org|%s|", (unsigned long long)(test_random(&seed) % 1000000),
               (unsigned long long)(test_random(&seed) % 5000), test_random(&seed) % 2 ? "active" : "closed");
  return mem_dup(buf.data, len);
}

static uint8_t *noise(uint64_t seed, size_t len) {
  uint8_t *data = mem_alloc(len);
  for (size_t i = 0; i < len; i++) data[i] = (uint8_t)test_random(&seed);
  return data;
}

/* ---- settings ---- */

static void check_setting(const char *text, Codec codec, int level, const char *again) {
  char out[16];
  Compression c = setting(text);
  assert_int_equal(c.codec, codec);
  assert_int_equal(c.level, level);
  assert_int_equal(c.automatic, strcmp(text, "auto") == 0);
  assert_string_equal(compression_format(c, out), again);
}

static void test_settings(void **state) {
  (void)state;
  check_setting("zstd", CODEC_ZSTD, 1, "zstd:1");
  check_setting("zstd:19", CODEC_ZSTD, 19, "zstd:19");
  check_setting("auto", CODEC_ZSTD, 1, "auto");
  check_setting("lz4", CODEC_LZ4, 0, "lz4");
  check_setting("gzip", CODEC_GZIP, 6, "gzip:6");
  check_setting("bzip2:9", CODEC_BZIP2, 9, "bzip2:9");
  check_setting("xz:0", CODEC_XZ, 0, "xz:0");
  check_setting("none", CODEC_NONE, 0, "none");
  static const char *const BAD[] = {
      "",       "zst",    "zstd:",   "zstd:0",  "zstd:20", "zstd:-1", "zstd:1 ", "lz4:1",
      "none:0", "gzip:0", "gzip:10", "bzip2:0", "xz:10",   "ZSTD",    "auto:3",  "zstd:99999999999999999999"};
  for (size_t i = 0; i < NELEMS(BAD); i++) {
    Compression c;
    assert_err(compression_parse(BAD[i], &c), ERR_USAGE);
  }
  Compression c;
  Error *err = compression_parse("brotli", &c);
  assert_non_null(strstr(err_hint_text(err), "bzip2"));
  err_free(err);
  assert_string_equal(codec_name(CODEC_XZ), "xz");
  assert_string_equal(codec_name((Codec)77), "unknown");
}

/* ---- round trips ---- */

typedef struct Room {
  Compressor *c;
  Decompressor *d;
  uint8_t *packed;
  size_t cap;
  uint8_t *raw;
} Room;

static Room room_new(const char *text, size_t max_len) {
  Room r = {.c = compressor_new(setting(text)), .d = decompressor_new(), .cap = compressor_bound(max_len)};
  r.packed = mem_alloc(r.cap);
  r.raw = mem_alloc(max_len + 1);
  return r;
}

static void room_free(Room *r) {
  compressor_free(r->c);
  decompressor_free(r->d);
  free(r->packed);
  free(r->raw);
}

static size_t check_round_trip(Room *r, const uint8_t *data, size_t len, Codec *used) {
  size_t n = compressor_run(r->c, data, len, r->packed, r->cap, used);
  if (*used == CODEC_NONE) {
    assert_int_equal(n, len);
    return n;
  }
  assert_true(n < len - len / 32);
  r->raw[len] = 0xa5;
  assert_ok(decompressor_run(r->d, *used, bytes(r->packed, n), r->raw, len));
  assert_memory_equal(r->raw, data, len);
  assert_int_equal(r->raw[len], 0xa5);
  return n;
}

static void test_round_trips(void **state) {
  (void)state;
  const size_t len = 200000;
  uint8_t *text = rows(21, len);
  uint8_t *zeros = mem_alloc(len);
  uint8_t *random = noise(22, len);
  for (size_t i = 0; i < NELEMS(ALL); i++) {
    Codec used;
    Codec wanted = setting(ALL[i]).codec;
    Room r = room_new(ALL[i], len);
    for (int repeat = 0; repeat < 2; repeat++) { /* a used context works like a fresh one */
      assert_true(check_round_trip(&r, text, len, &used) < len / 2);
      assert_int_equal(used, wanted);
      assert_true(check_round_trip(&r, zeros, len, &used) < len / 100);
      assert_int_equal(used, wanted);
      check_round_trip(&r, random, len, &used);
      assert_int_equal(used, CODEC_NONE);
      check_round_trip(&r, zeros, 64, &used);
    }
    for (size_t small = 0; small < 64; small++) {
      check_round_trip(&r, zeros, small, &used);
      assert_int_equal(used, CODEC_NONE);
    }
    room_free(&r);
  }
  free(text);
  free(zeros);
  free(random);
}

static void test_none(void **state) {
  (void)state;
  uint8_t *text = rows(23, 1000);
  Room r = room_new("none", 1000);
  Codec used = CODEC_ZSTD;
  assert_int_equal(compressor_run(r.c, text, 1000, r.packed, r.cap, &used), 1000);
  assert_int_equal(used, CODEC_NONE);
  assert_ok(decompressor_run(r.d, CODEC_NONE, bytes(text, 1000), r.raw, 1000));
  assert_memory_equal(r.raw, text, 1000);
  assert_err(decompressor_run(r.d, CODEC_NONE, bytes(text, 999), r.raw, 1000), ERR_CORRUPT);
  assert_ok(decompressor_run(r.d, CODEC_NONE, bytes(NULL, 0), r.raw, 0));
  room_free(&r);
  free(text);
}

/* Mostly noise: what is saved is below 1/32, so the frame stays raw; a little more structure and it does not. */
static void test_saving_threshold(void **state) {
  (void)state;
  const size_t len = 100000;
  uint8_t *data = noise(24, len);
  Room r = room_new("zstd:1", len);
  Codec used;
  memset(data, 0, len / 40);
  check_round_trip(&r, data, len, &used);
  assert_int_equal(used, CODEC_NONE);
  memset(data, 0, len / 20);
  check_round_trip(&r, data, len, &used);
  assert_int_equal(used, CODEC_ZSTD);
  room_free(&r);
  free(data);
}

/* Flat but repetitive: looks like noise byte by byte, and is not given up. */
static void test_repeated_noise(void **state) {
  (void)state;
  const size_t len = 200000;
  uint8_t *data = noise(30, len);
  memcpy(data + len / 2, data, len / 2);
  static const char *const SLOW[] = {"zstd:9", "auto", "xz:1"};
  for (size_t i = 0; i < NELEMS(SLOW); i++) {
    Room r = room_new(SLOW[i], len);
    Codec used;
    assert_true(check_round_trip(&r, data, len, &used) < len * 6 / 10);
    assert_int_equal(used, setting(SLOW[i]).codec);
    room_free(&r);
  }
  free(data);
}

static void test_auto_level(void **state) {
  (void)state;
  const size_t len = 128 * 1024;
  uint8_t *data = rows(25, len);
  Codec used;
  Room fixed = room_new("zstd:1", len);
  Room best = room_new("zstd:9", len);
  Room automatic = room_new("auto", len);
  size_t low = check_round_trip(&fixed, data, len, &used);
  size_t high = check_round_trip(&best, data, len, &used);
  assert_true(high < low);
  assert_int_equal(check_round_trip(&automatic, data, len, &used), low);
  compressor_set_level(automatic.c, 99);
  assert_int_equal(check_round_trip(&automatic, data, len, &used), high);
  compressor_set_level(automatic.c, -5);
  assert_int_equal(check_round_trip(&automatic, data, len, &used), low);
  compressor_set_level(fixed.c, 9);
  assert_int_equal(check_round_trip(&fixed, data, len, &used), low);
  room_free(&fixed);
  room_free(&best);
  room_free(&automatic);
  free(data);
}

/* ---- damage ---- */

static void check_damage(const char *text, const uint8_t *data, size_t len) {
  Room r = room_new(text, len);
  Codec used;
  size_t n = compressor_run(r.c, data, len, r.packed, r.cap, &used);
  assert_int_not_equal(used, CODEC_NONE);
  assert_err(decompressor_run(r.d, used, bytes(r.packed, n), r.raw, len - 1), ERR_CORRUPT);
  assert_err(decompressor_run(r.d, used, bytes(r.packed, n), r.raw, len + 1), ERR_CORRUPT);
  assert_err(decompressor_run(r.d, used, bytes(r.packed, n - 1), r.raw, len), ERR_CORRUPT);
  assert_err(decompressor_run(r.d, used, bytes(r.packed, 0), r.raw, len), ERR_CORRUPT);
  uint8_t *longer = mem_alloc(n + 1);
  memcpy(longer, r.packed, n);
  assert_err(decompressor_run(r.d, used, bytes(longer, n + 1), r.raw, len), ERR_CORRUPT);
  /* Flipped bits either fail or change content (the tag of the frame catches that); they never write outside. */
  uint64_t seed = 26;
  for (int round = 0; round < 200; round++) {
    uint8_t *exact = mem_alloc(len);
    size_t at = test_random(&seed) % n;
    uint8_t bit = (uint8_t)(1 << test_random(&seed) % 8);
    longer[at] ^= bit;
    err_ignore(decompressor_run(r.d, used, bytes(longer, n), exact, len));
    longer[at] ^= bit;
    free(exact);
  }
  assert_ok(decompressor_run(r.d, used, bytes(longer, n), r.raw, len)); /* the contexts survived all that */
  assert_memory_equal(r.raw, data, len);
  free(longer);
  room_free(&r);
}

static void test_damage(void **state) {
  (void)state;
  uint8_t *data = rows(27, 20000);
  static const char *const EACH[] = {"zstd:1", "lz4", "gzip:6", "bzip2:9", "xz:6"};
  for (size_t i = 0; i < NELEMS(EACH); i++) check_damage(EACH[i], data, 20000);
  Decompressor *d = decompressor_new();
  assert_err(decompressor_run(d, (Codec)6, bytes(data, 10), data, 10), ERR_UNSUPPORTED);
  assert_err(decompressor_run(d, CODEC_ZSTD, bytes(data, 10), data, (size_t)1 << 40), ERR_LIMIT);
  decompressor_free(d);
  free(data);
}

/* A few bytes of xz that ask for 512 MiB of memory. */
static void test_xz_memory_limit(void **state) {
  (void)state;
  static const uint8_t text[] = "small";
  uint8_t packed[200];
  uint8_t raw[sizeof(text)];
  size_t n = 0;
  lzma_options_lzma options;
  assert_false(lzma_lzma_preset(&options, 1));
  options.dict_size = 512u << 20;
  options.mode = LZMA_MODE_FAST;
  options.mf = LZMA_MF_HC3;
  lzma_filter filters[] = {{.id = LZMA_FILTER_LZMA2, .options = &options}, {.id = LZMA_VLI_UNKNOWN, .options = NULL}};
  assert_int_equal(lzma_stream_buffer_encode(filters, LZMA_CHECK_NONE, NULL, text, sizeof(text), packed, &n, 200),
                   LZMA_OK);
  Decompressor *d = decompressor_new();
  assert_err(decompressor_run(d, CODEC_XZ, bytes(packed, n), raw, sizeof(text)), ERR_CORRUPT);
  decompressor_free(d);
}

/* The frames are what the usual tools read and write. */
static void test_standard_frames(void **state) {
  (void)state;
  const size_t len = 50000;
  uint8_t *data = rows(28, len);
  Codec used;
  Room r = room_new("zstd:3", len);
  size_t n = compressor_run(r.c, data, len, r.packed, r.cap, &used);
  assert_int_equal(ZSTD_decompress(r.raw, len, r.packed, n), len);
  assert_memory_equal(r.raw, data, len);
  assert_true(ZSTD_getFrameContentSize(r.packed, n) == ZSTD_CONTENTSIZE_UNKNOWN);
  n = ZSTD_compress(r.packed, r.cap, data, len, 5);
  assert_ok(decompressor_run(r.d, CODEC_ZSTD, bytes(r.packed, n), r.raw, len));
  assert_memory_equal(r.raw, data, len);
  room_free(&r);
  static const struct {
    const char *text, *magic;
  } MAGIC[] = {{"gzip", "\x78\x9c"},
               {"bzip2", "BZh"},
               {"xz",
                "\xfd"
                "7zXZ"}};
  for (size_t i = 0; i < NELEMS(MAGIC); i++) {
    r = room_new(MAGIC[i].text, len);
    compressor_run(r.c, data, len, r.packed, r.cap, &used);
    assert_memory_equal(r.packed, MAGIC[i].magic, strlen(MAGIC[i].magic));
    room_free(&r);
  }
  free(data);
}

/* Two zstd frames in a row, or a skippable one before, are not what was written. */
static void test_zstd_one_frame_only(void **state) {
  (void)state;
  const size_t len = 10000;
  uint8_t *data = rows(29, len);
  Room r = room_new("zstd", len);
  uint8_t *two = mem_alloc(2 * len);
  static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0};
  size_t a = ZSTD_compress(two, 2 * len, data, len / 2, 1);
  size_t b = ZSTD_compress(two + a, 2 * len - a, data + len / 2, len / 2, 1);
  assert_err(decompressor_run(r.d, CODEC_ZSTD, bytes(two, a + b), r.raw, len), ERR_CORRUPT);
  assert_ok(decompressor_run(r.d, CODEC_ZSTD, bytes(two, a), r.raw, len / 2));
  memcpy(two, skippable, sizeof(skippable));
  a = ZSTD_compress(two + sizeof(skippable), 2 * len - sizeof(skippable), data, len, 1);
  assert_err(decompressor_run(r.d, CODEC_ZSTD, bytes(two, sizeof(skippable) + a), r.raw, len), ERR_CORRUPT);
  room_free(&r);
  free(two);
  free(data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_settings),
      cmocka_unit_test(test_round_trips),
      cmocka_unit_test(test_none),
      cmocka_unit_test(test_costs),
      cmocka_unit_test(test_saving_threshold),
      cmocka_unit_test(test_auto_level),
      cmocka_unit_test(test_repeated_noise),
      cmocka_unit_test(test_damage),
      cmocka_unit_test(test_xz_memory_limit),
      cmocka_unit_test(test_standard_frames),
      cmocka_unit_test(test_zstd_one_frame_only),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
