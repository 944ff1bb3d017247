#include "base/mem.h"
#include "codec/secret.h"
#include "repo/index.h"
#include "store/store_memory.h"

#include "repo_tools.h"
#include "testing.h"

static FrameId id_of(uint64_t n) {
  uint64_t seed = n * 77 + 1;
  FrameId id;
  for (size_t i = 0; i < sizeof id.b; i += 8) store_u64(id.b + i, test_random(&seed));
  return id;
}

/* A pack object of this size, and its frames in the builder. */
static Uuid add_pack(Repo *repo, SegmentBuilder *b, uint64_t first, uint32_t frames) {
  Uuid id;
  sys_random(repo->sys, id.b, sizeof id.b);
  PackKey key = {.kind = PACK_KEY_META};
  PackFrame *list = NEW_ARRAY(PackFrame, frames);
  for (uint32_t i = 0; i < frames; i++)
    list[i] = (PackFrame){.id = id_of(first + i), .offset = 96 + i * 20, .stored = 20, .raw = 30, .type = FRAME_DATA};
  uint64_t size = 96 + (uint64_t)frames * 20;
  segment_builder_add(b, &id, size, &key, 1, list, frames);
  free(list);
  uint8_t *body = (uint8_t *)mem_alloc(size);
  memset(body, 0, size);
  char name[PACK_NAME_LEN];
  assert_ok(store_put(repo->store, pack_name(&id, name), bytes(body, size), PUT_NEW, NULL));
  free(body);
  return id;
}

static Index *open_index(Repo *repo) {
  Index *index;
  assert_ok(index_open(repo, &index, NULL));
  return index;
}

static void expect_found(Index *index, uint64_t first, uint64_t n, bool found) {
  for (uint64_t i = first; i < first + n; i++) {
    FrameId id = id_of(i);
    if (index_find(index, FRAME_DATA, &id, NULL) != found) fail_msg("frame %llu", (unsigned long long)i);
    assert_false(index_find(index, FRAME_TREE, &id, NULL));
  }
}

/* Enough frames for the filter to grow several times, over many segments. */
static void test_publish_and_find(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Index *index = open_index(repo);
  SegmentBuilder *b = segment_builder_new();
  uint64_t bytes_put = 0;
  enum { ROUNDS = 12, EACH = 3000 };
  for (uint64_t r = 0; r < ROUNDS; r++) {
    add_pack(repo, b, r * EACH, EACH);
    expect_found(index, r * EACH, 5, false);
    assert_ok(index_publish(index, b, &bytes_put, NULL));
    assert_int_equal(segment_builder_frames(b), 0);
    expect_found(index, 0, (r + 1) * EACH, true);
  }
  assert_true(bytes_put > (uint64_t)ROUNDS * EACH * 56);
  expect_found(index, ROUNDS * EACH, 5000, false);
  assert_ok(index_check_packs(index, NULL));
  index_free(index);
  index = open_index(repo);
  assert_int_equal(index_frames(index), ROUNDS * EACH);
  assert_int_equal(index_segments(index), ROUNDS);
  expect_found(index, 0, ROUNDS * EACH, true);
  index_free(index);
  segment_builder_free(b);
  repo_free(repo);
  store_free(store);
}

/* A frame is claimed once, by one; after it is published it is known; the table of claims grows and forgets. */
static void test_claims(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Index *index = open_index(repo);
  SegmentBuilder *b = segment_builder_new();
  uint64_t bytes_put = 0;
  enum { N = 5000 };
  for (uint64_t i = 0; i < N; i++) {
    FrameId id = id_of(i);
    assert_true(index_claim(index, FRAME_DATA, &id));
    assert_false(index_claim(index, FRAME_DATA, &id));
    assert_true(index_claim(index, FRAME_TREE, &id)); /* another type, another frame */
    assert_false(index_find(index, FRAME_DATA, &id, NULL));
  }
  for (uint64_t i = 0; i < N; i++) {
    FrameId id = id_of(i);
    assert_false(index_claim(index, FRAME_DATA, &id));
    assert_false(index_claim(index, FRAME_TREE, &id));
  }
  add_pack(repo, b, 0, N);
  assert_ok(index_publish(index, b, &bytes_put, NULL));
  for (uint64_t i = 0; i < 3 * N; i++) {
    FrameId id = id_of(i);
    assert_int_equal(index_claim(index, FRAME_DATA, &id), i >= N);
  }
  index_free(index);
  segment_builder_free(b);
  repo_free(repo);
  store_free(store);
}

/* Ids that begin alike, in segments of all sizes, before and after the index was opened again: only the whole id
 * counts. */
