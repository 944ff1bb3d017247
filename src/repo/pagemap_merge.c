#include "repo/pagemap_merge.h"

#include "base/mem.h"
#include "repo/nodeio.h"

/* ---- the leaves of one sequence, item by item ---------------------------------------------------------------------
 */

/* Items begin with their number, whatever their type. */
typedef struct LeafKind {
  const char *what;
  size_t item_size, items_max;
  Error *(*decode)(Bytes raw, void *items, size_t *len);
} LeafKind;

static Error *decode_frames(Bytes raw, void *items, size_t *len) {
  return frames_leaf_decode(raw, (MapFrame *)items, len);
}

static Error *decode_frame_prints(Bytes raw, void *items, size_t *len) {
  return frame_prints_leaf_decode(raw, (MapFramePrints *)items, len);
}

static Error *decode_pages(Bytes raw, void *items, size_t *len) {
  return pages_leaf_decode(raw, (MapPage *)items, len);
}

static const LeafKind FRAMES_KIND = {"leaf of frames", sizeof(MapFrame), FRAMES_LEAF_MAX, decode_frames};
static const LeafKind FRAME_PRINTS_KIND = {"leaf of frame prints", sizeof(MapFramePrints), FRAME_PRINTS_LEAF_MAX,
                                           decode_frame_prints};
static const LeafKind PAGES_KIND = {"leaf of pages", sizeof(MapPage), PAGES_LEAF_MAX, decode_pages};

typedef struct LeafRef {
  bool have;
  uint64_t key;
  FrameId id, prints_id;
} LeafRef;

typedef struct LeafStream {
  const LeafKind *kind; /* NULL: not read */
  FrameSource *source;
  bool keyed;              /* the sequence has nodes: its keys mean something */
  SeqCursor *leaves;       /* references, two ahead: leaves that a seek passes are not read */
  SeqCursor *print_leaves; /* pages with prints: the leaf of prints that goes with each */
  bool primed;
  LeafRef ahead[2];
  uint8_t *items;
  uint64_t *prints;
  size_t len, at;
  bool any;      /* a leaf has been read */
  uint64_t last; /* number of its last item */
  Buf raw;
} LeafStream;

static void stream_open(LeafStream *s, FrameSource *source, const LeafKind *kind, const SeqRoot *root,
                        const SeqRoot *prints) {
  s->kind = kind;
  s->source = source;
  s->keyed = root->depth > 0;
  s->leaves = seq_cursor_new(source, root);
  if (prints) s->print_leaves = seq_cursor_new(source, prints);
}

static void stream_close(LeafStream *s) {
  seq_cursor_free(s->leaves);
  seq_cursor_free(s->print_leaves);
  free(s->items);
  free(s->prints);
  buf_free(&s->raw);
}

static uint64_t stream_number(const LeafStream *s, size_t i) { return load_u64(s->items + i * s->kind->item_size); }

/* Moves the references on by one. */
static Error *stream_shift(LeafStream *s) {
  s->ahead[0] = s->ahead[1];
  LeafRef *ref = &s->ahead[1];
  if (s->primed && !ref->have) return NULL;
  TRY(seq_cursor_next(s->leaves, &ref->key, &ref->id, &ref->have));
  if (!s->print_leaves) return NULL;
  uint64_t key = 0;
  bool have;
  TRY(seq_cursor_next(s->print_leaves, &key, &ref->prints_id, &have));
  if (have != ref->have || (have && s->keyed && key != ref->key))
    return err_new(ERR_CORRUPT, "reading a page map: pages and their prints do not stand side by side");
  return NULL;
}

static Error *stream_load_prints(LeafStream *s, const FrameId *id) {
  TRY(node_get(s->source, FRAME_MAP, id, "leaf of page prints", &s->raw));
  if (!s->prints) s->prints = NEW_ARRAY(uint64_t, PAGES_LEAF_MAX);
  uint64_t first;
  size_t len;
  TRY(page_prints_leaf_decode(buf_bytes(&s->raw), &first, s->prints, &len));
  if (len != s->len || first != stream_number(s, 0))
    return err_new(ERR_CORRUPT, "reading a page map: a leaf of prints that is not that of its pages");
  return NULL;
}

