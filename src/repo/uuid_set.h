/* uuid_set.h: a sorted array of 16-byte identifiers: packs that a plan condemns, packs that are damaged, data keys. */
#ifndef HF_REPO_UUID_SET_H
#define HF_REPO_UUID_SET_H

#include "repo/format.h"

typedef struct UuidSet {
  Uuid *items;
  size_t len, cap;
} UuidSet;

void uuid_set_free(UuidSet *set);
void uuid_set_add(UuidSet *set, const Uuid *id); /* look-ups need uuid_set_sort after the last */
void uuid_set_sort(UuidSet *set);
bool uuid_set_has(const UuidSet *set, const Uuid *id);

#endif
