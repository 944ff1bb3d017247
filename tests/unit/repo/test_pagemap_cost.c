/* What a long chain of incrementals of a page file costs: everything a backup adds to the store, against the changed
 * pages gathered and compressed alone, and what a restore has to fetch, against the file. Prints a line for each
 * pattern.
 *
 * By hand, with longer chains and a line for each backup: test_pagemap_cost STEPS MIB [PATTERN]
 */
#include <stdlib.h>

#include "base/mem.h"
#include "codec/compress.h"
#include "repo/frames.h"
#include "repo/index.h"
#include "repo/pagemap.h"
#include "repo/tree.h"
#include "store/store_memory.h"
#include "sys/sys.h"

#include "repo_model.h"
#include "testing.h"

enum { CHAIN_STEPS = 40, FILE_MIB = 16, GATHER = DELTA_PAGES_MAX * PAGE_SIZE };

typedef struct Chain {
  size_t pages, grown;   /* of the file now, and those that `appended` adds at a time */
  uint8_t *data, *dirty; /* room for twice as many pages */
  uint64_t seed;
  Compressor *compressor;
  uint8_t *gathered, *packed;
} Chain;

typedef struct Pattern {
  const char *name;
  void (*change)(Chain *c, size_t step);
} Pattern;

typedef struct Costs {
  double ratio, fetched; /* stored against the ideal; raw bytes of the frames of a restore against the file's size */
  size_t layers;
} Costs;

/* ---- patterns -----------------------------------------------------------------------------------------------------
 */

static void touch(Chain *c, size_t page) {
  model_fill(c->data + page * PAGE_SIZE, PAGE_SIZE, &c->seed);
  c->dirty[page] = 1;
}

/* n different pages of [from, from + len). */
static void touch_some(Chain *c, size_t n, size_t from, size_t len) {
  for (size_t done = 0; done < n;) {
    size_t page = from + test_random(&c->seed) % len;
    if (c->dirty[page]) continue;
    touch(c, page);
    done++;
  }
}

static void uniform(Chain *c, size_t step UNUSED) { touch_some(c, c->pages / 100, 0, c->pages); }

/* Soon most of the file stands in delta frames, and they are superseded as fast. */
static void heavy(Chain *c, size_t step UNUSED) { touch_some(c, c->pages / 20, 0, c->pages); }

static void hot_region(Chain *c, size_t step UNUSED) { touch_some(c, c->pages / 100, c->pages / 3, c->pages / 50); }

/* The same scattered 2 %, of which half changes. */
static void hot_scattered(Chain *c, size_t step UNUSED) {
  for (size_t done = 0; done < c->pages / 100;) {
    size_t page = test_random(&c->seed) % (c->pages / 50) * 50 + 7;
    if (c->dirty[page]) continue;
    touch(c, page);
    done++;
  }
}

/* Grows by a hundredth; the header and some pages near the end change as well. */
static void appended(Chain *c, size_t step UNUSED) {
  touch(c, 0);
  touch_some(c, c->grown / 4, c->pages - c->pages / 20, c->pages / 20);
  for (size_t i = 0; i < c->grown; i++) touch(c, c->pages++);
}

/* Now one region, now another. */
static void alternating(Chain *c, size_t step) {
  touch_some(c, c->pages / 100, step % 2 ? c->pages / 2 : 0, c->pages / 60);
}

/* Nine of ten changes in a hot hundredth, the others anywhere. */
static void skewed(Chain *c, size_t step UNUSED) {
  size_t n = c->pages / 100;
  touch_some(c, n * 9 / 10, c->pages / 4, n);
  touch_some(c, n / 10, 0, c->pages);
}

/* Delta frames of hot pages, with a few pages each that hardly ever change again. */
static void clinging(Chain *c, size_t step UNUSED) {
  touch_some(c, 2, 0, c->pages / 2);
  touch_some(c, c->pages / 100, c->pages - c->pages / 90, c->pages / 90);
}

