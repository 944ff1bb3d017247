#include "base/mem.h"
#include "repo/seq.h"

#include "frames_memory.h"
#include "testing.h"

/* Leaves are never read by a sequence: their ids may be made up. */
static FrameId leaf_id(uint64_t i) {
  FrameId id = {0};
  uint64_t seed = i + 1;
  for (size_t k = 0; k < sizeof id.b; k += 8) {
    uint64_t v = test_random(&seed);
    memcpy(id.b + k, &v, sizeof v);
  }
  return id;
}

static uint64_t *random_keys(uint64_t *seed, size_t len) {
  uint64_t *keys = NEW_ARRAY(uint64_t, len);
  uint64_t key = test_random(seed) % 2 ? 0 : test_random(seed) % 1000;
  for (size_t i = 0; i < len; i++) {
    keys[i] = key;
    key += 1 + test_random(seed) % (test_random(seed) % 10 ? 5 : 1000000);
  }
  return keys;
}

static SeqRoot build(FramesMemory *frames, const uint64_t *keys, size_t len, size_t skip) {
  SeqBuilder *b = seq_builder_new(frames_memory_sink(frames));
  for (size_t i = 0; i < len; i++) {
    FrameId id = leaf_id(keys[i]);
    if (i != skip) assert_ok(seq_builder_add(b, keys[i], &id));
  }
  SeqRoot root;
  assert_ok(seq_builder_finish(b, &root));
  seq_builder_free(b);
  return root;
}

static void expect_leaf(SeqCursor *c, const SeqRoot *root, const uint64_t *keys, size_t len, size_t at) {
  uint64_t key;
  FrameId id;
  bool found;
  assert_ok(seq_cursor_next(c, &key, &id, &found));
  assert_true(found == (at < len));
  if (!found) return;
  FrameId want = leaf_id(keys[at]);
  assert_true(frame_id_equal(&id, &want));
  assert_true(key == (root->depth ? keys[at] : 0));
}

static void check_seeks(FramesMemory *frames, const SeqRoot *root, const uint64_t *keys, size_t len, uint64_t *seed) {
  SeqCursor *c = seq_cursor_new(frames_memory_source(frames), root);
  for (int i = 0; i < 200; i++) {
    size_t at = test_random(seed) % len;
    uint64_t target = keys[at] + (test_random(seed) % 2 ? test_random(seed) % 5 : 0);
    while (at + 1 < len && keys[at + 1] <= target) at++;
    assert_ok(seq_cursor_seek(c, target));
    for (size_t n = test_random(seed) % 3; n > 0; n--) expect_leaf(c, root, keys, len, at++);
  }
  assert_ok(seq_cursor_seek(c, 0));
  expect_leaf(c, root, keys, len, 0);
  seq_cursor_free(c);
}

static Error *count_node(void *ctx, const FrameId *id) {
  (void)id;
  ++*(uint64_t *)ctx;
  return NULL;
}

static void test_round_trip(void **state) {
  (void)state;
  uint64_t seed = 1;
  static const size_t sizes[] = {0, 1, 2, 127, 128, 1024, 1025, 5000, 200000};
  for (size_t s = 0; s < NELEMS(sizes); s++) {
    size_t len = sizes[s];
    FramesMemory *frames = frames_memory_new();
    uint64_t *keys = random_keys(&seed, len);
    SeqRoot root = build(frames, keys, len, SIZE_MAX), back;
    assert_int_equal(root.count, len);
    Buf raw AUTO_BUF = {0};
    seq_root_encode(&root, &raw);
    Cursor in = cursor(buf_bytes(&raw));
    seq_root_decode(&in, &back);
    assert_ok(cursor_end(&in, "root"));
    assert_memory_equal(&root.id, &back.id, len ? sizeof root.id : 0);
    SeqCursor *c = seq_cursor_new(frames_memory_source(frames), &back);
    for (size_t i = 0; i <= len + 1; i++) expect_leaf(c, &root, keys, len, i);
    seq_cursor_free(c);
    if (len) check_seeks(frames, &root, keys, len, &seed);
    uint64_t nodes = 0;
    assert_ok(seq_visit_nodes(frames_memory_source(frames), &root, count_node, &nodes));
    assert_int_equal(nodes, frames_memory_counts(frames, FRAME_MAP).stored);
    free(keys);
    frames_memory_free(frames);
  }
}

/* A leaf less rewrites the node it was in and those above. */
static void test_sharing(void **state) {
  (void)state;
  uint64_t seed = 3;
  FramesMemory *frames = frames_memory_new();
  uint64_t *keys = random_keys(&seed, 100000);
  build(frames, keys, 100000, SIZE_MAX);
  frames_memory_reset_counts(frames);
  build(frames, keys, 100000, 31234);
  assert_in_range(frames_memory_counts(frames, FRAME_MAP).stored, 1, 4);
  free(keys);
  frames_memory_free(frames);
}

