/* frameio.h: how the repository's data structures (sequences, trees, page maps) put and get their nodes, without
 * knowing packs or the index. writer.h and frames.h implement it; tests do it in memory. */
#ifndef HF_REPO_FRAMEIO_H
#define HF_REPO_FRAMEIO_H

#include "base/buf.h"
#include "repo/format.h"

typedef struct FrameSink FrameSink;
struct FrameSink {
  /* Stores raw (1…FRAME_RAW_MAX bytes) unless a frame with its id is there; *out is its id. Thread-safe. */
  Error *(*put)(FrameSink *, FrameType type, Bytes raw, FrameId *out);
};

typedef struct FrameSource FrameSource;
struct FrameSource {
  /* The raw bytes of a frame, verified against id, into *out (replaced). ERR_CORRUPT names the pack. Thread-safe. */
  Error *(*get)(FrameSource *, FrameType type, const FrameId *id, Buf *out);
};

#endif