static const Pattern patterns[] = {{"uniform", uniform},         {"heavy", heavy},       {"hot region", hot_region},
                                   {"hot pages", hot_scattered}, {"appended", appended}, {"alternating", alternating},
                                   {"skewed", skewed},           {"clinging", clinging}};

/* ---- the ideal ----------------------------------------------------------------------------------------------------
 */

static uint64_t packed_len(Chain *c, size_t len) {
  Codec codec;
  return compressor_run(c->compressor, c->gathered, len, c->packed, compressor_bound(GATHER), &codec);
}

/* The changed pages in pieces of 256 KiB, compressed. */
static uint64_t ideal_bytes(Chain *c) {
  uint64_t total = 0;
  size_t len = 0;
  for (size_t page = 0; page < c->pages; page++) {
    if (!c->dirty[page]) continue;
    memcpy(c->gathered + len, c->data + page * PAGE_SIZE, PAGE_SIZE);
    len += PAGE_SIZE;
    if (len < GATHER) continue;
    total += packed_len(c, len);
    len = 0;
  }
  if (len) total += packed_len(c, len);
  memset(c->dirty, 0, c->pages);
  return total;
}

/* ---- what is stored, what a restore fetches -----------------------------------------------------------------------
 */

static Error *add_size(void *ctx, const char *key UNUSED, const StoreStat *stat) {
  *(uint64_t *)ctx += stat->size_bytes;
  return NULL;
}

static uint64_t store_bytes(Repo *repo) {
  uint64_t total = 0;
  assert_ok(store_list(repo->store, "", add_size, &total, NULL));
  return total;
}

typedef struct Ids {
  FrameId *items;
  size_t len, cap;
} Ids;

static Error *collect(void *ctx, const PageRun *run) {
  Ids *ids = (Ids *)ctx;
  if (frame_id_is_hole(&run->id)) return NULL;
  if (ids->len == ids->cap) {
    ids->cap = ids->cap ? ids->cap * 2 : 1024;
    ids->items = (FrameId *)mem_resize(ids->items, ids->cap, sizeof ids->items[0]);
  }
  ids->items[ids->len++] = run->id;
  return NULL;
}

static int id_order(const void *a, const void *b) { return memcmp(a, b, sizeof(FrameId)); }

/* Raw bytes of all frames of which something shows. */
static uint64_t fetched_bytes(Index *index, Ids *ids) {
  uint64_t total = 0;
  qsort(ids->items, ids->len, sizeof ids->items[0], id_order);
  for (size_t i = 0; i < ids->len; i++) {
    FrameLoc loc;
    if (i > 0 && frame_id_equal(&ids->items[i], &ids->items[i - 1])) continue;
    assert_true(index_find(index, FRAME_DATA, &ids->items[i], &loc));
    total += loc.raw;
  }
  return total;
}

static void measure_restore(Repo *repo, const Snapshot *snapshot, Costs *out) {
  Index *index;
  assert_ok(index_open_reading(repo, &index, NULL));
  FrameReader *reader = frame_reader_new(repo, index, NULL);
  FrameSource *source = frame_reader_source(reader);
  TreeCursor *cursor = tree_cursor_new(source, &snapshot->root);
  TreeEntry entry;
  bool found;
  assert_ok(tree_cursor_find(cursor, bytes_str("db"), &entry, &found));
  assert_true(found && entry.content.kind == CONTENT_PAGES);
  PageMap *map = NEW(PageMap);
  Ids ids = {0};
  assert_ok(pagemap_load(source, &entry.content.pages, map));
  assert_ok(pagemap_runs(source, map, collect, &ids));
  out->fetched = (double)fetched_bytes(index, &ids) / (double)map->size;
  out->layers = map->layers_len;
  free(ids.items);
  free(map);
  tree_cursor_free(cursor);
  frame_reader_free(reader);
  index_free(index);
}

/* ---- a chain ------------------------------------------------------------------------------------------------------
 */

