/* frames.h: reading frames back: where the index says they are, opened, decompressed and compared with their id. */
#ifndef HF_REPO_FRAMES_H
#define HF_REPO_FRAMES_H

#include "repo/frameio.h"
#include "repo/index.h"

/* One a thread: cipher and decompression contexts, the last key used. */
typedef struct FrameDecoder FrameDecoder;
FrameDecoder *frame_decoder_new(Repo *repo);
void frame_decoder_free(FrameDecoder *take);
/* sealed: loc->stored bytes, overwritten. out: loc->raw bytes. ERR_CORRUPT names pack and offset; out is then
 * undefined. */
Error *frame_decode(FrameDecoder *d, const FrameLoc *loc, const FrameId *id, uint8_t *sealed, uint8_t *out,
                    Cancel *cancel) NODISCARD;
/* Whether the last frame_decode failed because of the frame's bytes, not for want of a key. */
bool frame_decoder_saw_damage(const FrameDecoder *d);

/* Single frames by id, with a small cache of decoded metadata: for trees, maps and small reads. A pack whose frame
 * turns out damaged is doubted (index.h), and another copy is read where there is one. Thread-safe. */
typedef struct FrameReader FrameReader;
FrameReader *frame_reader_new(Repo *repo, Index *index, Cancel *cancel);
void frame_reader_free(FrameReader *take);
FrameSource *frame_reader_source(FrameReader *reader); /* borrowed, lives as long as the reader */

/* Opens a pack's footer: for repair, verification and rebuilding the index. */
Error *pack_read_footer(Repo *repo, const Uuid *pack, uint64_t size, PackFooter *out, Cancel *cancel) NODISCARD;

#endif
