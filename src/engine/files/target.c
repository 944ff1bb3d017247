#include "engine/files/target.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "engine/files/files.h"
#include "engine/files/walk.h"
#include "sys/fs.h"

static const char unfinished_name[] = ".holdfast-restore-unfinished";

struct Target {
  Sys *sys;
  const RestorePlan *plan;
  Source *source;
  FilesFacts facts;
  DirCache *dirs;
  int root_fd;     /* readable: for syncfs, whose errors count from its opening */
  char *file_name; /* LAYOUT_FILE: the name to write under; else NULL */
  bool shared;
  bool inherits;  /* what is made in it gets an ACL of it */
  bool made_root; /* by this restore */
  bool marked;    /* unfinished_name is there */
  bool finished;
  Buf wanted_dir;   /* the directory last found to match `only` */
  Buf unwanted_dir; /* the one last found not to, nor anything above it */
  bool has_wanted_dir, has_unwanted_dir;
  Map *made;   /* directories that were not there before; kept only where it matters, see spares_directory */
  Map *linked; /* paths not selected whose content a selected hard link needs */
  uint64_t wanted;
};

/* ---- making it ---- */

static Error *refuse(const char *path, const char *why) {
  return err_hint(err_new(ERR_NOT_EMPTY, "restoring to %s: %s", path, why),
                  "choose a path that does not exist yet, or name what may be overwritten with --confirm");
}

static Error *make_parent(const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash || slash == path) return NULL;
  AUTO_FREE char *parent = mem_strndup(path, (size_t)(slash - path));
  return fs_make_dirs(parent, 0755);
}

static Error *open_root(Target *target, const char *path) {
  TRY(fs_open(path, O_RDONLY | O_DIRECTORY, 0, &target->root_fd));
  int fd;
  TRY(fs_open(path, O_PATH | O_DIRECTORY, 0, &fd));
  target->dirs = dircache_new(fd);
  return NULL;
}

/* Whoever finds the folder of a restore that was killed shall see that it is not whole. Best effort. */
static void mark_unfinished(Target *target) {
  static const char text[] =
      "holdfast is restoring into this folder, or was stopped while it did: what is here is not "
      "whole.\nThe restore removes this file when it is done.\n";
  int fd = openat(target->root_fd, unfinished_name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return;
  target->marked = true;
  err_ignore(fs_write(fd, unfinished_name, text, sizeof text - 1));
  close(fd);
}

void target_yield_mark(Target *target, Bytes path) {
  if (!target->marked || !bytes_equal(path, bytes_str(unfinished_name))) return;
  if (unlinkat(target->root_fd, unfinished_name, 0) == 0) target->marked = false;
}

/* All is written, the root's attributes too: they stay as they are. */
static int unmark(Target *target) {
  struct stat st;
  if (!target->marked) return 0;
  if (fstat(target->root_fd, &st) != 0) return errno;
  int rc = unlinkat(target->root_fd, unfinished_name, 0) && errno != ENOENT ? errno : 0;
  if (rc == EACCES && fchmod(target->root_fd, (st.st_mode & 07777) | 0300) == 0) {
    rc = unlinkat(target->root_fd, unfinished_name, 0) ? errno : 0;
    if (fchmod(target->root_fd, st.st_mode & 07777) != 0 && rc == 0) rc = errno;
  }
  if (rc) return rc;
  target->marked = false;
  const struct timespec times[2] = {st.st_atim, st.st_mtim};
  return futimens(target->root_fd, times) ? errno : 0;
}

/* A restore that failed: when nothing came to stay, nothing stays. */
static void leave_nothing(Target *target) {
  if (!target->dirs || target->root_fd < 0 || target->file_name) return;
  NameList names = {0};
  DirRef *root;
  if (dircache_open(target->dirs, bytes(NULL, 0), &root) != 0) return;
  int rc = names_read(&names, root);
  dirref_drop(root);
  bool empty = rc == 0 && names.len == (target->marked ? 1 : 0);
  names_free(&names);
  if (empty && target->marked) unlinkat(target->root_fd, unfinished_name, 0);
  if (empty && target->made_root) rmdir(target->plan->target);
}

static Error *open_directory(Target *target) {
  const char *path = target->plan->target;
  struct stat st;
  if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) return refuse(path, "it is a file");
  TRY(make_parent(path));
  target->made_root = mkdir(path, 0700) == 0;
  if (!target->made_root && errno != EEXIST) return err_errno(errno, "creating %s", path);
  TRY(open_root(target, path));
  NameList names = {0};
  DirRef *root;
  int rc = dircache_open(target->dirs, bytes(NULL, 0), &root);
  if (rc == 0) {
    rc = names_read(&names, root);
    dirref_drop(root);
  }
  target->shared = names.len > 0;
  bool unfinished = names_has(&names, unfinished_name);
  names_free(&names);
  if (rc) return err_errno(rc, "listing %s", path);
  if (target->shared && !target->plan->overwrite)
    return refuse(path, unfinished ? "it holds a restore that did not finish" : "the directory is not empty");
  /* A part written over what an earlier restore left does not make that whole. */
  if (!unfinished || target->plan->only.len == 0) mark_unfinished(target);
  return NULL;
}

