/* store_file.h: a store in a local directory. An object is a file: written under a temporary name in `tmp/`, fdatasync,
 * no-overwrite link(2), fsync of the directory (once per directory that is new, before its first object is confirmed).
 * Temporary files older than a day whose writer is gone are removed at the first put; a store that is only read is
 * never written to. remove is durable when it returns. Files 0600, directories 0700. Symbolic links and names that
 * cannot be keys are not ours: never followed, listed or removed. */
#ifndef HF_STORE_STORE_FILE_H
#define HF_STORE_STORE_FILE_H

#include "store/store.h"

Error *store_file_open(Sys *sys, const char *path, bool create, Store **out) NODISCARD;

#endif
