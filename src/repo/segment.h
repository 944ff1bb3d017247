/* segment.h: the body of an index segment, pure: which packs exist and where each of their frames is.
 *
 *   u32 packs, u32 keys, u32 frames, u32 zero
 *   packs   32 bytes each: uuid, u64 size, u32 frames, u32 zero
 *   keys    56 bytes each (pack.h)
 *   entries 28 bytes each, ascending by the first 16 bytes of the id: prefix 16, u32 pack, u32 offset, u32 stored
 *   details 28 bytes each, in the same order: rest of the id 16, u32 raw, u32 number, u16 key, u8 type, u8 codec
 *
 * A look-up touches the entries and, on a hit, one detail. The body is used as it is, mapped from a file.
 */
#ifndef HF_REPO_SEGMENT_H
#define HF_REPO_SEGMENT_H

#include "repo/pack.h"

/* Where a frame is and how to open it. */
typedef struct FrameLoc {
  Uuid pack;
  uint64_t pack_size;
  uint32_t offset, stored, raw, number;
  FrameType type;
  Codec codec;
  PackKey key;
} FrameLoc;

typedef struct SegmentPack {
  Uuid id;
  uint64_t size;
  uint32_t frames;
} SegmentPack;

/* A view over a checked body; borrowed bytes. */
typedef struct Segment {
  uint32_t packs, keys, frames;
  const uint8_t *pack_table, *key_table, *entries, *details;
} Segment;

/* Checks everything once: counts, order, references, ranges. ERR_CORRUPT. */
Error *segment_open(Bytes body, Segment *out) NODISCARD;
/* Index of the entry with this id, or -1. */
int64_t segment_find(const Segment *segment, FrameType type, const FrameId *id);
/* The next entry with the same id, or -1. */
int64_t segment_find_next(const Segment *segment, uint32_t entry, FrameType type, const FrameId *id);
void segment_loc(const Segment *segment, uint32_t entry, FrameLoc *out);
FrameId segment_id(const Segment *segment, uint32_t entry);
uint32_t segment_pack_of(const Segment *segment, uint32_t entry);
uint32_t segment_key_of(const Segment *segment, uint32_t entry);
void segment_key(const Segment *segment, uint32_t key, PackKey *out);
void segment_pack(const Segment *segment, uint32_t pack, SegmentPack *out);
/* First 8 bytes of an entry's id, for filters. */
static inline uint64_t segment_prefix(const Segment *segment, uint32_t entry) {
  return load_u64(segment->entries + (size_t)entry * 28);
}

/* Collects packs and writes a body. */
typedef struct SegmentBuilder SegmentBuilder;
SegmentBuilder *segment_builder_new(void);
void segment_builder_free(SegmentBuilder *take);
void segment_builder_add(SegmentBuilder *b, const Uuid *pack, uint64_t size, const PackKey *keys, size_t keys_len,
                         const PackFrame *frames, size_t frames_len);
size_t segment_builder_frames(const SegmentBuilder *b);
/* Appends the body to out; the builder keeps what it has. */
void segment_builder_finish(SegmentBuilder *b, Buf *out);
void segment_builder_clear(SegmentBuilder *b);

#endif
