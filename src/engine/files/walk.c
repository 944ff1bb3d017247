#include "engine/files/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/entry.h"
#include "base/mem.h"

enum {
  LIST_BYTES = 64 * 1024, /* of directory entries asked from the kernel at once */
  CANCEL_EVERY = 256,     /* items between two looks at the cancel flag */
};

/* ---- names ---- */

void names_free(NameList *names) {
  buf_free(&names->text);
  free(names->offsets);
  *names = (NameList){0};
}

static void names_add(NameList *names, const char *name) {
  MEM_ROOM(names->offsets, names->len, names->cap, 16);
  names->offsets[names->len++] = names->text.len;
  buf_add(&names->text, name, strlen(name) + 1);
}

static int compare_offsets(const void *a, const void *b, void *text) {
  /* strcmp compares unsigned bytes, and no name is the empty one: the order of entry_path_compare. */
  const char *base = (const char *)text;
  return strcmp(base + *(const size_t *)a, base + *(const size_t *)b);
}

static int read_all_names(NameList *names, int fd) {
  AUTO_FREE char *scratch = (char *)mem_alloc(LIST_BYTES);
  for (;;) {
    ssize_t n = getdents64(fd, scratch, LIST_BYTES);
    if (n < 0) return errno;
    if (n == 0) return 0;
    for (ssize_t at = 0; at < n;) {
      const struct dirent64 *entry = (const struct dirent64 *)(const void *)(scratch + at);
      if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) names_add(names, entry->d_name);
      at += entry->d_reclen;
    }
  }
}

int names_read(NameList *names, const DirRef *dir) {
  int fd = dirref_open_list(dir);
  if (fd < 0) return errno;
  int rc = read_all_names(names, fd);
  close(fd);
  if (names->len > 1) qsort_r(names->offsets, names->len, sizeof(size_t), compare_offsets, names->text.data);
  return rc;
}

static bool names_find(const NameList *names, const char *name, size_t *out) {
  size_t low = 0, high = names->len;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    int c = strcmp(names_at(names, mid), name);
    if (c == 0) {
      *out = mid;
      return true;
    }
    if (c < 0)
      low = mid + 1;
    else
      high = mid;
  }
  return false;
}

bool names_has(const NameList *names, const char *name) {
  size_t at;
  return names_find(names, name, &at);
}

void names_keep_only(NameList *names, const char *name) {
  size_t at;
  bool found = names_find(names, name, &at);
  if (found) names->offsets[0] = names->offsets[at];
  names->len = found ? 1 : 0;
}

/* ---- the walk ---- */

typedef struct Frame { /* a directory on the way down */
  NameList names;
  size_t next;
  size_t path_len; /* of its own path in Walk.path */
} Frame;

typedef struct Walk {
  const WalkSpec *spec;
  DirCache *dirs;
  Buf path;     /* tree path of the item at hand */
  Buf absolute; /* the same on this machine */
  Frame *frames;
  size_t depth, cap;
  DirRef *self; /* the directory of the last frame */
  unsigned since_check;
} Walk;

/* What lies below the walk's root in a tree path. */
static Bytes relative(const Walk *walk, size_t path_len) {
  size_t skip = walk->spec->base.len;
  if (skip && path_len > skip) skip++;
  if (path_len <= skip) return (Bytes){0};
  return bytes(walk->path.data + skip, path_len - skip);
}

static void set_absolute(Walk *walk) {
  walk->absolute.len = walk->spec->absolute.len;
  Bytes rel = relative(walk, walk->path.len);
  if (rel.len || walk->absolute.len == 0) buf_put_u8(&walk->absolute, '/');
  buf_add(&walk->absolute, rel.data, rel.len);
}

static void trouble(Walk *walk, const char *doing, int errno_value) {
  walk->spec->ops->trouble(walk->spec->ctx, buf_bytes(&walk->path), doing, errno_value);
}

