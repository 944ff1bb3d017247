#include "base/mem.h"
#include "repo/nodeio.h"
#include "repo/pagemap_fold.h"
#include "repo/pagemap_layer.h"

/* A delta frame whose id may not have come yet. */
typedef struct PendingDelta {
  MapDelta item;
  bool have;
} PendingDelta;

struct PageMapBuilder {
  FrameSink *sink;
  FrameSource *source;
  const PageMap *parent;
  LayerWriter *writer;
  bool any;              /* something was added */
  uint64_t last_frame;   /* added last ... */
  uint32_t last_mask;    /* ... and its pages that were */
  bool parent_end_done;  /* the parent's last page was given anew */
  uint64_t pages;        /* given so far */
  PendingDelta *pending; /* delta frames from index deltas_done on */
  size_t pending_len, pending_cap;
  uint64_t deltas_done;
  bool delta_bad;   /* an id that cannot be was given */
  bool delta_short; /* one of fewer than 64 pages was passed on: it must be the last */
  uint64_t delta_pages;
};

PageMapBuilder *pagemap_builder_new(FrameSink *sink, FrameSource *source, const PageMap *parent) {
  PageMapBuilder *b = NEW(PageMapBuilder);
  b->sink = sink;
  b->source = source;
  b->parent = parent;
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
  return layer_writer_frame(b->writer, &item, &all);
}

/* Passes on the delta frames that are complete in order. */
static Error *builder_drain(PageMapBuilder *b) {
  size_t done = 0;
  while (done < b->pending_len && b->pending[done].have) {
    const MapDelta *item = &b->pending[done].item;
    if (b->delta_short) b->delta_bad = true;
    b->delta_short = item->pages < DELTA_PAGES_MAX;
    b->delta_pages += item->pages;
    TRY(layer_writer_delta(b->writer, item));
    done++;
  }
  if (done == 0) return NULL;
  memmove(b->pending, b->pending + done, (b->pending_len - done) * sizeof b->pending[0]);
  b->pending_len -= done;
  b->deltas_done += done;
  return NULL;
}

Error *pagemap_builder_pages(PageMapBuilder *b, uint64_t frame, const uint8_t *pages_in_frame, size_t len,
                             const uint64_t *prints) {
  uint32_t mask = 0;
  for (size_t i = 0; i < len; i++) {
    if (pages_in_frame[i] >= PAGES_PER_FRAME || (i > 0 && pages_in_frame[i] <= pages_in_frame[i - 1]))
      return err_new(ERR_INTERNAL, "building a page map: pages of a frame out of order");
    mask |= UINT32_C(1) << pages_in_frame[i];
  }
  if (len == 0) return NULL;
  TRY(builder_advance(b, frame, mask));
  for (size_t i = 0; i < len; i++, b->pages++) {
    if (b->pages / DELTA_PAGES_MAX >= DELTAS_MAX) return err_new(ERR_LIMIT, "building a page map: too many pages");
    MapPage page = {.page = frame * PAGES_PER_FRAME + pages_in_frame[i],
                    .delta = (uint32_t)(b->pages / DELTA_PAGES_MAX),
                    .slot = (uint8_t)(b->pages % DELTA_PAGES_MAX)};
    TRY(layer_writer_page(b->writer, &page, prints[i]));
  }
  return builder_drain(b);
}

/* Cannot fail, so what is wrong is told at the end. */
void pagemap_builder_delta(PageMapBuilder *b, uint64_t delta, const FrameId *id, uint32_t pages) {
  uint64_t deltas = b->pages / DELTA_PAGES_MAX + (b->pages % DELTA_PAGES_MAX != 0);
  bool known = delta >= b->deltas_done && delta < deltas && pages > 0 && pages <= DELTA_PAGES_MAX;
  if (!known || frame_id_is_hole(id)) {
    b->delta_bad = true;
    return;
  }
  size_t at = (size_t)(delta - b->deltas_done);
  if (at >= b->pending_cap) {
    b->pending_cap = at < 16 ? 32 : at * 2;
    b->pending = (PendingDelta *)mem_resize(b->pending, b->pending_cap, sizeof b->pending[0]);
  }
  while (b->pending_len <= at) b->pending[b->pending_len++] = (PendingDelta){0};
  if (b->pending[at].have) b->delta_bad = true;
  b->pending[at] = (PendingDelta){.item = {.id = *id, .pages = (uint8_t)pages}, .have = true};
}

/* ---- finishing ----------------------------------------------------------------------------------------------------
 */

static Error *builder_check_deltas(PageMapBuilder *b) {
  uint64_t deltas = b->pages / DELTA_PAGES_MAX + (b->pages % DELTA_PAGES_MAX != 0);
  if (b->delta_bad || b->pending_len > 0 || b->deltas_done != deltas || b->delta_pages != b->pages)
    return err_new(ERR_INTERNAL, "building a page map: %llu of %llu delta frames came",
                   (unsigned long long)b->deltas_done, (unsigned long long)deltas);
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

/* The parent's layers below the new one, folded when there would be too many. */
static Error *builder_inherit(const PageMapBuilder *b, uint64_t floor, PageMap *map) {
  const PageMap *parent = b->parent;
  if (!parent || floor == 0) return NULL;
  if (parent->layers_len < PAGEMAP_LAYERS) {
    memcpy(map->layers, parent->layers, parent->layers_len * sizeof map->layers[0]);
    map->layers_len = parent->layers_len;
    return NULL;
  }
  uint64_t whole = 0;
  for (size_t i = 1; i < parent->layers_len; i++) whole += parent->layers[i].frames_len;
  size_t first = whole > parent->size / PAGE_FRAME_SIZE / 2 ? 0 : 1;
  if (first) map->layers[0] = parent->layers[0];
  TRY(pagemap_fold(b->sink, b->source, parent, first, floor, &map->layers[first]));
  map->layers_len = first + 1;
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
