#include "base/mem.h"
#include "codec/blake3.h"
#include "repo/pagemap.h"
#include "repo/pagemap_codec.h"
#include "repo/pagemap_live.h"

#include "frames_memory.h"
#include "testing.h"

enum { FILE_MAX = 10 * PAGE_FRAME_SIZE, STEPS = 22 };

/* ---- a backup writer of few lines over a byte array ---------------------------------------------------------------
 */

typedef struct State {
  uint8_t *data;
  size_t size;
  FrameId root;
} State;

typedef struct World {
  FramesMemory *frames;
  uint64_t seed;
  uint64_t zero[PAGES_PER_FRAME];
  State states[STEPS];
  bool calm; /* few frames are given whole: the first layer stays when the others are folded */
} World;

static const uint8_t *data_key(void) { return frames_memory_key(FRAME_DATA); }

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

static bool all_zero(const uint8_t *data, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (data[i]) return false;
  return true;
}

/* What the writer of a backup keeps. */
typedef struct Writer {
  World *w;
  PageMapBuilder *builder;
  uint8_t gathered[DELTA_PAGES_MAX * PAGE_SIZE];
  size_t slots;     /* filled in gathered */
  size_t last_len;  /* bytes of the last slot */
  FrameId ids[400]; /* delta frames written, told to the builder later and in any order */
  uint32_t pages[400];
  uint64_t index[400];
  size_t waiting;
  uint64_t deltas;
} Writer;

static void tell_some(Writer *wr, size_t keep) {
  while (wr->waiting > keep) {
    size_t i = test_random(&wr->w->seed) % wr->waiting;
    pagemap_builder_delta(wr->builder, wr->index[i], &wr->ids[i], wr->pages[i]);
    wr->waiting--;
    wr->ids[i] = wr->ids[wr->waiting];
    wr->pages[i] = wr->pages[wr->waiting];
    wr->index[i] = wr->index[wr->waiting];
  }
}

static void put_data(World *w, const void *data, size_t len, FrameId *out) {
  FrameSink *sink = frames_memory_sink(w->frames);
  assert_ok(sink->put(sink, FRAME_DATA, bytes(data, len), out));
}

static void flush_delta(Writer *wr) {
  if (wr->slots == 0) return;
  put_data(wr->w, wr->gathered, (wr->slots - 1) * PAGE_SIZE + wr->last_len, &wr->ids[wr->waiting]);
  wr->pages[wr->waiting] = (uint32_t)wr->slots;
  wr->index[wr->waiting++] = wr->deltas++;
  wr->slots = 0;
}

static void gather(Writer *wr, const uint8_t *page, size_t len, PagePlace *place) {
  if (wr->slots == DELTA_PAGES_MAX) flush_delta(wr);
  place->delta = wr->deltas;
  place->slot = (uint8_t)wr->slots;
  memset(wr->gathered + wr->slots * PAGE_SIZE, 0, PAGE_SIZE);
  memcpy(wr->gathered + wr->slots * PAGE_SIZE, page, len);
  wr->slots++;
  wr->last_len = len;
}

static void write_whole(Writer *wr, uint64_t f, const uint8_t *data, size_t len, const uint64_t *prints) {
  FrameId id = {0};
  if (all_zero(data, len)) {
    if (test_random(&wr->w->seed) % 2) {
      assert_ok(pagemap_builder_frame(wr->builder, f, &id, (uint32_t)len, prints));
      return;
    }
  }
  put_data(wr->w, data, len, &id);
  assert_ok(pagemap_builder_frame(wr->builder, f, &id, (uint32_t)len, prints));
}

static void write_changed(Writer *wr, uint64_t f, const uint8_t *data, size_t len, const uint64_t *prints,
                          const FrameView *view) {
  PagePlace changed[PAGES_PER_FRAME];
  size_t n = 0, pages = (len + PAGE_SIZE - 1) / PAGE_SIZE;
  for (size_t p = 0; p < pages; p++) {
    bool again = view->sparse >> p & 1 && test_random(&wr->w->seed) % 2;
    if (p < view->pages && prints[p] == view->prints[p] && !again) continue;
    /* Behind the old end pages are zeros unless named. */
    bool zeros = p >= view->pages && all_zero(data + p * PAGE_SIZE, min_size(PAGE_SIZE, len - p * PAGE_SIZE));
    if (zeros && test_random(&wr->w->seed) % 2) continue;
    changed[n++] = (PagePlace){.page_in_frame = (uint8_t)p, .print = prints[p]};
  }
  if (n == 0) return;
  if (!wr->w->calm && (n > 12 || test_random(&wr->w->seed) % 20 == 0)) {
    write_whole(wr, f, data, len, prints);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    size_t at = changed[i].page_in_frame * (size_t)PAGE_SIZE;
    gather(wr, data + at, min_size(PAGE_SIZE, len - at), &changed[i]);
  }
  assert_ok(pagemap_builder_pages(wr->builder, f, changed, n));
}

