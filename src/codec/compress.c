/* Frames of a few hundred KiB at most: every codec runs in one call over the whole frame, and its contexts live as long
 * as the Compressor. zstd writes its ordinary frame without checksum and content size (the frame's header in the pack
 * says the length, the authentication tag guards the bytes), so `zstd -d` reads it; gzip is the zlib format; bzip2 and
 * xz are their ordinary files, xz without an inner check for the same reason.
 */
#include "codec/compress.h"

#include <bzlib.h>
#include <limits.h>
#include <lz4.h>
#include <lzma.h>
#include <stdio.h>
#define ZLIB_CONST
#include <zlib.h>
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include "base/mem.h"
#include "base/str.h"

enum { LEAST_FRAME = 64, SAVING_SHIFT = 5, AUTO_LEVEL_MAX = 9, SLOW_ZSTD_LEVEL = 4 };

typedef struct CodecInfo {
  const char *name;
  int level_min, level_max, level_default; /* all 0: the codec has no levels */
} CodecInfo;

static const CodecInfo CODECS[CODEC_COUNT] = {
    [CODEC_NONE] = {"none", 0, 0, 0}, [CODEC_ZSTD] = {"zstd", 1, 19, 1},  [CODEC_LZ4] = {"lz4", 0, 0, 0},
    [CODEC_GZIP] = {"gzip", 1, 9, 6}, [CODEC_BZIP2] = {"bzip2", 1, 9, 9}, [CODEC_XZ] = {"xz", 0, 9, 6},
};

/* ---- settings as text ---- */

const char *codec_name(Codec codec) { return (unsigned)codec < CODEC_COUNT ? CODECS[codec].name : "unknown"; }

static Error *bad_setting(const char *text) {
  return err_hint(err_new(ERR_USAGE, "compression \"%s\": not known", text),
                  "use auto, zstd[:1-19], lz4, gzip[:1-9], bzip2[:1-9], xz[:0-9] or none");
}

Error *compression_parse(const char *text, Compression *out) {
  if (strcmp(text, "auto") == 0) {
    *out = (Compression){.codec = CODEC_ZSTD, .level = 1, .automatic = true};
    return NULL;
  }
  size_t name_len = strcspn(text, ":");
  for (unsigned i = 0; i < CODEC_COUNT; i++) {
    const CodecInfo *info = &CODECS[i];
    if (strlen(info->name) != name_len || strncmp(text, info->name, name_len) != 0) continue;
    uint64_t level = (uint64_t)info->level_default;
    if (text[name_len] == ':') {
      Error *err = info->level_max > 0 ? str_parse_u64(text + name_len + 1, (uint64_t)info->level_max, &level) : NULL;
      bool bad = err || info->level_max == 0 || level < (uint64_t)info->level_min;
      err_free(err);
      if (bad) return bad_setting(text);
    }
    *out = (Compression){.codec = (Codec)i, .level = (int)level, .automatic = false};
    return NULL;
  }
  return bad_setting(text);
}

char *compression_format(Compression c, char out[16]) {
  if (c.automatic)
    snprintf(out, 16, "auto");
  else if (CODECS[c.codec].level_max == 0)
    snprintf(out, 16, "%s", CODECS[c.codec].name);
  else
    snprintf(out, 16, "%s:%d", CODECS[c.codec].name, c.level);
  return out;
}

/* ---- compressing ---- */

struct Compressor {
  Compression setting;
  ZSTD_CCtx *zstd;
  ZSTD_CCtx *probe; /* of settings that are or may become slow */
  void *lz4;
  z_stream deflate;
  bool deflate_ready;
  lzma_stream xz;
};

static bool is_slow(Compression setting) {
  switch (setting.codec) {
    case CODEC_NONE:
    case CODEC_LZ4: return false;
    case CODEC_ZSTD: return setting.level >= SLOW_ZSTD_LEVEL;
    case CODEC_GZIP:
    case CODEC_BZIP2:
    case CODEC_XZ: break;
  }
  return true;
}

static void zstd_set_level(Compressor *c, int level) {
  c->setting.level = level;
  CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel, level)));
}

