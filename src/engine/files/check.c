/* check.c: a restored tree against the snapshot's record (how many of what, how many bytes) and, if it is at hand,
 * against the live source: what changed there since the backup is counted and not compared. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "engine/files/attr.h"
#include "engine/files/files.h"
#include "engine/files/rotate.h"
#include "engine/files/walk.h"
#include "sys/fs.h"
#include "sys/lockguard.h"

enum { EXAMPLES = 3, COMPARE_BYTES = 256 * 1024 };

typedef struct Differences {
  uint64_t compared, differ;
  Buf examples;
} Differences;

typedef struct Check {
  CheckLevel level;
  bool amid;
  FilesFacts facts;
  Cancel *cancel;
  Attrs *attrs;
  DirCache *source;        /* NULL: only the record */
  const char *source_name; /* LAYOUT_FILE: the file's name there */
  Map *seen;               /* inodes with several names */
  uint64_t files, directories, symlinks, hardlinks, specials, bytes;
  uint64_t changed_since; /* not comparable */
  uint64_t closed;        /* to its owner, which this user is: what it holds is not looked at */
  Differences unreadable, types, sizes, modes, times, links, content;
  uint8_t *left, *right;
} Check;

static void differs(Differences *slot, Bytes path, bool differ) {
  slot->compared++;
  if (!differ) return;
  if (slot->differ++ >= EXAMPLES) return;
  AUTO_FREE char *name = str_printable(path);
  buf_printf(&slot->examples, "%s%s", slot->examples.len ? ", " : ": ", name);
}

/* ---- counting ---- */

static bool seen_before(Check *job, const struct stat *st) {
  struct {
    uint64_t device, inode;
  } id = {.device = st->st_dev, .inode = st->st_ino};
  if (st->st_nlink < 2) return false;
  return map_set(job->seen, bytes(&id, sizeof id), job) != NULL;
}

static void count_item(Check *job, const struct stat *st) {
  if (S_ISDIR(st->st_mode)) {
    job->directories++;
  } else if (S_ISLNK(st->st_mode)) {
    job->symlinks++;
  } else if (!S_ISREG(st->st_mode)) {
    job->specials++;
  } else if (seen_before(job, st)) {
    job->hardlinks++;
  } else {
    job->files++;
    job->bytes += (uint64_t)st->st_size;
  }
}

/* ---- comparing with the source ---- */