static void write_frames(Writer *wr, const State *now, PageMapPrints *parent) {
  for (uint64_t f = 0; f * PAGE_FRAME_SIZE < now->size; f++) {
    const uint8_t *data = now->data + f * PAGE_FRAME_SIZE;
    size_t len = min_size(PAGE_FRAME_SIZE, now->size - f * PAGE_FRAME_SIZE);
    uint8_t id[32];
    uint64_t prints[PAGES_PER_FRAME];
    blake3_keyed_pages(data_key(), data, len, id, prints);
    FrameView view;
    bool found = false;
    if (parent) assert_ok(pagemap_prints_get(parent, f, &view, &found));
    if (found)
      write_changed(wr, f, data, len, prints, &view);
    else if (!all_zero(data, len) || test_random(&wr->w->seed) % 2)
      write_whole(wr, f, data, len, prints);
    tell_some(wr, test_random(&wr->w->seed) % 4);
  }
}

static void backup(World *w, const State *before, State *now) {
  Writer *wr = NEW(Writer);
  PageMap *map = NEW(PageMap);
  wr->w = w;
  FrameSource *source = frames_memory_source(w->frames);
  PageMapPrints *prints = NULL;
  PageMapLive *live = NULL;
  if (before) {
    assert_ok(pagemap_load(source, &before->root, map));
    if (test_random(&w->seed) % 4) assert_ok(pagemap_live_new(source, map, test_random(&w->seed) % 64, &live));
    prints = pagemap_prints_new(source, map);
    pagemap_prints_set_live(prints, live);
    pagemap_prints_set_zero(prints, w->zero);
  }
  wr->builder = pagemap_builder_new(frames_memory_sink(w->frames), source, before ? map : NULL, live);
  write_frames(wr, now, prints);
  flush_delta(wr);
  tell_some(wr, 0);
  assert_ok(pagemap_builder_finish(wr->builder, now->size, before ? &before->root : NULL, &now->root));
  pagemap_builder_free(wr->builder);
  pagemap_prints_free(prints);
  pagemap_live_free(live);
  free(map);
  free(wr);
}

/* ---- what must hold -----------------------------------------------------------------------------------------------
 */

typedef struct Restored {
  World *w;
  const State *state;
  uint64_t at;
  Buf frame;
} Restored;

static Error *check_run(void *ctx, const PageRun *run) {
  Restored *r = (Restored *)ctx;
  assert_true(run->file_offset == r->at && run->len > 0);
  assert_true(r->at + run->len <= r->state->size);
  const uint8_t *want = r->state->data + r->at;
  if (frame_id_is_hole(&run->id)) {
    assert_true(all_zero(want, run->len));
  } else {
    FrameSource *source = frames_memory_source(r->w->frames);
    assert_ok(source->get(source, FRAME_DATA, &run->id, &r->frame));
    assert_true(run->frame_offset + run->len <= r->frame.len);
    assert_memory_equal(r->frame.data + run->frame_offset, want, run->len);
  }
  r->at += run->len;
  return NULL;
}

static void check_restores(World *w, const State *state) {
  PageMap *map = NEW(PageMap);
  Restored r = {.w = w, .state = state};
  assert_ok(pagemap_load(frames_memory_source(w->frames), &state->root, map));
  assert_true(map->size == state->size && map->layers_len <= PAGEMAP_LAYERS_MOST);
  assert_ok(pagemap_runs(frames_memory_source(w->frames), map, check_run, &r));
  assert_true(r.at == state->size);
  buf_free(&r.frame);
  free(map);
}

