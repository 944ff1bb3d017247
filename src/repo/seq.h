/* seq.h: a sequence: a sorted list of (key, frame id), stored as a shallow tree of FRAME_MAP nodes. Frame lists of
 * files and all parts of page maps are sequences whose leaves are frames of an encoding their owner chooses.
 *
 * A node holds up to 1024 references to nodes or leaves below. Equal content gives equal nodes, so unchanged parts are
 * shared between snapshots.
 */
#ifndef HF_REPO_SEQ_H
#define HF_REPO_SEQ_H

#include "repo/frameio.h"

/* Where a sequence starts. depth 0: `id` is the only leaf itself; count 0: empty, id unused. */
typedef struct SeqRoot {
  uint8_t depth;
  uint64_t count; /* leaves */
  FrameId id;
} SeqRoot;

void seq_root_encode(const SeqRoot *root, Buf *out);
void seq_root_decode(Cursor *c, SeqRoot *out);

typedef struct SeqBuilder SeqBuilder;
/* Both borrowed until seq_builder_free. */
SeqBuilder *seq_builder_new(FrameSink *sink);
void seq_builder_free(SeqBuilder *take);
/* Appends a leaf whose first key is `key` (strictly ascending; ERR_INTERNAL otherwise). Not thread-safe. */
Error *seq_builder_add(SeqBuilder *b, uint64_t key, const FrameId *leaf) NODISCARD;
Error *seq_builder_finish(SeqBuilder *b, SeqRoot *out) NODISCARD;

typedef struct SeqCursor SeqCursor;
SeqCursor *seq_cursor_new(FrameSource *source, const SeqRoot *root);
void seq_cursor_free(SeqCursor *take);
/* Positions before the last leaf whose key is <= key (or the first leaf). Cheap when moving forward a little. */
Error *seq_cursor_seek(SeqCursor *c, uint64_t key) NODISCARD;
/* The next leaf; *found false at the end. Checks order and limits: ERR_CORRUPT. A sequence of one leaf has no node that
 * could hold its key: it reads as 0, and the leaf itself says where it begins. */
Error *seq_cursor_next(SeqCursor *c, uint64_t *key, FrameId *leaf, bool *found) NODISCARD;
/* Visits every node frame of the sequence itself (not its leaves), for verification and collection. */
Error *seq_visit_nodes(FrameSource *source, const SeqRoot *root, Error *(*visit)(void *ctx, const FrameId *id),
                       void *ctx) NODISCARD;

/* The pure parser, for the fuzzer: decodes one node, at most 1024 references. */
typedef struct SeqRef {
  uint64_t key;
  FrameId id;
} SeqRef;
Error *seq_node_decode(Bytes raw, uint8_t *depth, SeqRef *refs, size_t refs_cap, size_t *out_len) NODISCARD;

#endif
