#include <bzlib.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/compress_stream.h"

#include "testing.h"

static Error *collect(void *ctx, Bytes part) {
  buf_add((Buf *)ctx, part.data, part.len);
  return NULL;
}

static Error *refuse(void *ctx, Bytes part) {
  (void)ctx, (void)part;
  return err_new(ERR_NO_SPACE, "full");
}

static void compress_all(Codec codec, Bytes input, size_t step, Buf *out) {
  CompressStream *s = compress_stream_new((Compression){.codec = codec, .level = 1}, collect, out);
  for (size_t at = 0; at < input.len; at += step) {
    size_t n = input.len - at < step ? input.len - at : step;
    assert_ok(compress_stream_add(s, bytes(input.data + at, n)));
  }
  assert_ok(compress_stream_finish(s));
  compress_stream_free(s);
}

/* Each by its library's own one-call reader of files, or the nearest there is. Returns the length. */
static size_t expand_gzip(Bytes in, uint8_t *out, size_t cap) {
  z_stream z = {
      .next_in = (Bytef *)(uintptr_t)in.data, .avail_in = (uInt)in.len, .next_out = out, .avail_out = (uInt)cap};
  assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
  assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
  assert_int_equal(z.avail_in, 0);
  inflateEnd(&z);
  return cap - z.avail_out;
}

static size_t expand_bzip2(Bytes in, uint8_t *out, size_t cap) {
  unsigned len = (unsigned)cap;
  assert_int_equal(BZ2_bzBuffToBuffDecompress((char *)out, &len, (char *)(uintptr_t)in.data, (unsigned)in.len, 0, 0),
                   BZ_OK);
  return len;
}

static size_t expand_xz(Bytes in, uint8_t *out, size_t cap) {
  uint64_t limit = UINT64_MAX;
  size_t in_pos = 0, out_pos = 0;
  assert_int_equal(lzma_stream_buffer_decode(&limit, 0, NULL, in.data, &in_pos, in.len, out, &out_pos, cap), LZMA_OK);
  assert_int_equal(in_pos, in.len);
  return out_pos;
}

static size_t expand_lz4(Bytes in, uint8_t *out, size_t cap) {
  LZ4F_dctx *context;
  assert_false(LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)));
  size_t at = 0, len = 0, hint = 1;
  while (hint != 0 && at < in.len) {
    size_t out_len = cap - len, in_len = in.len - at;
    hint = LZ4F_decompress(context, out + len, &out_len, in.data + at, &in_len, NULL);
    assert_false(LZ4F_isError(hint));
    at += in_len;
    len += out_len;
  }
  assert_int_equal(hint, 0);
  LZ4F_freeDecompressionContext(context);
  return len;
}

static size_t expand_zstd(Bytes in, uint8_t *out, size_t cap) {
  size_t len = ZSTD_decompress(out, cap, in.data, in.len);
  assert_false(ZSTD_isError(len));
  return len;
}

static size_t expand(Codec codec, Bytes in, uint8_t *out, size_t cap) {
  switch (codec) {
    case CODEC_NONE: memcpy(out, in.data, in.len); return in.len;
    case CODEC_ZSTD: return expand_zstd(in, out, cap);
    case CODEC_LZ4: return expand_lz4(in, out, cap);
    case CODEC_GZIP: return expand_gzip(in, out, cap);
    case CODEC_BZIP2: return expand_bzip2(in, out, cap);
    case CODEC_XZ: return expand_xz(in, out, cap);
  }
  fail();
  return 0;
}

static void check_round_trip(Codec codec, Bytes input, size_t step) {
  Buf packed = {0};
  compress_all(codec, input, step, &packed);
  if (codec != CODEC_NONE) assert_true(packed.len > 0); /* an empty file has its frame too */
  uint8_t *out = (uint8_t *)mem_alloc(input.len + 1);
  if (packed.len) {
    size_t len = expand(codec, buf_bytes(&packed), out, input.len + 1);
    assert_true(bytes_equal(bytes(out, len), input));
  }
  free(out);
  buf_free(&packed);
}

static void test_what_is_written_is_read_by_each_library(void **state) {
  (void)state;
  uint64_t seed = 7;
  size_t len = 700001;
  uint8_t *data = (uint8_t *)mem_alloc(len);
  for (size_t i = 0; i < len; i++) data[i] = i % 3 ? (uint8_t) "holdfast"[i % 8] : (uint8_t)test_random(&seed);
  for (Codec codec = CODEC_NONE; codec <= CODEC_XZ; codec++) {
    check_round_trip(codec, bytes(data, len), 1000);
    check_round_trip(codec, bytes(data, len), len);
    check_round_trip(codec, bytes(data, 1), 1);
    check_round_trip(codec, bytes(data, 0), 1);
  }
  free(data);
}

static void test_a_full_disk_is_an_error(void **state) {
  (void)state;
  static uint8_t zeros[1000];
  for (Codec codec = CODEC_ZSTD; codec <= CODEC_XZ; codec++) {
    CompressStream *s = compress_stream_new((Compression){.codec = codec, .level = 1}, refuse, NULL);
    Error *err = compress_stream_add(s, bytes(zeros, sizeof zeros));
    if (!err) err = compress_stream_finish(s);
    assert_err(err, ERR_NO_SPACE);
    compress_stream_free(s);
  }
}

static void test_endings(void **state) {
  (void)state;
  assert_int_equal(compress_stream_codec_of("a.sql.gz"), CODEC_GZIP);
  assert_int_equal(compress_stream_codec_of("a.tgz"), CODEC_GZIP);
  assert_int_equal(compress_stream_codec_of("a.tar.zst"), CODEC_ZSTD);
  assert_int_equal(compress_stream_codec_of("a.xz"), CODEC_XZ);
  assert_int_equal(compress_stream_codec_of("a.tbz2"), CODEC_BZIP2);
  assert_int_equal(compress_stream_codec_of("a.lz4"), CODEC_LZ4);
  assert_int_equal(compress_stream_codec_of("gz"), CODEC_NONE);
  for (Codec codec = CODEC_ZSTD; codec <= CODEC_XZ; codec++)
    assert_int_equal(compress_stream_codec_of(compress_stream_ending(codec)), codec);
  assert_string_equal(compress_stream_ending(CODEC_NONE), "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_is_written_is_read_by_each_library),
      cmocka_unit_test(test_a_full_disk_is_an_error),
      cmocka_unit_test(test_endings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
