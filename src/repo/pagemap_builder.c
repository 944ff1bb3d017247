#include "base/mem.h"
#include "repo/nodeio.h"
#include "repo/pagemap_fold.h"
#include "repo/pagemap_layer.h"
#include "repo/pagemap_live.h"

/* A delta frame that is open, or that stands behind one. */
typedef struct PendingDelta {
  MapDelta item;
  uint8_t given; /* its pages so far */
  bool have;     /* its id came */
} PendingDelta;

struct PageMapBuilder {
  FrameSink *sink;
  FrameSource *source;
  const PageMap *parent;
  const PageMapLive *live;
  LayerWriter *writer;
  bool any;              /* something was added */
  uint64_t last_frame;   /* added last ... */
  uint32_t last_mask;    /* ... and its pages that were */
  bool parent_end_done;  /* the parent's last page was given anew */
  uint64_t pages;        /* given so far, those of whole frames too */
  PendingDelta *pending; /* delta frames from index deltas_done on */
  size_t pending_len, pending_cap;
  uint64_t deltas_done;
  bool delta_bad; /* an id that cannot be was given */
};

PageMapBuilder *pagemap_builder_new(FrameSink *sink, FrameSource *source, const PageMap *parent,
                                    const PageMapLive *live) {
  PageMapBuilder *b = NEW(PageMapBuilder);
  b->sink = sink;
  b->source = source;
  b->parent = parent;
  b->live = live;
  b->writer = layer_writer_new(sink);
  return b;
}

void pagemap_builder_free(PageMapBuilder *take) {
  if (!take) return;
  layer_writer_free(take->writer);
  free(take->pending);
  free(take);
}

/* ---- adding -------------------------------------------------------------------------------------------------------
 */

static bool builder_given(const PageMapBuilder *b, uint64_t page) {
  return b->any && b->last_frame == page / PAGES_PER_FRAME && (b->last_mask >> (page % PAGES_PER_FRAME) & 1);
}

static Error *builder_advance(PageMapBuilder *b, uint64_t frame, uint32_t mask) {
  if (frame >= FRAMES_MAX) return err_new(ERR_LIMIT, "building a page map: the file is too large");
  if (b->any && frame <= b->last_frame)
    return err_new(ERR_INTERNAL, "building a page map: frame %llu after %llu", (unsigned long long)frame,
                   (unsigned long long)b->last_frame);
  b->any = true;
  b->last_frame = frame;
  b->last_mask = mask;
  if (b->parent && b->parent->size && builder_given(b, (b->parent->size - 1) / PAGE_SIZE)) b->parent_end_done = true;
  return NULL;
}

Error *pagemap_builder_frame(PageMapBuilder *b, uint64_t frame, const FrameId *id, uint32_t len,
                             const uint64_t *prints) {
  if (len == 0 || len > PAGE_FRAME_SIZE) return err_new(ERR_INTERNAL, "building a page map: a frame of %u bytes", len);
  TRY(builder_advance(b, frame, UINT32_MAX));
  MapFrame item = {.frame = frame, .len = len, .id = *id};
  /* The last page of a hole may be short: its print is not one that readers know. */
  bool plain_hole = frame_id_is_hole(id) && len == PAGE_FRAME_SIZE;
  MapFramePrints all = {.frame = frame, .pages = plain_hole ? 0 : (len + PAGE_SIZE - 1) / PAGE_SIZE};
  memcpy(all.prints, prints, all.pages * sizeof all.prints[0]);
  b->pages += (len + PAGE_SIZE - 1) / PAGE_SIZE;
  return layer_writer_frame(b->writer, &item, &all);
}

/* Passes on the delta frames that are complete in order. */
static Error *builder_drain(PageMapBuilder *b) {
  size_t done = 0;
  while (done < b->pending_len && b->pending[done].have) TRY(layer_writer_delta(b->writer, &b->pending[done++].item));
  if (done == 0) return NULL;
  memmove(b->pending, b->pending + done, (b->pending_len - done) * sizeof b->pending[0]);
  b->pending_len -= done;
  b->deltas_done += done;
  return NULL;
}

