#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/timefmt.h"
#include "engine/files/avoid.h"
#include "engine/files/batch.h"
#include "engine/files/files.h"
#include "engine/files/tree_dirs.h"
#include "sys/fs.h"
#include "sys/lockguard.h"

typedef struct HardLink { /* a file with several names, until all were seen */
  uint64_t names_left;
  size_t len;
  char path[]; /* of the entry that holds its content */
} HardLink;

typedef struct Device {
  dev_t number;
  uint64_t id;
  bool pseudo; /* the kernel's own: nothing in it was ever stored by anybody */
} Device;

typedef struct Backup {
  const FilesEngine *engine;
  ReadShared shared;
  Dispatch *dispatch;
  Roots roots;
  TreeDirs dirs;
  AvoidDirs avoid;
  Map *hard_links;
  Device *devices;
  size_t devices_len;
  uint64_t symlinks, hardlinks, specials, excluded;
} Backup;

/* ---- file systems: known by what stays the same over a reboot, where they tell ---- */

static bool is_pseudo(const struct statfs *fs) {
  static const uint32_t kinds[] = {PROC_SUPER_MAGIC,   SYSFS_MAGIC,    CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
                                   DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC,  TRACEFS_MAGIC,      SECURITYFS_MAGIC,
                                   BPF_FS_MAGIC,       PSTOREFS_MAGIC, BINFMTFS_MAGIC,     NSFS_MAGIC};
  for (size_t i = 0; i < NELEMS(kinds); i++) {
    if ((uint32_t)fs->f_type == kinds[i]) return true;
  }
  return false;
}

static const Device *find_device(const Backup *job, dev_t number) {
  for (size_t i = 0; i < job->devices_len; i++) {
    if (job->devices[i].number == number) return &job->devices[i];
  }
  return NULL;
}

static uint64_t device_id(const Backup *job, dev_t number) {
  const Device *device = find_device(job, number);
  return device ? device->id : number;
}