/* Renamed over, /dev/null would be a file for everybody, and so would /dev/stdout, a link that may lead to a pipe. */
static bool leads_elsewhere(const char *path) {
  struct stat st, self;
  if (stat(path, &st) != 0 || lstat(path, &self) != 0) return false;
  return S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) || (S_ISLNK(self.st_mode) && !S_ISREG(st.st_mode));
}

static Error *open_single(Target *target) {
  const char *path = target->plan->target;
  const char *slash = strrchr(path, '/');
  if (!slash || slash[1] == 0) {
    return err_hint(err_new(ERR_USAGE, "restoring to %s: the source is one file", path),
                    "give the path of the file to write");
  }
  struct stat st;
  bool exists = lstat(path, &st) == 0;
  if (exists && S_ISDIR(st.st_mode)) return refuse(path, "it is a directory, and the source is one file");
  if (leads_elsewhere(path)) return err_new(ERR_REFUSED, "restoring to %s: what is there is no regular file", path);
  if (exists && !target->plan->overwrite) return refuse(path, "it exists");
  target->shared = exists;
  target->file_name = mem_strdup(slash + 1);
  TRY(make_parent(path));
  AUTO_FREE char *parent = slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
  TRY(open_root(target, parent));
  target_sweep(target, target->root_fd, bytes(NULL, 0));
  return NULL;
}

Error *target_open(Sys *sys, const RestorePlan *plan, Source *source, Target **out) {
  FilesFacts facts;
  TRY(files_facts_parse(source->facts_json, &facts));
  Target *target = NEW(Target);
  *target = (Target){.sys = sys,
                     .plan = plan,
                     .source = source,
                     .facts = facts,
                     .root_fd = -1,
                     .linked = map_new(),
                     .made = map_new()};
  Error *err = facts.layout == LAYOUT_FILE ? open_single(target) : open_directory(target);
  if (err) {
    target_free(target);
    return err;
  }
  target->inherits = attr_has_default_acl(target->root_fd);
  *out = target;
  return NULL;
}

void target_free(Target *take) {
  if (!take) return;
  if (!take->finished) leave_nothing(take);
  dircache_free(take->dirs);
  if (take->root_fd >= 0) close(take->root_fd);
  free(take->file_name);
  map_free(take->linked);
  map_free(take->made);
  buf_free(&take->wanted_dir);
  buf_free(&take->unwanted_dir);
  free(take);
}

const RestorePlan *target_plan(const Target *target) { return target->plan; }

bool target_is_shared(const Target *target) { return target->shared; }

bool target_is_file(const Target *target) { return target->file_name != NULL; }

/* ---- what is wanted ---- */

static bool matches(const Target *target, Bytes path, EntryType type) {
  AUTO_BUF Buf absolute = {0};
  buf_put_u8(&absolute, '/');
  buf_add(&absolute, path.data, path.len);
  FilterItem item = {.path = path, .absolute = buf_bytes(&absolute), .type = type};
  return patterns_match(&target->plan->only, &item);
}

static void remember(Buf *slot, bool *has, Bytes path) {
  buf_clear(slot);
  buf_add(slot, path.data, path.len);
  *has = true;
}

/* A directory above `path` matches. Asked for many files of one directory in a row. */
static bool parent_matches(Target *target, Bytes path) {
  if (target->has_wanted_dir && entry_path_within(path, buf_bytes(&target->wanted_dir))) return true;
  Bytes parent = path_parent(path);
  if (target->has_unwanted_dir && bytes_equal(parent, buf_bytes(&target->unwanted_dir))) return false;
  for (size_t end = 1; end <= parent.len; end++) {
    if (end < parent.len && parent.data[end] != '/') continue;
    Bytes above = bytes(parent.data, end);
    if (!matches(target, above, ENTRY_DIR)) continue;
    remember(&target->wanted_dir, &target->has_wanted_dir, above);
    return true;
  }
  remember(&target->unwanted_dir, &target->has_unwanted_dir, parent);
  return false;
}

static bool selects(Target *target, Bytes path, EntryType type) {
  if (target->plan->only.len == 0) return true;
  return path.len > 0 && (parent_matches(target, path) || matches(target, path, type));
}

void target_needs(Target *target, Bytes path) {
  if (!selects(target, path, ENTRY_FILE)) map_set(target->linked, path, target);
}

bool target_wants(Target *target, const Entry *entry) {
  if (!entry_path_valid(entry->path) || (target->file_name && memchr(entry->path.data, '/', entry->path.len))) {
    target_report(target, entry->path, "its path is not valid", EINVAL);
    return false;
  }
  bool wanted = selects(target, entry->path, entry->type) || map_get(target->linked, entry->path);
  target->wanted += wanted;
  return wanted;
}

uint64_t target_wanted(const Target *target) { return target->wanted; }

/* ---- places ---- */

/* Something selected goes into a tree that is there. */
static bool is_part_of_shared(const Target *target) { return target->shared && target->plan->only.len > 0; }

