/* sqlite_members.h: which databases a source's paths and globs name, and under which path each is kept in the tree.
 *
 * A path with `*`, `?` or `[` that exists as it is written is that file. A member's tree path is its path below the
 * longest directory of its pattern that has no wildcard (/srv/app.db is app.db, /srv/app/x.db of /srv/app/?.db is
 * x.db); if two members would collide, all keep their whole path.
 */
#ifndef HF_ENGINE_SQLITE_MEMBERS_H
#define HF_ENGINE_SQLITE_MEMBERS_H

#include "engine/engine.h"

typedef struct Member {
  char *path;      /* absolute */
  char *tree_path; /* within the snapshot */
  bool by_glob;    /* found, not named: what goes wrong with it does not stop the others */
} Member;

typedef struct Members {
  Member *items; /* in the order of the tree */
  size_t len;
  Member *others; /* what a glob found that is no database */
  size_t others_len;
} Members;

/* Every pattern must match something: ERR_NOT_FOUND names the one that does not. Files found by a glob that are no
 * databases are kept apart, without a notice (notices may be NULL). */
Error *members_find(const StrList *patterns, Notices *notices, Members *out, Cancel *cancel) NODISCARD;
void members_free(Members *members);
/* The directory of a pattern that has no wildcard: "/srv/app" of "/srv/app/?.db" and of "/srv/app/x.db". Owned. */
char *members_base_dir(const char *pattern);
bool members_has_wildcard(const char *pattern);

#endif