/* Called for every directory: the first one of a file system tells about it. */
static const Device *learn_device(Backup *job, const WalkItem *item) {
  const Device *known = find_device(job, item->st->st_dev);
  if (known) return known;
  Device device = {.number = item->st->st_dev, .id = item->st->st_dev};
  AUTO_FD int fd = openat(item->dir->fd, item->name ? item->name : ".", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct statfs fs;
  uint64_t id = 0;
  _Static_assert(sizeof fs.f_fsid == sizeof id, "two ints");
  if (fd >= 0 && fstatfs(fd, &fs) == 0) {
    memcpy(&id, &fs.f_fsid, sizeof id);
    if (id) device.id = id;
    device.pseudo = is_pseudo(&fs);
  }
  job->devices = (Device *)mem_resize(job->devices, job->devices_len + 1, sizeof(Device));
  job->devices[job->devices_len] = device;
  return &job->devices[job->devices_len++];
}

/* ---- what cannot be stored ---- */

static void on_trouble(void *ctx, Bytes path, const char *doing, int errno_value) {
  Backup *job = (Backup *)ctx;
  char reason[128];
  if (errno_value == ENOENT) {
    read_count(&job->shared.counts.vanished, 1);
    read_notice(&job->shared, NOTICE_INFO, path, "vanished before it was read");
    return;
  }
  read_count(&job->shared.counts.left_out, 1);
  read_notice(&job->shared, NOTICE_PARTIAL, path, "left out: %s: %s", doing,
              strerror_r(errno_value, reason, sizeof reason));
}

/* ---- entries without content ---- */

static void read_attributes(Backup *job, const WalkItem *item, Entry *out) {
  Attrs *attrs = dispatch_reader(job->dispatch)->attrs;
  *out = attr_entry(attrs, item->path, item->st);
  out->device = device_id(job, item->st->st_dev);
  char reason[128];
  int rc = attr_read_xattrs_at(attrs, item->dir, item->name, out);
  if (rc) {
    read_notice(&job->shared, NOTICE_PARTIAL, item->path, "not all of its extended attributes could be read: %s",
                strerror_r(rc, reason, sizeof reason));
  }
}

static Error *add_directory(Backup *job, const WalkItem *item, const FilterItem *question) {
  Entry entry;
  read_attributes(job, item, &entry);
  return tree_dirs_enter(&job->dirs, &entry, question);
}

static Error *add_other(Backup *job, const WalkItem *item) {
  Entry entry;
  read_attributes(job, item, &entry);
  if (entry.type == ENTRY_SYMLINK) {
    int rc = attr_read_link(dispatch_reader(job->dispatch)->attrs, item->dir, item->name, &entry);
    if (rc) {
      on_trouble(job, item->path, "reading the link", rc);
      return NULL;
    }
    job->symlinks++;
  } else {
    job->specials++;
  }
  return job->shared.sink->ops->add(job->shared.sink, &entry);
}

/* ---- files ---- */

static bool has_twin(const WalkItem *item) {
  size_t len = strlen(item->name);
  if (!item->siblings || len < 4 || strcmp(item->name + len - 3, ".gz") != 0) return false;
  AUTO_FREE char *plain = mem_strndup(item->name, len - 3);
  return names_has(item->siblings, plain);
}

static Error *add_hard_link(Backup *job, const WalkItem *item, HardLink *link, Bytes key) {
  Entry entry = attr_entry(dispatch_reader(job->dispatch)->attrs, item->path, item->st);
  entry.type = ENTRY_HARDLINK;
  entry.size = 0;
  entry.device = device_id(job, item->st->st_dev);
  entry.target = bytes(link->path, link->len);
  TRY(job->shared.sink->ops->add(job->shared.sink, &entry));
  job->hardlinks++;
  if (--link->names_left == 0) free(map_remove(job->hard_links, key));
  return NULL;
}

/* What tells a file from a later one that got its inode number: when it was made, 0 where file systems do not know. */
static uint64_t birth_of(const WalkItem *item) {
  struct statx st;
  if (statx(item->dir->fd, item->name, AT_SYMLINK_NOFOLLOW, STATX_BTIME | STATX_INO, &st) != 0) return 0;
  if (!(st.stx_mask & STATX_BTIME) || st.stx_ino != item->st->st_ino) return 0;
  return (uint64_t)st.stx_btime.tv_sec * NS_PER_SECOND + st.stx_btime.tv_nsec;
}

/* The first name holds the content and is read here and now, since the others depend on its being stored. */
static Error *add_linked_file(Backup *job, const WalkItem *item, const ReadItem *file) {
  struct {
    uint64_t device, inode, birth;
  } id = {.device = item->st->st_dev, .inode = item->st->st_ino, .birth = birth_of(item)};
  Bytes key = bytes(&id, sizeof id);
  HardLink *link = (HardLink *)map_get(job->hard_links, key);
  if (link) return add_hard_link(job, item, link, key);
  bool stored;
  TRY(dispatch_now(job->dispatch, file, &stored));
  if (!stored) return NULL;
  link = (HardLink *)mem_alloc(sizeof *link + item->path.len);
  link->names_left = item->st->st_nlink - 1;
  link->len = item->path.len;
  memcpy(link->path, item->path.data, item->path.len);
  map_set(job->hard_links, key, link);
  return NULL;
}

static Error *add_file(Backup *job, const WalkItem *item, bool named) {
  ReadItem file = {.dir = item->dir,
                   .name = item->name,
                   .path = item->path,
                   .st = item->st,
                   .device = device_id(job, item->st->st_dev),
                   .named = named,
                   .twin = job->shared.logs && has_twin(item)};
  if (item->st->st_nlink > 1) return add_linked_file(job, item, &file);
  if (named) {
    bool stored;
    return dispatch_now(job->dispatch, &file, &stored);
  }
  return dispatch_file(job->dispatch, &file);
}

/* ---- the walk ---- */

static bool is_nested_root(const Backup *job, Bytes path) {
  for (size_t i = 0; i < job->roots.nested_len; i++) {
    if (bytes_equal(bytes_str(job->roots.nested[i].tree), path)) return true;
  }
  return false;
}

/* Another file system starts here. */
static bool is_mount_point(const WalkItem *item) {
  struct stat parent;
  return item->name && fstat(item->dir->fd, &parent) == 0 && parent.st_dev != item->st->st_dev;
}

static bool enters(Backup *job, const WalkItem *item) {
  const Device *device = learn_device(job, item);
  if (!item->name || is_nested_root(job, item->path)) return true; /* named by the operator */
  if (device->pseudo) return false;
  return !job->engine->one_file_system || !is_mount_point(item);
}

static void leave_out_repository(Backup *job, Bytes path) {
  job->excluded++;
  read_notice(&job->shared, NOTICE_WARNING, path,
              "left out: it is the repository that this backup goes to (exclude it, and this is not said again)");
}

static Error *on_item(void *ctx, const WalkItem *item, bool *descend) {
  Backup *job = (Backup *)ctx;
  FilterItem question = {.path = item->path, .absolute = item->absolute};
  if (!attr_type(item->st->st_mode, &question.type)) return NULL;
  bool is_root = item->siblings == NULL;
  bool excluded = !is_root && filter_excludes(job->engine->filter, &question);
  if (question.type == ENTRY_DIR && !excluded) {
    if (avoid_is(&job->avoid, item->st)) {
      if (tree_dirs_selects(&job->dirs, &question)) leave_out_repository(job, item->path);
      return NULL;
    }
    *descend = enters(job, item);
    return add_directory(job, item, &question);
  }
  if (excluded || !tree_dirs_selects(&job->dirs, &question)) {
    job->excluded++;
    return NULL;
  }
  TRY(tree_dirs_need(&job->dirs, item->path));
  return question.type == ENTRY_FILE ? add_file(job, item, is_root) : add_other(job, item);
}

/* A directory that says it is a cache keeps its tag, so that it stays one. */
static void on_listed(void *ctx, Bytes path, const DirRef *self, NameList *names) {
  static const char tag[] = "CACHEDIR.TAG";
  static const char signature[] = "Signature: 8a477f597d28d172789f06886806bc55";
  Backup *job = (Backup *)ctx;
  (void)path;
  if (!filter_skips_tagged_caches(job->engine->filter) || !names_has(names, tag)) return;
  AUTO_FD int fd = openat(self->fd, tag, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  char start[sizeof signature - 1];
  if (fd < 0 || read(fd, start, sizeof start) != (ssize_t)sizeof start) return;
  if (memcmp(start, signature, sizeof start) != 0) return;
  job->excluded += names->len - 1;
  names_keep_only(names, tag);
}

static const WalkOps walk_ops = {.item = on_item, .listed = on_listed, .trouble = on_trouble};

static void on_missing_root(Backup *job, const Root *root, int errno_value) {
  char reason[128];
  read_count(&job->shared.counts.left_out, 1);
  read_notice(&job->shared, NOTICE_PARTIAL, bytes_str(root->tree), "left out: %s",
              strerror_r(errno_value, reason, sizeof reason));
}

/* The only root there is: without it there would be an empty snapshot. */
static Error *unreadable(const Root *root, int errno_value, int take_fd) {
  close(take_fd);
  AUTO_FREE char *name = str_printable(bytes_str(root->absolute));
  Error *err = err_errno(errno_value, "files: %s", name);
  return err_hint(err_is(err, ERR_DENIED) ? err : err_recode(err, ERR_UNREACHABLE),
                  "run as a user that may read it, such as root");
}

static Error *walk_directory(Backup *job, const Root *root, Cancel *cancel) {
  int fd = open(root->absolute, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    on_missing_root(job, root, errno);
    return NULL;
  }
  if (job->roots.layout == LAYOUT_DIRECTORY) {
    int listed = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (listed < 0) return unreadable(root, errno, fd);
    close(listed);
  }
  bool top = strcmp(root->absolute, "/") == 0;
  WalkSpec spec = {.take_root_fd = fd,
                   .base = bytes_str(root->tree),
                   .absolute = top ? bytes(NULL, 0) : bytes_str(root->absolute),
                   .ops = &walk_ops,
                   .ctx = job,
                   .cancel = cancel};
  return walk_tree(&spec);
}

/* 0, or errno. */
static int try_reading(int dir_fd, const char *name, const struct stat *st) {
  if (lockguard_enter(st) != LOCKGUARD_FREE) return 0; /* left out when it is read */
  int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  int rc = fd < 0 ? errno : 0;
  if (fd >= 0) close(fd);
  lockguard_leave(st);
  return rc;
}

static Error *store_single(Backup *job, const Root *root) {
  const char *slash = strrchr(root->absolute, '/');
  AUTO_FREE char *parent =
      slash == root->absolute ? mem_strdup("/") : mem_strndup(root->absolute, (size_t)(slash - root->absolute));
  int fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
  struct stat st;
  if (fd < 0 || fstatat(fd, slash + 1, &st, AT_SYMLINK_NOFOLLOW) != 0) {
    on_missing_root(job, root, errno);
    if (fd >= 0) close(fd);
    return NULL;
  }
  if (job->roots.layout == LAYOUT_FILE && S_ISREG(st.st_mode)) {
    int rc = try_reading(fd, slash + 1, &st);
    if (rc) return unreadable(root, rc, fd);
  }
  DirRef *dir = dirref_new(fd);
  bool descend = false;
  WalkItem item = {
      .path = bytes_str(root->tree), .absolute = bytes_str(root->absolute), .dir = dir, .name = slash + 1, .st = &st};
  Error *err = on_item(job, &item, &descend);
  dirref_drop(dir);
  return err;
}

/* The directories above a root, from "/" on, that the root before it does not share. */
static Error *add_parents(Backup *job, const Root *root, const Root *before) {
  size_t len = strlen(root->tree);
  for (size_t end = 0; end < len; end++) {
    if (end > 0 && root->tree[end] != '/') continue;
    Bytes path = bytes(root->tree, end);
    if (before && entry_path_within(bytes_str(before->tree), path)) continue;
    AUTO_FREE char *absolute = mem_printf("/%.*s", (int)end, root->tree);
    int fd = open(absolute, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0) continue; /* reported with the root itself */
    DirRef *self = dirref_new(fd);
    WalkItem item = {.path = path, .absolute = bytes_str(absolute), .dir = self, .st = &st};
    FilterItem question = {.path = path, .absolute = item.absolute, .type = ENTRY_DIR};
    Error *err = NULL;
    if (fstat(fd, &st) == 0) {
      learn_device(job, &item);
      err = add_directory(job, &item, &question);
    }
    dirref_drop(self);
    TRY(err);
  }
  return NULL;
}

static Error *store_roots(Backup *job, Cancel *cancel) {
  for (size_t i = 0; i < job->roots.missing.len; i++) {
    read_count(&job->shared.counts.left_out, 1);
    read_notice(&job->shared, NOTICE_PARTIAL, bytes(NULL, 0), "%s", job->roots.missing.items[i]);
  }
  for (size_t i = 0; i < job->roots.len; i++) {
    const Root *root = &job->roots.items[i];
    if (avoid_holds(&job->avoid, root->absolute)) {
      leave_out_repository(job, bytes_str(root->tree));
      continue;
    }
    if (job->roots.layout == LAYOUT_PATHS) TRY(add_parents(job, root, i ? root - 1 : NULL));
    TRY(root->directory ? walk_directory(job, root, cancel) : store_single(job, root));
  }
  return NULL;
}

/* ---- the record ---- */

static json_t *count(uint64_t value) { return json_integer((json_int_t)value); }

static char *facts_json(Backup *job) {
  ReadCounts *counts = &job->shared.counts;
  json_t *roots = json_array();
  for (size_t i = 0; i < job->roots.len; i++) {
    AUTO_FREE char *name = str_printable(bytes_str(job->roots.items[i].absolute));
    json_array_append_new(roots, json_string(name));
  }
  json_t *facts = json_object();
  json_object_set_new(facts, "engine", json_string("files"));
  json_object_set_new(facts, "layout", json_string(roots_layout_name(job->roots.layout)));
  json_object_set_new(facts, "roots", roots);
  if (job->engine->preset) json_object_set_new(facts, "preset", json_string(job->engine->preset));
  json_object_set_new(facts, "started_ns", count(job->shared.plan->started_ns));
  json_object_set_new(facts, "files", count(atomic_load(&counts->files)));
  json_object_set_new(facts, "directories", count(job->dirs.added));
  json_object_set_new(facts, "symlinks", count(job->symlinks));
  json_object_set_new(facts, "hardlinks", count(job->hardlinks));
  json_object_set_new(facts, "specials", count(job->specials));
  json_object_set_new(facts, "bytes", count(atomic_load(&counts->bytes)));
  json_object_set_new(facts, "read_bytes", count(atomic_load(&counts->read_bytes)));
  json_object_set_new(facts, "unchanged_files", count(atomic_load(&counts->unchanged_files)));
  json_object_set_new(facts, "excluded", count(job->excluded));
  json_object_set_new(facts, "left_out", count(atomic_load(&counts->left_out)));
  json_object_set_new(facts, "vanished", count(atomic_load(&counts->vanished)));
  json_object_set_new(facts, "changed", count(atomic_load(&counts->changed)));
  json_object_set_new(facts, "unpacked_rotations", count(atomic_load(&counts->unpacked)));
  char *text = json_dumps(facts, JSON_COMPACT | JSON_SORT_KEYS);
  json_decref(facts);
  CHECK(text);
  return text;
}

/* A pattern that is mistyped leaves out everything, and nobody would notice before the day of the restore. */
static void warn_if_empty(Backup *job) {
  uint64_t kept = atomic_load(&job->shared.counts.files) + job->symlinks + job->hardlinks + job->specials;
  if (kept > 0 || job->excluded == 0) return;
  read_notice(&job->shared, NOTICE_WARNING, bytes(NULL, 0),
              "the patterns leave out every file: none is in the snapshot");
}

static void backup_free(Backup *job) {
  size_t pos = 0;
  Bytes key;
  void *link;
  while (map_next(job->hard_links, &pos, &key, &link)) free(link);
  map_free(job->hard_links);
  free(job->devices);
  tree_dirs_free(&job->dirs);
  avoid_free(&job->avoid);
  roots_free(&job->roots);
}

Error *files_backup(Engine *engine, const BackupPlan *plan, Sink *sink, EngineFacts *out, Cancel *cancel) {
  FilesEngine *self = files_engine(engine);
  Backup job = {.engine = self,
                .shared = {.plan = plan, .sink = sink, .cancel = cancel, .logs = filter_is_logs(self->filter)},
                .dirs = {.filter = self->filter, .sink = sink}};
  TRY(roots_resolve(&self->paths, &job.roots));
  avoid_find(&self->avoid, &job.avoid);
  job.hard_links = map_new();
  Error *err = dispatch_new(engine->sys, &job.shared, plan->readers, &job.dispatch);
  if (!err) {
    err = store_roots(&job, cancel);
    err = err_first(err, dispatch_finish(job.dispatch));
  }
  if (!err) warn_if_empty(&job);
  read_notices_finish(&job.shared);
  if (!err) *out = (EngineFacts){.json = facts_json(&job)};
  backup_free(&job);
  return err;
}