static void check_prints(World *w, const State *state) {
  PageMap *map = NEW(PageMap);
  assert_ok(pagemap_load(frames_memory_source(w->frames), &state->root, map));
  PageMapPrints *p = pagemap_prints_new(frames_memory_source(w->frames), map);
  pagemap_prints_set_zero(p, w->zero);
  FrameView view;
  bool found;
  uint64_t f = 0;
  for (; f * PAGE_FRAME_SIZE < state->size; f++) {
    if (test_random(&w->seed) % 8 == 0) continue; /* skipping is allowed */
    const uint8_t *data = state->data + f * PAGE_FRAME_SIZE;
    size_t len = min_size(PAGE_FRAME_SIZE, state->size - f * PAGE_FRAME_SIZE);
    uint8_t id[32];
    uint64_t prints[PAGES_PER_FRAME];
    blake3_keyed_pages(data_key(), data, len, id, prints);
    assert_ok(pagemap_prints_get(p, f, &view, &found));
    assert_true(found && view.len == len && view.pages == (len + PAGE_SIZE - 1) / PAGE_SIZE);
    for (size_t i = 0; i < view.pages; i++) {
      size_t page_len = min_size(PAGE_SIZE, len - i * PAGE_SIZE);
      bool unknown = page_len < PAGE_SIZE && all_zero(data + i * PAGE_SIZE, page_len);
      if (!unknown) assert_true(view.prints[i] == prints[i]);
      if (view.prints[i] != prints[i]) assert_true(view.prints[i] == ~w->zero[i]);
    }
  }
  assert_ok(pagemap_prints_get(p, f + 3, &view, &found));
  assert_false(found);
  pagemap_prints_free(p);
  free(map);
}

typedef struct Seen {
  uint64_t data, map;
  World *w;
  Buf raw;
} Seen;

static Error *see(void *ctx, FrameType type, const FrameId *id) {
  Seen *s = (Seen *)ctx;
  FrameSource *source = frames_memory_source(s->w->frames);
  assert_ok(source->get(source, type, id, &s->raw));
  if (type == FRAME_DATA)
    s->data++;
  else
    s->map++;
  return NULL;
}

static void check_visit(World *w, const State *state) {
  PageMap *map = NEW(PageMap);
  FrameSource *source = frames_memory_source(w->frames);
  assert_ok(pagemap_load(source, &state->root, map));
  Seen seen = {.w = w};
  assert_ok(pagemap_visit(source, map, see, &seen));
  PageMapStats stats;
  assert_ok(pagemap_stats(source, map, &stats));
  assert_true(stats.layers == map->layers_len && stats.delta_pages_live <= stats.delta_pages);
  assert_true(seen.data >= stats.base_frames && seen.data <= stats.base_frames + stats.delta_frames);
  assert_true(stats.delta_pages == 0 || seen.map > 0);
  buf_free(&seen.raw);
  free(map);
}

/* ---- random histories ---------------------------------------------------------------------------------------------
 */

static void scribble_page(World *w, uint8_t *data, size_t size, size_t page) {
  uint64_t v = test_random(&w->seed) % 5 ? test_random(&w->seed) : 0;
  size_t end = min_size(size, (page + 1) * PAGE_SIZE);
  for (size_t i = page * PAGE_SIZE; i < end; i++) data[i] = (uint8_t)(v >> (i % 8 * 8));
}

static size_t random_file_size(World *w) {
  size_t size = test_random(&w->seed) % FILE_MAX;
  if (w->calm) return FILE_MAX - test_random(&w->seed) % (FILE_MAX / 4);
  switch (test_random(&w->seed) % 4) {
    case 0: return size / PAGE_FRAME_SIZE * PAGE_FRAME_SIZE;
    case 1: return size / PAGE_SIZE * PAGE_SIZE;
    case 2: return test_random(&w->seed) % 10 ? size : 0;
    default: return size;
  }
}

/* The file as it is at the next backup. */
static void evolve(World *w, const State *before, State *now) {
  now->data = (uint8_t *)mem_alloc(FILE_MAX);
  now->size = !before || test_random(&w->seed) % 3 == 0 ? random_file_size(w) : before->size;
  if (before) memcpy(now->data, before->data, min_size(before->size, now->size));
  size_t pages = (now->size + PAGE_SIZE - 1) / PAGE_SIZE;
  size_t old_pages = before ? before->size / PAGE_SIZE : 0;
  for (size_t p = old_pages; p < pages; p++)
    if (test_random(&w->seed) % 3) scribble_page(w, now->data, now->size, p);
  if (pages == 0) return;
  size_t few = test_random(&w->seed) % 4 ? 6 : pages / 3;
  for (size_t i = test_random(&w->seed) % (few + 1); i > 0; i--)
    scribble_page(w, now->data, now->size, test_random(&w->seed) % pages);
  if (test_random(&w->seed) % 4 == 0) { /* a run, often a whole frame; sometimes of zeros */
    size_t at = test_random(&w->seed) % pages, n = test_random(&w->seed) % 70;
    for (size_t p = at; p < min_size(pages, at + n); p++) scribble_page(w, now->data, now->size, p);
    if (n % 3 == 0) memset(now->data + at * PAGE_SIZE, 0, min_size(n * PAGE_SIZE, now->size - at * PAGE_SIZE));
  }
}

