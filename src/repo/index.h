/* index.h: all index segments of a repository, mapped from the local cache: which frames there are and where.
 *
 * Opening lists index/, fetches what the cache lacks, drops from the cache what is not listed any more, lists packs/
 * the plans, the notes of damage and the data keys: a frame whose pack is missing, has another size, is condemned by a
 * plan, known to be damaged or under a data key that is gone counts as absent, so that a backup stores it again.
 * Readers still look into a damaged pack when nothing else has the frame. Anonymous memory: the miss filter of min(10
 * bits a frame, 64 MiB), 24 bytes a pack, 16 bytes a frame of small segments, and what a session has claimed.
 */
#ifndef HF_REPO_INDEX_H
#define HF_REPO_INDEX_H

#include "repo/repo.h"
#include "repo/segment.h"
#include "repo/uuid_set.h"

typedef struct Index Index;

/* Order matters for writers: their session must be durable before this is called (docs/format.md, protocol). A segment
 * that does not open is left out: what only it names is absent, and stored again. */
Error *index_open(Repo *repo, Index **out, Cancel *cancel) NODISCARD;
/* For restoring and verifying: plans do not matter, and what a segment that does not open said is read from the footers
 * of the packs that no other segment names. */
Error *index_open_reading(Repo *repo, Index **out, Cancel *cancel) NODISCARD;
/* For readers that miss a frame: takes in the packs that no segment names, from their footers, the first time.
 * Thread-safe.
 */
Error *index_salvage(Index *index, Cancel *cancel) NODISCARD;
/* Frames that were found only because of that: a segment is missing. */
size_t index_salvage_hits(const Index *index);
/* Segments that do not open. */
size_t index_broken_segments(const Index *index);
void index_free(Index *take);

/* Thread-safe. */
bool index_find(Index *index, FrameType type, const FrameId *id, FrameLoc *out);
/* Only in packs that are not known to be damaged. Thread-safe. */
bool index_find_good(Index *index, FrameType type, const FrameId *id, FrameLoc *out);
/* For writers: false when the frame is stored or claimed already; true: the caller stores it now. Thread-safe. */
bool index_claim(Index *index, FrameType type, const FrameId *id);
/* Puts a segment of these packs and makes its frames findable. Empties the builder once the segment is durable; adds
 * the segment's size to *io_bytes. Thread-safe. */
Error *index_publish(Index *index, SegmentBuilder *builder, uint64_t *io_bytes, Cancel *cancel) NODISCARD;

/* Packs that segments name but that cannot be counted on: absent, short, condemned, damaged, without their key. */
size_t index_lost_packs(const Index *index);
uint64_t index_frames(const Index *index);
uint64_t index_segments(const Index *index);

/* Lists packs and notes of damage again: ERR_CORRUPT names a pack that was there when the index was opened, or
 * published since, and is gone; one that was noted meanwhile is counted on no longer. */
Error *index_check_packs(Index *index, Cancel *cancel) NODISCARD;
/* This pack was found damaged: this process counts on it no longer, and a note tells all others where one can be
 * written. Thread-safe. */
void index_doubt(Index *index, const Uuid *pack, const Error *why, Cancel *cancel);
/* The packs with frames under this data key; added to out, each once. */
void index_packs_under(Index *index, const Uuid *data_key, UuidSet *out);
/* Packs whose note could not be written. */
size_t index_unnoted_packs(const Index *index);

/* Every pack that a segment names. Not while publishing. */
typedef struct IndexPack {
  Uuid id;
  uint64_t size;
  uint32_t frames;
  bool present; /* with its size and its key */
  bool doubted; /* known to be damaged */
} IndexPack;
Error *index_visit_packs(Index *index, Error *(*visit)(void *ctx, const IndexPack *pack), void *ctx) NODISCARD;
/* The frames of one pack as a segment tells them, in no order. Reads through that segment. Not while publishing. */
Error *index_visit_frames(Index *index, const Uuid *pack,
                          Error *(*visit)(void *ctx, const FrameId *id, const FrameLoc *loc), void *ctx) NODISCARD;

#endif
