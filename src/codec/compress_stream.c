#include "codec/compress_stream.h"

#include <bzlib.h>
#include <lz4frame.h>
#include <lzma.h>
#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>

#include "base/mem.h"
#include "base/str.h"

/* Parts are cut so that every library's counters hold them. */
enum { OUT_SIZE = 128 * 1024, IN_MAX = 64 * 1024, GZIP_WINDOW = 15 + 16, GZIP_MEMORY = 8, LZ4_SLACK = 64 };

struct CompressStream {
  Codec codec;
  CompressStreamWrite *write;
  void *ctx;
  ZSTD_CCtx *zstd;
  LZ4F_cctx *lz4;
  bool lz4_begun;
  z_stream gzip;
  bz_stream bzip2;
  lzma_stream xz;
  uint8_t *out;
  size_t out_cap;
};

static void start_library(CompressStream *s, int level) {
  switch (s->codec) {
    case CODEC_NONE: break;
    case CODEC_ZSTD:
      s->zstd = ZSTD_createCCtx();
      CHECK(s->zstd && !ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_compressionLevel, level)));
      CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_checksumFlag, 1)));
      break;
    case CODEC_LZ4:
      CHECK(!LZ4F_isError(LZ4F_createCompressionContext(&s->lz4, LZ4F_VERSION)));
      s->out_cap = LZ4F_compressBound(IN_MAX, NULL) + LZ4_SLACK;
      break;
    case CODEC_GZIP:
      CHECK(deflateInit2(&s->gzip, level, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY) == Z_OK);
      break;
    case CODEC_BZIP2: CHECK(BZ2_bzCompressInit(&s->bzip2, level, 0, 0) == BZ_OK); break;
    case CODEC_XZ: CHECK(lzma_easy_encoder(&s->xz, (uint32_t)level, LZMA_CHECK_CRC64) == LZMA_OK); break;
  }
}

CompressStream *compress_stream_new(Compression compression, CompressStreamWrite *write, void *ctx) {
  CHECK((unsigned)compression.codec < CODEC_COUNT);
  CompressStream *s = NEW(CompressStream);
  s->codec = compression.codec;
  s->write = write;
  s->ctx = ctx;
  s->xz = (lzma_stream)LZMA_STREAM_INIT;
  s->out_cap = OUT_SIZE;
  start_library(s, compression.level);
  if (s->codec != CODEC_NONE) s->out = (uint8_t *)mem_alloc(s->out_cap);
  return s;
}

void compress_stream_free(CompressStream *take) {
  if (!take) return;
  ZSTD_freeCCtx(take->zstd);
  if (take->lz4) (void)LZ4F_freeCompressionContext(take->lz4);
  if (take->codec == CODEC_GZIP) (void)deflateEnd(&take->gzip);
  if (take->codec == CODEC_BZIP2) (void)BZ2_bzCompressEnd(&take->bzip2);
  lzma_end(&take->xz);
  free(take->out);
  free(take);
}

static Error *pass_on(CompressStream *s, size_t len) { return len ? s->write(s->ctx, bytes(s->out, len)) : NULL; }

static Error *failed(const CompressStream *s, const char *why) {
  return err_new(ERR_INTERNAL, "compressing with %s: %s", codec_name(s->codec), why);
}

/* ---- one function a library: takes `part`, or with `end` finishes --------------------------------------------------
 */

