#include "engine/files/dircache.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

enum {
  SLOTS = 64,       /* open ancestors kept */
  PIECE_MAX = 3000, /* bytes of a path given to the kernel at once, below PATH_MAX */
};

typedef struct Slot {
  size_t len; /* of the prefix of `at` that this directory is */
  DirRef *ref;
} Slot;

struct DirCache {
  Buf at;            /* the path the slots lie on */
  Slot slots[SLOTS]; /* ascending by len; slots[0] is the root */
  size_t slots_len;
  bool no_openat2; /* the kernel is too old, or a sandbox forbids it */
};

DirRef *dirref_new(int take_fd) {
  DirRef *ref = NEW(DirRef);
  ref->fd = take_fd;
  atomic_init(&ref->refs, 1);
  return ref;
}

DirRef *dirref_hold(DirRef *ref) {
  atomic_fetch_add_explicit(&ref->refs, 1, memory_order_relaxed);
  return ref;
}

void dirref_drop(DirRef *take) {
  if (!take || atomic_fetch_sub_explicit(&take->refs, 1, memory_order_acq_rel) != 1) return;
  close(take->fd);
  free(take);
}

int dirref_open_list(const DirRef *ref) {
  enum { FLAGS = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK };
  int fd = openat(ref->fd, ".", FLAGS | O_NOATIME);
  return fd < 0 && errno == EPERM ? openat(ref->fd, ".", FLAGS) : fd;
}

Bytes path_parent(Bytes path) {
  if (path.len == 0) return path;
  for (size_t i = path.len; i > 0; i--) {
    if (path.data[i - 1] == '/') return bytes(path.data, i - 1);
  }
  return bytes(path.data, 0);
}

Bytes path_name(Bytes path) {
  if (path.len == 0) return path;
  size_t parent = path_parent(path).len;
  size_t skip = parent ? parent + 1 : 0;
  return bytes(path.data + skip, path.len - skip);
}

DirCache *dircache_new(int take_root_fd) {
  DirCache *cache = NEW(DirCache);
  cache->slots[0] = (Slot){.len = 0, .ref = dirref_new(take_root_fd)};
  cache->slots_len = 1;
  return cache;
}

void dircache_free(DirCache *take) {
  if (!take) return;
  for (size_t i = 0; i < take->slots_len; i++) dirref_drop(take->slots[i].ref);
  buf_free(&take->at);
  free(take);
}

/* How many bytes two paths share; deep trees make them long and nearly equal. */
static size_t common_len(Bytes a, Bytes b) {
  enum { BLOCK = 512 };
  size_t max = a.len < b.len ? a.len : b.len;
  size_t at = 0;
  while (max - at >= BLOCK && memcmp(a.data + at, b.data + at, BLOCK) == 0) at += BLOCK;
  while (at < max && a.data[at] == b.data[at]) at++;
  return at;
}

/* Drops every slot that is not an ancestor of `path` or `path` itself. */
static void keep_common(DirCache *cache, Bytes path) {
  size_t common = common_len(buf_bytes(&cache->at), path);
  while (cache->slots_len > 1) {
    const Slot *last = &cache->slots[cache->slots_len - 1];
    bool boundary = last->len <= common && (last->len == path.len || path.data[last->len] == '/');
    if (boundary) break;
    dirref_drop(last->ref);
    cache->slots_len--;
  }
  cache->at.len = common;
  if (path.len > common) buf_add(&cache->at, path.data + common, path.len - common);
}

/* Full: every second one goes, so that what stays is spread over the whole path and the way back up stays short. */
static void push_slot(DirCache *cache, Slot slot) {
  if (cache->slots_len == SLOTS) {
    size_t kept = 1;
    for (size_t i = 1; i < SLOTS; i++) {
      if (i % 2)
        dirref_drop(cache->slots[i].ref);
      else
        cache->slots[kept++] = cache->slots[i];
    }
    cache->slots_len = kept;
  }
  cache->slots[cache->slots_len++] = slot;
}

static int open_component(int dir, const char *name) {
  return openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* One piece of a path, several components long, component by component. */
static int open_stepwise(int dir, char *piece) {
  int fd = -1;
  char *rest = piece;
  for (char *name = strsep(&rest, "/"); name; name = strsep(&rest, "/")) {
    int next = open_component(fd < 0 ? dir : fd, name);
    int saved = errno;
    if (fd >= 0) close(fd);
    errno = saved;
    if (next < 0) return -1;
    fd = next;
  }
  return fd;
}

static int open_piece(DirCache *cache, int dir, char *piece) {
  if (!strchr(piece, '/')) return open_component(dir, piece);
  if (!cache->no_openat2) {
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, dir, piece, &how, sizeof how);
    if (fd >= 0) return (int)fd;
    if (errno != ENOSYS && errno != EPERM && errno != EAGAIN) return -1;
    if (errno != EAGAIN) cache->no_openat2 = true;
  }
  return open_stepwise(dir, piece);
}

/* Where the next piece of `path` ends: the most whole components that fit, and at least one. */
static size_t piece_end(Bytes path, size_t from) {
  size_t end = from;
  for (size_t i = from; i <= path.len; i++) {
    if (i < path.len && path.data[i] != '/') continue;
    if (i - from > PIECE_MAX && end > from) break;
    end = i;
  }
  return end;
}

int dircache_open(DirCache *cache, Bytes path, DirRef **out) {
  keep_common(cache, path);
  Slot last = cache->slots[cache->slots_len - 1];
  while (last.len < path.len) {
    size_t from = last.len ? last.len + 1 : 0;
    size_t end = piece_end(path, from);
    if (end - from > PIECE_MAX + 1000) return ENAMETOOLONG;
    char piece[PIECE_MAX + 1001];
    memcpy(piece, path.data + from, end - from);
    piece[end - from] = 0;
    int fd = open_piece(cache, last.ref->fd, piece);
    if (fd < 0) return errno;
    last = (Slot){.len = end, .ref = dirref_new(fd)};
    push_slot(cache, last);
  }
  *out = dirref_hold(last.ref);
  return 0;
}
