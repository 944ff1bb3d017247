/* repo_tools.h: what the tests that try to break a repository share: stores that outlive a Repo, copies of stores,
 * histories of moments and their snapshots. */
#ifndef HF_TESTS_REPO_TOOLS_H
#define HF_TESTS_REPO_TOOLS_H

#include "base/str.h"

#include "repo_model.h"

/* A store that passes everything on to `inner` and does not free it. */
Store *tools_store_borrow(Store *inner);
/* A memory store with the same objects. */
Store *tools_store_copy(Sys *sys, Store *from);
/* Every key under a prefix, ascending. */
StrList tools_keys(Store *store, const char *prefix);
size_t tools_count(Store *store, const char *prefix);
uint64_t tools_bytes(Store *store, const char *prefix);
/* Owned bytes of an object; the test fails when it is not there. */
Buf tools_get(Store *store, const char *key);
/* Puts an object whatever is there. */
void tools_set(Store *store, const char *key, Bytes body);

void tools_add_random(Model *model, const char *path, bool pages, size_t len, uint64_t *seed);
/* A small model with every kind of content: slices, a frame list, a long frame sequence, a page map, nothing. */
Model tools_model(uint64_t *seed);
/* Changes a few pages of "db" and one small file. */
void tools_change(Model *model, uint64_t *seed);

Repo *tools_init(Sys *sys, Store *inner, const char *cache_dir); /* borrows the store */
Repo *tools_open(Sys *sys, Store *inner, const char *cache_dir);
void tools_backup(Repo *repo, const Model *model, Snapshot *out); /* out may be NULL */
/* Verify level 3 finds nothing. */
void tools_expect_clean(Repo *repo);
/* Every listed snapshot equals one of the moments: the first snapshot the first moment, and so on. The number of
 * snapshots listed. */
size_t tools_expect_moments(Repo *repo, const Model *moments, size_t len);

#endif
