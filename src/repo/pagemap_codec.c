#include "repo/pagemap_codec.h"

#include "repo/nodeio.h"

/* Frame numbers stand as runs: the gap to the run before, then its length and what its frames are. */
enum { RUN_WHOLE = 0, RUN_HOLES = 1, RUN_SHORT = 2 /* one frame; its length follows */, RUN_BITS = 2 };

typedef struct FrameRun {
  uint64_t first;
  uint64_t len;
  unsigned kind;
} FrameRun;

static void run_put(Buf *out, uint64_t gap, uint64_t len, unsigned kind) {
  buf_put_var(out, gap);
  buf_put_var(out, len << RUN_BITS | kind);
}

/* The next run behind frame number `next`, of at most `left` frames. */
static FrameRun run_get(Cursor *c, uint64_t next, size_t left) {
  FrameRun run = {.first = cursor_var_max(c, FRAMES_MAX)};
  uint64_t head = cursor_var(c);
  run.first += next;
  run.len = head >> RUN_BITS;
  run.kind = (unsigned)(head & ((1u << RUN_BITS) - 1));
  bool single = run.kind != RUN_SHORT || run.len == 1;
  if (run.len == 0 || run.len > left || run.kind > RUN_SHORT || !single || run.first + run.len > FRAMES_MAX)
    c->failed = true;
  return run;
}

/* ---- frames -------------------------------------------------------------------------------------------------------
 */

static unsigned frame_kind(const MapFrame *f) {
  if (frame_id_is_hole(&f->id)) return RUN_HOLES;
  return f->len == PAGE_FRAME_SIZE ? RUN_WHOLE : RUN_SHORT;
}

void frames_leaf_encode(const MapFrame *items, size_t len, Buf *out) {
  CHECK(len > 0 && len <= FRAMES_LEAF_MAX);
  buf_put_u8(out, MAP_FRAMES_LEAF);
  buf_put_var(out, len);
  uint64_t next = 0;
  for (size_t i = 0, run; i < len; i += run) {
    unsigned kind = frame_kind(&items[i]);
    run = 1;
    while (kind != RUN_SHORT && i + run < len && items[i + run].frame == items[i].frame + run &&
           frame_kind(&items[i + run]) == kind)
      run++;
    run_put(out, items[i].frame - next, run, kind);
    if (kind == RUN_SHORT) buf_put_var(out, items[i].len);
    next = items[i].frame + run;
  }
  for (size_t i = 0; i < len; i++)
    if (!frame_id_is_hole(&items[i].id)) buf_add(out, items[i].id.b, sizeof items[i].id.b);
}

static void frame_run_decode(Cursor *c, const FrameRun *run, MapFrame *items) {
  uint32_t len = PAGE_FRAME_SIZE;
  if (run->kind == RUN_SHORT) {
    len = (uint32_t)cursor_var_max(c, PAGE_FRAME_SIZE - 1);
    if (len == 0) c->failed = true;
  }
  for (size_t i = 0; i < run->len; i++) {
    items[i] = (MapFrame){.frame = run->first + i, .len = len};
    items[i].id.b[0] = run->kind != RUN_HOLES; /* until the ids are read: not a hole */
  }
}

Error *frames_leaf_decode(Bytes raw, MapFrame *items, size_t *out_len) {
  Cursor c = map_cursor(raw, MAP_FRAMES_LEAF);
  size_t len = (size_t)cursor_var_max(&c, FRAMES_LEAF_MAX);
  if (len == 0) c.failed = true;
  uint64_t next = 0;
  for (size_t i = 0; i < len && !c.failed;) {
    FrameRun run = run_get(&c, next, len - i);
    if (c.failed) break;
    frame_run_decode(&c, &run, &items[i]);
    next = run.first + run.len;
    i += (size_t)run.len;
  }
  for (size_t i = 0; i < len && !c.failed; i++) {
    if (frame_id_is_hole(&items[i].id)) continue;
    cursor_copy(&c, items[i].id.b, sizeof items[i].id.b);
    if (frame_id_is_hole(&items[i].id)) c.failed = true;
  }
  TRY(cursor_end(&c, "leaf of frames"));
  *out_len = len;
  return NULL;
}

