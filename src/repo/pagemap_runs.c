#include "repo/pagemap_deltas.h"
#include "repo/pagemap_merge.h"

/* A hole is told in pieces of at most this. */
#define HOLE_MAX (UINT64_C(1) << 30)

typedef struct Runs {
  const PageMap *map;
  PageMerge *merge;
  DeltaTable *deltas;
  PageRunVisit *visit;
  void *ctx;
  PageRun pending; /* len 0: none */
  uint64_t done;   /* the file up to here has been told, pending included */
} Runs;

static Error *runs_flush(Runs *r) {
  if (r->pending.len == 0) return NULL;
  PageRun run = r->pending;
  r->pending.len = 0;
  return r->visit(r->ctx, &run);
}

static bool runs_joins(const Runs *r, const FrameId *id, uint32_t frame_offset, uint32_t len) {
  const PageRun *p = &r->pending;
  if (p->len == 0 || !frame_id_equal(&p->id, id)) return false;
  return frame_id_is_hole(id) ? p->len + (uint64_t)len <= HOLE_MAX : p->frame_offset + p->len == frame_offset;
}

/* The next len bytes of the file. */
static Error *runs_add(Runs *r, const FrameId *id, uint32_t frame_offset, uint32_t len) {
  if (len == 0) return NULL;
  if (runs_joins(r, id, frame_offset, len)) {
    r->pending.len += len;
  } else {
    TRY(runs_flush(r));
    r->pending = (PageRun){.file_offset = r->done, .len = len, .frame_offset = frame_offset, .id = *id};
  }
  r->done += len;
  return NULL;
}

static Error *runs_hole_to(Runs *r, uint64_t end) {
  static const FrameId hole;
  while (r->done < end) {
    uint64_t left = end - r->done;
    TRY(runs_add(r, &hole, 0, (uint32_t)(left < HOLE_MAX ? left : HOLE_MAX)));
  }
  return NULL;
}

/* Up to `want` bytes of the page from where it stands; what is not there are zeros. */
static Error *runs_page(Runs *r, const MergedFrame *m, uint32_t page, uint32_t want) {
  uint64_t end = r->done + want;
  uint32_t offset = page * PAGE_SIZE;
  if (m->pages_mask >> page & 1) {
    const MergedPage *p = &m->pages[page];
    FrameId id;
    TRY(delta_table_get(r->deltas, p->layer, p->delta, p->slot, &id));
    TRY(runs_add(r, &id, p->slot * PAGE_SIZE, p->len < want ? p->len : want));
  } else if (m->has_base && offset < m->base_len && !frame_id_is_hole(&m->base_id)) {
    uint32_t have = m->base_len - offset;
    TRY(runs_add(r, &m->base_id, offset, have < want ? have : want));
  }
  return runs_hole_to(r, end);
}

static Error *runs_frame(Runs *r, const MergedFrame *m) {
  TRY(runs_hole_to(r, m->frame * PAGE_FRAME_SIZE));
  for (uint32_t i = 0; i < PAGES_PER_FRAME && r->done < r->map->size; i++) {
    uint64_t left = r->map->size - r->done;
    TRY(runs_page(r, m, i, left < PAGE_SIZE ? (uint32_t)left : PAGE_SIZE));
  }
  return NULL;
}

static Error *runs_all(Runs *r) {
  MergedFrame merged;
  for (;;) {
    bool found;
    TRY(page_merge_next(r->merge, &merged, &found));
    if (!found) break;
    TRY(runs_frame(r, &merged));
  }
  TRY(runs_hole_to(r, r->map->size));
  return runs_flush(r);
}

Error *pagemap_runs(FrameSource *source, const PageMap *map, PageRunVisit *visit, void *ctx) {
  Runs r = {.map = map, .visit = visit, .ctx = ctx};
  r.merge = page_merge_new(source, map, 0, map->size, MERGE_IDS);
  r.deltas = delta_table_new(source, map);
  Error *err = runs_all(&r);
  page_merge_free(r.merge);
  delta_table_free(r.deltas);
  return err;
}
