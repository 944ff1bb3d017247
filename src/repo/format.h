/* format.h: the constants, limits and identifiers of repository format 0. docs/format.md is the normative description;
 * every value here that reaches a disk is named there. */
#ifndef HF_REPO_FORMAT_H
#define HF_REPO_FORMAT_H

#include "base/base.h"

enum { FORMAT_VERSION = 0 };

/* 128 random bits: repositories, series, snapshots, sessions, packs, segments, slots. Written as 32 hex digits. */
typedef struct Uuid {
  uint8_t b[16];
} Uuid;

/* The keyed BLAKE3-256 of a frame's raw bytes, keyed by repository and frame type. All zeros: a hole. */
typedef struct FrameId {
  uint8_t b[32];
} FrameId;

static inline bool uuid_equal(const Uuid *a, const Uuid *b) { return memcmp(a, b, sizeof *a) == 0; }
static inline bool frame_id_equal(const FrameId *a, const FrameId *b) { return memcmp(a, b, sizeof *a) == 0; }
static inline bool frame_id_is_hole(const FrameId *id) {
  static const FrameId hole;
  return memcmp(id, &hole, sizeof hole) == 0;
}

typedef enum FrameType {                 /* on-disk values */
                         FRAME_DATA = 1, /* content of files: sealed with a data key */
                         FRAME_TREE = 2, /* tree nodes: metadata key */
                         FRAME_MAP = 3,  /* content maps: metadata key */
} FrameType;
enum { FRAME_TYPE_MAX = 3 };

typedef enum ObjectType { /* on-disk values, in every object's header */
                          OBJECT_PACK = 1,
                          OBJECT_SEGMENT = 2,
                          OBJECT_SESSION = 3,
                          OBJECT_BEAT = 4,
                          OBJECT_SESSION_END = 5,
                          OBJECT_SERIES = 6,
                          OBJECT_SNAPSHOT = 7,
                          OBJECT_FENCE = 8,
                          OBJECT_PLAN = 9,
                          OBJECT_TOMBSTONE = 10,
                          OBJECT_LOG = 11,
                          OBJECT_LOG_INDEX = 12,
                          OBJECT_DAMAGE = 13,
} ObjectType;
enum { OBJECT_TYPE_MAX = 13 };

/* Sizes of the data plane. */
enum {
  PAGE_SIZE = 4096, /* the unit in which changes of page files are tracked */
  PAGES_PER_FRAME = 32,
  PAGE_FRAME_SIZE = PAGE_SIZE * PAGES_PER_FRAME, /* 128 KiB: base frames of page files */
  DELTA_PAGES_MAX = 64,                          /* pages gathered into one delta frame: 256 KiB */
  NODE_SIZE = 64 * 1024,                         /* tree nodes and map leaves are cut at about this many raw bytes */
};

/* Limits, checked on writing and on reading. */
enum {
  FRAME_RAW_MAX = 4 * 1024 * 1024,
  OBJECT_BODY_MAX = 64 * 1024 * 1024, /* any object that is read whole */
  TREE_DEPTH_MAX = 12,
  SEQ_DEPTH_MAX = 6,
  LAYERS_MAX = 64,
  PACK_TARGET_SIZE = 64 * 1024 * 1024,
  PACK_FRAMES_MAX = 1 << 20,
  PACK_KEYS_MAX = 4096,
  SEGMENT_FRAMES_MAX = 1 << 20,
  SEGMENT_PACKS_MAX = 1 << 20,
  EPOCHS_MAX = 1024,
  SLOTS_MAX = 1024,
};
#define FILE_SIZE_MAX (UINT64_C(1) << 62)
#define PACK_SIZE_MAX (UINT64_C(1) << 31)

#endif
