/* sqlite_copy.h: a private copy of a database's files in the scratch directory, for the two cases where reading it in
 * place will not do: writers that would be kept waiting, and a hot journal, which is rolled back on the copy.
 */
#ifndef HF_ENGINE_SQLITE_COPY_H
#define HF_ENGINE_SQLITE_COPY_H

#include "engine/sqlite/sqlite_dbfile.h"

typedef struct CopyOptions {
  Sys *sys;
  const char *dir; /* private, exists */
  bool recover;    /* copy the -journal and -wal too and let SQLite recover there */
} CopyOptions;

/* `file` holds at least the shared lock. The copy has no name any more when this returns: closing *out_fd frees it.
 * ERR_NO_SPACE before anything is written when the scratch directory's file system has no room. */
Error *copy_database(DbFile *file, const CopyOptions *options, int *out_fd, uint64_t *out_size,
                     Cancel *cancel) NODISCARD;

#endif