static void run_history(uint64_t seed) {
  World *w = NEW(World);
  w->seed = seed;
  w->calm = seed % 3 == 0;
  w->frames = frames_memory_new();
  uint8_t *zeros = (uint8_t *)mem_alloc(PAGE_FRAME_SIZE), id[32];
  blake3_keyed_pages(data_key(), zeros, PAGE_FRAME_SIZE, id, w->zero);
  free(zeros);
  size_t steps = w->calm ? STEPS : 1 + test_random(&w->seed) % STEPS;
  for (size_t i = 0; i < steps; i++) {
    State *before = i ? &w->states[i - 1] : NULL, *now = &w->states[i];
    evolve(w, before, now);
    backup(w, before, now);
    check_restores(w, now);
    check_prints(w, now);
  }
  for (size_t i = 0; i < steps; i++) {
    check_restores(w, &w->states[i]);
    check_visit(w, &w->states[i]);
    free(w->states[i].data);
  }
  frames_memory_free(w->frames);
  free(w);
}

static void test_histories(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 99; seed++) run_history(seed);
}

/* ---- a large map of made-up frames: many leaves of every kind -----------------------------------------------------
 */

enum { BIG_PAGES = 400000, BIG_FRAMES = BIG_PAGES / PAGES_PER_FRAME, BIG_STEPS = 20 };

typedef struct Place {
  uint64_t name; /* begins the frame's id */
  uint32_t offset;
} Place;

static FrameId made_up_id(uint64_t name) {
  FrameId id = {0};
  memcpy(id.b, &name, sizeof name);
  id.b[31] = 1;
  return id;
}

typedef struct Big {
  Place *places; /* of every page */
  uint64_t *prints;
  uint64_t next_page;
} Big;

static Error *check_big_run(void *ctx, const PageRun *run) {
  Big *big = (Big *)ctx;
  assert_true(run->file_offset == big->next_page * PAGE_SIZE && run->len % PAGE_SIZE == 0);
  for (uint32_t i = 0; i < run->len / PAGE_SIZE; i++, big->next_page++) {
    const Place *p = &big->places[big->next_page];
    FrameId id = made_up_id(p->name);
    assert_true(frame_id_equal(&id, &run->id) && p->offset == run->frame_offset + i * PAGE_SIZE);
  }
  return NULL;
}

static void big_step(FramesMemory *frames, Big *big, uint64_t *seed, uint64_t step, const PageMap *parent,
                     FrameId *root) {
  PageMapLive *live = NULL;
  if (parent) assert_ok(pagemap_live_new(frames_memory_source(frames), parent, 0, &live));
  PageMapBuilder *b = pagemap_builder_new(frames_memory_sink(frames), frames_memory_source(frames), parent, live);
  uint64_t name = (step + 1) << 40, pages = 0;
  for (uint64_t f = 0; f < BIG_FRAMES; f++) {
    uint64_t *prints = &big->prints[f * PAGES_PER_FRAME];
    Place *places = &big->places[f * PAGES_PER_FRAME];
    uint64_t dice = test_random(seed) % 100;
    if (!parent || dice == 0) {
      FrameId id = made_up_id(name + f);
      for (uint32_t p = 0; p < PAGES_PER_FRAME; p++) {
        prints[p] = test_random(seed);
        places[p] = (Place){name + f, p * PAGE_SIZE};
      }
      assert_ok(pagemap_builder_frame(b, f, &id, PAGE_FRAME_SIZE, prints));
    } else if (dice < 60) {
      PagePlace given[2];
      for (uint64_t i = 0; i < 2; i++, pages++) {
        uint64_t p = 16 * i + test_random(seed) % 16;
        prints[p] = test_random(seed);
        given[i] = (PagePlace){
            .print = prints[p], .delta = pages / 64, .slot = (uint8_t)(pages % 64), .page_in_frame = (uint8_t)p};
        places[p] = (Place){name + (UINT64_C(1) << 39) + pages / 64, (uint32_t)(pages % 64) * PAGE_SIZE};
      }
      assert_ok(pagemap_builder_pages(b, f, given, 2));
    }
  }
  for (uint64_t d = 0; d * 64 < pages; d++) {
    FrameId id = made_up_id(name + (UINT64_C(1) << 39) + d);
    pagemap_builder_delta(b, d, &id, pages - d * 64 < 64 ? (uint32_t)(pages - d * 64) : 64);
  }
  assert_ok(pagemap_builder_finish(b, (uint64_t)BIG_PAGES * PAGE_SIZE, NULL, root));
  pagemap_builder_free(b);
  pagemap_live_free(live);
}

