/* entry_text.h: a tree's entries in words, as `ls`, `find` and `diff` show them. */
#ifndef HF_CLI_ENTRY_TEXT_H
#define HF_CLI_ENTRY_TEXT_H

#include "base/entry.h"

const char *entry_type_name(EntryType type); /* "file", "directory", … */
/* All owned. */
char *entry_mode_text(const Entry *entry);       /* "-rw-r--r--" */
char *entry_owner_text(Bytes name, uint32_t id); /* the name, else the number; printable */
char *entry_mtime_text(int64_t ns);              /* local time, also before 1970 */
char *entry_path_text(const Entry *entry);       /* printable, folders with '/', the root is "." */

#endif
