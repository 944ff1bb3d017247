#include "engine/files/attr.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/xattr.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"

#define ACL_PREFIX "system.posix_acl_"

enum {
  OWNER_BUF = 16384,     /* getpwuid_r's scratch */
  LIST_FIRST = 1024,     /* names of most files' attributes fit */
  PROC_PATH = 32 + 4096, /* "/proc/self/fd/N/NAME" */
  NS = 1000000000,
};

struct Attrs {
  Buf names; /* as listed */
  Buf values;
  Buf link;
  Xattr *xattrs;
  size_t xattrs_cap;
  Map *users; /* uid bytes -> owned name, "" for none */
  Map *groups;
};

Attrs *attrs_new(void) {
  Attrs *attrs = NEW(Attrs);
  attrs->users = map_new();
  attrs->groups = map_new();
  return attrs;
}

static void free_names(Map *map) {
  size_t pos = 0;
  Bytes key;
  void *value;
  while (map_next(map, &pos, &key, &value)) free(value);
  map_free(map);
}

void attrs_free(Attrs *take) {
  if (!take) return;
  buf_free(&take->names);
  buf_free(&take->values);
  buf_free(&take->link);
  free(take->xattrs);
  free_names(take->users);
  free_names(take->groups);
  free(take);
}

bool attr_type(mode_t mode, EntryType *out) {
  switch (mode & S_IFMT) {
    case S_IFREG: *out = ENTRY_FILE; return true;
    case S_IFDIR: *out = ENTRY_DIR; return true;
    case S_IFLNK: *out = ENTRY_SYMLINK; return true;
    case S_IFIFO: *out = ENTRY_FIFO; return true;
    case S_IFSOCK: *out = ENTRY_SOCKET; return true;
    case S_IFCHR: *out = ENTRY_CHAR; return true;
    case S_IFBLK: *out = ENTRY_BLOCK; return true;
    default: return false;
  }
}

/* Seconds beyond the years 1678 to 2262 do not fit in nanoseconds; they are clamped. */
int64_t attr_time(struct timespec at) {
  int64_t ns;
  if (MUL_OVERFLOWS((int64_t)at.tv_sec, (int64_t)NS, &ns)) return at.tv_sec < 0 ? INT64_MIN : INT64_MAX;
  return ADD_OVERFLOWS(ns, (int64_t)at.tv_nsec, &ns) ? INT64_MAX : ns;
}

static struct timespec time_of(int64_t ns) {
  int64_t sec = ns / NS;
  int64_t rest = ns % NS;
  if (rest < 0) {
    rest += NS;
    sec--;
  }
  return (struct timespec){.tv_sec = (time_t)sec, .tv_nsec = (long)rest};
}

static char *look_up_user(uid_t uid) {
  char scratch[OWNER_BUF];
  struct passwd pw, *found = NULL;
  int rc = getpwuid_r(uid, &pw, scratch, sizeof scratch, &found);
  return mem_strdup(rc == 0 && found ? pw.pw_name : "");
}

static char *look_up_group(gid_t gid) {
  char scratch[OWNER_BUF];
  struct group gr, *found = NULL;
  int rc = getgrgid_r(gid, &gr, scratch, sizeof scratch, &found);
  return mem_strdup(rc == 0 && found ? gr.gr_name : "");
}

static Bytes owner_name(Map *cache, uint32_t id, char *(*look_up)(uint32_t)) {
  Bytes key = bytes(&id, sizeof id);
  char *name = (char *)map_get(cache, key);
  if (!name) {
    name = look_up(id);
    map_set(cache, key, name);
  }
  return bytes_str(name);
}

