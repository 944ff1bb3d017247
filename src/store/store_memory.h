/* store_memory.h: a store in memory, for tests: the model that other backends are compared with. */
#ifndef HF_STORE_STORE_MEMORY_H
#define HF_STORE_STORE_MEMORY_H

#include "store/store.h"

Store *store_memory_new(Sys *sys);
/* For tests that damage objects: the object's own bytes, or NULL. */
uint8_t *store_memory_bytes(Store *store, const char *key, size_t *out_len);
/* Cuts an object short. */
void store_memory_truncate(Store *store, const char *key, size_t len);

#endif
