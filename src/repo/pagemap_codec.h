/* pagemap_codec.h: the leaves of page maps as bytes. Used by the page map's own files only; everybody else uses
 * pagemap.h. docs/format.md has every field.
 */
#ifndef HF_REPO_PAGEMAP_CODEC_H
#define HF_REPO_PAGEMAP_CODEC_H

#include "repo/pagemap.h"

/* Items of a leaf, at most. */
enum {
  FRAMES_LEAF_MAX = 2048,
  FRAME_PRINTS_LEAF_MAX = 256,
  PAGES_LEAF_MAX = 8192, /* and as many prints in the leaf that goes with it */
  DELTAS_LEAF_MAX = 1024,
};
#define FRAMES_MAX (FILE_SIZE_MAX / PAGE_FRAME_SIZE)
#define PAGES_MAX (FILE_SIZE_MAX / PAGE_SIZE)
#define DELTAS_MAX UINT32_MAX

/* The number comes first in all of them: readers treat them alike. */
typedef struct MapFrame {
  uint64_t frame;
  uint32_t len; /* raw bytes; a hole has 128 KiB */
  FrameId id;   /* all zeros: a hole */
} MapFrame;

typedef struct MapFramePrints {
  uint64_t frame;
  uint32_t pages; /* 0: a hole, its pages are as zeros */
  uint64_t prints[PAGES_PER_FRAME];
} MapFramePrints;

typedef struct MapPage {
  uint64_t page;
  uint32_t delta;
  uint8_t slot;
} MapPage;

typedef struct MapDelta {
  FrameId id;
  uint8_t pages; /* 1…64 */
} MapDelta;

/* Encoders take 1…*_LEAF_MAX items in ascending order. Decoders fill at most that many, and give at least one. */
void frames_leaf_encode(const MapFrame *items, size_t len, Buf *out);
Error *frames_leaf_decode(Bytes raw, MapFrame *items, size_t *out_len) NODISCARD;
void frame_prints_leaf_encode(const MapFramePrints *items, size_t len, Buf *out);
Error *frame_prints_leaf_decode(Bytes raw, MapFramePrints *items, size_t *out_len) NODISCARD;
void pages_leaf_encode(const MapPage *items, size_t len, Buf *out);
Error *pages_leaf_decode(Bytes raw, MapPage *items, size_t *out_len) NODISCARD;
void page_prints_leaf_encode(uint64_t first_page, const uint64_t *prints, size_t len, Buf *out);
Error *page_prints_leaf_decode(Bytes raw, uint64_t *first_page, uint64_t *prints, size_t *out_len) NODISCARD;
void deltas_leaf_encode(uint64_t first, const MapDelta *items, size_t len, Buf *out);
Error *deltas_leaf_decode(Bytes raw, uint64_t *first, MapDelta *items, size_t *out_len) NODISCARD;

void pagemap_encode(const PageMap *map, Buf *out);

#endif
