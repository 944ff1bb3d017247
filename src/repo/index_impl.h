/* index_impl.h: what index.c (segments, look-ups) and index_packs.c (which packs can be counted on) share. */
#ifndef HF_REPO_INDEX_IMPL_H
#define HF_REPO_INDEX_IMPL_H

#include <stdatomic.h>

#include "repo/index.h"
#include "repo/index_small.h"
#include "repo/uuid_set.h"

typedef struct IndexSegment {
  char *name; /* "index/<uuid>" */
  Segment view;
  uint8_t *mapped; /* from the cache; NULL when the body is in memory */
  size_t mapped_len;
  Buf body;
  bool salvaged;    /* made of packs' footers */
  uint8_t *absent;  /* one bit a pack: not there, or not to be counted on; NULL: none */
  uint8_t *doubted; /* one bit a pack: known to be damaged, read when there is no other copy; NULL: none */
} IndexSegment;

typedef struct PackSeen {
  Uuid id;
  uint64_t size;
} PackSeen;

struct Index {
  Repo *repo;
  bool reading; /* nothing will be written: plans do not matter, packs of damaged segments are looked into */
  size_t broken;
  Mutex lock;
  IndexSegment **segments;
  size_t len, cap;
  size_t in_small; /* segments [0, in_small) that are small are in this list */
  SmallIndex small;
  uint64_t *filter;
  uint64_t filter_bits, filter_used;
  uint64_t frames;
  PackSeen *seen; /* packs present when listed last, sorted */
  size_t seen_len, seen_cap;
  UuidSet condemned; /* by plans; empty when reading */
  UuidSet damaged;   /* noted when listed last */
  UuidSet data_keys; /* in the keyring when opened */
  size_t lost;       /* packs that cannot be counted on */
  bool any_doubted;
  size_t unnoted;
  Mutex salvage_lock; /* held while packs are looked into; before lock */
  bool salvaged;
  atomic_size_t salvage_hits;
  FrameId *claims; /* open addressing, power of two; an all-zero id is a free place */
  uint8_t *claim_types;
  size_t claims_len, claims_cap;
};

/* Lists packs, notes of damage and data keys. After the listing of segments: what a segment names was written before
 * it. */
Error *index_list_packs(Index *index, Cancel *cancel) NODISCARD;
/* Sets a new segment's bits by what was listed. */
void index_judge(Index *index, IndexSegment *segment);

static inline bool index_bit(const uint8_t *bits, uint32_t at) { return bits && (bits[at / 8] >> (at % 8) & 1); }

#endif
