/* pagemap.h: layered page maps: how a page file (SQLite, PostgreSQL relation, InnoDB tablespace) is kept so that an
 * incremental stores its changed pages and little else, while every snapshot stays complete by itself.
 *
 * The file is an array of 4 KiB pages (the last may be short), 32 of them a frame of 128 KiB. A map is a list of
 * layers, oldest first. A layer names whole frames (frame number -> FRAME_DATA id of up to 128 KiB, or a hole) and
 * single pages (page number -> slot in a FRAME_DATA delta frame of up to 64 pages), each with 8-byte fingerprints per
 * page, which stand in leaves of their own so that a restore does not read them. A page is what the newest layer says
 * that names the page or its frame (within a layer a page goes before a frame; one backup never writes both for one
 * frame). Pages no layer names, and bytes behind the end of a short frame, are zeros.
 *
 * Folding: when the parent has PAGEMAP_LAYERS layers or more, neighbours among them are merged into one (metadata only;
 * no data moves) if that writes little beside the new layer, and in any case when the parent has PAGEMAP_LAYERS_MOST.
 */
#ifndef HF_REPO_PAGEMAP_H
#define HF_REPO_PAGEMAP_H

#include "repo/seq.h"

enum { PAGEMAP_LAYERS = 8, PAGEMAP_LAYERS_MOST = 32 };

typedef struct PageLayer {
  SeqRoot frames;       /* leaves: frame numbers and ids; key: first frame number */
  SeqRoot frame_prints; /* leaves: fingerprints of those frames, ceil(len/4096) each; key: first frame number */
  SeqRoot pages;        /* leaves: page number, delta frame index, slot; key: first page number */
  SeqRoot page_prints;  /* leaves: fingerprints of those pages; key: first page number */
  SeqRoot deltas;       /* leaves: ids and page counts of delta frames; key: first delta index */
  uint64_t frames_len, pages_len, deltas_len;
  uint64_t floor; /* what older layers say about bytes from here on is void: the file had been as short as this (0 in
                     the first layer) */
} PageLayer;

typedef struct PageMap {
  uint64_t size; /* bytes of the file */
  PageLayer layers[LAYERS_MAX];
  size_t layers_len;
} PageMap;

/* Root frame: encoded map (limits checked). */
Error *pagemap_load(FrameSource *source, const FrameId *root, PageMap *out) NODISCARD;
Error *pagemap_decode(Bytes raw, PageMap *out) NODISCARD; /* the pure parser */

/* ---- reading a parent while backing up, in frame order
 * ----------------------------------------------------------------- */

/* How much of the parent still shows: what folding costs, and which pages are worth storing again. */
typedef struct PageMapLive PageMapLive; /* pagemap_live.h makes it */
void pagemap_live_free(PageMapLive *take);

typedef struct FrameView {
  uint32_t len;    /* bytes of this frame of the file, 1…128 KiB */
  uint32_t pages;  /* ceil(len / 4096) */
  uint32_t sparse; /* a bit each: pages worth storing again, for little else shows of the frames they stand in */
  uint64_t prints[PAGES_PER_FRAME];
} FrameView;

typedef struct PageMapPrints PageMapPrints;                                 /* not thread-safe */
PageMapPrints *pagemap_prints_new(FrameSource *source, const PageMap *map); /* both borrowed */
void pagemap_prints_free(PageMapPrints *take);
/* Frame numbers ascending (skipping allowed). *found false beyond the end of the file. Prints of holes and of pages no
 * layer names are those of zeros: zero_prints (32 values, borrowed from the caller at new) … set before the first call.
 */
/* Without it no page is sparse. Borrowed. */
void pagemap_prints_set_live(PageMapPrints *p, const PageMapLive *live);
void pagemap_prints_set_zero(PageMapPrints *p, const uint64_t zero_prints[PAGES_PER_FRAME]);
Error *pagemap_prints_get(PageMapPrints *p, uint64_t frame, FrameView *out, bool *found) NODISCARD;

/* ---- writing a new map, in frame order
 * ---------------------------------------------------------------------------------- */

typedef struct PageMapBuilder PageMapBuilder;
/* `parent` NULL: a first map. Borrowed until finish; `source` reads the parent when folding. `live` may be NULL: what
 * folding costs is guessed then. */
PageMapBuilder *pagemap_builder_new(FrameSink *sink, FrameSource *source, const PageMap *parent,
                                    const PageMapLive *live);
void pagemap_builder_free(PageMapBuilder *take);
/* Frame numbers ascending over all four calls; a frame is either added whole, or some of its pages, or nothing
 * (inherited). id all zeros: a hole. prints: ceil(len/4096) values. */
Error *pagemap_builder_frame(PageMapBuilder *b, uint64_t frame, const FrameId *id, uint32_t len,
                             const uint64_t *prints) NODISCARD;
/* Pages of a frame, ascending, and where they stand. Several delta frames may be open at a time: they are numbered in
 * the order of their first pages, and the slots of each are taken in order. */
typedef struct PagePlace {
  uint64_t print, delta;
  uint8_t slot;          /* 0…63 */
  uint8_t page_in_frame; /* 0…31 */
} PagePlace;
Error *pagemap_builder_pages(PageMapBuilder *b, uint64_t frame, const PagePlace *pages, size_t len) NODISCARD;
/* A delta frame to which no page is added any more: its id, and how many pages it holds, 1…64. May come in any order,
 * but for all before finish; what stands behind one that is still open is kept in memory. */
void pagemap_builder_delta(PageMapBuilder *b, uint64_t delta, const FrameId *id, uint32_t pages);
/* Writes leaves and root. With a parent and nothing added and the same size: the parent's own root is the result
 * (`parent_root`). When the size changes, a page that was or becomes the short end of the file must have been given
 * (ERR_INTERNAL otherwise): its fingerprint is another now. */
Error *pagemap_builder_finish(PageMapBuilder *b, uint64_t size, const FrameId *parent_root, FrameId *out) NODISCARD;

/* ---- restoring
 * ------------------------------------------------------------------------------------------------------------ */

/* One run of bytes of the file: len bytes at file_offset come from bytes at frame_offset of FRAME_DATA `id` (all zeros:
 * a hole). Runs come in frame order, together cover the file exactly once; neighbours in one delta frame are merged,
 * and so are holes, over many frames (up to 1 GiB). */
typedef struct PageRun {
  uint64_t file_offset;
  uint32_t len;
  uint32_t frame_offset;
  FrameId id;
} PageRun;
typedef Error *PageRunVisit(void *ctx, const PageRun *run);
Error *pagemap_runs(FrameSource *source, const PageMap *map, PageRunVisit *visit, void *ctx) NODISCARD;

/* Every FRAME_MAP id (nodes and leaves, prints included; not the root) and every FRAME_DATA id of the map of which
 * bytes still show, for verification and collection; ids may repeat. */
Error *pagemap_visit(FrameSource *source, const PageMap *map,
                     Error *(*visit)(void *ctx, FrameType type, const FrameId *id), void *ctx) NODISCARD;

/* Statistics for `info` and for waste reports. */
typedef struct PageMapStats {
  uint64_t layers, base_frames, delta_frames, delta_pages, delta_pages_live;
} PageMapStats;
Error *pagemap_stats(FrameSource *source, const PageMap *map, PageMapStats *out) NODISCARD;

#endif