/* Takes the next slot of a delta frame that is open, or the first of the next one. */
static bool builder_place(PageMapBuilder *b, const PagePlace *p) {
  if (p->delta < b->deltas_done || p->delta - b->deltas_done > b->pending_len) return false;
  size_t at = (size_t)(p->delta - b->deltas_done);
  if (at == b->pending_len) {
    if (b->pending_len == b->pending_cap) {
      b->pending_cap = b->pending_cap ? b->pending_cap * 2 : 32;
      b->pending = (PendingDelta *)mem_resize(b->pending, b->pending_cap, sizeof b->pending[0]);
    }
    b->pending[b->pending_len++] = (PendingDelta){0};
  }
  PendingDelta *delta = &b->pending[at];
  if (delta->have || p->slot != delta->given || p->slot >= DELTA_PAGES_MAX) return false;
  delta->given++;
  return true;
}

Error *pagemap_builder_pages(PageMapBuilder *b, uint64_t frame, const PagePlace *pages, size_t len) {
  uint32_t mask = 0;
  for (size_t i = 0; i < len; i++) {
    if (pages[i].page_in_frame >= PAGES_PER_FRAME || (i > 0 && pages[i].page_in_frame <= pages[i - 1].page_in_frame))
      return err_new(ERR_INTERNAL, "building a page map: pages of a frame out of order");
    mask |= UINT32_C(1) << pages[i].page_in_frame;
  }
  if (len == 0) return NULL;
  TRY(builder_advance(b, frame, mask));
  for (size_t i = 0; i < len; i++, b->pages++) {
    const PagePlace *p = &pages[i];
    if (p->delta >= DELTAS_MAX) return err_new(ERR_LIMIT, "building a page map: too many pages");
    if (!builder_place(b, p))
      return err_new(ERR_INTERNAL, "building a page map: slot %u of delta frame %llu out of order", p->slot,
                     (unsigned long long)p->delta);
    MapPage page = {.page = frame * PAGES_PER_FRAME + p->page_in_frame, .delta = (uint32_t)p->delta, .slot = p->slot};
    TRY(layer_writer_page(b->writer, &page, p->print));
  }
  return builder_drain(b);
}

/* Cannot fail, so what is wrong is told at the end. */
void pagemap_builder_delta(PageMapBuilder *b, uint64_t delta, const FrameId *id, uint32_t pages) {
  bool known = delta >= b->deltas_done && delta - b->deltas_done < b->pending_len;
  PendingDelta *pending = known ? &b->pending[delta - b->deltas_done] : NULL;
  if (!known || pending->have || pending->given != pages || frame_id_is_hole(id)) {
    b->delta_bad = true;
    return;
  }
  pending->item = (MapDelta){.id = *id, .pages = (uint8_t)pages};
  pending->have = true;
}

/* ---- finishing ----------------------------------------------------------------------------------------------------
 */

static Error *builder_check_deltas(PageMapBuilder *b) {
  if (b->delta_bad || b->pending_len > 0)
    return err_new(ERR_INTERNAL, "building a page map: %llu delta frames came, then one that is missing or not fitting",
                   (unsigned long long)b->deltas_done);
  return NULL;
}

/* A page that was or becomes the short end of the file changes its length: it must have been given anew, or its old
 * fingerprint would stand for bytes it was not made of. */
static Error *builder_check_ends(const PageMapBuilder *b, uint64_t size) {
  if (!b->parent) return NULL;
  uint64_t old = b->parent->size;
  bool missing = false;
  if (size > old && old % PAGE_SIZE) missing = !b->parent_end_done;
  if (size < old && size % PAGE_SIZE) missing = !builder_given(b, size / PAGE_SIZE);
  return missing ? err_new(ERR_INTERNAL, "building a page map: the page at the file's end was not given anew") : NULL;
}

/* Layers [first, end) of the parent, and what merging them writes, in pages named. */
typedef struct FoldChoice {
  size_t first, end; /* equal: none */
  uint64_t weight;
} FoldChoice;

