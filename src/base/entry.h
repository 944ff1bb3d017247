/* entry.h: one node of a snapshot's tree, as engines describe it and the repository keeps it. */
#ifndef HF_BASE_ENTRY_H
#define HF_BASE_ENTRY_H

#include "base/base.h"

typedef enum EntryType { /* on-disk values */
                         ENTRY_FILE = 1,
                         ENTRY_DIR = 2,
                         ENTRY_SYMLINK = 3,  /* target: the link's text */
                         ENTRY_HARDLINK = 4, /* target: the path, in this tree, of the entry that holds the content */
                         ENTRY_FIFO = 5,
                         ENTRY_SOCKET = 6,
                         ENTRY_CHAR = 7,  /* rdev */
                         ENTRY_BLOCK = 8, /* rdev */
} EntryType;

typedef struct Xattr {
  Bytes name;
  Bytes value;
} Xattr;

enum {
  ENTRY_PATH_MAX = 1 << 20,  /* bytes in a whole path */
  ENTRY_NAME_MAX = 4096,     /* bytes in one component */
  ENTRY_XATTR_MAX = 1 << 20, /* bytes of all xattrs of one entry */
  ENTRY_XATTRS_MAX = 4096,
};

/* A value with borrowed bytes. Paths are relative, components separated by '/', any bytes but '/' and NUL, no component
 * empty, "." or ".."; the tree's root is the empty path. */
typedef struct Entry {
  Bytes path;
  EntryType type;
  uint32_t mode; /* permission bits with setuid, setgid, sticky (07777) */
  uint32_t uid, gid;
  Bytes user, group; /* names at backup time; may be empty */
  int64_t mtime_ns;  /* since 1970, may be negative */
  int64_t ctime_ns;
  uint64_t inode;
  uint64_t device; /* identifies the file system within the host */
  uint64_t size;   /* ENTRY_FILE: bytes of content */
  uint64_t rdev;
  Bytes target;
  const Xattr *xattrs; /* sorted by name; ACLs are the system.posix_acl_* attributes */
  size_t xattrs_len;
} Entry;

/* True when the path keeps the rules above (a hostile repository's must be checked before use). */
bool entry_path_valid(Bytes path);
/* The tree's order: component by component, so that a directory is followed directly by all that is in it. */
int entry_path_compare(Bytes a, Bytes b);
/* True when path is dir itself or below it; the empty dir holds everything. */
bool entry_path_within(Bytes path, Bytes dir);

/* An entry that owns its bytes. */
Entry *entry_copy(const Entry *entry);
void entry_free(Entry *take);

#endif