Entry attr_entry(Attrs *attrs, Bytes path, const struct stat *st) {
  EntryType type;
  CHECK(attr_type(st->st_mode, &type));
  bool device = type == ENTRY_CHAR || type == ENTRY_BLOCK;
  return (Entry){.path = path,
                 .type = type,
                 .mode = st->st_mode & 07777,
                 .uid = st->st_uid,
                 .gid = st->st_gid,
                 .user = owner_name(attrs->users, st->st_uid, look_up_user),
                 .group = owner_name(attrs->groups, st->st_gid, look_up_group),
                 .mtime_ns = attr_time(st->st_mtim),
                 .ctime_ns = attr_time(st->st_ctim),
                 .inode = st->st_ino,
                 .device = st->st_dev,
                 .size = type == ENTRY_FILE ? (uint64_t)st->st_size : 0,
                 .rdev = device ? st->st_rdev : 0};
}

/* ---- reading xattrs: by descriptor, or by a path through /proc, which reaches links and devices without opening ----
 */

typedef struct XattrSource {
  int fd; /* -1: path */
  const char *path;
  bool follow; /* the path is a /proc link to the thing itself */
} XattrSource;

static ssize_t list_names(const XattrSource *from, char *out, size_t cap) {
  if (from->fd >= 0) return flistxattr(from->fd, out, cap);
  return from->follow ? listxattr(from->path, out, cap) : llistxattr(from->path, out, cap);
}

static ssize_t get_value(const XattrSource *from, const char *name, void *out, size_t cap) {
  if (from->fd >= 0) return fgetxattr(from->fd, name, out, cap);
  return from->follow ? getxattr(from->path, name, out, cap) : lgetxattr(from->path, name, out, cap);
}

static int read_names(const XattrSource *from, Buf *names) {
  size_t cap = names->cap > LIST_FIRST ? names->cap : LIST_FIRST;
  for (;;) {
    buf_clear(names);
    buf_reserve(names, cap);
    ssize_t n = list_names(from, (char *)names->data, cap);
    if (n >= 0) {
      names->len = (size_t)n;
      return 0;
    }
    /* ENOENT: no /proc here. */
    if (errno == ENOTSUP || errno == ENOSYS || errno == ENOENT) return 0;
    if (errno != ERANGE) return errno;
    cap *= 2;
    if (cap > ENTRY_XATTR_MAX) return E2BIG;
  }
}

/* Appends the value to `values`. ENODATA: it went away between listing and reading. */
static int read_value(const XattrSource *from, const char *name, Buf *values, size_t *out_len) {
  size_t cap = 256;
  for (;;) {
    buf_reserve(values, cap);
    ssize_t n = get_value(from, name, values->data + values->len, cap);
    if (n >= 0) {
      *out_len = (size_t)n;
      values->len += (size_t)n;
      return 0;
    }
    if (errno != ERANGE) return errno;
    cap *= 4;
    if (cap > ENTRY_XATTR_MAX) return E2BIG;
  }
}

static Xattr *next_xattr(Attrs *attrs, size_t used) {
  MEM_ROOM(attrs->xattrs, used, attrs->xattrs_cap, 8);
  return &attrs->xattrs[used];
}

static int compare_xattrs(const void *a, const void *b) {
  return bytes_compare(((const Xattr *)a)->name, ((const Xattr *)b)->name);
}

static int read_xattrs(Attrs *attrs, const XattrSource *from, Entry *entry) {
  entry->xattrs = NULL;
  entry->xattrs_len = 0;
  int rc = read_names(from, &attrs->names);
  if (rc || attrs->names.len == 0) return rc;
  buf_clear(&attrs->values);
  size_t used = 0;
  const char *end = (const char *)attrs->names.data + attrs->names.len;
  for (const char *name = (const char *)attrs->names.data; name < end; name += strlen(name) + 1) {
    size_t len = 0;
    int failed = read_value(from, name, &attrs->values, &len);
    if (failed == ENODATA || failed == ENOTSUP) continue;
    if (failed) {
      rc = failed; /* the others are still worth having */
      continue;
    }
    if (used == ENTRY_XATTRS_MAX || attrs->values.len > ENTRY_XATTR_MAX / 2) return E2BIG;
    /* Values are addressed once all are there: the buffer may still move. */
    *next_xattr(attrs, used++) = (Xattr){.name = bytes_str(name), .value = {.data = NULL, .len = len}};
  }
  size_t at = 0;
  for (size_t i = 0; i < used; i++) {
    attrs->xattrs[i].value.data = attrs->values.data + at;
    at += attrs->xattrs[i].value.len;
  }
  if (used > 1) qsort(attrs->xattrs, used, sizeof(Xattr), compare_xattrs);
  entry->xattrs = used ? attrs->xattrs : NULL;
  entry->xattrs_len = used;
  return rc;
}

