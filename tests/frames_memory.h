/* frames_memory.h: a FrameSink and FrameSource in memory, for tests of the data structures above them. Ids are the
 * keyed hash of the bytes, keyed by frame type. Not thread-safe.
 */
#ifndef HF_TESTS_FRAMES_MEMORY_H
#define HF_TESTS_FRAMES_MEMORY_H

#include "repo/frameio.h"

typedef struct FramesMemory FramesMemory;

FramesMemory *frames_memory_new(void);
void frames_memory_free(FramesMemory *take);
FrameSink *frames_memory_sink(FramesMemory *m);     /* borrowed */
FrameSource *frames_memory_source(FramesMemory *m); /* borrowed */
/* The key of a frame type, 32 bytes. */
const uint8_t *frames_memory_key(FrameType type);
/* Frames stored (not those put again) and their raw bytes, and frames got, since the last reset. */
typedef struct FramesMemoryCounts {
  uint64_t stored, stored_bytes, got;
} FramesMemoryCounts;
FramesMemoryCounts frames_memory_counts(const FramesMemory *m, FrameType type);
void frames_memory_reset_counts(FramesMemory *m);
/* Flips one bit of the stored bytes or drops a frame; later gets give what is left (unverified). */
void frames_memory_flip(FramesMemory *m, FrameType type, const FrameId *id, size_t bit);
void frames_memory_drop(FramesMemory *m, FrameType type, const FrameId *id);

#endif