/* Whether a removes a layer for less than b. */
static bool fold_is_better(const FoldChoice *a, const FoldChoice *b) {
  if (b->first == b->end) return true;
  return a->weight * (b->end - b->first - 1) < b->weight * (a->end - a->first - 1);
}

/* The best range that writes no more than `weight_max`. */
static FoldChoice fold_best(const PageMapBuilder *b, size_t len_max, uint64_t weight_max) {
  FoldChoice best = {0};
  for (size_t first = 0; first < b->parent->layers_len; first++) {
    FoldChoice at = {.first = first, .end = first};
    while (at.end < b->parent->layers_len && at.end - first < len_max) {
      at.weight += pagemap_live_weight(b->live, b->parent, at.end++);
      if (at.weight > weight_max) break;
      if (at.end - first >= 2 && fold_is_better(&at, &best)) best = at;
    }
  }
  return best;
}

/* Which layers to merge, if any. What that writes is kept in proportion to the backup: no more than FOLD_SHARE times
 * what the new layer names, and for each layer that goes less the fewer there are: nothing below PAGEMAP_LAYERS, twice
 * the new layer at PAGEMAP_LAYERS_MOST. Then, if there is no other way, the two layers that are least. */
static FoldChoice choose_fold(const PageMapBuilder *b) {
  enum { FOLD_SHARE = 4, STEPS = (PAGEMAP_LAYERS_MOST - PAGEMAP_LAYERS) / 2 };
  size_t layers = b->parent->layers_len;
  if (layers < PAGEMAP_LAYERS) return (FoldChoice){0};
  FoldChoice best = fold_best(b, layers, b->pages * FOLD_SHARE);
  if (layers >= PAGEMAP_LAYERS_MOST) return best.end ? best : fold_best(b, 2, UINT64_MAX);
  uint64_t allowed = b->pages * (layers - PAGEMAP_LAYERS + 1); /* pages are less than 2^51 */
  return best.end && best.weight * STEPS <= allowed * (best.end - best.first - 1) ? best : (FoldChoice){0};
}

/* The parent's layers below the new one, some of them folded. */
static Error *builder_inherit(const PageMapBuilder *b, uint64_t floor, PageMap *map) {
  const PageMap *parent = b->parent;
  if (!parent || floor == 0) return NULL;
  FoldChoice fold = choose_fold(b);
  size_t above = fold.end ? fold.first + 1 : 0;
  memcpy(map->layers, parent->layers, fold.first * sizeof map->layers[0]);
  if (fold.end) {
    FoldRange range = {.first = fold.first, .end = fold.end, .limit = floor};
    TRY(pagemap_fold(b->sink, b->source, parent, &range, &map->layers[fold.first]));
  }
  memcpy(&map->layers[above], &parent->layers[fold.end], (parent->layers_len - fold.end) * sizeof map->layers[0]);
  map->layers_len = above + parent->layers_len - fold.end;
  return NULL;
}

Error *pagemap_builder_finish(PageMapBuilder *b, uint64_t size, const FrameId *parent_root, FrameId *out) {
  if (size > FILE_SIZE_MAX) return err_new(ERR_LIMIT, "building a page map: the file is too large");
  TRY(builder_drain(b));
  TRY(builder_check_deltas(b));
  TRY(builder_check_ends(b, size));
  if (b->parent && parent_root && !b->any && size == b->parent->size) {
    *out = *parent_root;
    return NULL;
  }
  PageMap *map AUTO_FREE = NEW(PageMap);
  map->size = size;
  uint64_t floor = b->parent && b->parent->size < size ? b->parent->size : size;
  TRY(builder_inherit(b, floor, map));
  PageLayer *layer = &map->layers[map->layers_len];
  TRY(layer_writer_finish(b->writer, layer));
  if (map->layers_len > 0) layer->floor = floor;
  if (map->layers_len > 0 || b->any) map->layers_len++;
  Buf raw AUTO_BUF = {0};
  pagemap_encode(map, &raw);
  return node_put(b->sink, FRAME_MAP, buf_bytes(&raw), "a page map", out);
}
