#include "repo/pagemap_deltas.h"
#include "repo/pagemap_merge.h"

/* What shows of a map: the base frames, and through `use` the delta frames. */
typedef struct Visit {
  FrameSource *source;
  const PageMap *map;
  DeltaUse *use;
  Error *(*frame)(void *ctx, FrameType type, const FrameId *id); /* NULL: only counting */
  void *ctx;
  PageMapStats stats;
} Visit;

static Error *visit_map_frame(void *ctx, const FrameId *id) {
  const Visit *v = (const Visit *)ctx;
  return v->frame(v->ctx, FRAME_MAP, id);
}

static Error *visit_leaves(Visit *v, SeqCursor *c) {
  for (;;) {
    uint64_t key;
    FrameId id;
    bool found;
    TRY(seq_cursor_next(c, &key, &id, &found));
    if (!found) return NULL;
    TRY(visit_map_frame(v, &id));
  }
}

static Error *visit_seq(Visit *v, const SeqRoot *root) {
  TRY(seq_visit_nodes(v->source, root, visit_map_frame, v));
  SeqCursor *c = seq_cursor_new(v->source, root);
  Error *err = visit_leaves(v, c);
  seq_cursor_free(c);
  return err;
}

/* Whether pages leave something of the whole frame to see. */
static bool base_shows(const MergedFrame *m) {
  uint32_t pages = (m->base_len + PAGE_SIZE - 1) / PAGE_SIZE;
  uint32_t all = pages < PAGES_PER_FRAME ? (UINT32_C(1) << pages) - 1 : UINT32_MAX;
  return m->has_base && !frame_id_is_hole(&m->base_id) && (m->pages_mask & all) != all;
}

static Error *visit_merged(Visit *v, const MergedFrame *m) {
  if (base_shows(m)) {
    v->stats.base_frames++;
    if (v->frame) TRY(v->frame(v->ctx, FRAME_DATA, &m->base_id));
  }
  for (uint32_t i = 0; i < PAGES_PER_FRAME; i++) {
    const MergedPage *p = &m->pages[i];
    if (!(m->pages_mask >> i & 1)) continue;
    v->stats.delta_pages_live++;
    TRY(delta_use_mark(v->use, p->layer, p->delta, p->slot));
  }
  return NULL;
}

static Error *visit_delta(void *ctx, size_t layer, uint32_t delta, const MapDelta *item) {
  Visit *v = (Visit *)ctx;
  v->stats.delta_frames++;
  v->stats.delta_pages += item->pages;
  return v->frame && delta_use_marked(v->use, layer, delta) ? v->frame(v->ctx, FRAME_DATA, &item->id) : NULL;
}

static Error *visit_frames(Visit *v, PageMerge *merge) {
  MergedFrame merged;
  for (;;) {
    bool found;
    TRY(page_merge_next(merge, &merged, &found));
    if (!found) return NULL;
    TRY(visit_merged(v, &merged));
  }
}

static Error *visit_data(Visit *v) {
  TRY(delta_use_new(v->source, v->map, 0, &v->use));
  PageMerge *merge = page_merge_new(v->source, v->map, 0, v->map->size, MERGE_IDS);
  Error *err = visit_frames(v, merge);
  page_merge_free(merge);
  for (size_t i = 0; !err && i < v->map->layers_len; i++) err = delta_walk(v->source, v->map, i, visit_delta, v);
  delta_use_free(v->use);
  return err;
}

Error *pagemap_visit(FrameSource *source, const PageMap *map,
                     Error *(*visit)(void *ctx, FrameType type, const FrameId *id), void *ctx) {
  Visit v = {.source = source, .map = map, .frame = visit, .ctx = ctx};
  for (size_t i = 0; i < map->layers_len; i++) {
    const PageLayer *l = &map->layers[i];
    TRY(visit_seq(&v, &l->frames));
    TRY(visit_seq(&v, &l->frame_prints));
    TRY(visit_seq(&v, &l->pages));
    TRY(visit_seq(&v, &l->page_prints));
    TRY(visit_seq(&v, &l->deltas));
  }
  return visit_data(&v);
}

Error *pagemap_stats(FrameSource *source, const PageMap *map, PageMapStats *out) {
  Visit v = {.source = source, .map = map};
  v.stats.layers = map->layers_len;
  TRY(visit_data(&v));
  *out = v.stats;
  return NULL;
}
