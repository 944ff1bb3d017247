/* index_small.h: one sorted list over the frames of all small segments, so that thousands of small backups do not make
 * every look-up ask thousands of segments. Used by index.c only. 16 bytes of memory a frame of a small segment. */
#ifndef HF_REPO_INDEX_SMALL_H
#define HF_REPO_INDEX_SMALL_H

#include "repo/segment.h"

enum { SMALL_SEGMENT_FRAMES = 16 * 1024 };

typedef struct SmallEntry {
  uint64_t prefix; /* the first 8 bytes of the id, as a number that sorts like them */
  uint32_t segment, entry;
} SmallEntry;

typedef struct SmallIndex {
  SmallEntry *entries;
  size_t len, cap;
} SmallIndex;

void small_index_free(SmallIndex *small);
/* Adds a segment's frames under its number. Look-ups need small_index_sort after the last. */
void small_index_add(SmallIndex *small, const Segment *view, uint32_t segment);
void small_index_sort(SmallIndex *small);
/* The first place whose prefix is the id's, or len. */
size_t small_index_first(const SmallIndex *small, const FrameId *id);
static inline uint64_t small_prefix(const FrameId *id) { return __builtin_bswap64(load_u64(id->b)); }

#endif
