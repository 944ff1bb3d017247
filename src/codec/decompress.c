/* The other half of compress.h: bytes from a repository, which may be damaged or hostile. Every codec gets an output of
 * exactly raw_len bytes and must end there, with its input used up. */
#include <bzlib.h>
#include <limits.h>
#include <lz4.h>
#include <lzma.h>
#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/compress.h"

static const uint64_t XZ_MEMORY_LIMIT = 64 * MIB;

struct Decompressor {
  ZSTD_DCtx *zstd;
  z_stream inflate;
  bool inflate_ready;
  lzma_stream xz;
};

Decompressor *decompressor_new(void) {
  Decompressor *d = NEW(Decompressor);
  d->zstd = ZSTD_createDCtx();
  CHECK(d->zstd != NULL);
  d->xz = (lzma_stream)LZMA_STREAM_INIT;
  return d;
}

void decompressor_free(Decompressor *take) {
  if (!take) return;
  ZSTD_freeDCtx(take->zstd);
  if (take->inflate_ready) inflateEnd(&take->inflate);
  lzma_end(&take->xz);
  free(take);
}

/* Each is true when exactly raw_len bytes came out of exactly src. Lengths fit an int. */

/* One ordinary frame and nothing else: the library would also take skippable frames, several in a row, and formats from
 * before zstd 1.0. */
static bool is_one_zstd_frame(Bytes src) {
  return src.len >= 4 && load_u32(src.data) == ZSTD_MAGICNUMBER &&
         ZSTD_findFrameCompressedSize(src.data, src.len) == src.len;
}

static bool open_zstd(Decompressor *d, Bytes src, uint8_t *dst, size_t raw_len) {
  return is_one_zstd_frame(src) &&
         ZSTD_decompressDCtx(d->zstd, dst, raw_len, src.data, src.len) == raw_len; /* errors are huge values */
}

static bool open_lz4(Bytes src, uint8_t *dst, size_t raw_len) {
  return LZ4_decompress_safe((const char *)src.data, (char *)dst, (int)src.len, (int)raw_len) == (int)raw_len;
}

static bool open_gzip(Decompressor *d, Bytes src, uint8_t *dst, size_t raw_len) {
  z_stream *z = &d->inflate;
  if (!d->inflate_ready) {
    CHECK(inflateInit(z) == Z_OK);
    d->inflate_ready = true;
  }
  CHECK(inflateReset(z) == Z_OK);
  z->next_in = src.data;
  z->avail_in = (uInt)src.len;
  z->next_out = dst;
  z->avail_out = (uInt)raw_len;
  return inflate(z, Z_FINISH) == Z_STREAM_END && z->avail_in == 0 && z->avail_out == 0;
}

static bool open_bzip2(Bytes src, uint8_t *dst, size_t raw_len) {
  bz_stream bz = {0};
  CHECK(BZ2_bzDecompressInit(&bz, 0, 0) == BZ_OK);
  union {
    const uint8_t *in;
    char *out;
  } input = {.in = src.data}; /* the library takes char * and only reads */
  bz.next_in = input.out;
  bz.avail_in = (unsigned)src.len;
  bz.next_out = (char *)dst;
  bz.avail_out = (unsigned)raw_len;
  bool whole = BZ2_bzDecompress(&bz) == BZ_STREAM_END && bz.avail_in == 0 && bz.avail_out == 0;
  BZ2_bzDecompressEnd(&bz);
  return whole;
}

static bool open_xz(Decompressor *d, Bytes src, uint8_t *dst, size_t raw_len) {
  CHECK(lzma_stream_decoder(&d->xz, XZ_MEMORY_LIMIT, 0) == LZMA_OK);
  d->xz.next_in = src.data;
  d->xz.avail_in = src.len;
  d->xz.next_out = dst;
  d->xz.avail_out = raw_len;
  return lzma_code(&d->xz, LZMA_FINISH) == LZMA_STREAM_END && d->xz.avail_in == 0 && d->xz.avail_out == 0;
}

static bool open_none(Bytes src, uint8_t *dst, size_t raw_len) {
  if (src.len != raw_len) return false;
  if (raw_len > 0) memcpy(dst, src.data, raw_len);
  return true;
}

Error *decompressor_run(Decompressor *d, Codec codec, Bytes src, uint8_t *dst, size_t raw_len) {
  if ((unsigned)codec >= CODEC_COUNT)
    return err_hint(err_new(ERR_UNSUPPORTED, "decompressing: codec number %u is not known", (unsigned)codec),
                    "a newer holdfast wrote this; use that version");
  if (src.len > INT_MAX || raw_len > INT_MAX)
    return err_new(ERR_LIMIT, "decompressing: %zu bytes to %zu is beyond the format's limits", src.len, raw_len);
  bool whole = false;
  switch (codec) {
    case CODEC_NONE: whole = open_none(src, dst, raw_len); break;
    case CODEC_ZSTD: whole = open_zstd(d, src, dst, raw_len); break;
    case CODEC_LZ4: whole = open_lz4(src, dst, raw_len); break;
    case CODEC_GZIP: whole = open_gzip(d, src, dst, raw_len); break;
    case CODEC_BZIP2: whole = open_bzip2(src, dst, raw_len); break;
    case CODEC_XZ: whole = open_xz(d, src, dst, raw_len); break;
  }
  if (!whole)
    return err_new(ERR_CORRUPT, "decompressing %s: the bytes do not make the %zu they should", codec_name(codec),
                   raw_len);
  return NULL;
}
