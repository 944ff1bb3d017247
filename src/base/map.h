/* map.h: an open-addressing hash map from byte strings to pointers. Keys are copied. Not for the data plane. */
#ifndef HF_BASE_MAP_H
#define HF_BASE_MAP_H

#include "base/base.h"

typedef struct Map Map;

Map *map_new(void);
void map_free(Map *take); /* values are the caller's */
size_t map_count(const Map *map);
void *map_get(const Map *map, Bytes key); /* NULL when absent */
/* Sets key to value (not NULL); returns the value it replaced or NULL. */
void *map_set(Map *map, Bytes key, void *value);
void *map_remove(Map *map, Bytes key);
/* Iterates in no order: start with *pos = 0; false at the end. The map must not change meanwhile. */
bool map_next(const Map *map, size_t *pos, Bytes *key, void **value);

#endif