static void check_big(FramesMemory *frames, Big *big, const PageMap *map) {
  big->next_page = 0;
  assert_ok(pagemap_runs(frames_memory_source(frames), map, check_big_run, big));
  assert_true(big->next_page == BIG_PAGES);
  PageMapPrints *p = pagemap_prints_new(frames_memory_source(frames), map);
  for (uint64_t f = 0; f < BIG_FRAMES; f++) {
    FrameView view;
    bool found;
    assert_ok(pagemap_prints_get(p, f, &view, &found));
    assert_true(found && memcmp(view.prints, &big->prints[f * PAGES_PER_FRAME], sizeof view.prints) == 0);
  }
  pagemap_prints_free(p);
}

static void test_large(void **state) {
  (void)state;
  FramesMemory *frames = frames_memory_new();
  Big big = {.places = NEW_ARRAY(Place, BIG_PAGES), .prints = NEW_ARRAY(uint64_t, BIG_PAGES)};
  PageMap *map = NEW(PageMap);
  uint64_t seed = 4;
  size_t layers_max = 0;
  FrameId base = {0};
  for (uint64_t step = 0; step < BIG_STEPS; step++) {
    FrameId root;
    big_step(frames, &big, &seed, step, step ? map : NULL, &root);
    assert_ok(pagemap_load(frames_memory_source(frames), &root, map));
    if (map->layers_len > layers_max) layers_max = map->layers_len;
    if (step == 0) base = map->layers[0].frames.id;
    assert_true(frame_id_equal(&base, &map->layers[0].frames.id)); /* few frames were given whole since */
    if (step % 3 == 0 || step + 1 == BIG_STEPS) check_big(frames, &big, map);
  }
  assert_in_range(layers_max, PAGEMAP_LAYERS, BIG_STEPS - 1); /* some were folded */
  PageMapStats stats;
  assert_ok(pagemap_stats(frames_memory_source(frames), map, &stats));
  assert_true(stats.base_frames == BIG_FRAMES);
  free(map);
  free(big.places);
  free(big.prints);
  frames_memory_free(frames);
}

/* ---- what shows ---------------------------------------------------------------------------------------------------
 */

/* Pages one backup gives in one delta frame, `whole` frames before them. */
static void small_step(FramesMemory *frames, PageMap *map, bool first, uint64_t whole, const uint64_t *pages,
                       size_t len) {
  FrameSource *source = frames_memory_source(frames);
  PageMapLive *live = NULL;
  if (!first) assert_ok(pagemap_live_new(source, map, 100, &live));
  PageMapBuilder *b = pagemap_builder_new(frames_memory_sink(frames), source, first ? NULL : map, live);
  uint64_t prints[PAGES_PER_FRAME] = {0};
  FrameId root, id = made_up_id(7);
  for (uint64_t f = 0; f < whole; f++) assert_ok(pagemap_builder_frame(b, f, &id, PAGE_FRAME_SIZE, prints));
  for (size_t i = 0; i < len; i++) {
    PagePlace place = {.slot = (uint8_t)i, .page_in_frame = (uint8_t)(pages[i] % PAGES_PER_FRAME)};
    assert_ok(pagemap_builder_pages(b, pages[i] / PAGES_PER_FRAME, &place, 1));
  }
  if (len) pagemap_builder_delta(b, 0, &id, (uint32_t)len);
  assert_ok(pagemap_builder_finish(b, 256 * PAGE_FRAME_SIZE, NULL, &root));
  pagemap_builder_free(b);
  pagemap_live_free(live);
  assert_ok(pagemap_load(source, &root, map));
}

/* Bits of the pages that are sparse, in frames 0 to 63. */
static void sparse_of(FramesMemory *frames, const PageMap *map, uint64_t affordable, uint32_t out[64]) {
  PageMapLive *live;
  assert_ok(pagemap_live_new(frames_memory_source(frames), map, affordable, &live));
  PageMapPrints *p = pagemap_prints_new(frames_memory_source(frames), map);
  pagemap_prints_set_live(p, live);
  for (uint64_t f = 0; f < 64; f++) {
    FrameView view;
    bool found;
    assert_ok(pagemap_prints_get(p, f, &view, &found));
    assert_true(found);
    out[f] = view.sparse;
  }
  pagemap_prints_free(p);
  pagemap_live_free(live);
}

