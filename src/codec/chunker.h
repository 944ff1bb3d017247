/* chunker.h: FastCDC content-defined chunking (Xia et al. 2020, normalised, level 2), its gear table keyed per
 * repository so that chunk sizes tell a stranger nothing about known files.
 *
 * Stateless: give it the unread bytes, it says where the first chunk ends.
 */
#ifndef HF_CODEC_CHUNKER_H
#define HF_CODEC_CHUNKER_H

#include "base/base.h"

typedef struct Chunker {
  uint64_t gear[256];
  uint64_t mask_small; /* before avg: harder */
  uint64_t mask_large; /* after avg: easier */
  size_t min, avg, max;
} Chunker;

/* The repository's sizes: 64 KiB / 256 KiB / 1 MiB. */
void chunker_init(Chunker *c, const uint8_t key[32]);
/* avg is a power of two; 64 <= min <= avg <= max. For tests. */
void chunker_init_sizes(Chunker *c, const uint8_t key[32], size_t min, size_t avg, size_t max);

/* Length of the first chunk of data[0..len). Call with len >= c->max, or with all that is left of the stream (the
 * result is then at most len). len > 0. */
size_t chunker_cut(const Chunker *c, const uint8_t *data, size_t len);

#endif
