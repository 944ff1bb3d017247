/* pagemap_deltas.h: the delta frames of a page map: finding one by its index, going through all of them, and marking
 * which are still named. Not thread-safe.
 */
#ifndef HF_REPO_PAGEMAP_DELTAS_H
#define HF_REPO_PAGEMAP_DELTAS_H

#include "repo/pagemap_codec.h"

/* Finds delta frames by (layer, index); keeps the leaves used lately. */
typedef struct DeltaTable DeltaTable;
DeltaTable *delta_table_new(FrameSource *source, const PageMap *map); /* both borrowed */
void delta_table_free(DeltaTable *take);
Error *delta_table_get(DeltaTable *t, size_t layer, uint32_t delta, uint32_t slot, FrameId *out) NODISCARD;

/* All delta frames of a layer in order. */
typedef Error *DeltaVisit(void *ctx, size_t layer, uint32_t delta, const MapDelta *item);
Error *delta_walk(FrameSource *source, const PageMap *map, size_t layer, DeltaVisit *visit, void *ctx) NODISCARD;

/* Which delta frames are named, by how many pages, and the index they get when the others are dropped: 6 bytes of
 * memory each. */
typedef struct DeltaUse DeltaUse;
Error *delta_use_new(FrameSource *source, const PageMap *map, size_t first_layer, DeltaUse **out) NODISCARD;
void delta_use_free(DeltaUse *take);
/* ERR_CORRUPT when there is no such slot. */
Error *delta_use_mark(DeltaUse *u, size_t layer, uint32_t delta, uint32_t slot) NODISCARD;
bool delta_use_marked(const DeltaUse *u, size_t layer, uint32_t delta);
/* A delta frame that is there: marks made, each for another slot, and pages it has. */
uint32_t delta_use_marks(const DeltaUse *u, size_t layer, uint32_t delta);
uint32_t delta_use_pages(const DeltaUse *u, size_t layer, uint32_t delta);
size_t delta_use_len(const DeltaUse *u, size_t layer);
void delta_use_number(DeltaUse *u); /* after the marking */
uint32_t delta_use_new_index(const DeltaUse *u, size_t layer, uint32_t delta);

#endif
