/* sqlite_users.h: which other processes have a file open. Locks do not tell: an application between two transactions of
 * a rollback-journal database holds none, nor does one that has opened a database and not read yet. Both would go on
 * with the old file, and with the new one's log, after another was put in its place.
 */
#ifndef HF_ENGINE_SQLITE_USERS_H
#define HF_ENGINE_SQLITE_USERS_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

/* The first process besides this one that has the file open under this name (the last component of its path); 0: none
 * that this user may see. */
pid_t users_find(const struct stat *file, const char *name);

#endif
