#include "repo/pagemap_live.h"

#include "base/mem.h"
#include "repo/pagemap_deltas.h"
#include "repo/pagemap_merge.h"

/* A whole frame in a folded layer has an id and 32 prints: as much as 24 pages, which have a print, their number and
 * their place each. */
enum { FRAME_WEIGHT = 24 };

/* Frames are told apart by how many 64ths of them show. */
enum { SHARES = DELTA_PAGES_MAX, SPARSE_MAX = SHARES / 2 };

struct PageMapLive {
  DeltaUse *use; /* NULL: there was no pass */
  uint64_t pages[LAYERS_MAX];
  uint32_t sparse; /* frames of which at most so many 64ths show; 0: none */
};

/* What frames of one share make a restore fetch, in pages. */
typedef struct ShareSum {
  uint64_t stored, live;
} ShareSum;

typedef struct Tally {
  ShareSum shares[SHARES + 1];
  uint64_t fetched;
} Tally;

static uint32_t share_of(uint32_t live, uint32_t stored) { return (live * SHARES + stored - 1) / stored; }

static void tally_add(Tally *t, uint32_t live, uint32_t stored) {
  ShareSum *sum = &t->shares[share_of(live, stored)];
  sum->stored += stored;
  sum->live += live;
}

static Error *live_count(PageMapLive *l, const MergedFrame *m, Tally *tally) {
  for (uint32_t i = 0; i < PAGES_PER_FRAME; i++) {
    const MergedPage *p = &m->pages[i];
    if (!(m->pages_mask >> i & 1)) continue;
    l->pages[p->layer]++;
    TRY(delta_use_mark(l->use, p->layer, p->delta, p->slot));
  }
  uint32_t base = PAGES_PER_FRAME - (uint32_t)__builtin_popcount(m->pages_mask);
  if (base)
    tally_add(tally, base, PAGES_PER_FRAME);
  else
    tally->fetched -= PAGES_PER_FRAME;
  return NULL;
}

/* Pages that the first layer has no whole frame under are taken to have one. */
static Error *live_pass(PageMapLive *l, FrameSource *source, const PageMap *map, Tally *tally) {
  PageMerge *merge = page_merge_new(source, map, 0, map->size, MERGE_PAGES);
  MergedFrame frame;
  bool found = true;
  Error *err = NULL;
  while (!err) {
    err = page_merge_next(merge, &frame, &found);
    if (err || !found) break;
    err = live_count(l, &frame, tally);
  }
  page_merge_free(merge);
  return err;
}

static void tally_deltas(const PageMapLive *l, const PageMap *map, Tally *tally) {
  for (size_t i = 0; i < map->layers_len; i++)
    for (size_t d = 0; d < delta_use_len(l->use, i); d++) {
      uint32_t live = delta_use_marks(l->use, i, (uint32_t)d), stored = delta_use_pages(l->use, i, (uint32_t)d);
      if (!live) continue;
      tally_add(tally, live, stored);
      tally->fetched += stored;
    }
}

/* The fewest frames, beginning with those of which least shows. */
static uint32_t choose_sparse(const Tally *t, uint64_t goal, uint64_t affordable) {
  uint64_t fetched = t->fetched, stored_again = 0;
  uint32_t share = 0;
  while (share < SPARSE_MAX && fetched > goal && stored_again < affordable) {
    const ShareSum *sum = &t->shares[++share];
    fetched -= sum->stored - sum->live;
    stored_again += sum->live;
  }
  return share;
}

static uint64_t file_pages(const PageMap *map) {
  return (map->size / PAGE_FRAME_SIZE + (map->size % PAGE_FRAME_SIZE != 0)) * PAGES_PER_FRAME;
}

static Error *live_fill(PageMapLive *l, FrameSource *source, const PageMap *map, uint64_t affordable) {
  TRY(delta_use_new(source, map, 0, &l->use));
  Tally *tally AUTO_FREE = NEW(Tally);
  tally->fetched = file_pages(map);
  TRY(live_pass(l, source, map, tally));
  tally_deltas(l, map, tally);
  l->sparse = choose_sparse(tally, file_pages(map) * PAGEMAP_FETCHED_GOAL / 100, affordable);
  return NULL;
}

/* Whether there is anything to fold, or so many delta frames that the goal may be missed. */
static bool live_wanted(const PageMap *map) {
  uint64_t deltas = 0; /* no more than 64 * 2^32 */
  for (size_t i = 0; i < map->layers_len; i++) deltas += map->layers[i].deltas_len;
  return map->layers_len >= PAGEMAP_LAYERS ||
         deltas * DELTA_PAGES_MAX > file_pages(map) * (PAGEMAP_FETCHED_GOAL - 100) / 100;
}

Error *pagemap_live_new(FrameSource *source, const PageMap *map, uint64_t affordable, PageMapLive **out) {
  PageMapLive *l = NEW(PageMapLive);
  Error *err = live_wanted(map) ? live_fill(l, source, map, affordable) : NULL;
  if (err)
    pagemap_live_free(l);
  else
    *out = l;
  return err_wrap(err, "reading what of a page map shows");
}

void pagemap_live_free(PageMapLive *take) {
  if (!take) return;
  delta_use_free(take->use);
  free(take);
}

uint64_t pagemap_live_weight(const PageMapLive *l, const PageMap *map, size_t layer) {
  uint64_t pages = l && l->use ? l->pages[layer] : map->layers[layer].pages_len;
  return pages + map->layers[layer].frames_len * FRAME_WEIGHT;
}

bool pagemap_live_sparse_delta(const PageMapLive *l, size_t layer, uint32_t delta) {
  if (!l || !l->sparse || delta >= delta_use_len(l->use, layer)) return false;
  uint32_t live = delta_use_marks(l->use, layer, delta);
  return share_of(live, delta_use_pages(l->use, layer, delta)) <= l->sparse;
}

bool pagemap_live_sparse_base(const PageMapLive *l, uint32_t pages_live) {
  return l && share_of(pages_live, PAGES_PER_FRAME) <= l->sparse;
}
