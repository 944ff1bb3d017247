#include "base/mem.h"
#include "codec/aead.h"
#include "repo/pack.h"

#include "testing.h"

enum { FOOTER_AT = 10000 };

static PackKey keys_two[2] = {{.kind = PACK_KEY_DATA, .epoch = 1, .ref = {1}, .salt = {2}},
                              {.kind = PACK_KEY_META, .epoch = 0, .ref = {3}, .salt = {4}}};

static void frames_three(PackFrame out[3]) {
  out[0] = (PackFrame){.id = {{1}}, .offset = 96, .stored = 1016, .raw = 1000, .number = 0, .key = 0, .type = 1};
  out[1] = (PackFrame){
      .id = {{2}}, .offset = 1112, .stored = 500, .raw = 90000, .number = 1, .key = 0, .type = 1, .codec = 1};
  out[2] = (PackFrame){.id = {{3}}, .offset = 4000, .stored = 6000, .raw = 5984, .number = 7, .key = 1, .type = 3};
}

static Error *decode_changed(const PackFrame *frames, size_t len) {
  PackFooter footer = {.keys = keys_two, .keys_len = 2, .frames_len = len};
  footer.frames = NEW_ARRAY(PackFrame, len);
  memcpy(footer.frames, frames, len * sizeof *frames);
  AUTO_BUF Buf raw = {0};
  pack_footer_encode(&footer, &raw);
  free(footer.frames);
  PackFooter out;
  TRY(pack_footer_decode(buf_bytes(&raw), FOOTER_AT, &out));
  assert_int_equal(out.frames_len, len);
  assert_int_equal(out.keys_len, 2);
  for (size_t i = 0; i < len; i++) {
    assert_true(frame_id_equal(&out.frames[i].id, &frames[i].id));
    assert_int_equal(out.frames[i].offset, frames[i].offset);
    assert_int_equal(out.frames[i].stored, frames[i].stored);
    assert_int_equal(out.frames[i].raw, frames[i].raw);
    assert_int_equal(out.frames[i].number, frames[i].number);
    assert_int_equal(out.frames[i].key, frames[i].key);
  }
  assert_memory_equal(out.keys[1].salt, keys_two[1].salt, 32);
  pack_footer_free(&out);
  return NULL;
}

static void test_footer(void **state UNUSED) {
  PackFrame f[3];
  frames_three(f);
  assert_ok(decode_changed(f, 3));
  assert_ok(decode_changed(f, 0));
#define BAD(change)                                \
  do {                                             \
    frames_three(f);                               \
    change;                                        \
    assert_err(decode_changed(f, 3), ERR_CORRUPT); \
  } while (0)
  BAD(f[0].offset = 95);               /* into the header */
  BAD(f[1].offset = 1111);             /* into its neighbour */
  BAD(f[2].stored = 6001);             /* into the footer */
  BAD(f[2].offset = UINT32_MAX);       /* far out */
  BAD(f[1].stored = 15);               /* shorter than a tag */
  BAD(f[1].raw = 0);                   /* nothing */
  BAD(f[1].raw = FRAME_RAW_MAX + 1);   /* too much */
  BAD(f[1].raw = 400);                 /* larger sealed than raw */
  BAD(f[1].key = 2);                   /* no such key */
  BAD(f[1].type = 0);                  /* no type */
  BAD(f[1].type = FRAME_TYPE_MAX + 1); /* unknown type */
  BAD(f[1].codec = CODEC_COUNT);       /* unknown codec */
  BAD(f[1].stored = FRAME_RAW_MAX + AEAD_TAG_LEN + 1; f[1].raw = FRAME_RAW_MAX);
#undef BAD
}

