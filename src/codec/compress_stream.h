/* compress_stream.h: whole compressed files, written as a stream: what gunzip, zstd, lz4, bzip2 and xz read.
 *
 * The codecs of frames (compress.h) compress pieces in one call; this is for what leaves the repository. A stream
 * belongs to one thread and holds its library's context and one buffer.
 */
#ifndef HF_CODEC_COMPRESS_STREAM_H
#define HF_CODEC_COMPRESS_STREAM_H

#include "codec/compress.h"

typedef struct CompressStream CompressStream;
typedef Error *CompressStreamWrite(void *ctx, Bytes part);

/* What comes out goes to `write`, whose error ends the stream. CODEC_NONE passes everything through. `automatic` is
 * its level. Owned. */
CompressStream *compress_stream_new(Compression compression, CompressStreamWrite *write, void *ctx);
void compress_stream_free(CompressStream *take);
Error *compress_stream_add(CompressStream *s, Bytes part) NODISCARD;
/* Writes the end, checksum included. Nothing may be added afterwards. */
Error *compress_stream_finish(CompressStream *s) NODISCARD;

/* The codec that a file's name ends in: .zst, .lz4, .gz, .bz2, .xz (.tgz and the like too); CODEC_NONE otherwise. */
Codec compress_stream_codec_of(const char *name);
/* ".gz"; "" for CODEC_NONE. */
const char *compress_stream_ending(Codec codec);

#endif
