/* Page maps, sequences and content maps: the pure parsers over the whole input, then a page map cut from it: its runs,
 * prints, statistics, everything it names, and folding it. */
#include "base/mem.h"
#include "repo/content.h"
#include "repo/pagemap.h"
#include "repo/pagemap_codec.h"
#include "repo/pagemap_live.h"

#include "frames_slices.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every decoder of a leaf. */
static void decode_leaves(Bytes raw) {
  size_t len;
  uint64_t first;
  uint8_t depth;
  void *items = mem_alloc(PAGES_LEAF_MAX * sizeof(MapPage));
  _Static_assert(sizeof(MapFrame) * FRAMES_LEAF_MAX <= sizeof(MapPage) * PAGES_LEAF_MAX, "fits");
  _Static_assert(sizeof(MapFramePrints) * FRAME_PRINTS_LEAF_MAX <= sizeof(MapPage) * PAGES_LEAF_MAX, "fits");
  _Static_assert(sizeof(ContentPiece) * CONTENT_LEAF_MAX <= sizeof(MapPage) * PAGES_LEAF_MAX, "fits");
  err_ignore(frames_leaf_decode(raw, (MapFrame *)items, &len));
  err_ignore(frame_prints_leaf_decode(raw, (MapFramePrints *)items, &len));
  err_ignore(pages_leaf_decode(raw, (MapPage *)items, &len));
  err_ignore(page_prints_leaf_decode(raw, &first, (uint64_t *)items, &len));
  err_ignore(deltas_leaf_decode(raw, &first, (MapDelta *)items, &len));
  err_ignore(content_leaf_decode(raw, (ContentPiece *)items, CONTENT_LEAF_MAX, &len));
  err_ignore(seq_node_decode(raw, &depth, (SeqRef *)items, 1024, &len));
  free(items);
  Content content;
  Cursor c = cursor(raw);
  content_decode(&c, &content);
}

typedef struct RunCheck {
  uint64_t at, runs;
  uint64_t size;
} RunCheck;

static Error *check_run(void *ctx, const PageRun *run) {
  RunCheck *r = (RunCheck *)ctx;
  CHECK(run->file_offset == r->at && run->len > 0 && run->len <= r->size - r->at);
  CHECK(frame_id_is_hole(&run->id) || run->frame_offset + run->len <= DELTA_PAGES_MAX * PAGE_SIZE);
  r->at += run->len;
  return ++r->runs > 5000 ? err_new(ERR_LIMIT, "enough") : NULL;
}

static Error *ignore_frame(void *ctx, FrameType type, const FrameId *id) {
  (void)ctx;
  CHECK(type == FRAME_DATA || type == FRAME_MAP);
  CHECK(type == FRAME_MAP || !frame_id_is_hole(id));
  return NULL;
}

static void read_prints(FrameSlices *s, const PageMap *map, const PageMapLive *live) {
  PageMapPrints *p = pagemap_prints_new(&s->source, map);
  pagemap_prints_set_live(p, live);
  uint64_t zero[PAGES_PER_FRAME] = {0};
  pagemap_prints_set_zero(p, zero);
  Error *err = NULL;
  for (uint64_t f = 0; !err && f < 40; f++) {
    FrameView view;
    bool found;
    err = pagemap_prints_get(p, f < 30 ? f : UINT64_C(1) << f, &view, &found);
    if (!err && found) CHECK(view.pages <= PAGES_PER_FRAME && (live || !view.sparse));
  }
  err_ignore(err);
  pagemap_prints_free(p);
}

/* A new map on this one; with many layers that folds. */
static void build_on(FrameSlices *s, const PageMap *map, const PageMapLive *live, const FrameId *root) {
  PageMapBuilder *b = pagemap_builder_new(&s->sink, &s->source, map, live);
  uint64_t prints[PAGES_PER_FRAME] = {1};
  FrameId id = {{5}}, out;
  PagePlace page = {.page_in_frame = 3, .print = 1};
  err_ignore(pagemap_builder_frame(b, 0, &id, PAGE_FRAME_SIZE, prints));
  err_ignore(pagemap_builder_pages(b, 2, &page, 1));
  pagemap_builder_delta(b, 0, &id, 1);
  err_ignore(pagemap_builder_finish(b, map->size / PAGE_SIZE * PAGE_SIZE / 2, root, &out));
  pagemap_builder_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  decode_leaves(bytes(data, size));
  PageMap *map = NEW(PageMap);
  err_ignore(pagemap_decode(bytes(data, size), map));
  FrameSlices *s = NEW(FrameSlices);
  slices_init(s, data, size);
  Error *err = pagemap_load(&s->source, &s->roots[0], map);
  if (!err) {
    RunCheck runs = {.size = map->size};
    err = pagemap_runs(&s->source, map, check_run, &runs);
    if (!err) CHECK(runs.at == map->size);
    PageMapLive *live = NULL;
    err_ignore(pagemap_live_new(&s->source, map, 10, &live));
    read_prints(s, map, live);
    PageMapStats stats;
    err_ignore(pagemap_stats(&s->source, map, &stats));
    err_ignore(pagemap_visit(&s->source, map, ignore_frame, NULL));
    build_on(s, map, live, &s->roots[0]);
    pagemap_live_free(live);
  }
  err_ignore(err);
  free(s);
  free(map);
  return 0;
}