/* Reads the leaf that is next, and moves the references on. */
static Error *stream_load(LeafStream *s) {
  LeafRef ref = s->ahead[0];
  s->at = s->len = 0;
  TRY(node_get(s->source, FRAME_MAP, &ref.id, s->kind->what, &s->raw));
  if (!s->items) s->items = (uint8_t *)mem_array(s->kind->items_max, s->kind->item_size);
  size_t len;
  TRY(s->kind->decode(buf_bytes(&s->raw), s->items, &len));
  uint64_t first = stream_number(s, 0), last = stream_number(s, len - 1);
  bool fits = (!s->keyed || first == ref.key) && (!s->any || first > s->last);
  if (!fits || (s->ahead[1].have && last >= s->ahead[1].key)) {
    char text[FRAME_TEXT_LEN];
    return err_new(ERR_CORRUPT, "%s %s…: it does not fit its place", s->kind->what, frame_id_text(&ref.id, text));
  }
  s->len = len;
  if (s->print_leaves) TRY(stream_load_prints(s, &ref.prints_id));
  s->any = true;
  s->last = last;
  return stream_shift(s);
}

/* Within the leaf: to the first item whose number is not below. */
static void stream_search(LeafStream *s, uint64_t number) {
  size_t low = s->at, high = s->len;
  for (size_t step = 1; low + step < high && stream_number(s, low + step) < number; step *= 2) low += step;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    if (stream_number(s, mid) < number)
      low = mid + 1;
    else
      high = mid;
  }
  s->at = low;
}

/* To the first item whose number is not below; at == len behind the last. */
static Error *stream_seek(LeafStream *s, uint64_t number) {
  if (!s->primed) {
    TRY(stream_shift(s));
    if (s->ahead[1].have) TRY(stream_shift(s));
    s->primed = true;
  }
  for (;;) {
    if (s->at < s->len) stream_search(s, number);
    if (s->at < s->len || !s->ahead[0].have) return NULL;
    while (s->ahead[1].have && s->ahead[1].key <= number) TRY(stream_shift(s));
    TRY(stream_load(s));
  }
}

/* ---- the layers ---------------------------------------------------------------------------------------------------
 */

typedef struct LayerReader {
  uint64_t limit; /* bytes of the file that the layer may speak of */
  LeafStream frames, frame_prints, pages;
} LayerReader;

struct PageMerge {
  const PageMap *map;
  size_t first_layer;
  uint64_t limit;
  unsigned flags;
  uint64_t next_frame;
  LayerReader layers[LAYERS_MAX];
};

PageMerge *page_merge_new(FrameSource *source, const PageMap *map, size_t first_layer, uint64_t limit, unsigned flags) {
  PageMerge *m = NEW(PageMerge);
  m->map = map;
  m->first_layer = first_layer;
  m->limit = limit < map->size ? limit : map->size;
  m->flags = flags;
  uint64_t floor = m->limit;
  for (size_t i = map->layers_len; i-- > first_layer;) {
    const PageLayer *layer = &map->layers[i];
    LayerReader *r = &m->layers[i];
    r->limit = floor;
    if (layer->floor < floor) floor = layer->floor;
    bool prints = flags & MERGE_PRINTS;
    if (flags & MERGE_IDS || (flags & MERGE_PAGES && i > first_layer))
      stream_open(&r->frames, source, &FRAMES_KIND, &layer->frames, NULL);
    if (prints) stream_open(&r->frame_prints, source, &FRAME_PRINTS_KIND, &layer->frame_prints, NULL);
    stream_open(&r->pages, source, &PAGES_KIND, &layer->pages, prints ? &layer->page_prints : NULL);
  }
  return m;
}

void page_merge_free(PageMerge *take) {
  if (!take) return;
  for (size_t i = 0; i < LAYERS_MAX; i++) {
    stream_close(&take->layers[i].frames);
    stream_close(&take->layers[i].frame_prints);
    stream_close(&take->layers[i].pages);
  }
  free(take);
}