int attr_read_xattrs_fd(Attrs *attrs, int fd, Entry *entry) {
  XattrSource from = {.fd = fd};
  return read_xattrs(attrs, &from, entry);
}

static void proc_path(char out[PROC_PATH], int dir_fd, const char *name) {
  if (name)
    snprintf(out, PROC_PATH, "/proc/self/fd/%d/%s", dir_fd, name);
  else
    snprintf(out, PROC_PATH, "/proc/self/fd/%d", dir_fd);
}

int attr_read_xattrs_at(Attrs *attrs, const DirRef *dir, const char *name, Entry *entry) {
  char path[PROC_PATH];
  proc_path(path, dir->fd, name);
  XattrSource from = {.fd = -1, .path = path, .follow = !name};
  return read_xattrs(attrs, &from, entry);
}

int attr_read_link(Attrs *attrs, const DirRef *dir, const char *name, Entry *entry) {
  size_t cap = entry->size ? entry->size + 1 : 256;
  for (;;) {
    buf_clear(&attrs->link);
    buf_reserve(&attrs->link, cap);
    ssize_t n = readlinkat(dir->fd, name, (char *)attrs->link.data, cap);
    if (n < 0) return errno;
    if ((size_t)n < cap) {
      entry->target = bytes(attrs->link.data, (size_t)n);
      return 0;
    }
    cap *= 2;
    if (cap > ENTRY_PATH_MAX) return E2BIG;
  }
}

void attr_add_xattr(Attrs *attrs, Entry *entry, Xattr xattr) {
  size_t used = entry->xattrs_len;
  if (entry->xattrs != attrs->xattrs) {
    const Xattr *from = entry->xattrs;
    for (size_t i = 0; i < used; i++) *next_xattr(attrs, i) = from[i];
  }
  *next_xattr(attrs, used++) = xattr;
  qsort(attrs->xattrs, used, sizeof(Xattr), compare_xattrs);
  entry->xattrs = attrs->xattrs;
  entry->xattrs_len = used;
}

/* ---- putting them back ---- */

static int set_xattr(const AttrPlace *place, const Xattr *xattr, const char *path) {
  char name[256];
  if (xattr->name.len >= sizeof name || memchr(xattr->name.data, 0, xattr->name.len)) return EINVAL;
  memcpy(name, xattr->name.data, xattr->name.len);
  name[xattr->name.len] = 0;
  int rc = place->fd >= 0 ? fsetxattr(place->fd, name, xattr->value.data, xattr->value.len, 0)
                          : lsetxattr(path, name, xattr->value.data, xattr->value.len, 0);
  return rc ? errno : 0;
}

static bool starts_with(Bytes name, const char *text) {
  Bytes start = bytes_str(text);
  return name.len >= start.len && memcmp(name.data, start.data, start.len) == 0;
}

static int set_xattrs(const AttrPlace *place, const Entry *entry, bool acls) {
  char path[PROC_PATH];
  if (place->fd < 0) proc_path(path, place->dir_fd, place->name);
  int failed = 0;
  for (size_t i = 0; i < entry->xattrs_len; i++) {
    Bytes name = entry->xattrs[i].name;
    if (starts_with(name, ATTR_OWN_PREFIX) || starts_with(name, ACL_PREFIX) != acls) continue;
    int rc = set_xattr(place, &entry->xattrs[i], path);
    if (rc) failed = rc;
  }
  return failed;
}

static bool entry_has_xattr(const Entry *entry, Bytes name) {
  for (size_t i = 0; i < entry->xattrs_len; i++) {
    if (bytes_equal(entry->xattrs[i].name, name)) return true;
  }
  return false;
}