Compressor *compressor_new(Compression setting) {
  CHECK((unsigned)setting.codec < CODEC_COUNT);
  Compressor *c = NEW(Compressor);
  c->setting = setting;
  c->xz = (lzma_stream)LZMA_STREAM_INIT;
  if (setting.codec == CODEC_ZSTD) {
    c->zstd = ZSTD_createCCtx();
    CHECK(c->zstd != NULL);
    zstd_set_level(c, setting.level);
    CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_contentSizeFlag, 0)));
    CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_checksumFlag, 0)));
  }
  if (setting.automatic || is_slow(setting)) {
    c->probe = ZSTD_createCCtx();
    CHECK(c->probe != NULL);
  }
  if (setting.codec == CODEC_LZ4) c->lz4 = mem_alloc((size_t)LZ4_sizeofState());
  if (setting.codec == CODEC_GZIP) {
    CHECK(deflateInit(&c->deflate, setting.level) == Z_OK);
    c->deflate_ready = true;
  }
  return c;
}

void compressor_free(Compressor *take) {
  if (!take) return;
  ZSTD_freeCCtx(take->zstd);
  ZSTD_freeCCtx(take->probe);
  free(take->lz4);
  if (take->deflate_ready) deflateEnd(&take->deflate);
  lzma_end(&take->xz);
  free(take);
}

void compressor_set_level(Compressor *c, int level) {
  if (!c->setting.automatic) return;
  if (level < 1) level = 1;
  if (level > AUTO_LEVEL_MAX) level = AUTO_LEVEL_MAX;
  if (level != c->setting.level) zstd_set_level(c, level);
}

size_t compressor_bound(size_t len) {
  /* The fast paths of zstd and lz4 want their own worst case; the others stop at `len`, where the frame is raw. */
  CHECK(len <= LZ4_MAX_INPUT_SIZE);
  size_t zstd = ZSTD_COMPRESSBOUND(len);
  size_t lz4 = (size_t)LZ4_COMPRESSBOUND((unsigned)len);
  return zstd > lz4 ? zstd : lz4;
}

/* Each returns the compressed length, or 0 when it did not fit into cap. */

static size_t run_zstd(Compressor *c, const uint8_t *src, size_t len, uint8_t *dst, size_t cap) {
  size_t n = ZSTD_compress2(c->zstd, dst, cap, src, len);
  return ZSTD_isError(n) ? 0 : n;
}

static size_t run_lz4(Compressor *c, const uint8_t *src, size_t len, uint8_t *dst, size_t cap) {
  /* src is const all the way down; the library's own casts begin behind this call */
  int n = LZ4_compress_fast_extState(c->lz4, (const char *)src, (char *)dst, (int)len,
                                     cap < INT_MAX ? (int)cap : INT_MAX, 1);
  return n > 0 ? (size_t)n : 0;
}

static size_t run_gzip(Compressor *c, const uint8_t *src, size_t len, uint8_t *dst, size_t cap) {
  z_stream *z = &c->deflate;
  CHECK(deflateReset(z) == Z_OK);
  z->next_in = src;
  z->avail_in = (uInt)len;
  z->next_out = dst;
  z->avail_out = (uInt)cap;
  return deflate(z, Z_FINISH) == Z_STREAM_END ? cap - z->avail_out : 0;
}

static size_t run_bzip2(Compressor *c, const uint8_t *src, size_t len, uint8_t *dst, size_t cap) {
  bz_stream bz = {0};
  /* A block larger than the frame would only be allocated, not used. */
  int level = c->setting.level;
  int enough = (int)(len / 100000 + 1);
  CHECK(BZ2_bzCompressInit(&bz, level < enough ? level : enough, 0, 0) == BZ_OK);
  union {
    const uint8_t *in;
    char *out;
  } input = {.in = src}; /* the library takes char * and only reads */
  bz.next_in = input.out;
  bz.avail_in = (unsigned)len;
  bz.next_out = (char *)dst;
  bz.avail_out = (unsigned)cap;
  bool whole = BZ2_bzCompress(&bz, BZ_FINISH) == BZ_STREAM_END;
  size_t n = cap - bz.avail_out;
  BZ2_bzCompressEnd(&bz);
  return whole ? n : 0;
}

static lzma_options_lzma xz_options(int level, size_t len) {
  lzma_options_lzma options;
  CHECK(!lzma_lzma_preset(&options, (uint32_t)level));
  uint32_t window = LZMA_DICT_SIZE_MIN;
  while (window < len && window < options.dict_size) window *= 2;
  options.dict_size = window; /* reaching back past the frame's start is memory for nothing, also when reading */
  return options;
}