/* Delta frames of 64 pages each, of which 63 are given again by the next backup: one page of each goes on to show. */
static void test_sparse(void **state) {
  (void)state;
  enum { BACKUPS = 64 };
  FramesMemory *frames = frames_memory_new();
  PageMap *map = NEW(PageMap);
  small_step(frames, map, true, 256, NULL, 0);
  uint32_t sparse[64];
  for (uint64_t n = 0; n < BACKUPS; n++) {
    uint64_t pages[64] = {n * PAGES_PER_FRAME + 5};
    for (uint64_t i = 1; i < 64; i++) pages[i] = (80 + i) * PAGES_PER_FRAME;
    small_step(frames, map, false, 0, pages, 64);
    assert_true(map->layers_len <= PAGEMAP_LAYERS + 1); /* little shows, so folding is cheap */
  }
  sparse_of(frames, map, 1000, sparse); /* fetched in vain, but less than half of the file */
  for (uint64_t f = 0; f < 63; f++) assert_int_equal(sparse[f], 0);
  for (uint64_t n = 0; n < 3 * 16; n++) { /* now more than half as much as the file is fetched besides */
    uint64_t pages[64] = {0};
    for (uint64_t i = 0; i < 64; i++) pages[i] = (64 + n % 3 * 64 + i) * PAGES_PER_FRAME + n / 3 % 32;
    small_step(frames, map, false, 0, pages, 64);
  }
  sparse_of(frames, map, 1000, sparse);
  for (uint64_t f = 0; f < 63; f++) assert_int_equal(sparse[f], UINT32_C(1) << 5);
  sparse_of(frames, map, 0, sparse); /* nothing can be stored again */
  for (uint64_t f = 0; f < 63; f++) assert_int_equal(sparse[f], 0);
  free(map);
  frames_memory_free(frames);
}

/* ---- what it costs ------------------------------------------------------------------------------------------------
 */

static void test_metadata_cost(void **state) {
  (void)state;
  enum { FRAMES = 512, PAGES = FRAMES * PAGES_PER_FRAME }; /* 64 MiB */
  FramesMemory *frames = frames_memory_new();
  PageMap *map = NEW(PageMap);
  uint64_t seed = 8, prints[PAGES_PER_FRAME] = {0};
  FrameId root, id = made_up_id(7);
  PageMapBuilder *b = pagemap_builder_new(frames_memory_sink(frames), frames_memory_source(frames), NULL, NULL);
  for (uint64_t f = 0; f < FRAMES; f++) assert_ok(pagemap_builder_frame(b, f, &id, PAGE_FRAME_SIZE, prints));
  assert_ok(pagemap_builder_finish(b, (uint64_t)PAGES * PAGE_SIZE, NULL, &root));
  pagemap_builder_free(b);
  assert_ok(pagemap_load(frames_memory_source(frames), &root, map));
  frames_memory_reset_counts(frames);
  b = pagemap_builder_new(frames_memory_sink(frames), frames_memory_source(frames), map, NULL);
  uint64_t changed = 0;
  for (uint64_t f = 0; f < FRAMES; f++) {
    PagePlace which[PAGES_PER_FRAME];
    size_t n = 0;
    for (uint8_t p = 0; p < PAGES_PER_FRAME; p++) {
      if (test_random(&seed) % 100) continue;
      which[n++] = (PagePlace){
          .print = test_random(&seed), .delta = changed / 64, .slot = (uint8_t)(changed % 64), .page_in_frame = p};
      changed++;
    }
    assert_ok(pagemap_builder_pages(b, f, which, n));
  }
  for (uint64_t d = 0; d * 64 < changed; d++)
    pagemap_builder_delta(b, d, &id, changed - d * 64 < 64 ? (uint32_t)(changed - d * 64) : 64);
  assert_ok(pagemap_builder_finish(b, (uint64_t)PAGES * PAGE_SIZE, NULL, &root));
  pagemap_builder_free(b);
  uint64_t cost = frames_memory_counts(frames, FRAME_MAP).stored_bytes;
  assert_in_range(changed, 100, 250);
  assert_in_range(cost, 1, 12 * changed + 512);
  free(map);
  frames_memory_free(frames);
}

/* ---- contracts ----------------------------------------------------------------------------------------------------
 */

