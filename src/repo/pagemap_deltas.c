#include "repo/pagemap_deltas.h"

#include "base/mem.h"
#include "repo/nodeio.h"

static Error *no_slot(uint32_t delta, uint32_t slot) {
  return err_new(ERR_CORRUPT, "reading a page map: slot %u of delta frame %u is not there", slot, delta);
}

/* ---- by index -----------------------------------------------------------------------------------------------------
 */

/* Pages of a folded layer jump between the delta frames of the backups it was made of: about as many leaves are in use
 * at a time as those were. 128 leaves are 4 MiB. */
enum { CACHED_LEAVES = 128 };

typedef struct CachedLeaf {
  MapDelta *items; /* DELTAS_LEAF_MAX, once in use */
  size_t layer;
  uint64_t first;
  size_t len; /* 0: empty */
  uint64_t used;
} CachedLeaf;

struct DeltaTable {
  FrameSource *source;
  const PageMap *map;
  SeqCursor *leaves[LAYERS_MAX]; /* opened when needed */
  CachedLeaf cache[CACHED_LEAVES];
  size_t recent;
  uint64_t clock;
  Buf raw;
};

DeltaTable *delta_table_new(FrameSource *source, const PageMap *map) {
  DeltaTable *t = NEW(DeltaTable);
  t->source = source;
  t->map = map;
  return t;
}

void delta_table_free(DeltaTable *take) {
  if (!take) return;
  for (size_t i = 0; i < LAYERS_MAX; i++) seq_cursor_free(take->leaves[i]);
  for (size_t i = 0; i < CACHED_LEAVES; i++) free(take->cache[i].items);
  buf_free(&take->raw);
  free(take);
}

static bool leaf_holds(const CachedLeaf *leaf, size_t layer, uint32_t delta) {
  return leaf->len && leaf->layer == layer && delta >= leaf->first && delta - leaf->first < leaf->len;
}

/* The slot of the cache to fill: an empty one, or the one not used for longest. */
static size_t table_victim(const DeltaTable *t) {
  size_t victim = 0;
  for (size_t i = 0; i < CACHED_LEAVES; i++) {
    if (!t->cache[i].len) return i;
    if (t->cache[i].used < t->cache[victim].used) victim = i;
  }
  return victim;
}

static Error *table_load(DeltaTable *t, size_t layer, uint32_t delta, size_t *out) {
  if (!t->leaves[layer]) t->leaves[layer] = seq_cursor_new(t->source, &t->map->layers[layer].deltas);
  SeqCursor *leaves = t->leaves[layer];
  uint64_t key;
  FrameId id;
  bool found;
  TRY(seq_cursor_seek(leaves, delta));
  TRY(seq_cursor_next(leaves, &key, &id, &found));
  if (!found) return no_slot(delta, 0);
  TRY(node_get(t->source, FRAME_MAP, &id, "leaf of delta frames", &t->raw));
  size_t at = table_victim(t);
  CachedLeaf *leaf = &t->cache[at];
  leaf->len = 0;
  leaf->layer = layer;
  if (!leaf->items) leaf->items = NEW_ARRAY(MapDelta, DELTAS_LEAF_MAX);
  size_t len;
  TRY(deltas_leaf_decode(buf_bytes(&t->raw), &leaf->first, leaf->items, &len));
  leaf->len = len;
  *out = at;
  return leaf_holds(leaf, layer, delta) ? NULL : no_slot(delta, 0);
}

static Error *table_find(DeltaTable *t, size_t layer, uint32_t delta, size_t *out) {
  *out = t->recent;
  if (leaf_holds(&t->cache[t->recent], layer, delta)) return NULL;
  for (size_t i = 0; i < CACHED_LEAVES; i++) {
    *out = i;
    if (leaf_holds(&t->cache[i], layer, delta)) return NULL;
  }
  return table_load(t, layer, delta, out);
}

Error *delta_table_get(DeltaTable *t, size_t layer, uint32_t delta, uint32_t slot, FrameId *out) {
  size_t at;
  TRY(table_find(t, layer, delta, &at));
  CachedLeaf *leaf = &t->cache[at];
  leaf->used = ++t->clock;
  t->recent = at;
  const MapDelta *item = &leaf->items[delta - leaf->first];
  if (slot >= item->pages) return no_slot(delta, slot);
  *out = item->id;
  return NULL;
}

/* ---- all of them --------------------------------------------------------------------------------------------------
 */

typedef struct DeltaWalk {
  FrameSource *source;
  SeqCursor *leaves;
  MapDelta *items;
  Buf raw;
  uint64_t next;
} DeltaWalk;