/* ---- fingerprints of frames ---------------------------------------------------------------------------------------
 */

static unsigned prints_kind(const MapFramePrints *f) {
  if (f->pages == 0) return RUN_HOLES;
  return f->pages == PAGES_PER_FRAME ? RUN_WHOLE : RUN_SHORT;
}

static void put_prints(Buf *out, const uint64_t *prints, size_t len) { buf_add(out, prints, len * sizeof prints[0]); }

void frame_prints_leaf_encode(const MapFramePrints *items, size_t len, Buf *out) {
  CHECK(len > 0 && len <= FRAME_PRINTS_LEAF_MAX);
  buf_put_u8(out, MAP_FRAME_PRINTS_LEAF);
  buf_put_var(out, len);
  uint64_t next = 0;
  for (size_t i = 0, run; i < len; i += run) {
    unsigned kind = prints_kind(&items[i]);
    run = 1;
    while (kind != RUN_SHORT && i + run < len && items[i + run].frame == items[i].frame + run &&
           prints_kind(&items[i + run]) == kind)
      run++;
    run_put(out, items[i].frame - next, run, kind);
    if (kind == RUN_SHORT) buf_put_u8(out, (uint8_t)items[i].pages);
    next = items[i].frame + run;
  }
  for (size_t i = 0; i < len; i++) put_prints(out, items[i].prints, items[i].pages);
}

static void prints_run_decode(Cursor *c, const FrameRun *run, MapFramePrints *items) {
  uint32_t pages = run->kind == RUN_WHOLE ? PAGES_PER_FRAME : 0;
  if (run->kind == RUN_SHORT) {
    pages = cursor_u8(c);
    if (pages == 0 || pages >= PAGES_PER_FRAME) c->failed = true;
  }
  for (size_t i = 0; i < run->len; i++) {
    items[i].frame = run->first + i;
    items[i].pages = pages;
  }
}

Error *frame_prints_leaf_decode(Bytes raw, MapFramePrints *items, size_t *out_len) {
  Cursor c = map_cursor(raw, MAP_FRAME_PRINTS_LEAF);
  size_t len = (size_t)cursor_var_max(&c, FRAME_PRINTS_LEAF_MAX);
  if (len == 0) c.failed = true;
  uint64_t next = 0;
  for (size_t i = 0; i < len && !c.failed;) {
    FrameRun run = run_get(&c, next, len - i);
    if (c.failed) break;
    prints_run_decode(&c, &run, &items[i]);
    next = run.first + run.len;
    i += (size_t)run.len;
  }
  for (size_t i = 0; i < len && !c.failed; i++)
    cursor_copy(&c, items[i].prints, items[i].pages * sizeof items[i].prints[0]);
  TRY(cursor_end(&c, "leaf of frame prints"));
  *out_len = len;
  return NULL;
}

/* ---- pages --------------------------------------------------------------------------------------------------------
 */

static uint64_t page_place(const MapPage *p) { return (uint64_t)p->delta * DELTA_PAGES_MAX + p->slot; }

/* Page numbers as gaps; places (delta and slot as one number) as runs that count up by one: a layer written by one
 * backup has a single run. */
void pages_leaf_encode(const MapPage *items, size_t len, Buf *out) {
  CHECK(len > 0 && len <= PAGES_LEAF_MAX);
  buf_put_u8(out, MAP_PAGES_LEAF);
  buf_put_var(out, len);
  buf_put_var(out, items[0].page);
  for (size_t i = 1; i < len; i++) buf_put_var(out, items[i].page - items[i - 1].page - 1);
  uint64_t next = 0;
  for (size_t i = 0, run; i < len; i += run) {
    uint64_t place = page_place(&items[i]);
    run = 1;
    while (i + run < len && page_place(&items[i + run]) == place + run) run++;
    buf_put_var(out, run);
    buf_put_svar(out, (int64_t)(place - next));
    next = place + run;
  }
}

