#include "base/mem.h"
#include "repo/pagemap_live.h"
#include "repo/pagemap_merge.h"

struct PageMapPrints {
  const PageMap *map;
  PageMerge *merge;
  const PageMapLive *live; /* may be NULL */
  MergedFrame merged;
  uint64_t zero[PAGES_PER_FRAME];
};

PageMapPrints *pagemap_prints_new(FrameSource *source, const PageMap *map) {
  PageMapPrints *p = NEW(PageMapPrints);
  p->map = map;
  p->merge = page_merge_new(source, map, 0, map->size, MERGE_PRINTS);
  return p;
}

void pagemap_prints_free(PageMapPrints *take) {
  if (!take) return;
  page_merge_free(take->merge);
  free(take);
}

void pagemap_prints_set_zero(PageMapPrints *p, const uint64_t zero_prints[PAGES_PER_FRAME]) {
  memcpy(p->zero, zero_prints, sizeof p->zero);
}

void pagemap_prints_set_live(PageMapPrints *p, const PageMapLive *live) { p->live = live; }

static uint64_t print_of_page(const PageMapPrints *p, uint32_t page, uint32_t page_len) {
  const MergedFrame *m = &p->merged;
  if (m->pages_mask >> page & 1) return m->pages[page].print;
  if (m->has_base && page < m->base_prints.pages) return m->base_prints.prints[page];
  /* The print of a shorter page of zeros is not known: one that equals no page has it written. */
  return page_len == PAGE_SIZE ? p->zero[page] : ~p->zero[page];
}

/* Pages of the frame that stand in sparse frames. */
static uint32_t sparse_pages(const PageMapPrints *p) {
  const MergedFrame *m = &p->merged;
  uint32_t sparse = 0, pages = m->has_base ? m->base_prints.pages : 0;
  for (uint32_t i = 0; i < PAGES_PER_FRAME; i++)
    if (m->pages_mask >> i & 1 && pagemap_live_sparse_delta(p->live, m->pages[i].layer, m->pages[i].delta))
      sparse |= UINT32_C(1) << i;
  uint32_t all = pages < PAGES_PER_FRAME ? (UINT32_C(1) << pages) - 1 : UINT32_MAX;
  uint32_t base = all & ~m->pages_mask;
  if (base && pagemap_live_sparse_base(p->live, (uint32_t)__builtin_popcount(base))) sparse |= base;
  return sparse;
}

Error *pagemap_prints_get(PageMapPrints *p, uint64_t frame, FrameView *out, bool *found) {
  *found = frame < FRAMES_MAX && frame * PAGE_FRAME_SIZE < p->map->size;
  if (!*found) return NULL;
  Error *err = page_merge_get(p->merge, frame, &p->merged);
  if (err) return err_wrap(err, "reading the prints of frame %llu", (unsigned long long)frame);
  uint64_t left = p->map->size - frame * PAGE_FRAME_SIZE;
  out->len = left < PAGE_FRAME_SIZE ? (uint32_t)left : PAGE_FRAME_SIZE;
  out->pages = (out->len + PAGE_SIZE - 1) / PAGE_SIZE;
  out->sparse = p->live ? sparse_pages(p) : 0;
  memset(out->prints, 0, sizeof out->prints);
  for (uint32_t i = 0; i < out->pages; i++) {
    uint32_t page_len = out->len - i * PAGE_SIZE < PAGE_SIZE ? out->len - i * PAGE_SIZE : PAGE_SIZE;
    out->prints[i] = print_of_page(p, i, page_len);
  }
  return NULL;
}
