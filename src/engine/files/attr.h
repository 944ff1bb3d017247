/* attr.h: what the file system says of one file, as an Entry, and an Entry's attributes put back onto a file.
 *
 * An Attrs collects the extended attributes and owner names of one entry after another, reusing its memory: one a
 * thread.
 */
#ifndef HF_ENGINE_FILES_ATTR_H
#define HF_ENGINE_FILES_ATTR_H

#include <sys/stat.h>

#include "base/entry.h"
#include "engine/files/dircache.h"

typedef struct Attrs Attrs;

Attrs *attrs_new(void);
void attrs_free(Attrs *take);

/* The entry type of a mode; false for none of them. */
bool attr_type(mode_t mode, EntryType *out);
int64_t attr_time(struct timespec at);

/* Everything stat tells, without xattrs. Owner names are borrowed from `attrs`, valid as long as it lives. The device
 * is left raw. */
Entry attr_entry(Attrs *attrs, Bytes path, const struct stat *st);

/* Adds the extended attributes to `entry`, borrowed from `attrs` until its next use. `fd` must not be O_PATH. 0 or an
 * errno; file systems without any are success. E2BIG: more than the format's limits. */
int attr_read_xattrs_fd(Attrs *attrs, int fd, Entry *entry);
/* The same for `name` in `dir` (NULL: for `dir` itself), not following a link. */
int attr_read_xattrs_at(Attrs *attrs, const DirRef *dir, const char *name, Entry *entry);
/* A link's text, borrowed from `attrs` until its next use; call after the xattrs. 0 or an errno. */
int attr_read_link(Attrs *attrs, const DirRef *dir, const char *name, Entry *entry);
/* Appends one attribute of our own to those of `entry`; its bytes are borrowed. */
void attr_add_xattr(Attrs *attrs, Entry *entry, Xattr xattr);

/* ---- putting them back ---- */

typedef struct AttrPlace {
  int fd;           /* an open descriptor (not O_PATH) of the file or directory itself, or -1: */
  int dir_fd;       /* the directory that holds it, */
  const char *name; /* and its name there */
  bool used;        /* it may have attributes already, its own from before or inherited: what the entry lacks goes */
} AttrPlace;

/* What could not be set: a bit each. */
typedef enum AttrFailure {
  ATTR_OWNER = 1,
  ATTR_MODE = 2,
  ATTR_XATTR = 4,
  ATTR_TIMES = 8,
} AttrFailure;

/* The ACL that a directory gives to what is made in it. */
bool attr_has_default_acl(int fd);

/* Sets owner (when asked), mode, xattrs and modification time, in the order in which they do not undo each other.
 * Set-user-ID and set-group-ID bits are kept only when the owner was restored. Goes on after a failure; returns the
 * bits of what failed, and the last errno. */
unsigned attr_apply(const AttrPlace *place, const Entry *entry, bool owners, int *out_errno);
/* "owner, extended attributes": owned. */
char *attr_failure_text(unsigned failures);

/* Attributes of ours are kept in entries under names no file system has. */
#define ATTR_OWN_PREFIX "holdfast."

#endif
