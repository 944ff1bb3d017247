#include "base/mem.h"
#include "repo/segment.h"

#include "testing.h"

static FrameId random_id(uint64_t *seed) {
  FrameId id;
  for (size_t i = 0; i < sizeof id.b; i += 8) store_u64(id.b + i, test_random(seed));
  return id;
}

typedef struct Expected {
  FrameId id;
  FrameType type;
  Uuid pack;
  uint32_t offset, number;
  uint8_t salt;
} Expected;

enum { PACKS = 7, FRAMES = 300 };

/* Packs of random frames. With `clustered` all ids begin alike, so that guesses by interpolation go wrong. */
static void build(uint64_t seed, bool clustered, Expected *expected, Buf *body) {
  SegmentBuilder *b = segment_builder_new();
  size_t n = 0;
  for (uint8_t p = 0; p < PACKS; p++) {
    Uuid pack = {{p, 77}};
    PackKey key = {.kind = PACK_KEY_DATA, .salt = {p}};
    PackFrame frames[FRAMES];
    for (uint32_t i = 0; i < FRAMES; i++) {
      FrameId id = random_id(&seed);
      if (clustered) memset(id.b, 0x5a, 14);
      FrameType type = (FrameType)(1 + i % FRAME_TYPE_MAX);
      frames[i] = (PackFrame){
          .id = id, .offset = 96 + i * 100, .stored = 100, .raw = 200, .number = i, .type = (uint8_t)type, .codec = 1};
      expected[n++] = (Expected){.id = id, .type = type, .pack = pack, .offset = 96 + i * 100, .number = i, .salt = p};
    }
    segment_builder_add(b, &pack, 96 + FRAMES * 100 + 1000, &key, 1, frames, FRAMES);
  }
  assert_int_equal(segment_builder_frames(b), PACKS * FRAMES);
  segment_builder_finish(b, body);
  assert_int_equal(segment_builder_frames(b), PACKS * FRAMES);
  segment_builder_clear(b);
  assert_int_equal(segment_builder_frames(b), 0);
  segment_builder_free(b);
}

static void find_all(bool clustered) {
  Expected *expected = NEW_ARRAY(Expected, PACKS * FRAMES);
  AUTO_BUF Buf body = {0};
  build(clustered, clustered, expected, &body);
  Segment s;
  assert_ok(segment_open(buf_bytes(&body), &s));
  assert_int_equal(s.frames, PACKS * FRAMES);
  for (size_t i = 0; i < PACKS * FRAMES; i++) {
    const Expected *e = &expected[i];
    int64_t at = segment_find(&s, e->type, &e->id);
    assert_true(at >= 0);
    FrameLoc loc;
    segment_loc(&s, (uint32_t)at, &loc);
    assert_true(uuid_equal(&loc.pack, &e->pack));
    assert_int_equal(loc.offset, e->offset);
    assert_int_equal(loc.number, e->number);
    assert_int_equal(loc.type, e->type);
    assert_int_equal(loc.key.salt[0], e->salt);
    FrameId id = segment_id(&s, (uint32_t)at);
    assert_true(frame_id_equal(&id, &e->id));
    /* Another type is another frame; so is an id that differs in its last byte only. */
    assert_int_equal(segment_find(&s, e->type == FRAME_DATA ? FRAME_TREE : FRAME_DATA, &e->id), -1);
    id.b[31] ^= 1;
    assert_int_equal(segment_find(&s, e->type, &id), -1);
  }
  FrameId low = {0}, high;
  memset(&high, 0xff, sizeof high);
  assert_int_equal(segment_find(&s, FRAME_DATA, &low), -1);
  assert_int_equal(segment_find(&s, FRAME_DATA, &high), -1);
  free(expected);
}

static void test_find(void **state UNUSED) {
  find_all(false);
  find_all(true);
}

/* The same bytes as file and as tree node, and ids with one prefix: all are found. */
static void test_equal_prefixes(void **state UNUSED) {
  SegmentBuilder *b = segment_builder_new();
  Uuid pack = {{1}};
  PackKey key = {.kind = PACK_KEY_META};
  PackFrame frames[12];
  for (uint32_t i = 0; i < 12; i++) {
    frames[i] = (PackFrame){.offset = 96 + i * 50, .stored = 50, .raw = 60, .number = i, .type = (uint8_t)(1 + i % 3)};
    memset(frames[i].id.b, 9, sizeof frames[i].id.b);
    frames[i].id.b[20] = (uint8_t)(i / 3);
  }
  segment_builder_add(b, &pack, 5000, &key, 1, frames, 12);
  AUTO_BUF Buf body = {0};
  segment_builder_finish(b, &body);
  Segment s;
  assert_ok(segment_open(buf_bytes(&body), &s));
  for (uint32_t i = 0; i < 12; i++) {
    int64_t at = segment_find(&s, (FrameType)frames[i].type, &frames[i].id);
    assert_true(at >= 0);
    FrameLoc loc;
    segment_loc(&s, (uint32_t)at, &loc);
    assert_int_equal(loc.number, i);
  }
  segment_builder_free(b);
}

static void test_empty(void **state UNUSED) {
  SegmentBuilder *b = segment_builder_new();
  AUTO_BUF Buf body = {0};
  segment_builder_finish(b, &body);
  Segment s;
  assert_ok(segment_open(buf_bytes(&body), &s));
  FrameId id = {{1}};
  assert_int_equal(segment_find(&s, FRAME_DATA, &id), -1);
  segment_builder_free(b);
}

/* Whatever bytes it is given, an opened segment can be asked anything. */
static void test_damaged(void **state UNUSED) {
  Expected *expected = NEW_ARRAY(Expected, PACKS * FRAMES);
  AUTO_BUF Buf body = {0};
  build(3, false, expected, &body);
  uint64_t seed = 5;
  Segment s;
  for (int round = 0; round < 3000; round++) {
    uint8_t *at = &body.data[round < 1000 ? test_random(&seed) % 600 : test_random(&seed) % body.len];
    uint8_t was = *at;
    *at = (uint8_t)test_random(&seed);
    Error *err = segment_open(buf_bytes(&body), &s);
    for (size_t i = 0; !err && i < 50; i++) {
      int64_t found = segment_find(&s, FRAME_DATA, &expected[i].id);
      FrameLoc loc;
      if (found >= 0) segment_loc(&s, (uint32_t)found, &loc);
    }
    err_free(err);
    *at = was;
  }
  for (int round = 0; round < 200; round++) {
    size_t len = test_random(&seed) % body.len;
    uint8_t *exact = (uint8_t *)mem_dup(body.data, len);
    assert_err(segment_open(bytes(exact, len), &s), ERR_CORRUPT);
    free(exact);
  }
  /* Counts of the packs that do not add up. */
  body.data[16 + 24] ^= 1;
  assert_err(segment_open(buf_bytes(&body), &s), ERR_CORRUPT);
  body.data[16 + 24] ^= 1;
  assert_ok(segment_open(buf_bytes(&body), &s));
  /* Out of order. */
  size_t entries = 16 + PACKS * (32 + PACK_KEY_LEN);
  body.data[entries] = 0xff;
  memset(body.data + entries, 0xff, 16);
  assert_err(segment_open(buf_bytes(&body), &s), ERR_CORRUPT);
  free(expected);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_find),
      cmocka_unit_test(test_equal_prefixes),
      cmocka_unit_test(test_empty),
      cmocka_unit_test(test_damaged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