static void pages_places_decode(Cursor *c, MapPage *items, size_t len) {
  const uint64_t places = (uint64_t)DELTAS_MAX * DELTA_PAGES_MAX;
  uint64_t next = 0;
  for (size_t i = 0; i < len && !c->failed;) {
    uint64_t run = cursor_var_max(c, len - i);
    uint64_t place = next + (uint64_t)cursor_svar(c);
    if (run == 0 || place >= places || run > places - place) c->failed = true;
    if (c->failed) return;
    next = place + run;
    for (; place < next; i++, place++) {
      items[i].delta = (uint32_t)(place / DELTA_PAGES_MAX);
      items[i].slot = (uint8_t)(place % DELTA_PAGES_MAX);
    }
  }
}

Error *pages_leaf_decode(Bytes raw, MapPage *items, size_t *out_len) {
  Cursor c = map_cursor(raw, MAP_PAGES_LEAF);
  size_t len = (size_t)cursor_var_max(&c, PAGES_LEAF_MAX);
  if (len == 0) c.failed = true;
  uint64_t next = 0;
  for (size_t i = 0; i < len && !c.failed; i++) {
    uint64_t page = next + cursor_var_max(&c, PAGES_MAX);
    if (page >= PAGES_MAX) c.failed = true;
    items[i].page = page;
    next = page + 1;
  }
  if (!c.failed) pages_places_decode(&c, items, len);
  TRY(cursor_end(&c, "leaf of pages"));
  *out_len = len;
  return NULL;
}

void page_prints_leaf_encode(uint64_t first_page, const uint64_t *prints, size_t len, Buf *out) {
  CHECK(len > 0 && len <= PAGES_LEAF_MAX);
  buf_put_u8(out, MAP_PAGE_PRINTS_LEAF);
  buf_put_var(out, len);
  buf_put_var(out, first_page);
  put_prints(out, prints, len);
}

Error *page_prints_leaf_decode(Bytes raw, uint64_t *first_page, uint64_t *prints, size_t *out_len) {
  Cursor c = map_cursor(raw, MAP_PAGE_PRINTS_LEAF);
  size_t len = (size_t)cursor_var_max(&c, PAGES_LEAF_MAX);
  uint64_t first = cursor_var_max(&c, PAGES_MAX);
  if (len == 0) c.failed = true;
  if (!c.failed) cursor_copy(&c, prints, len * sizeof prints[0]);
  TRY(cursor_end(&c, "leaf of page prints"));
  *first_page = first;
  *out_len = len;
  return NULL;
}

/* ---- delta frames -------------------------------------------------------------------------------------------------
 */

void deltas_leaf_encode(uint64_t first, const MapDelta *items, size_t len, Buf *out) {
  CHECK(len > 0 && len <= DELTAS_LEAF_MAX);
  buf_put_u8(out, MAP_DELTAS_LEAF);
  buf_put_var(out, len);
  buf_put_var(out, first);
  for (size_t i = 0; i < len; i++) buf_put_u8(out, items[i].pages);
  for (size_t i = 0; i < len; i++) buf_add(out, items[i].id.b, sizeof items[i].id.b);
}

