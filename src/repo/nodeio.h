/* nodeio.h: what sequences, contents and page maps share: the kinds of FRAME_MAP frames, and putting and getting them
 * with the kind checked and the frame named in errors.
 */
#ifndef HF_REPO_NODEIO_H
#define HF_REPO_NODEIO_H

#include "repo/frameio.h"

/* The first byte of every FRAME_MAP frame, so that one is never taken for another. On-disk values. */
typedef enum MapKind {
  MAP_SEQ_NODE = 1,
  MAP_CONTENT_LEAF = 2,
  MAP_PAGE_ROOT = 3,
  MAP_FRAMES_LEAF = 4,
  MAP_FRAME_PRINTS_LEAF = 5,
  MAP_PAGES_LEAF = 6,
  MAP_PAGE_PRINTS_LEAF = 7,
  MAP_DELTAS_LEAF = 8,
} MapKind;

enum { FRAME_TEXT_LEN = 17 };
/* The first 16 hex digits of an id, for messages; returns out. */
const char *frame_id_text(const FrameId *id, char out[FRAME_TEXT_LEN]);

/* FrameSource.get with "reading <what> <id>" before any error. */
Error *node_get(FrameSource *source, FrameType type, const FrameId *id, const char *what, Buf *out) NODISCARD;
/* FrameSink.put with "storing <what>" before any error. */
Error *node_put(FrameSink *sink, FrameType type, Bytes raw, const char *what, FrameId *out) NODISCARD;
/* A cursor behind the kind byte; a different kind fails it. */
Cursor map_cursor(Bytes raw, MapKind kind);

#endif