static void test_nothing_added(void **state) {
  (void)state;
  FramesMemory *frames = frames_memory_new();
  PageMap *map = NEW(PageMap);
  uint64_t prints[PAGES_PER_FRAME] = {1, 2, 3};
  FrameId root, again, id = made_up_id(7);
  PageMapBuilder *b = pagemap_builder_new(frames_memory_sink(frames), frames_memory_source(frames), NULL, NULL);
  assert_ok(pagemap_builder_frame(b, 0, &id, 9000, prints));
  assert_ok(pagemap_builder_finish(b, 9000, NULL, &root));
  pagemap_builder_free(b);
  assert_ok(pagemap_load(frames_memory_source(frames), &root, map));
  frames_memory_reset_counts(frames);
  b = pagemap_builder_new(frames_memory_sink(frames), frames_memory_source(frames), map, NULL);
  assert_ok(pagemap_builder_finish(b, 9000, &root, &again));
  assert_true(frame_id_equal(&root, &again));
  assert_int_equal(frames_memory_counts(frames, FRAME_MAP).stored, 0);
  pagemap_builder_free(b);
  /* Growing or cutting a short page without giving it anew is refused. */
  b = pagemap_builder_new(frames_memory_sink(frames), frames_memory_source(frames), map, NULL);
  assert_err(pagemap_builder_finish(b, 9001, &root, &again), ERR_INTERNAL);
  pagemap_builder_free(b);
  b = pagemap_builder_new(frames_memory_sink(frames), frames_memory_source(frames), map, NULL);
  assert_err(pagemap_builder_finish(b, 5000, &root, &again), ERR_INTERNAL);
  pagemap_builder_free(b);
  free(map);
  frames_memory_free(frames);
}

static void test_misuse(void **state) {
  (void)state;
  FramesMemory *frames = frames_memory_new();
  uint64_t prints[PAGES_PER_FRAME] = {0};
  PagePlace which[2] = {{.page_in_frame = 4}, {.page_in_frame = 3, .slot = 1}};
  FrameId root, id = made_up_id(7);
  PageMapBuilder *b = pagemap_builder_new(frames_memory_sink(frames), frames_memory_source(frames), NULL, NULL);
  assert_ok(pagemap_builder_frame(b, 5, &id, PAGE_FRAME_SIZE, prints));
  assert_err(pagemap_builder_frame(b, 5, &id, PAGE_FRAME_SIZE, prints), ERR_INTERNAL);
  assert_err(pagemap_builder_frame(b, 6, &id, PAGE_FRAME_SIZE + 1, prints), ERR_INTERNAL);
  assert_err(pagemap_builder_pages(b, 7, which, 2), ERR_INTERNAL);
  assert_ok(pagemap_builder_pages(b, 7, which, 1));
  assert_err(pagemap_builder_pages(b, 8, &(PagePlace){.slot = 2}, 1), ERR_INTERNAL);  /* slot 1 comes next */
  assert_err(pagemap_builder_pages(b, 9, &(PagePlace){.delta = 2}, 1), ERR_INTERNAL); /* and delta frame 1 */
  assert_ok(pagemap_builder_pages(b, 10, &(PagePlace){.delta = 1}, 1));
  assert_ok(pagemap_builder_pages(b, 11, &(PagePlace){.slot = 1}, 1)); /* both are open */
  pagemap_builder_delta(b, 1, &id, 1);
  assert_err(pagemap_builder_finish(b, 12 * PAGE_FRAME_SIZE, NULL, &root), ERR_INTERNAL); /* no id came for 0 */
  pagemap_builder_delta(b, 0, &id, 3);
  assert_err(pagemap_builder_finish(b, 12 * PAGE_FRAME_SIZE, NULL, &root), ERR_INTERNAL); /* it has 2 pages */
  pagemap_builder_free(b);
  frames_memory_free(frames);
}

static void test_decode_strict(void **state) {
  (void)state;
  PageMap *map = NEW(PageMap), *back = NEW(PageMap);
  map->size = 1000000;
  map->layers_len = 2;
  map->layers[1].floor = 5;
  map->layers[1].pages_len = 3;
  map->layers[1].pages = map->layers[1].page_prints = (SeqRoot){.count = 1, .id = {{4}}};
  Buf raw AUTO_BUF = {0};
  pagemap_encode(map, &raw);
  assert_ok(pagemap_decode(buf_bytes(&raw), back));
  assert_memory_equal(map, back, sizeof *map);
  for (size_t len = 0; len < raw.len; len++) assert_err(pagemap_decode(bytes(raw.data, len), back), ERR_CORRUPT);
  buf_put_u8(&raw, 0);
  assert_err(pagemap_decode(buf_bytes(&raw), back), ERR_CORRUPT);
  map->layers[1].pages_len = 0; /* a leaf without pages */
  buf_clear(&raw);
  pagemap_encode(map, &raw);
  assert_err(pagemap_decode(buf_bytes(&raw), back), ERR_CORRUPT);
  free(map);
  free(back);
}