Error *deltas_leaf_decode(Bytes raw, uint64_t *first, MapDelta *items, size_t *out_len) {
  Cursor c = map_cursor(raw, MAP_DELTAS_LEAF);
  size_t len = (size_t)cursor_var_max(&c, DELTAS_LEAF_MAX);
  uint64_t from = cursor_var_max(&c, DELTAS_MAX);
  if (len == 0 || from + len > DELTAS_MAX) c.failed = true;
  for (size_t i = 0; i < len && !c.failed; i++) {
    items[i].pages = cursor_u8(&c);
    if (items[i].pages == 0 || items[i].pages > DELTA_PAGES_MAX) c.failed = true;
  }
  for (size_t i = 0; i < len && !c.failed; i++) {
    cursor_copy(&c, items[i].id.b, sizeof items[i].id.b);
    if (frame_id_is_hole(&items[i].id)) c.failed = true;
  }
  TRY(cursor_end(&c, "leaf of delta frames"));
  *first = from;
  *out_len = len;
  return NULL;
}

/* ---- the root -----------------------------------------------------------------------------------------------------
 */

static void layer_encode(const PageLayer *l, Buf *out) {
  buf_put_var(out, l->floor);
  buf_put_var(out, l->frames_len);
  buf_put_var(out, l->pages_len);
  buf_put_var(out, l->deltas_len);
  seq_root_encode(&l->frames, out);
  seq_root_encode(&l->frame_prints, out);
  seq_root_encode(&l->pages, out);
  seq_root_encode(&l->page_prints, out);
  seq_root_encode(&l->deltas, out);
}

void pagemap_encode(const PageMap *map, Buf *out) {
  CHECK(map->layers_len <= LAYERS_MAX);
  buf_put_u8(out, MAP_PAGE_ROOT);
  buf_put_var(out, map->size);
  buf_put_var(out, map->layers_len);
  for (size_t i = 0; i < map->layers_len; i++) layer_encode(&map->layers[i], out);
}

/* Every leaf holds at least one item and no more than its limit. */
static bool leaves_fit(const SeqRoot *root, uint64_t items, uint64_t leaf_max) {
  return root->count <= items && items / leaf_max + (items % leaf_max != 0) <= root->count;
}

static void layer_decode(Cursor *c, PageLayer *l) {
  l->floor = cursor_var_max(c, FILE_SIZE_MAX);
  l->frames_len = cursor_var_max(c, FRAMES_MAX);
  l->pages_len = cursor_var_max(c, PAGES_MAX);
  l->deltas_len = cursor_var_max(c, DELTAS_MAX);
  seq_root_decode(c, &l->frames);
  seq_root_decode(c, &l->frame_prints);
  seq_root_decode(c, &l->pages);
  seq_root_decode(c, &l->page_prints);
  seq_root_decode(c, &l->deltas);
  bool fits = leaves_fit(&l->frames, l->frames_len, FRAMES_LEAF_MAX) &&
              leaves_fit(&l->frame_prints, l->frames_len, FRAME_PRINTS_LEAF_MAX) &&
              leaves_fit(&l->pages, l->pages_len, PAGES_LEAF_MAX) &&
              leaves_fit(&l->deltas, l->deltas_len, DELTAS_LEAF_MAX) && l->pages.count == l->page_prints.count;
  if (!fits) c->failed = true;
}

Error *pagemap_decode(Bytes raw, PageMap *out) {
  Cursor c = map_cursor(raw, MAP_PAGE_ROOT);
  memset(out, 0, sizeof *out);
  out->size = cursor_var_max(&c, FILE_SIZE_MAX);
  out->layers_len = (size_t)cursor_var_max(&c, LAYERS_MAX);
  for (size_t i = 0; i < out->layers_len && !c.failed; i++) layer_decode(&c, &out->layers[i]);
  if (out->layers_len > 0 && out->layers[0].floor != 0) c.failed = true;
  return cursor_end(&c, "page map");
}

Error *pagemap_load(FrameSource *source, const FrameId *root, PageMap *out) {
  Buf raw AUTO_BUF = {0};
  TRY(node_get(source, FRAME_MAP, root, "page map", &raw));
  char text[FRAME_TEXT_LEN];
  return err_wrap(pagemap_decode(buf_bytes(&raw), out), "reading page map %s…", frame_id_text(root, text));
}