static Error *walk_leaf(DeltaWalk *w, const FrameId *id, size_t layer, DeltaVisit *visit, void *ctx) {
  TRY(node_get(w->source, FRAME_MAP, id, "leaf of delta frames", &w->raw));
  uint64_t first;
  size_t len;
  TRY(deltas_leaf_decode(buf_bytes(&w->raw), &first, w->items, &len));
  if (first != w->next) return err_new(ERR_CORRUPT, "reading a page map: delta frames are left out");
  w->next += len;
  for (size_t i = 0; i < len; i++) TRY(visit(ctx, layer, (uint32_t)(first + i), &w->items[i]));
  return NULL;
}

Error *delta_walk(FrameSource *source, const PageMap *map, size_t layer, DeltaVisit *visit, void *ctx) {
  const PageLayer *l = &map->layers[layer];
  DeltaWalk w = {.source = source, .leaves = seq_cursor_new(source, &l->deltas)};
  w.items = NEW_ARRAY(MapDelta, DELTAS_LEAF_MAX);
  Error *err = NULL;
  for (;;) {
    uint64_t key;
    FrameId id;
    bool found;
    err = seq_cursor_next(w.leaves, &key, &id, &found);
    if (err || !found) break;
    err = walk_leaf(&w, &id, layer, visit, ctx);
    if (err) break;
  }
  if (!err && w.next != l->deltas_len) err = err_new(ERR_CORRUPT, "reading a page map: delta frames are missing");
  seq_cursor_free(w.leaves);
  free(w.items);
  buf_free(&w.raw);
  return err;
}

/* ---- which are named ----------------------------------------------------------------------------------------------
 */

#define DELTA_UNUSED UINT32_MAX

typedef struct LayerUse {
  uint32_t *index; /* DELTA_UNUSED, or marked (0) and later numbered */
  uint8_t *pages;
  uint8_t *marks; /* no more than pages, if no slot is named twice */
  size_t len, cap;
} LayerUse;

struct DeltaUse {
  size_t first_layer, layers_len;
  LayerUse layers[LAYERS_MAX];
};

/* Grows with what is really there, not with what the map's root says. */
static Error *use_add(void *ctx, size_t layer, uint32_t delta, const MapDelta *item) {
  (void)delta;
  LayerUse *l = &((DeltaUse *)ctx)->layers[layer];
  if (l->len == l->cap) {
    l->cap = l->cap ? l->cap * 2 : 256;
    l->index = (uint32_t *)mem_resize(l->index, l->cap, sizeof l->index[0]);
    l->pages = (uint8_t *)mem_resize(l->pages, l->cap, sizeof l->pages[0]);
    l->marks = (uint8_t *)mem_resize(l->marks, l->cap, sizeof l->marks[0]);
  }
  l->index[l->len] = DELTA_UNUSED;
  l->marks[l->len] = 0;
  l->pages[l->len++] = item->pages;
  return NULL;
}

Error *delta_use_new(FrameSource *source, const PageMap *map, size_t first_layer, DeltaUse **out) {
  DeltaUse *u = NEW(DeltaUse);
  u->first_layer = first_layer;
  u->layers_len = map->layers_len;
  for (size_t i = first_layer; i < map->layers_len; i++) {
    Error *err = delta_walk(source, map, i, use_add, u);
    if (err) {
      delta_use_free(u);
      return err;
    }
  }
  *out = u;
  return NULL;
}

void delta_use_free(DeltaUse *take) {
  if (!take) return;
  for (size_t i = 0; i < LAYERS_MAX; i++) {
    free(take->layers[i].index);
    free(take->layers[i].pages);
    free(take->layers[i].marks);
  }
  free(take);
}

Error *delta_use_mark(DeltaUse *u, size_t layer, uint32_t delta, uint32_t slot) {
  LayerUse *l = &u->layers[layer];
  if (delta >= l->len || slot >= l->pages[delta]) return no_slot(delta, slot);
  l->index[delta] = 0;
  if (l->marks[delta] < l->pages[delta]) l->marks[delta]++;
  return NULL;
}

bool delta_use_marked(const DeltaUse *u, size_t layer, uint32_t delta) {
  const LayerUse *l = &u->layers[layer];
  return delta < l->len && l->index[delta] != DELTA_UNUSED;
}

uint32_t delta_use_marks(const DeltaUse *u, size_t layer, uint32_t delta) { return u->layers[layer].marks[delta]; }

uint32_t delta_use_pages(const DeltaUse *u, size_t layer, uint32_t delta) { return u->layers[layer].pages[delta]; }

size_t delta_use_len(const DeltaUse *u, size_t layer) { return u->layers[layer].len; }

void delta_use_number(DeltaUse *u) {
  uint32_t next = 0;
  for (size_t i = u->first_layer; i < u->layers_len; i++) {
    LayerUse *l = &u->layers[i];
    for (size_t k = 0; k < l->len; k++)
      if (l->index[k] != DELTA_UNUSED) l->index[k] = next++;
  }
}

uint32_t delta_use_new_index(const DeltaUse *u, size_t layer, uint32_t delta) { return u->layers[layer].index[delta]; }