static Error *run_zstd(CompressStream *s, Bytes part, bool end) {
  ZSTD_inBuffer in = {.src = part.data, .size = part.len};
  for (bool done = false; !done;) {
    ZSTD_outBuffer out = {.dst = s->out, .size = s->out_cap};
    size_t left = ZSTD_compressStream2(s->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
    if (ZSTD_isError(left)) return failed(s, ZSTD_getErrorName(left));
    TRY(pass_on(s, out.pos));
    done = end ? left == 0 : in.pos == in.size;
  }
  return NULL;
}

static Error *run_lz4(CompressStream *s, Bytes part, bool end) {
  size_t len = 0;
  if (!s->lz4_begun) {
    LZ4F_preferences_t settings = {.frameInfo = {.contentChecksumFlag = LZ4F_contentChecksumEnabled}};
    len = LZ4F_compressBegin(s->lz4, s->out, s->out_cap, &settings);
    if (LZ4F_isError(len)) return failed(s, LZ4F_getErrorName(len));
    s->lz4_begun = true;
    TRY(pass_on(s, len));
  }
  if (end)
    len = LZ4F_compressEnd(s->lz4, s->out, s->out_cap, NULL);
  else
    len = LZ4F_compressUpdate(s->lz4, s->out, s->out_cap, part.data, part.len, NULL);
  if (LZ4F_isError(len)) return failed(s, LZ4F_getErrorName(len));
  return pass_on(s, len);
}

static Error *run_gzip(CompressStream *s, Bytes part, bool end) {
  s->gzip.next_in = part.data;
  s->gzip.avail_in = (unsigned)part.len;
  int code;
  do {
    s->gzip.next_out = s->out;
    s->gzip.avail_out = (unsigned)s->out_cap;
    code = deflate(&s->gzip, end ? Z_FINISH : Z_NO_FLUSH);
    if (code == Z_STREAM_ERROR) return failed(s, "internal error");
    TRY(pass_on(s, s->out_cap - s->gzip.avail_out));
  } while (end ? code != Z_STREAM_END : s->gzip.avail_out == 0);
  return NULL;
}

static Error *run_bzip2(CompressStream *s, Bytes part, bool end) {
  if (part.len == 0 && !end) return NULL;
  s->bzip2.next_in = (char *)(uintptr_t)part.data; /* read only, whatever its type */
  s->bzip2.avail_in = (unsigned)part.len;
  int code;
  do {
    s->bzip2.next_out = (char *)s->out;
    s->bzip2.avail_out = (unsigned)s->out_cap;
    code = BZ2_bzCompress(&s->bzip2, end ? BZ_FINISH : BZ_RUN);
    if (code < 0) return failed(s, "internal error");
    TRY(pass_on(s, s->out_cap - s->bzip2.avail_out));
  } while (end ? code != BZ_STREAM_END : s->bzip2.avail_in > 0);
  return NULL;
}

static Error *run_xz(CompressStream *s, Bytes part, bool end) {
  s->xz.next_in = part.data;
  s->xz.avail_in = part.len;
  lzma_ret code;
  do {
    s->xz.next_out = s->out;
    s->xz.avail_out = s->out_cap;
    code = lzma_code(&s->xz, end ? LZMA_FINISH : LZMA_RUN);
    if (code != LZMA_OK && code != LZMA_STREAM_END && code != LZMA_BUF_ERROR) return failed(s, "internal error");
    TRY(pass_on(s, s->out_cap - s->xz.avail_out));
  } while (end ? code != LZMA_STREAM_END : s->xz.avail_in > 0);
  return NULL;
}

static Error *run(CompressStream *s, Bytes part, bool end) {
  switch (s->codec) {
    case CODEC_NONE: return part.len ? s->write(s->ctx, part) : NULL;
    case CODEC_ZSTD: return run_zstd(s, part, end);
    case CODEC_LZ4: return run_lz4(s, part, end);
    case CODEC_GZIP: return run_gzip(s, part, end);
    case CODEC_BZIP2: return run_bzip2(s, part, end);
    case CODEC_XZ: return run_xz(s, part, end);
  }
  return failed(s, "unknown codec");
}

Error *compress_stream_add(CompressStream *s, Bytes part) {
  while (part.len) {
    size_t n = part.len < IN_MAX ? part.len : IN_MAX;
    TRY(run(s, bytes(part.data, n), false));
    part = bytes(part.data + n, part.len - n);
  }
  return NULL;
}

Error *compress_stream_finish(CompressStream *s) { return run(s, bytes(NULL, 0), true); }

/* ---- endings -------------------------------------------------------------------------------------------------------
 */

static const struct {
  Codec codec;
  const char *endings[4]; /* the first is the codec's own */
} ENDINGS[] = {
    {CODEC_ZSTD, {".zst", ".zstd", ".tzst"}}, {CODEC_LZ4, {".lz4"}},       {CODEC_GZIP, {".gz", ".tgz"}},
    {CODEC_BZIP2, {".bz2", ".tbz", ".tbz2"}}, {CODEC_XZ, {".xz", ".txz"}},
};

Codec compress_stream_codec_of(const char *name) {
  for (size_t i = 0; i < NELEMS(ENDINGS); i++)
    for (size_t k = 0; k < NELEMS(ENDINGS[i].endings) && ENDINGS[i].endings[k]; k++)
      if (str_ends(name, ENDINGS[i].endings[k])) return ENDINGS[i].codec;
  return CODEC_NONE;
}

const char *compress_stream_ending(Codec codec) {
  for (size_t i = 0; i < NELEMS(ENDINGS); i++)
    if (ENDINGS[i].codec == codec) return ENDINGS[i].endings[0];
  return "";
}