/* What users and administrators set; labels of security modules and the like are the system's own. */
static bool is_removable(Bytes name) {
  return starts_with(name, "user.") || starts_with(name, ACL_PREFIX) || bytes_equal(name, bytes_str(XATTR_NAME_CAPS));
}

static int remove_others(const AttrPlace *place, const Entry *entry) {
  char path[PROC_PATH];
  if (place->fd < 0) proc_path(path, place->dir_fd, place->name);
  XattrSource from = {.fd = place->fd, .path = path};
  AUTO_BUF Buf names = {0};
  int failed = read_names(&from, &names);
  if (failed || names.len == 0) return failed;
  const char *end = (const char *)names.data + names.len;
  for (const char *name = (const char *)names.data; name < end; name += strlen(name) + 1) {
    if (!is_removable(bytes_str(name)) || entry_has_xattr(entry, bytes_str(name))) continue;
    int rc = place->fd >= 0 ? fremovexattr(place->fd, name) : lremovexattr(path, name);
    if (rc && errno != ENODATA) failed = errno;
  }
  return failed;
}

bool attr_has_default_acl(int fd) { return fgetxattr(fd, ACL_PREFIX "default", NULL, 0) > 0; }

static bool set_owner(const AttrPlace *place, const Entry *entry) {
  if (place->fd >= 0) return fchown(place->fd, entry->uid, entry->gid) == 0;
  return fchownat(place->dir_fd, place->name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool set_mode(const AttrPlace *place, mode_t mode) {
  if (place->fd >= 0) return fchmod(place->fd, mode) == 0;
  /* fchmodat follows links: whatever bears the name by now must not be one. */
  int fd = openat(place->dir_fd, place->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;
  char path[PROC_PATH];
  proc_path(path, fd, NULL);
  struct stat st;
  int rc = fstat(fd, &st);
  if (rc == 0 && !S_ISLNK(st.st_mode)) rc = chmod(path, mode);
  int saved = errno;
  close(fd);
  errno = saved;
  return rc == 0;
}

static bool set_times(const AttrPlace *place, const Entry *entry) {
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, time_of(entry->mtime_ns)};
  if (place->fd >= 0) return futimens(place->fd, times) == 0;
  return utimensat(place->dir_fd, place->name, times, AT_SYMLINK_NOFOLLOW) == 0;
}

unsigned attr_apply(const AttrPlace *place, const Entry *entry, bool owners, int *out_errno) {
  unsigned failed = 0;
  bool owned = owners && set_owner(place, entry);
  if (owners && !owned) {
    failed |= ATTR_OWNER;
    *out_errno = errno;
  }
  /* Changing the owner clears set-ID bits, so the mode comes after it; the mode may forbid to set extended attributes,
   * so they come before it; it would rewrite an ACL's mask, so ACLs come after. */
  int rc = place->used ? remove_others(place, entry) : 0;
  int set = set_xattrs(place, entry, false);
  if (set) rc = set;
  mode_t mode = entry->mode & (owned ? 07777 : 01777);
  if (entry->type != ENTRY_SYMLINK && !set_mode(place, mode)) {
    failed |= ATTR_MODE;
    *out_errno = errno;
  }
  set = set_xattrs(place, entry, true);
  if (set) rc = set;
  if (rc) {
    failed |= ATTR_XATTR;
    *out_errno = rc;
  }
  if (!set_times(place, entry)) {
    failed |= ATTR_TIMES;
    *out_errno = errno;
  }
  return failed;
}

char *attr_failure_text(unsigned failures) {
  static const char *const names[] = {"owner", "mode", "extended attributes", "times"};
  AUTO_BUF Buf text = {0};
  for (size_t i = 0; i < NELEMS(names); i++) {
    if (failures & (1u << i)) buf_printf(&text, "%s%s", text.len ? ", " : "", names[i]);
  }
  return buf_steal_str(&text);
}