static void test_ids_that_begin_alike(void **state UNUSED) {
  enum { ALIKE = 40, SAME = 8 };
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  SegmentBuilder *b = segment_builder_new();
  uint64_t bytes_put = 0;
  PackKey key = {.kind = PACK_KEY_META};
  FrameId ids[ALIKE];
  Index *index = open_index(repo);
  for (uint32_t i = 0; i < ALIKE; i++) {
    ids[i] = id_of(i);
    memcpy(ids[i].b, id_of(0).b, i % 3 == 0 ? 31 : i % 3 == 1 ? 16 : SAME);
    ids[i].b[31] = (uint8_t)i;
    PackFrame frame = {.id = ids[i], .offset = 96, .stored = 20, .raw = 4 + i, .type = FRAME_DATA};
    Uuid pack = add_pack(repo, b, 1000 + i, 1);
    segment_builder_clear(b);
    segment_builder_add(b, &pack, 96 + 20, &key, 1, &frame, 1);
    if (i % 2) continue; /* every second one is nowhere */
    assert_ok(index_publish(index, b, &bytes_put, NULL));
  }
  for (int again = 0; again < 2; again++) {
    for (uint32_t i = 0; i < ALIKE; i++) {
      FrameLoc loc;
      if (index_find(index, FRAME_DATA, &ids[i], &loc) != (i % 2 == 0)) fail_msg("again %d, id %u", again, i);
      if (i % 2 == 0) assert_int_equal(loc.raw, 4 + i);
    }
    index_free(index);
    index = open_index(repo);
  }
  index_free(index);
  segment_builder_free(b);
  repo_free(repo);
  store_free(store);
}

typedef struct Seen {
  unsigned present, absent;
} Seen;

static Error *see_pack(void *ctx, const IndexPack *pack) {
  Seen *seen = (Seen *)ctx;
  if (pack->present)
    seen->present++;
  else
    seen->absent++;
  return NULL;
}

/* A pack that is gone, or shorter than its segment says, counts as absent; one that goes while a session runs is found
 * before the commit. */
static void test_absent_packs(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Index *index = open_index(repo);
  SegmentBuilder *b = segment_builder_new();
  uint64_t bytes_put = 0;
  char name[3][PACK_NAME_LEN];
  for (uint64_t i = 0; i < 3; i++) {
    Uuid id = add_pack(repo, b, i * 100, 100);
    pack_name(&id, name[i]);
  }
  assert_ok(index_publish(index, b, &bytes_put, NULL));
  assert_ok(index_check_packs(index, NULL));
  assert_ok(store_remove(store, name[0], NULL));
  assert_err(index_check_packs(index, NULL), ERR_CORRUPT);
  store_memory_truncate(store, name[1], 500);
  index_free(index);

  index = open_index(repo);
  assert_int_equal(index_lost_packs(index), 2);
  Seen seen = {0};
  assert_ok(index_visit_packs(index, see_pack, &seen));
  assert_int_equal(seen.present, 1);
  assert_int_equal(seen.absent, 2);
  expect_found(index, 0, 200, false);
  expect_found(index, 200, 100, true);
  FrameId id = id_of(5);
  assert_true(index_claim(index, FRAME_DATA, &id)); /* so it is stored again */
  assert_ok(index_check_packs(index, NULL));        /* what was absent from the start is not missed now */
  assert_ok(store_remove(store, name[2], NULL));
  assert_err(index_check_packs(index, NULL), ERR_CORRUPT);
  index_free(index);
  segment_builder_free(b);
  repo_free(repo);
  store_free(store);
}

/* A damaged segment is a loss, not the end: a writer stores again what only it named. */
static void test_damaged_segment(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Index *index = open_index(repo);
  SegmentBuilder *b = segment_builder_new();
  uint64_t bytes_put = 0;
  for (uint64_t i = 0; i < 2; i++) {
    add_pack(repo, b, i * 100, 100);
    assert_ok(index_publish(index, b, &bytes_put, NULL));
  }
  index_free(index);
  AUTO_STRLIST StrList segments = tools_keys(store, "index/");
  size_t len;
  store_memory_bytes(store, segments.items[0], &len)[300] ^= 1;
  index = open_index(repo);
  assert_int_equal(index_broken_segments(index), 1);
  assert_int_equal(index_frames(index), 100);
  index_free(index);
  assert_ok(index_open_reading(repo, &index, NULL));
  assert_int_equal(index_broken_segments(index), 1);
  assert_int_equal(index_frames(index), 100);
  index_free(index);
  segment_builder_free(b);
  repo_free(repo);
  store_free(store);
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_publish_and_find),     cmocka_unit_test(test_claims),
      cmocka_unit_test(test_ids_that_begin_alike), cmocka_unit_test(test_absent_packs),
      cmocka_unit_test(test_damaged_segment),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