/* ---- damage -------------------------------------------------------------------------------------------------------
 */

typedef struct Ids {
  FrameId *items;
  size_t len;
} Ids;

static Error *collect(void *ctx, FrameType type, const FrameId *id) {
  Ids *ids = (Ids *)ctx;
  if (type != FRAME_MAP) return NULL;
  ids->items = (FrameId *)mem_resize(ids->items, ids->len + 1, sizeof *id);
  ids->items[ids->len++] = *id;
  return NULL;
}

static Error *ignore_run(void *ctx, const PageRun *run) {
  *(uint64_t *)ctx += run->len;
  return NULL;
}

static Error *ignore_id(void *ctx, FrameType type, const FrameId *id) {
  (void)type;
  *(uint64_t *)ctx += id->b[0];
  return NULL;
}

static Error *read_all_prints(FramesMemory *frames, const PageMap *map) {
  PageMapPrints *p = pagemap_prints_new(frames_memory_source(frames), map);
  Error *err = NULL;
  bool found = true;
  for (uint64_t f = 0; !err && found; f++) {
    FrameView view;
    err = pagemap_prints_get(p, f, &view, &found);
  }
  pagemap_prints_free(p);
  return err;
}

/* Reads everything; bits that no parser can tell from others (ids, prints) may pass. */
static void read_damaged(FramesMemory *frames, const PageMap *map, uint64_t *refused) {
  FrameSource *source = frames_memory_source(frames);
  uint64_t sum = 0;
  PageMapStats stats;
  Error *errs[] = {pagemap_runs(source, map, ignore_run, &sum), read_all_prints(frames, map),
                   pagemap_visit(source, map, ignore_id, &sum), pagemap_stats(source, map, &stats)};
  for (size_t i = 0; i < NELEMS(errs); i++) {
    if (errs[i]) assert_true(err_is(errs[i], ERR_CORRUPT) || err_is(errs[i], ERR_LIMIT));
    *refused += errs[i] != NULL;
    err_free(errs[i]);
  }
}

static void test_damage(void **state) {
  (void)state;
  World *w = NEW(World);
  w->seed = 12;
  w->calm = true;
  w->frames = frames_memory_new();
  for (size_t i = 0; i < 6; i++) {
    evolve(w, i ? &w->states[i - 1] : NULL, &w->states[i]);
    backup(w, i ? &w->states[i - 1] : NULL, &w->states[i]);
  }
  PageMap *map = NEW(PageMap);
  FrameSource *source = frames_memory_source(w->frames);
  assert_ok(pagemap_load(source, &w->states[5].root, map));
  Ids ids = {0};
  assert_ok(pagemap_visit(source, map, collect, &ids));
  uint64_t refused = 0;
  for (size_t i = 0; i < ids.len; i++) {
    Buf raw AUTO_BUF = {0};
    assert_ok(source->get(source, FRAME_MAP, &ids.items[i], &raw));
    for (size_t k = 0; k < 24; k++) {
      size_t bit = k < 16 ? k : test_random(&w->seed) % (raw.len * 8);
      frames_memory_flip(w->frames, FRAME_MAP, &ids.items[i], bit % (raw.len * 8));
      read_damaged(w->frames, map, &refused);
      frames_memory_flip(w->frames, FRAME_MAP, &ids.items[i], bit % (raw.len * 8));
    }
  }
  assert_true(refused > ids.len * 16); /* kind and count of a leaf never pass */
  frames_memory_drop(w->frames, FRAME_MAP, &ids.items[0]);
  assert_err(pagemap_visit(source, map, collect, &ids), ERR_CORRUPT);
  free(ids.items);
  free(map);
  for (size_t i = 0; i < 6; i++) free(w->states[i].data);
  frames_memory_free(w->frames);
  free(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_histories),     cmocka_unit_test(test_large),         cmocka_unit_test(test_sparse),
      cmocka_unit_test(test_metadata_cost), cmocka_unit_test(test_nothing_added), cmocka_unit_test(test_misuse),
      cmocka_unit_test(test_decode_strict), cmocka_unit_test(test_damage),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
