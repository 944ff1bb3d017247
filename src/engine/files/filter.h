/* filter.h: what is left out of a files source: includes, excludes and the presets' own patterns.
 *
 * A pattern without '/' is matched against the last component; one that starts with '/' against the absolute path; any
 * other against the path in the tree. A pattern that ends in '/' matches directories only. Immutable once made, so
 * several threads may ask.
 */
#ifndef HF_ENGINE_FILES_FILTER_H
#define HF_ENGINE_FILES_FILTER_H

#include "base/entry.h"
#include "base/str.h"

typedef struct Filter Filter;

/* `preset` is NULL or one of filter_presets(). ERR_USAGE for an unknown preset or an empty pattern. */
Error *filter_new(const StrList *include, const StrList *exclude, const char *preset, Filter **out) NODISCARD;
void filter_free(Filter *take);

typedef struct FilterItem {
  Bytes path;     /* in the tree */
  Bytes absolute; /* on this machine, with its leading '/' */
  EntryType type;
} FilterItem;

/* Left out, with everything below it. */
bool filter_excludes(const Filter *filter, const FilterItem *item);
/* True when there are include patterns at all. */
bool filter_is_selective(const Filter *filter);
/* An include pattern matches the item itself (not: something above it). */
bool filter_includes(const Filter *filter, const FilterItem *item);
/* Directories tagged as caches (CACHEDIR.TAG) keep only their tag. */
bool filter_skips_tagged_caches(const Filter *filter);
/* The logs preset: what only grows is complete up to the size it had. */
bool filter_is_logs(const Filter *filter);

/* One pattern list against one tree path, for `RestorePlan.only`. */
bool patterns_match(const StrList *patterns, const FilterItem *item);

/* Names, NULL-terminated. */
const char *const *filter_presets(void);

#endif
