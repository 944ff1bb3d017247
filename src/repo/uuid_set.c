#include "repo/uuid_set.h"

#include "base/mem.h"

void uuid_set_free(UuidSet *set) {
  free(set->items);
  *set = (UuidSet){0};
}

void uuid_set_add(UuidSet *set, const Uuid *id) {
  if (set->len == set->cap) {
    set->cap = set->cap ? set->cap * 2 : 64;
    set->items = (Uuid *)mem_resize(set->items, set->cap, sizeof *set->items);
  }
  set->items[set->len++] = *id;
}

static int uuid_order(const void *a, const void *b) { return memcmp(a, b, sizeof(Uuid)); }

void uuid_set_sort(UuidSet *set) {
  if (set->len) qsort(set->items, set->len, sizeof *set->items, uuid_order);
}

bool uuid_set_has(const UuidSet *set, const Uuid *id) {
  return set->len && bsearch(id, set->items, set->len, sizeof *set->items, uuid_order);
}