/* A directory that stood above what was selected, such as the target itself, is the target's: it stays as it is. */
static bool spares_directory(Target *target, Bytes path) {
  return is_part_of_shared(target) && !selects(target, path, ENTRY_DIR) && !map_get(target->made, path);
}

static int make_directory(Target *target, Bytes path) {
  DirRef *dir = NULL;
  int rc = dircache_open(target->dirs, path_parent(path), &dir);
  if (rc) return rc;
  Bytes name = path_name(path);
  char text[ENTRY_NAME_MAX + 1];
  memcpy(text, name.data, name.len);
  text[name.len] = 0;
  bool made = mkdirat(dir->fd, text, 0700) == 0;
  if (!made && errno != EEXIST) rc = errno;
  if (made && is_part_of_shared(target)) map_set(target->made, path, target);
  dirref_drop(dir);
  return rc;
}

int target_directory(Target *target, Bytes path, DirRef **out) {
  int rc = dircache_open(target->dirs, path, out);
  if (rc != ENOENT || path.len == 0) return rc;
  /* Up to the first that can be made, which in tree order is the last component, and down again. */
  size_t end = path.len;
  while ((rc = make_directory(target, bytes(path.data, end))) == ENOENT) {
    end = path_parent(bytes(path.data, end)).len;
    if (end == 0) return rc;
  }
  while (rc == 0 && end < path.len) {
    const void *next = memchr(path.data + end + 1, '/', path.len - end - 1);
    end = next ? (size_t)((const uint8_t *)next - path.data) : path.len;
    rc = make_directory(target, bytes(path.data, end));
  }
  return rc ? rc : dircache_open(target->dirs, path, out);
}

int target_place(Target *target, Bytes path, TargetPlace *out) {
  Bytes name = target->file_name ? bytes_str(target->file_name) : path_name(path);
  if (name.len == 0 || name.len > ENTRY_NAME_MAX) return ENAMETOOLONG;
  int rc = target_directory(target, path_parent(path), &out->dir);
  if (rc) return rc;
  memcpy(out->name, name.data, name.len);
  out->name[name.len] = 0;
  return 0;
}

int target_temporary(Target *target, const TargetPlace *place, char out_name[TEMPORARY_NAME_CAP]) {
  return temporary_create(target->sys, place->dir->fd, TEMPORARY_PREFIX, out_name, TEMPORARY_NAME_CAP);
}

void target_sweep(Target *target, int dir_fd, Bytes path) {
  size_t removed = target->shared || target->file_name ? temporary_sweep(dir_fd, TEMPORARY_PREFIX) : 0;
  if (!removed) return;
  AUTO_FREE char *text =
      mem_printf("removed %zu unfinished file%s of a restore that was stopped", removed, removed == 1 ? "" : "s");
  if (target->source->notices) target->source->notices->report(target->source->notices, NOTICE_INFO, path, text);
}

/* ---- reports ---- */

void target_report_text(Target *target, NoticeLevel level, Bytes path, const char *text) {
  Notices *notices = target->source->notices;
  if (notices) notices->report(notices, level, path, text);
}

void target_report(Target *target, Bytes path, const char *doing, int errno_value) {
  char reason[128];
  AUTO_FREE char *text = mem_printf("not restored: %s: %s", doing, strerror_r(errno_value, reason, sizeof reason));
  target_report_text(target, NOTICE_PARTIAL, path, text);
}

Error *target_failed(Target *target, Bytes path, const char *doing, int errno_value) {
  if (errno_value == ENOSPC || errno_value == EDQUOT) {
    AUTO_FREE char *name = str_printable(path);
    return err_hint(err_errno(errno_value, "restoring %s: %s", name, doing),
                    "make room, then restore again to an empty path");
  }
  target_report(target, path, doing, errno_value);
  return NULL;
}

void target_apply(Target *target, const AttrPlace *place, const Entry *entry) {
  int saved = 0;
  if (entry->type == ENTRY_DIR && spares_directory(target, entry->path)) return;
  AttrPlace at = *place;
  at.used = target->shared || target->inherits;
  unsigned failed = attr_apply(&at, entry, target->plan->owners, &saved);
  if (!failed) return;
  char reason[128];
  AUTO_FREE char *what = attr_failure_text(failed);
  AUTO_FREE char *text = mem_printf("restored, but not its %s: %s", what, strerror_r(saved, reason, sizeof reason));
  target_report_text(target, NOTICE_PARTIAL, entry->path, text);
}

static Error *make_durable(const Target *target) {
  if (target->plan->no_sync) return NULL;
  if (target->file_name) {
    if (fsync(target->root_fd) == 0) return NULL; /* the file itself was synced when it was finished */
    return err_errno(errno, "making the directory of %s durable", target->plan->target);
  }
  /* One for all: far cheaper than one a file, and it reports what went wrong since the descriptor was opened. */
  if (syncfs(target->root_fd) == 0) return NULL;
  return err_errno(errno, "making %s durable", target->plan->target);
}

Error *target_finish(Target *target) {
  TRY(make_durable(target));
  int rc = unmark(target);
  if (rc) return err_errno(rc, "removing %s from %s", unfinished_name, target->plan->target);
  target->finished = true;
  return NULL;
}
