/* compress.h: the compression codecs of frames. A Compressor and a Decompressor belong to one thread each and hold
 * their library contexts, allocated once. */
#ifndef HF_CODEC_COMPRESS_H
#define HF_CODEC_COMPRESS_H

#include "base/error.h"

typedef enum Codec { /* on-disk values */
                     CODEC_NONE = 0,
                     CODEC_ZSTD = 1,
                     CODEC_LZ4 = 2,
                     CODEC_GZIP = 3, /* zlib format */
                     CODEC_BZIP2 = 4,
                     CODEC_XZ = 5,
} Codec;
enum { CODEC_COUNT = 6 };

typedef struct Compression {
  Codec codec;
  int level;      /* 0 where the codec has none */
  bool automatic; /* zstd whose level follows what the machine can afford: see compressor_set_level */
} Compression;

/* "zstd:1", "zstd" (1), "auto", "lz4", "gzip:6", "bzip2:9", "xz:6", "none". ERR_USAGE names what is allowed. */
Error *compression_parse(const char *text, Compression *out) NODISCARD;
/* The same back; out >= 16 bytes. */
char *compression_format(Compression c, char out[16]);
const char *codec_name(Codec codec);

typedef struct Compressor Compressor;
Compressor *compressor_new(Compression c);
void compressor_free(Compressor *take);
/* For `auto`: the level for the frames to come, clamped to 1..9. Without effect for other settings. */
void compressor_set_level(Compressor *c, int level);

/* What a compressor of this setting takes at most, for frames of at most `len` bytes. Of `auto`: at `c.level`. */
uint64_t compressor_memory(Compression c, size_t len);
/* The next cheaper level of the codec; false when there is none. */
bool compression_lower(Compression *c);

/* Room that `compressor_run` may need for len input bytes. */
size_t compressor_bound(size_t len);
/* Compresses src into dst (dst_cap >= compressor_bound(len)). Returns the length and sets *used; when compressing saves
 * less than 1/32 (or the frame is under 64 bytes), *used is CODEC_NONE, the return value is len and dst is unspecified:
 * the caller stores src itself. */
size_t compressor_run(Compressor *c, const uint8_t *src, size_t len, uint8_t *dst, size_t dst_cap, Codec *used);

typedef struct Decompressor Decompressor;
Decompressor *decompressor_new(void);
void decompressor_free(Decompressor *take);
/* Exactly raw_len bytes come out, or ERR_CORRUPT; ERR_UNSUPPORTED for an unknown codec. Never writes past raw_len and
 * needs no more memory than the codec's window (xz limited to 64 MiB). */
Error *decompressor_run(Decompressor *d, Codec codec, Bytes src, uint8_t *dst, size_t raw_len) NODISCARD;

#endif