/* Pages of the frame that the layer names and no newer one did. */
static Error *merge_pages(LayerReader *r, uint32_t layer, MergedFrame *out) {
  LeafStream *s = &r->pages;
  uint64_t next = out->frame * PAGES_PER_FRAME;
  const uint64_t end = next + PAGES_PER_FRAME;
  while (next < end) {
    TRY(stream_seek(s, next));
    if (s->at == s->len) return NULL;
    const MapPage *p = &((const MapPage *)(const void *)s->items)[s->at];
    if (p->page >= end) return NULL;
    uint32_t in_frame = (uint32_t)(p->page % PAGES_PER_FRAME);
    uint64_t start = p->page * PAGE_SIZE;
    if (!(out->pages_mask >> in_frame & 1) && start < r->limit) {
      uint64_t left = r->limit - start;
      out->pages_mask |= UINT32_C(1) << in_frame;
      out->pages[in_frame] = (MergedPage){.layer = layer,
                                          .delta = p->delta,
                                          .slot = p->slot,
                                          .len = left < PAGE_SIZE ? (uint32_t)left : PAGE_SIZE,
                                          .print = s->prints ? s->prints[s->at] : 0};
    }
    next = p->page + 1;
  }
  return NULL;
}

/* The item of this frame, or NULL. */
static Error *merge_item(LeafStream *s, uint64_t frame, const void **out) {
  *out = NULL;
  if (!s->kind) return NULL;
  TRY(stream_seek(s, frame));
  if (s->at < s->len && stream_number(s, s->at) == frame) *out = s->items + s->at * s->kind->item_size;
  return NULL;
}

/* The layer's whole frame, when it has one. */
static Error *merge_base(LayerReader *r, uint32_t layer, unsigned flags, MergedFrame *out) {
  const void *frame, *prints;
  TRY(merge_item(&r->frames, out->frame, &frame));
  TRY(merge_item(&r->frame_prints, out->frame, &prints));
  if (flags == (MERGE_IDS | MERGE_PRINTS) && !frame != !prints)
    return err_new(ERR_CORRUPT, "reading a page map: frames and their prints do not name the same");
  uint64_t start = out->frame * PAGE_FRAME_SIZE;
  if ((!frame && !prints) || start >= r->limit) return NULL;
  uint64_t left = r->limit - start;
  out->has_base = true;
  out->base_layer = layer;
  out->base_len = left < PAGE_FRAME_SIZE ? (uint32_t)left : PAGE_FRAME_SIZE;
  if (frame) {
    const MapFrame *f = (const MapFrame *)frame;
    if (f->len < out->base_len) out->base_len = f->len;
    out->base_id = f->id;
  }
  if (prints) {
    out->base_prints = *(const MapFramePrints *)prints;
    uint32_t pages = (out->base_len + PAGE_SIZE - 1) / PAGE_SIZE;
    if (out->base_prints.pages > pages) out->base_prints.pages = pages;
  }
  return NULL;
}

Error *page_merge_get(PageMerge *m, uint64_t frame, MergedFrame *out) {
  if (frame < m->next_frame) return err_new(ERR_INTERNAL, "reading a page map: frames out of order");
  m->next_frame = frame + 1;
  out->frame = frame;
  out->has_base = false;
  out->base_len = 0;
  out->base_id = (FrameId){0};
  out->base_prints.pages = 0;
  out->pages_mask = 0;
  for (size_t i = m->map->layers_len; i-- > m->first_layer && !out->has_base;) {
    TRY(merge_pages(&m->layers[i], (uint32_t)i, out));
    TRY(merge_base(&m->layers[i], (uint32_t)i, m->flags, out));
  }
  return NULL;
}

/* Lowers *least to the frame that the stream stands before. */
static Error *merge_least(LeafStream *s, uint64_t from, uint64_t per_frame, uint64_t *least) {
  if (!s->kind) return NULL;
  TRY(stream_seek(s, from * per_frame));
  if (s->at == s->len) return NULL;
  uint64_t frame = stream_number(s, s->at) / per_frame;
  if (frame < *least) *least = frame;
  return NULL;
}

Error *page_merge_next(PageMerge *m, MergedFrame *out, bool *found) {
  uint64_t least = UINT64_MAX;
  for (size_t i = m->first_layer; i < m->map->layers_len; i++) {
    LayerReader *r = &m->layers[i];
    TRY(merge_least(&r->frames, m->next_frame, 1, &least));
    TRY(merge_least(&r->frame_prints, m->next_frame, 1, &least));
    TRY(merge_least(&r->pages, m->next_frame, PAGES_PER_FRAME, &least));
  }
  *found = least != UINT64_MAX && least < m->limit / PAGE_FRAME_SIZE + (m->limit % PAGE_FRAME_SIZE != 0);
  return *found ? page_merge_get(m, least, out) : NULL;
}