static Error *report_item(Walk *walk, WalkItem item, bool *descend) {
  set_absolute(walk);
  item.path = buf_bytes(&walk->path);
  item.absolute = buf_bytes(&walk->absolute);
  *descend = false;
  Error *err = walk->spec->ops->item(walk->spec->ctx, &item, descend);
  *descend = *descend && S_ISDIR(item.st->st_mode);
  return err;
}

/* Lists the directory whose path is Walk.path and makes it the last frame. */
static void enter(Walk *walk) {
  DirRef *dir = NULL;
  int rc = dircache_open(walk->dirs, relative(walk, walk->path.len), &dir);
  Frame frame = {.path_len = walk->path.len};
  if (rc == 0) rc = names_read(&frame.names, dir);
  if (rc) trouble(walk, "listing it", rc); /* names read before the failure are walked all the same */
  if (!dir) return;
  const WalkOps *ops = walk->spec->ops;
  if (ops->listed) ops->listed(walk->spec->ctx, buf_bytes(&walk->path), dir, &frame.names);
  MEM_ROOM(walk->frames, walk->depth, walk->cap, 32);
  walk->frames[walk->depth++] = frame;
  dirref_drop(walk->self);
  walk->self = dir;
}

static void leave(Walk *walk) {
  names_free(&walk->frames[--walk->depth].names);
  dirref_drop(walk->self);
  walk->self = NULL;
  if (walk->depth == 0) return;
  Frame *up = &walk->frames[walk->depth - 1];
  walk->path.len = up->path_len;
  if (up->next == up->names.len) return; /* nothing to look up there */
  int rc = dircache_open(walk->dirs, relative(walk, up->path_len), &walk->self);
  if (rc) {
    /* It is gone from its place, with names in it that were not looked at: more than a thing that vanished. */
    trouble(walk, "the rest of it", rc == ENOENT ? ESTALE : rc);
    up->next = up->names.len;
  }
}

static Error *next_item(Walk *walk, Frame *frame) {
  const char *name = names_at(&frame->names, frame->next++);
  walk->path.len = frame->path_len;
  if (walk->path.len) buf_put_u8(&walk->path, '/');
  buf_add_str(&walk->path, name);
  if (walk->path.len > ENTRY_PATH_MAX) {
    trouble(walk, "going deeper", ENAMETOOLONG);
    return NULL;
  }
  struct stat st;
  if (fstatat(walk->self->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
    trouble(walk, "looking at it", errno);
    return NULL;
  }
  bool descend;
  TRY(report_item(walk, (WalkItem){.dir = walk->self, .name = name, .siblings = &frame->names, .st = &st}, &descend));
  if (descend) enter(walk);
  return NULL;
}

static Error *walk_root(Walk *walk) {
  DirRef *root = NULL;
  int rc = dircache_open(walk->dirs, bytes(NULL, 0), &root);
  CHECK(rc == 0);
  struct stat st;
  Error *err = NULL;
  bool descend = false;
  if (fstat(root->fd, &st) == 0)
    err = report_item(walk, (WalkItem){.dir = root, .st = &st}, &descend);
  else
    trouble(walk, "looking at it", errno);
  dirref_drop(root);
  if (!err && descend) enter(walk);
  return err;
}

Error *walk_tree(const WalkSpec *spec) {
  Walk walk = {.spec = spec, .dirs = dircache_new(spec->take_root_fd)};
  buf_add(&walk.path, spec->base.data, spec->base.len);
  buf_add(&walk.absolute, spec->absolute.data, spec->absolute.len);
  Error *err = walk_root(&walk);
  while (!err && walk.depth > 0) {
    Frame *frame = &walk.frames[walk.depth - 1];
    if (++walk.since_check >= CANCEL_EVERY) {
      walk.since_check = 0;
      err = cancel_check(spec->cancel);
    }
    if (err) break;
    if (frame->next < frame->names.len)
      err = next_item(&walk, frame);
    else
      leave(&walk);
  }
  while (walk.depth > 0) names_free(&walk.frames[--walk.depth].names);
  free(walk.frames);
  dirref_drop(walk.self);
  dircache_free(walk.dirs);
  buf_free(&walk.path);
  buf_free(&walk.absolute);
  return err;
}
