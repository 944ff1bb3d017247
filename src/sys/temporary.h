/* temporary.h: files on their way to a name: unfinished work beside its target, PREFIX0123456789abcdef.part.
 *
 * Each is locked (flock) while it is open for writing. So what a killed process left can be told from what a living one
 * still writes, and goes when the next one of the same prefix is made there.
 */
#ifndef HF_SYS_TEMPORARY_H
#define HF_SYS_TEMPORARY_H

#include "sys/sys.h"

#define TEMPORARY_PREFIX ".holdfast-"
#define TEMPORARY_SUFFIX ".part"
enum { TEMPORARY_DIGITS = 16, TEMPORARY_NAME_CAP = 40 /* with TEMPORARY_PREFIX */ };

/* Creates one in the directory, 0600, open for reading and writing. `out_name` has room for the prefix, the digits, the
 * suffix and a NUL. -1 with errno. */
int temporary_create(Sys *sys, int dir_fd, const char *prefix, char *out_name, size_t cap) NODISCARD;

/* Removes this user's of that prefix which no process has open for writing; returns how many. Best effort. */
size_t temporary_sweep(int dir_fd, const char *prefix);

#endif
