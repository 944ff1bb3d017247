#include "base/mem.h"
#include "repo/content.h"

#include "frames_memory.h"
#include "testing.h"

static ContentPiece piece(uint64_t *seed, bool hole) {
  ContentPiece p = {0};
  if (hole) {
    p.hole_len = 1 + test_random(seed) % (UINT64_C(1) << 40);
    return p;
  }
  p.len = 1 + (uint32_t)(test_random(seed) % FRAME_RAW_MAX);
  for (size_t i = 0; i < sizeof p.id.b; i++) p.id.b[i] = (uint8_t)test_random(seed);
  return p;
}

static bool same_piece(const ContentPiece *a, const ContentPiece *b) {
  return a->hole_len == b->hole_len && (a->hole_len || (a->len == b->len && frame_id_equal(&a->id, &b->id)));
}

/* The pieces of a descriptor, all holes merged; *out is owned. */
static size_t read_pieces(FramesMemory *frames, const Content *content, ContentPiece **out) {
  ContentPiece *all = NEW_ARRAY(ContentPiece, 20000);
  size_t len = 0;
  if (content->kind == CONTENT_LIST) {
    memcpy(all, content->list.pieces, content->list.len * sizeof all[0]);
    len = content->list.len;
  } else if (content->kind == CONTENT_SEQ) {
    SeqCursor *c = seq_cursor_new(frames_memory_source(frames), &content->seq);
    Buf raw AUTO_BUF = {0};
    uint64_t key, offset = 0;
    FrameId id;
    bool found = true;
    for (;;) {
      assert_ok(seq_cursor_next(c, &key, &id, &found));
      if (!found) break;
      assert_true(key == (content->seq.depth ? offset : 0));
      assert_ok(frames_memory_source(frames)->get(frames_memory_source(frames), FRAME_MAP, &id, &raw));
      size_t n;
      assert_ok(content_leaf_decode(buf_bytes(&raw), all + len, CONTENT_LEAF_MAX, &n));
      for (size_t i = len; i < len + n; i++) offset += all[i].hole_len ? all[i].hole_len : all[i].len;
      len += n;
    }
    seq_cursor_free(c);
  }
  *out = all;
  return len;
}

static void check_build(uint64_t *seed, size_t len, unsigned hole_odds) {
  FramesMemory *frames = frames_memory_new();
  ContentBuilder *b = content_builder_new(frames_memory_sink(frames));
  ContentPiece *model = NEW_ARRAY(ContentPiece, len);
  size_t model_len = 0;
  for (size_t i = 0; i < len; i++) {
    ContentPiece p = piece(seed, hole_odds && test_random(seed) % hole_odds == 0);
    assert_ok(content_builder_add(b, &p));
    if (p.hole_len && model_len && model[model_len - 1].hole_len)
      model[model_len - 1].hole_len += p.hole_len;
    else
      model[model_len++] = p;
  }
  Content content, back;
  assert_ok(content_builder_finish(b, &content));
  content_builder_free(b);
  assert_int_equal(content.kind, model_len == 0                  ? CONTENT_NONE
                                 : model_len <= CONTENT_LIST_MAX ? CONTENT_LIST
                                                                 : CONTENT_SEQ);
  Buf raw AUTO_BUF = {0};
  content_encode(&content, &raw);
  Cursor c = cursor(buf_bytes(&raw));
  content_decode(&c, &back);
  assert_ok(cursor_end(&c, "content"));
  assert_memory_equal(&content, &back, sizeof content);
  ContentPiece *found;
  assert_int_equal(read_pieces(frames, &back, &found), model_len);
  for (size_t i = 0; i < model_len; i++) assert_true(same_piece(&found[i], &model[i]));
  free(found);
  free(model);
  frames_memory_free(frames);
}

static void test_builder(void **state) {
  (void)state;
  uint64_t seed = 1;
  static const size_t sizes[] = {0, 1, 2, 4, 5, 64, 1024, 1025, 10000};
  for (size_t i = 0; i < NELEMS(sizes); i++) {
    check_build(&seed, sizes[i], 0);
    check_build(&seed, sizes[i], 2);
    check_build(&seed, sizes[i], 1); /* one hole */
    check_build(&seed, sizes[i], 50);
  }
}