static void test_order(void **state) {
  (void)state;
  FramesMemory *frames = frames_memory_new();
  SeqBuilder *b = seq_builder_new(frames_memory_sink(frames));
  FrameId id = leaf_id(1);
  assert_ok(seq_builder_add(b, 5, &id));
  assert_err(seq_builder_add(b, 5, &id), ERR_INTERNAL);
  assert_err(seq_builder_add(b, 4, &id), ERR_INTERNAL);
  seq_builder_free(b);
  frames_memory_free(frames);
}

static Error *read_all(FramesMemory *frames, const SeqRoot *root) {
  SeqCursor *c = seq_cursor_new(frames_memory_source(frames), root);
  bool found = true;
  Error *err = NULL;
  while (!err && found) {
    uint64_t key;
    FrameId id;
    err = seq_cursor_next(c, &key, &id, &found);
  }
  seq_cursor_free(c);
  return err;
}

static void test_hostile(void **state) {
  (void)state;
  uint64_t seed = 5;
  FramesMemory *frames = frames_memory_new();
  uint64_t *keys = random_keys(&seed, 3000);
  SeqRoot root = build(frames, keys, 3000, SIZE_MAX);
  SeqRoot wrong = root;
  wrong.count--;
  assert_err(read_all(frames, &wrong), ERR_CORRUPT);
  wrong.count += 2;
  assert_err(read_all(frames, &wrong), ERR_CORRUPT);
  wrong = root;
  wrong.depth++;
  assert_err(read_all(frames, &wrong), ERR_CORRUPT);
  wrong.depth -= 2;
  assert_int_equal(wrong.depth, 1);
  assert_err(read_all(frames, &wrong), ERR_CORRUPT);
  /* A node that refers to itself twice: levels do not match. */
  Buf raw AUTO_BUF = {0};
  buf_put_u8(&raw, 1);
  buf_put_u8(&raw, 2);
  buf_put_var(&raw, 2);
  buf_put_var(&raw, 0);
  buf_put_var(&raw, 7);
  buf_add(&raw, root.id.b, sizeof root.id.b);
  buf_add(&raw, root.id.b, sizeof root.id.b);
  FrameSink *sink = frames_memory_sink(frames);
  wrong = (SeqRoot){.depth = 2, .count = 6000};
  assert_ok(sink->put(sink, FRAME_MAP, buf_bytes(&raw), &wrong.id));
  assert_err(read_all(frames, &wrong), ERR_CORRUPT);
  free(keys);
  frames_memory_free(frames);
}

static void test_decode_strict(void **state) {
  (void)state;
  SeqRef refs[2];
  uint8_t depth;
  size_t len;
  Buf raw AUTO_BUF = {0};
  buf_put_u8(&raw, 1);
  buf_put_u8(&raw, 1);
  buf_put_var(&raw, 2);
  buf_put_var(&raw, 300);
  buf_put_var(&raw, 1);
  memset(buf_grow(&raw, 64), 3, 64);
  assert_ok(seq_node_decode(buf_bytes(&raw), &depth, refs, 2, &len));
  assert_true(depth == 1 && len == 2 && refs[0].key == 300 && refs[1].key == 301);
  assert_err(seq_node_decode(buf_bytes(&raw), &depth, refs, 1, &len), ERR_CORRUPT);
  for (size_t n = 0; n < raw.len; n++)
    assert_err(seq_node_decode(bytes(raw.data, n), &depth, refs, 2, &len), ERR_CORRUPT);
  raw.data[0] = 2; /* another kind */
  assert_err(seq_node_decode(buf_bytes(&raw), &depth, refs, 2, &len), ERR_CORRUPT);
  raw.data[0] = 1;
  raw.data[1] = 0; /* a node of leaves' depth */
  assert_err(seq_node_decode(buf_bytes(&raw), &depth, refs, 2, &len), ERR_CORRUPT);
  raw.data[1] = SEQ_DEPTH_MAX + 1;
  assert_err(seq_node_decode(buf_bytes(&raw), &depth, refs, 2, &len), ERR_CORRUPT);
  raw.data[1] = 1;
  raw.data[5] = 0; /* a key twice */
  assert_err(seq_node_decode(buf_bytes(&raw), &depth, refs, 2, &len), ERR_CORRUPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip), cmocka_unit_test(test_sharing),       cmocka_unit_test(test_order),
      cmocka_unit_test(test_hostile),    cmocka_unit_test(test_decode_strict),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