static void test_footer_bytes(void **state UNUSED) {
  PackFooter footer = {.keys = keys_two, .keys_len = 2, .frames_len = 3}, out;
  PackFrame frames[3];
  frames_three(frames);
  footer.frames = frames;
  AUTO_BUF Buf raw = {0};
  pack_footer_encode(&footer, &raw);
  for (size_t len = 0; len < raw.len; len++)
    assert_err(pack_footer_decode(bytes(raw.data, len), FOOTER_AT, &out), ERR_CORRUPT);
  store_u32(raw.data, PACK_KEYS_MAX + 1);
  assert_err(pack_footer_decode(buf_bytes(&raw), FOOTER_AT, &out), ERR_CORRUPT);
  store_u32(raw.data, UINT32_MAX);
  assert_err(pack_footer_decode(buf_bytes(&raw), FOOTER_AT, &out), ERR_CORRUPT);
  store_u32(raw.data, 2);
  store_u32(raw.data + 4 + 2 * PACK_KEY_LEN, UINT32_MAX);
  assert_err(pack_footer_decode(buf_bytes(&raw), FOOTER_AT, &out), ERR_CORRUPT);
  store_u32(raw.data + 4 + 2 * PACK_KEY_LEN, 3);
  raw.data[4] = 9; /* a kind of key nobody knows */
  assert_err(pack_footer_decode(buf_bytes(&raw), FOOTER_AT, &out), ERR_CORRUPT);
  raw.data[4] = PACK_KEY_DATA;
  raw.data[5] = 1; /* reserved */
  assert_err(pack_footer_decode(buf_bytes(&raw), FOOTER_AT, &out), ERR_CORRUPT);
  raw.data[5] = 0;
  buf_put_u8(&raw, 0);
  assert_err(pack_footer_decode(buf_bytes(&raw), FOOTER_AT, &out), ERR_CORRUPT);
}

static void test_trailer(void **state UNUSED) {
  uint8_t stripes[2 * PACK_STRIPE_HASH] = {1, 2, 3}, tail[PACK_TRAILER_LEN], changed[PACK_TRAILER_LEN];
  PackTrailer t = {.footer_offset = 70000, .footer_len = 500, .stripes_len = sizeof stripes}, out;
  uint64_t size = 70000 + 500 + sizeof stripes + PACK_TRAILER_LEN;
  pack_trailer_encode(&t, bytes(stripes, sizeof stripes), tail);
  assert_ok(pack_trailer_decode(tail, size, &out));
  assert_int_equal(out.footer_offset, 70000);
  assert_int_equal(out.footer_len, 500);
  assert_ok(pack_stripes_verify(tail, bytes(stripes, sizeof stripes)));
  assert_err(pack_trailer_decode(tail, size + 1, &out), ERR_CORRUPT);
  assert_err(pack_trailer_decode(tail, size - 1, &out), ERR_CORRUPT);
  assert_err(pack_trailer_decode(tail, 0, &out), ERR_CORRUPT);
  for (size_t bit = 0; bit < sizeof tail * 8; bit++) {
    memcpy(changed, tail, sizeof tail);
    changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
    Error *err = pack_trailer_decode(changed, size, &out);
    if (!err) err = pack_stripes_verify(changed, bytes(stripes, sizeof stripes));
    if (!err) fail_msg("bit %zu of the trailer does not matter", bit);
    err_free(err);
  }
  stripes[20] ^= 1;
  assert_err(pack_stripes_verify(tail, bytes(stripes, sizeof stripes)), ERR_CORRUPT);
  /* Sums that run over 64 bits. */
  store_u64(tail + 8, UINT64_MAX - 100);
  assert_err(pack_trailer_decode(tail, size, &out), ERR_CORRUPT);
}

static void test_names(void **state UNUSED) {
  Uuid id = {{0xab, 1, 2}}, back;
  char name[PACK_NAME_LEN];
  pack_name(&id, name);
  assert_true(pack_name_parse(name, &back));
  assert_true(uuid_equal(&id, &back));
  static const char *const bad[] = {"",
                                    "packs/",
                                    "packs/ab/ac010200000000000000000000000000",
                                    "packs/ab/ab01020000000000000000000000000",
                                    "packs/ab/ab0102000000000000000000000000000",
                                    "packs/AB/AB010200000000000000000000000000",
                                    "packz/ab/ab010200000000000000000000000000",
                                    "packs/ab-ab010200000000000000000000000000"};
  for (size_t i = 0; i < NELEMS(bad); i++) assert_false(pack_name_parse(bad[i], &back));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_footer),
      cmocka_unit_test(test_footer_bytes),
      cmocka_unit_test(test_trailer),
      cmocka_unit_test(test_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