/* A piece put in near the start leaves the leaves behind it as they are. */
static void test_sharing(void **state) {
  (void)state;
  FramesMemory *frames = frames_memory_new();
  for (int round = 0; round < 2; round++) {
    uint64_t seed = 6, other = 99;
    ContentBuilder *b = content_builder_new(frames_memory_sink(frames));
    for (size_t i = 0; i < 10000; i++) {
      ContentPiece p = piece(&seed, false), extra = piece(&other, false);
      assert_ok(content_builder_add(b, &p));
      if (round == 1 && i == 100) assert_ok(content_builder_add(b, &extra));
    }
    Content content;
    assert_ok(content_builder_finish(b, &content));
    content_builder_free(b);
    if (round == 1) assert_in_range(frames_memory_counts(frames, FRAME_MAP).stored, 1, 4);
    frames_memory_reset_counts(frames);
  }
  frames_memory_free(frames);
}

static void test_bad_pieces(void **state) {
  (void)state;
  uint64_t seed = 2;
  FramesMemory *frames = frames_memory_new();
  ContentBuilder *b = content_builder_new(frames_memory_sink(frames));
  ContentPiece p = piece(&seed, false);
  p.len = 0;
  assert_err(content_builder_add(b, &p), ERR_INTERNAL);
  p.len = FRAME_RAW_MAX + 1;
  assert_err(content_builder_add(b, &p), ERR_INTERNAL);
  p = (ContentPiece){.hole_len = FILE_SIZE_MAX};
  assert_ok(content_builder_add(b, &p));
  p = (ContentPiece){.hole_len = 1};
  assert_err(content_builder_add(b, &p), ERR_LIMIT);
  content_builder_free(b);
  frames_memory_free(frames);
}

static bool decodes(const Buf *raw) {
  Cursor c = cursor(buf_bytes(raw));
  Content content;
  content_decode(&c, &content);
  Error *err = cursor_end(&c, "content");
  if (err) assert_true(err_is(err, ERR_CORRUPT));
  bool ok = !err;
  err_free(err);
  return ok;
}

static void test_decode_strict(void **state) {
  (void)state;
  uint64_t seed = 3;
  Content content;
  memset(&content, 0, sizeof content);
  Buf raw AUTO_BUF = {0};
  buf_put_u8(&raw, 5);
  assert_false(decodes(&raw)); /* unknown kind */
  content.kind = CONTENT_SLICE;
  content.slice.id.b[0] = 1;
  content.slice.offset = FRAME_RAW_MAX - 10;
  content.slice.len = 10;
  buf_clear(&raw);
  content_encode(&content, &raw);
  assert_true(decodes(&raw));
  for (size_t len = raw.len; raw.len > 0; raw.len--)
    if (raw.len < len) assert_false(decodes(&raw));
  content.slice.len = 11; /* behind the end of any frame */
  content_encode(&content, &raw);
  assert_false(decodes(&raw));
  memset(&content, 0, sizeof content);
  content.kind = CONTENT_LIST;
  content.list.len = 2;
  content.list.pieces[0] = content.list.pieces[1] = piece(&seed, true); /* two holes side by side */
  buf_clear(&raw);
  content_encode(&content, &raw);
  assert_false(decodes(&raw));
  content.list.pieces[1] = piece(&seed, false);
  buf_clear(&raw);
  content_encode(&content, &raw);
  assert_true(decodes(&raw));
  content.list.pieces[0].hole_len = FILE_SIZE_MAX; /* beyond the largest file */
  buf_clear(&raw);
  content_encode(&content, &raw);
  assert_false(decodes(&raw));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_builder),
      cmocka_unit_test(test_sharing),
      cmocka_unit_test(test_bad_pieces),
      cmocka_unit_test(test_decode_strict),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
