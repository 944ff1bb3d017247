/* store_conformance.h: the contract of store.h as a test that every backend must pass. */
#ifndef HF_TESTS_STORE_CONFORMANCE_H
#define HF_TESTS_STORE_CONFORMANCE_H

#include "store/store.h"

/* `fresh` makes an empty store on sys_real(), owned by the suite; it is called once per part of the contract. Called
 * from within a cmocka test, which it fails. */
void store_conformance(Store *(*fresh)(void *ctx), void *ctx);

/* For the stores' own tests. */
void store_expect(Store *store, const char *key, Bytes body); /* the object is there and is exactly this */
size_t store_count(Store *store, const char *prefix);         /* keys listed, which must ascend */
/* len reproducible bytes; free with free(). */
uint8_t *store_sample(uint64_t seed, size_t len);

#endif
