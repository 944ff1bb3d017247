/* index.h: all index segments of a repository, mapped from the local cache: which frames there are and where.
 *
 * Opening lists index/, fetches what the cache lacks, drops from the cache what is not listed any more, lists packs/
 * and the plans: a frame whose pack is missing, has another size, or is condemned by a plan counts as absent, so that a
 * backup stores it again. Anonymous memory: the miss filter of min(10 bits a frame, 64 MiB), 24 bytes a pack, 16 bytes
 * a frame of small segments, and what a session has claimed.
 */
#ifndef HF_REPO_INDEX_H
#define HF_REPO_INDEX_H

#include "repo/repo.h"
#include "repo/segment.h"

typedef struct Index Index;

/* Order matters for writers: their session must be durable before this is called (docs/format.md, protocol). A segment
 * that does not open is left out: what only it names is absent, and stored again. */
Error *index_open(Repo *repo, Index **out, Cancel *cancel) NODISCARD;
/* For restoring and verifying: plans do not matter, and what a segment that does not open said is read from the footers
 * of the packs that no other segment names. */
Error *index_open_reading(Repo *repo, Index **out, Cancel *cancel) NODISCARD;
/* Segments that do not open. */
size_t index_broken_segments(const Index *index);
void index_free(Index *take);

/* Thread-safe. */
bool index_find(Index *index, FrameType type, const FrameId *id, FrameLoc *out);
/* For writers: false when the frame is stored or claimed already; true: the caller stores it now. Thread-safe. */
bool index_claim(Index *index, FrameType type, const FrameId *id);
/* Puts a segment of these packs and makes its frames findable. Empties the builder once the segment is durable; adds
 * the segment's size to *io_bytes. Thread-safe. */
Error *index_publish(Index *index, SegmentBuilder *builder, uint64_t *io_bytes, Cancel *cancel) NODISCARD;

/* Packs that segments name but that are absent, short or condemned. */
size_t index_missing_packs(const Index *index);
uint64_t index_frames(const Index *index);
uint64_t index_segments(const Index *index);

/* Lists packs/ again: ERR_CORRUPT names a pack that was there when the index was opened, or published since, and is
 * gone. */
Error *index_check_packs(Index *index, Cancel *cancel) NODISCARD;

/* Every pack that a segment names; `present` tells whether it is there with its size. Not while publishing. */
typedef struct IndexPack {
  Uuid id;
  uint64_t size;
  uint32_t frames;
  bool present;
} IndexPack;
Error *index_visit_packs(Index *index, Error *(*visit)(void *ctx, const IndexPack *pack), void *ctx) NODISCARD;

#endif
