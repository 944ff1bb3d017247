#include "repo/index_small.h"

#include "base/mem.h"

void small_index_free(SmallIndex *small) {
  free(small->entries);
  *small = (SmallIndex){0};
}

void small_index_add(SmallIndex *small, const Segment *view, uint32_t segment) {
  if (small->len + view->frames > small->cap) {
    small->cap = (small->len + view->frames) * 2;
    small->entries = (SmallEntry *)mem_resize(small->entries, small->cap, sizeof *small->entries);
  }
  for (uint32_t i = 0; i < view->frames; i++)
    small->entries[small->len++] =
        (SmallEntry){.prefix = __builtin_bswap64(segment_prefix(view, i)), .segment = segment, .entry = i};
}

static int entry_order(const void *a, const void *b) {
  const SmallEntry *x = (const SmallEntry *)a, *y = (const SmallEntry *)b;
  if (x->prefix != y->prefix) return x->prefix < y->prefix ? -1 : 1;
  return (x->segment > y->segment) - (x->segment < y->segment);
}

void small_index_sort(SmallIndex *small) {
  if (small->len) qsort(small->entries, small->len, sizeof *small->entries, entry_order);
}

size_t small_index_first(const SmallIndex *small, const FrameId *id) {
  uint64_t wanted = small_prefix(id);
  size_t low = 0, high = small->len;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    if (small->entries[mid].prefix < wanted)
      low = mid + 1;
    else
      high = mid;
  }
  return low < small->len && small->entries[low].prefix == wanted ? low : small->len;
}