static int open_file(const DirRef *dir, const char *name) {
  return openat(dir->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/* By its own mode, as it was backed up: no fault of the copy. */
static bool is_closed(const struct stat *st) {
  mode_t needed = S_ISDIR(st->st_mode) ? 0500 : 0400;
  return geteuid() != 0 && st->st_uid == geteuid() && (st->st_mode & needed) != needed;
}

static bool is_packed_log(const Check *job, const char *name) {
  size_t len = strlen(name);
  return job->facts.logs && len > 3 && strcmp(name + len - 3, ".gz") == 0;
}

static bool same_sum(int a, int b) {
  uint32_t crc_a = 0, crc_b = 0;
  uint64_t len_a = 0, len_b = 0;
  return rotate_content_sum(a, &crc_a, &len_a) && rotate_content_sum(b, &crc_b, &len_b) && crc_a == crc_b &&
         len_a == len_b;
}

/* Whole content; `b` < 0: only readable. */
static bool same_bytes(Check *job, int a, int b) {
  for (uint64_t at = 0; !cancel_is_set(job->cancel);) {
    size_t n = 0, m = 0;
    Error *err = fs_read_some(a, "", job->left, COMPARE_BYTES, at, &n);
    if (!err && b >= 0) err = fs_read_some(b, "", job->right, COMPARE_BYTES, at, &m);
    bool good = !err && (b < 0 || (n == m && memcmp(job->left, job->right, n) == 0));
    err_free(err);
    if (!good) return false;
    if (n < COMPARE_BYTES) return true;
    at += n;
  }
  return true; /* the walk notices the cancellation */
}

static void compare_content(Check *job, const WalkItem *item, const DirRef *source, const char *source_name) {
  if (is_closed(item->st)) {
    job->closed++;
    return;
  }
  AUTO_FD int mine = open_file(item->dir, item->name);
  differs(&job->unreadable, item->path, mine < 0);
  if (mine < 0) return;
  if (!source) {
    if (!same_bytes(job, mine, -1)) differs(&job->unreadable, item->path, true);
    return;
  }
  struct stat st;
  /* A database that this process has open itself must not be opened here: that would drop its locks. */
  if (fstatat(source->fd, source_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || lockguard_enter(&st) != LOCKGUARD_FREE) {
    job->changed_since++;
    return;
  }
  int theirs = open_file(source, source_name);
  if (theirs < 0) {
    job->changed_since++;
  } else {
    bool same = is_packed_log(job, item->name) ? same_sum(mine, theirs) : same_bytes(job, mine, theirs);
    differs(&job->content, item->path, !same);
    close(theirs);
  }
  lockguard_leave(&st);
}

static bool same_link(Check *job, const WalkItem *item, const DirRef *source, const char *source_name) {
  Entry entry = {.type = ENTRY_SYMLINK};
  if (attr_read_link(job->attrs, item->dir, item->name, &entry) != 0) return false;
  AUTO_BUF Buf mine = {0};
  buf_add(&mine, entry.target.data, entry.target.len);
  return attr_read_link(job->attrs, source, source_name, &entry) == 0 && bytes_equal(buf_bytes(&mine), entry.target);
}

static void compare_attributes(Check *job, const WalkItem *item, const struct stat *theirs) {
  const struct stat *mine = item->st;
  /* Set-ID bits come back only with the owner. */
  mode_t mask = mine->st_uid == theirs->st_uid ? 07777 : 01777;
  if (!S_ISLNK(mine->st_mode)) differs(&job->modes, item->path, (mine->st_mode & mask) != (theirs->st_mode & mask));
  differs(&job->times, item->path, attr_time(mine->st_mtim) != attr_time(theirs->st_mtim));
}

static void compare_item(Check *job, const WalkItem *item, const DirRef *source, const char *name) {
  struct stat theirs;
  if (fstatat(source->fd, name, &theirs, AT_SYMLINK_NOFOLLOW) != 0 || attr_time(theirs.st_ctim) < 0 ||
      (uint64_t)attr_time(theirs.st_ctim) >= job->facts.started_ns) {
    job->changed_since++;
    return;
  }
  bool same_type = (theirs.st_mode & S_IFMT) == (item->st->st_mode & S_IFMT);
  differs(&job->types, item->path, !same_type);
  if (!same_type) return;
  if (job->level >= CHECK_STANDARD) compare_attributes(job, item, &theirs);
  if (S_ISLNK(theirs.st_mode)) differs(&job->links, item->path, !same_link(job, item, source, name));
  if (!S_ISREG(theirs.st_mode)) return;
  bool same_size = theirs.st_size == item->st->st_size || is_packed_log(job, item->name);
  differs(&job->sizes, item->path, !same_size);
  if (job->level >= CHECK_COMPREHENSIVE && same_size) compare_content(job, item, source, name);
}

/* ---- the walk ---- */

static Error *on_item(void *ctx, const WalkItem *item, bool *descend) {
  Check *job = (Check *)ctx;
  bool closed = S_ISDIR(item->st->st_mode) && is_closed(item->st);
  *descend = !closed;
  job->closed += closed;
  count_item(job, item->st);
  bool file = S_ISREG(item->st->st_mode);
  if (!job->source) {
    if (file && job->level >= CHECK_COMPREHENSIVE) compare_content(job, item, NULL, NULL);
    return NULL;
  }
  if (!item->name) return NULL; /* the root of a tree is looked at by its entries */
  DirRef *source = NULL;
  if (dircache_open(job->source, path_parent(item->path), &source) != 0) {
    job->changed_since++;
    return NULL;
  }
  compare_item(job, item, source, job->source_name ? job->source_name : item->name);
  dirref_drop(source);
  return NULL;
}

static void on_trouble(void *ctx, Bytes path, const char *doing, int errno_value) {
  (void)doing;
  (void)errno_value;
  Check *job = (Check *)ctx;
  differs(&job->unreadable, path, true);
}

static Error *walk_restored(Check *job, const char *path) {
  static const WalkOps ops = {.item = on_item, .trouble = on_trouble};
  int fd;
  TRY(fs_open(path, O_PATH | O_DIRECTORY, 0, &fd));
  WalkSpec spec = {.take_root_fd = fd, .ops = &ops, .ctx = job, .cancel = job->cancel};
  return walk_tree(&spec);
}

/* `path` without its last component, and that component within `path`. */
static char *split(const char *path, const char **name) {
  const char *slash = strrchr(path, '/');
  if (!slash) return NULL;
  *name = slash + 1;
  return slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
}

static Error *look_at_single(Check *job, const char *path) {
  const char *name = NULL;
  AUTO_FREE char *parent = split(path, &name);
  if (!parent || !*name) return err_new(ERR_USAGE, "checking %s: not the absolute path of a file", path);
  int fd;
  TRY(fs_open(parent, O_PATH | O_DIRECTORY, 0, &fd));
  DirRef *dir = dirref_new(fd);
  struct stat st;
  Error *err = NULL;
  bool descend;
  if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
    err = err_errno(errno, "checking %s", path);
  else
    err = on_item(job, &(WalkItem){.path = bytes_str(name), .dir = dir, .name = name, .st = &st}, &descend);
  dirref_drop(dir);
  return err;
}

static Error *open_source(Check *job, const char *path) {
  if (!path) return NULL;
  AUTO_FREE char *parent = job->facts.layout == LAYOUT_FILE ? split(path, &job->source_name) : NULL;
  const char *root = job->facts.layout == LAYOUT_PATHS ? "/" : path; /* the tree's paths are the machine's */
  int fd;
  TRY(err_hint(fs_open(parent ? parent : root, O_PATH | O_DIRECTORY, 0, &fd),
               "check without the live source to compare with the record only"));
  job->source = dircache_new(fd);
  return NULL;
}

/* ---- the report ---- */

static void report_count(const Check *job, CheckReport *out, const char *name, uint64_t expected, uint64_t found) {
  char a[32], b[24];
  if (job->amid && job->closed) return; /* neither a least nor a most */
  snprintf(a, sizeof a, "%s%" PRIu64, job->amid ? "at least " : job->closed ? "at most " : "", expected);
  snprintf(b, sizeof b, "%" PRIu64, found);
  bool passed = expected == found || (expected < found ? job->amid : job->closed > 0);
  check_report_add(out, passed, name, a, b);
}

static void report_differences(CheckReport *out, const char *name, const Differences *slot) {
  if (slot->compared == 0) return;
  AUTO_FREE char *found = mem_printf("%" PRIu64 " of %" PRIu64 " differ%.*s", slot->differ, slot->compared,
                                     (int)slot->examples.len, slot->examples.len ? (char *)slot->examples.data : "");
  check_report_add(out, slot->differ == 0, name, "0 differ", found);
}

static void report(const Check *job, CheckReport *out) {
  report_count(job, out, "files", job->facts.files, job->files);
  report_count(job, out, "directories", job->facts.directories, job->directories);
  report_count(job, out, "symbolic links", job->facts.symlinks, job->symlinks);
  report_count(job, out, "hard links", job->facts.hardlinks, job->hardlinks);
  report_count(job, out, "special files", job->facts.specials, job->specials);
  /* Rotations stored unpacked are counted as what they hold. */
  if (job->facts.unpacked == 0) report_count(job, out, "bytes", job->facts.bytes, job->bytes);
  report_differences(out, "readable", &job->unreadable);
  report_differences(out, "types as in the source", &job->types);
  report_differences(out, "sizes as in the source", &job->sizes);
  report_differences(out, "links as in the source", &job->links);
  report_differences(out, "modes as in the source", &job->modes);
  report_differences(out, "times as in the source", &job->times);
  report_differences(out, "content as in the source", &job->content);
  if (job->closed) {
    AUTO_FREE char *closed = mem_printf("%" PRIu64 " not looked into", job->closed);
    check_report_add(out, true, "closed to this user", NULL, closed);
  }
  if (!job->source) return;
  AUTO_FREE char *since = mem_printf("%" PRIu64 " not compared", job->changed_since);
  check_report_add(out, true, "changed in the source since", NULL, since);
}

static void check_free(Check *job) {
  dircache_free(job->source);
  map_free(job->seen);
  attrs_free(job->attrs);
  Differences *all[] = {&job->unreadable, &job->types, &job->sizes,  &job->modes,
                        &job->times,      &job->links, &job->content};
  for (size_t i = 0; i < NELEMS(all); i++) buf_free(&all[i]->examples);
  free(job->left);
  free(job->right);
}

Error *files_check(Engine *engine, const DrillTarget *target, CheckLevel level, CheckReport *out, Cancel *cancel) {
  (void)engine;
  Check job = {.level = level, .amid = target->amid, .cancel = cancel};
  TRY(files_facts_parse(target->facts_json, &job.facts));
  job.attrs = attrs_new();
  job.seen = map_new();
  job.left = (uint8_t *)mem_alloc(COMPARE_BYTES);
  job.right = (uint8_t *)mem_alloc(COMPARE_BYTES);
  Error *err = open_source(&job, target->source_path);
  if (!err)
    err = job.facts.layout == LAYOUT_FILE ? look_at_single(&job, target->path) : walk_restored(&job, target->path);
  if (!err) err = cancel_check(cancel);
  if (!err) report(&job, out);
  check_free(&job);
  return err;
}