static size_t run_xz(Compressor *c, const uint8_t *src, size_t len, uint8_t *dst, size_t cap) {
  lzma_options_lzma options = xz_options(c->setting.level, len);
  lzma_filter filters[] = {{.id = LZMA_FILTER_LZMA2, .options = &options}, {.id = LZMA_VLI_UNKNOWN, .options = NULL}};
  CHECK(lzma_stream_encoder(&c->xz, filters, LZMA_CHECK_NONE) == LZMA_OK);
  c->xz.next_in = src;
  c->xz.avail_in = len;
  c->xz.next_out = dst;
  c->xz.avail_out = cap;
  return lzma_code(&c->xz, LZMA_FINISH) == LZMA_STREAM_END ? cap - c->xz.avail_out : 0;
}

/* All byte values about equally frequent: 256 * sum of squared frequencies within a tenth of its least value, 1. At
 * that point coding single bytes cannot save 1/32; only repeated strings could. */
static bool is_flat(const uint8_t *src, size_t len) {
  uint32_t count[256] = {0};
  uint64_t squares = 0;
  for (size_t i = 0; i < len; i++) count[src[i]]++;
  for (size_t i = 0; i < 256; i++) squares += (uint64_t)count[i] * count[i];
  uint64_t least = (uint64_t)len * len / 256;
  return squares <= least + least / 10 + 2 * (uint64_t)len; /* chance alone adds about one len */
}

/* Spares slow codecs the work on media, archives and ciphertext: when single bytes are flat and the fastest matcher
 * finds nothing either, the frame stays raw. */
static bool is_hopeless(Compressor *c, const uint8_t *src, size_t len, uint8_t *dst, size_t dst_cap, size_t most) {
  if (!is_slow(c->setting) || !is_flat(src, len)) return false;
  size_t n = ZSTD_compressCCtx(c->probe, dst, dst_cap, src, len, 1);
  return ZSTD_isError(n) || n > most;
}

size_t compressor_run(Compressor *c, const uint8_t *src, size_t len, uint8_t *dst, size_t dst_cap, Codec *used) {
  CHECK(dst_cap >= compressor_bound(len));
  *used = CODEC_NONE;
  if (len < LEAST_FRAME) return len;
  size_t most = len - (len >> SAVING_SHIFT) - 1; /* more than this saves less than 1/32 */
  if (is_hopeless(c, src, len, dst, dst_cap, most)) return len;
  size_t n = 0;
  switch (c->setting.codec) {
    case CODEC_NONE: return len;
    case CODEC_ZSTD: n = run_zstd(c, src, len, dst, dst_cap); break;
    case CODEC_LZ4: n = run_lz4(c, src, len, dst, dst_cap); break;
    case CODEC_GZIP: n = run_gzip(c, src, len, dst, most); break;
    case CODEC_BZIP2: n = run_bzip2(c, src, len, dst, most); break;
    case CODEC_XZ: n = run_xz(c, src, len, dst, most); break;
  }
  if (n == 0 || n > most) return len;
  *used = c->setting.codec;
  return n;
}

/* ---- what it costs ---- */

static uint64_t zstd_memory(int level, size_t len) {
  return ZSTD_estimateCCtxSize_usingCParams(ZSTD_getCParams(level, len, 0));
}

static uint64_t xz_memory(int level, size_t len) {
  lzma_options_lzma options = xz_options(level, len);
  lzma_filter filters[] = {{.id = LZMA_FILTER_LZMA2, .options = &options}, {.id = LZMA_VLI_UNKNOWN, .options = NULL}};
  return lzma_raw_encoder_memusage(filters);
}

uint64_t compressor_memory(Compression setting, size_t len) {
  enum { DEFLATE_BYTES = 320 * 1024, BZIP2_BYTES = 512 * 1024, BZIP2_BLOCK = 100000, BZIP2_FACTOR = 8 };
  uint64_t probe = setting.automatic || is_slow(setting) ? zstd_memory(1, len) : 0;
  uint64_t blocks = len / BZIP2_BLOCK + 1;
  switch (setting.codec) {
    case CODEC_NONE: break;
    case CODEC_ZSTD: return probe + zstd_memory(setting.level, len);
    case CODEC_LZ4: return probe + (uint64_t)LZ4_sizeofState();
    case CODEC_GZIP: return probe + DEFLATE_BYTES;
    case CODEC_BZIP2:
      if (blocks > (uint64_t)setting.level) blocks = (uint64_t)setting.level;
      return probe + BZIP2_BYTES + blocks * BZIP2_BLOCK * BZIP2_FACTOR;
    case CODEC_XZ: return probe + xz_memory(setting.level, len);
  }
  return probe;
}

bool compression_lower(Compression *c) {
  if (c->level <= CODECS[c->codec].level_min) return false;
  c->level--;
  return true;
}