typedef struct Summary {
  double worst, sum, worst_fetched;
  size_t worst_step, layers;
} Summary;

static void step_run(Chain *c, Repo *repo, bool compare, Costs *out) {
  Model model = {0};
  ModelBackup how = {.source = "m", .pack_size = 16 * MIB};
  Snapshot snapshot;
  uint64_t ideal = ideal_bytes(c), before = store_bytes(repo);
  model_set(&model, "db", true, c->data, c->pages * PAGE_SIZE);
  assert_ok(model_backup(repo, &model, &how, &snapshot, NULL));
  out->ratio = ideal ? (double)(store_bytes(repo) - before) / (double)ideal : 0;
  measure_restore(repo, &snapshot, out);
  if (compare) assert_ok(model_compare(repo, &snapshot, &model, NULL));
  snapshot_free(&snapshot);
  model_free(&model);
}

static void summary_add(Summary *s, const Costs *costs, size_t step) {
  s->sum += costs->ratio;
  if (costs->ratio > s->worst) {
    s->worst = costs->ratio;
    s->worst_step = step;
  }
  if (costs->fetched > s->worst_fetched) s->worst_fetched = costs->fetched;
  if (costs->layers > s->layers) s->layers = costs->layers;
}

static Summary chain_run(const Pattern *pattern, size_t steps, size_t mib, bool each) {
  Chain c = {.pages = mib * MIB / PAGE_SIZE, .seed = 5, .gathered = (uint8_t *)mem_alloc(GATHER)};
  c.grown = c.pages / 100;
  Compression fast;
  assert_ok(compression_parse("zstd:1", &fast));
  c.compressor = compressor_new(fast);
  c.packed = (uint8_t *)mem_alloc(compressor_bound(GATHER));
  c.data = (uint8_t *)mem_alloc(c.pages * (1 + (steps + 99) / 100) * PAGE_SIZE);
  c.dirty = (uint8_t *)mem_alloc(c.pages * (1 + (steps + 99) / 100));
  memset(c.dirty, 0, c.pages * (1 + (steps + 99) / 100));
  model_fill(c.data, c.pages * PAGE_SIZE, &c.seed);
  Repo *repo;
  assert_ok(model_repo_init(sys_real(), store_memory_new(sys_real()), NULL, &repo));
  Summary s = {0};
  for (size_t step = 0; step <= steps; step++) {
    Costs costs;
    if (step) pattern->change(&c, step);
    step_run(&c, repo, step == steps, &costs);
    if (!step) continue;
    summary_add(&s, &costs, step);
    if (each)
      print_message("%-12s %4zu  stored %.3f  fetched %.3f  layers %zu\n", pattern->name, step, costs.ratio,
                    costs.fetched, costs.layers);
  }
  print_message("%-12s mean %.3f  worst %.3f (%zu)  fetched %.3f  layers %zu\n", pattern->name, s.sum / (double)steps,
                s.worst, s.worst_step, s.worst_fetched, s.layers);
  repo_free(repo);
  compressor_free(c.compressor);
  free(c.gathered);
  free(c.packed);
  free(c.data);
  free(c.dirty);
  return s;
}

static void test_chains(void **state UNUSED) {
  for (size_t i = 0; i < NELEMS(patterns); i++) {
    Summary s = chain_run(&patterns[i], CHAIN_STEPS, FILE_MIB, false);
    assert_true(s.worst <= 1.15);
    assert_true(s.worst_fetched <= 3);
    assert_true(s.layers <= PAGEMAP_LAYERS_MOST);
  }
}

int main(int argc, char **argv) {
  if (argc > 2) {
    for (size_t i = 0; i < NELEMS(patterns); i++)
      if (argc == 3 || strcmp(argv[3], patterns[i].name) == 0)
        chain_run(&patterns[i], strtoul(argv[1], NULL, 10), strtoul(argv[2], NULL, 10), argc > 3);
    return 0;
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_chains)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
