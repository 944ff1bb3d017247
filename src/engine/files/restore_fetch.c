#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/files/rotate.h"
#include "engine/files/target.h"
#include "sys/fs.h"

typedef struct RestoreFile {
  SourceFile base;
  int fd;            /* -1: could not be made */
  atomic_int failed; /* errno of the first failure */
  _Atomic uint64_t written;
  bool in_place;                      /* an existing file, compared and rewritten where it differs */
  bool is_new;                        /* written under its own name */
  char temporary[TEMPORARY_NAME_CAP]; /* else: under this one, until finished */
  bool packed;                        /* becomes the gzip file that `record` describes */
  RotateRecord record;
} RestoreFile;

static RestoreFile *restore_file(SourceFile *file) { return (RestoreFile *)(void *)file; }

static void set_failed(RestoreFile *file, int errno_value) {
  int none = 0;
  atomic_compare_exchange_strong(&file->failed, &none, errno_value ? errno_value : EIO);
}

/* Empty files are made with the directories. */
static bool fetch_select(void *ctx, const Entry *entry) {
  return entry->size > 0 && target_wants((Target *)ctx, entry);
}

/* ---- making ---- */

/* Content may be rewritten where it stands only if nobody sees it under another name. */
static bool open_in_place(RestoreFile *file, const TargetPlace *place) {
  int fd = openat(place->dir->fd, place->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  struct stat st;
  if (fd < 0) return false;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1) {
    close(fd);
    return false;
  }
  file->fd = fd;
  file->in_place = true;
  return true;
}

static int open_file(Target *target, RestoreFile *file) {
  const Entry *entry = file->base.entry;
  TargetPlace place;
  target_yield_mark(target, entry->path);
  int rc = target_place(target, entry->path, &place);
  if (rc) return rc;
  bool delta = target_is_shared(target) && target_plan(target)->delta && !file->packed;
  if (!delta || !open_in_place(file, &place)) {
    /* Below a folder the folder itself says that it is not whole (target.c); a single file must not look it. */
    file->is_new = !target_is_shared(target) && !target_is_file(target) && !file->packed;
    file->fd = file->is_new
                   ? openat(place.dir->fd, place.name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)
                   : target_temporary(target, &place, file->temporary);
  }
  if (file->fd < 0 || ftruncate(file->fd, (off_t)entry->size) != 0) rc = errno;
  dirref_drop(place.dir);
  return rc;
}

static Error *fetch_create(void *ctx, const Entry *entry, SourceFile **out) {
  Target *target = (Target *)ctx;
  RestoreFile *file = NEW(RestoreFile);
  file->base.entry = entry;
  file->fd = -1;
  file->packed = rotate_record_of(entry, &file->record);
  int rc = entry->size > INT64_MAX ? EFBIG : open_file(target, file);
  if (rc == ENOSPC || rc == EDQUOT) {
    if (file->fd >= 0) close(file->fd);
    free(file);
    return target_failed(target, entry->path, "creating it", rc);
  }
  if (rc) set_failed(file, rc);
  *out = &file->base;
  return NULL;
}

/* ---- filling, from several threads ---- */

static int write_all(int fd, const uint8_t *data, size_t len, uint64_t offset) {
  while (len > 0) {
    ssize_t n = pwrite(fd, data, len, (off_t)offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? errno : EIO;
    data += n;
    len -= (size_t)n;
    offset += (uint64_t)n;
  }
  return 0;
}

static Error *fetch_write(void *ctx, SourceFile *base, uint64_t offset, Bytes data) {
  RestoreFile *file = restore_file(base);
  if (atomic_load_explicit(&file->failed, memory_order_relaxed)) return NULL;
  int rc = write_all(file->fd, data.data, data.len, offset);
  if (rc == ENOSPC || rc == EDQUOT) return target_failed((Target *)ctx, base->entry->path, "writing it", rc);
  if (rc)
    set_failed(file, rc);
  else
    fs_write_behind(file->fd, &file->written, data.len);
  return NULL;
}

static int write_zeros(int fd, uint64_t offset, uint64_t len) {
  static const uint8_t zeros[64 * 1024];
  while (len > 0) {
    size_t part = len < sizeof zeros ? (size_t)len : sizeof zeros;
    int rc = write_all(fd, zeros, part, offset);
    if (rc) return rc;
    offset += part;
    len -= part;
  }
  return 0;
}

static Error *fetch_zero(void *ctx, SourceFile *base, uint64_t offset, uint64_t len) {
  RestoreFile *file = restore_file(base);
  if (!file->in_place || len == 0 || atomic_load(&file->failed)) return NULL; /* what is new reads as zeros already */
  int rc = fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) ? errno : 0;
  if (rc == EOPNOTSUPP || rc == ENOSYS) rc = write_zeros(file->fd, offset, len);
  if (rc == ENOSPC || rc == EDQUOT) return target_failed((Target *)ctx, base->entry->path, "writing it", rc);
  if (rc) set_failed(file, rc);
  return NULL;
}

static Error *fetch_read(void *ctx, SourceFile *base, uint64_t offset, uint8_t *out, size_t len, size_t *out_len) {
  (void)ctx;
  RestoreFile *file = restore_file(base);
  *out_len = 0;
  if (!file->in_place || atomic_load(&file->failed)) return NULL;
  while (*out_len < len) {
    ssize_t n = pread(file->fd, out + *out_len, len - *out_len, (off_t)(offset + *out_len));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break; /* what cannot be read is fetched */
    *out_len += (size_t)n;
  }
  return NULL;
}

/* ---- finishing ---- */

/* The gzip file that stands for the fetched content, in place of it. */
static Error *pack(Target *target, RestoreFile *file, const TargetPlace *place) {
  CHECK(place->dir); /* it has a temporary name, so its place was looked up */
  char packed[TEMPORARY_NAME_CAP];
  int fd = target_temporary(target, place, packed);
  if (fd < 0) return err_errno(errno, "creating it");
  Error *err = rotate_pack(file->fd, fd, &file->record, place->name);
  unlinkat(place->dir->fd, file->temporary, 0);
  close(file->fd);
  file->fd = fd;
  memcpy(file->temporary, packed, sizeof packed);
  return err;
}

static void add_suffix(TargetPlace *place) {
  size_t len = strlen(place->name);
  if (len + 4 <= sizeof place->name) memcpy(place->name + len, ".gz", 4);
}

/* On disks of its own below the target, syncfs does not reach it; a single file has no syncfs at all. */
static int sync_if_apart(Target *target, const RestoreFile *file, const TargetPlace *place) {
  if (target_plan(target)->no_sync) return 0;
  bool sync = target_is_file(target);
  if (!sync && target_is_shared(target) && place->dir) {
    struct stat dir, root;
    DirRef *top = NULL;
    if (target_directory(target, bytes(NULL, 0), &top) != 0) return EIO;
    sync = fstat(top->fd, &root) != 0 || fstat(place->dir->fd, &dir) != 0 || root.st_dev != dir.st_dev;
    dirref_drop(top);
  }
  return sync && fsync(file->fd) != 0 ? errno : 0;
}

static Error *publish(Target *target, RestoreFile *file, TargetPlace *place) {
  const Entry *entry = file->base.entry;
  if (file->packed) {
    bool single = target_is_file(target); /* the operator chose the name */
    if (!single) add_suffix(place);
    Error *err = pack(target, file, place);
    if (err_is(err, ERR_NO_SPACE)) return err;
    if (err) {
      set_failed(file, EIO);
      err_free(err);
      return NULL;
    }
  }
  target_apply(target, &(AttrPlace){.fd = file->fd, .dir_fd = -1}, entry);
  int rc = sync_if_apart(target, file, place);
  if (rc == 0 && file->temporary[0]) {
    CHECK(place->dir);
    unsigned flags = target_is_shared(target) ? 0 : RENAME_NOREPLACE;
    rc = renameat2(place->dir->fd, file->temporary, place->dir->fd, place->name, flags) ? errno : 0;
    if (rc == EINVAL && flags) rc = renameat(place->dir->fd, file->temporary, place->dir->fd, place->name) ? errno : 0;
  }
  if (rc) set_failed(file, rc);
  return NULL;
}

/* Nothing half-written stays under a new name. */
static void discard(const RestoreFile *file, const TargetPlace *place) {
  if (file->fd < 0 || file->in_place) return;
  unlinkat(place->dir->fd, file->temporary[0] ? file->temporary : place->name, 0);
}

static void report_failure(Target *target, const RestoreFile *file, const Error *failed) {
  Bytes path = file->base.entry->path;
  if (failed && err_code(failed) == ERR_CANCELLED) return;
  const char *note = file->in_place ? "; the file that was there is partly rewritten" : "";
  char reason[128];
  int saved = atomic_load(&file->failed);
  AUTO_FREE char *text = mem_printf(
      "not restored: %s%s", failed ? err_text(failed) : strerror_r(saved ? saved : EIO, reason, sizeof reason), note);
  target_report_text(target, NOTICE_PARTIAL, path, text);
}

static Error *fetch_finish(void *ctx, SourceFile *take, const Error *failed) {
  Target *target = (Target *)ctx;
  RestoreFile *file = restore_file(take);
  TargetPlace place;
  place.dir = NULL;
  Error *err = NULL;
  bool good = file->fd >= 0 && !failed && !atomic_load(&file->failed);
  bool in_its_place = good && file->is_new && !target_is_file(target); /* by far the most: no name is needed */
  int rc = file->fd >= 0 && !in_its_place ? target_place(target, take->entry->path, &place) : 0;
  if (rc) {
    set_failed(file, rc);
    good = false;
  }
  if (good) err = publish(target, file, &place);
  if (!good || err || atomic_load(&file->failed)) {
    if (!place.dir && file->fd >= 0 && target_place(target, take->entry->path, &place) != 0) place.dir = NULL;
    if (place.dir) discard(file, &place);
    if (!err) report_failure(target, file, failed);
  }
  if (file->fd >= 0 && close(file->fd) != 0 && good && !err)
    target_report(target, take->entry->path, "closing it", errno);
  dirref_drop(place.dir);
  free(file);
  return err;
}

const FetchOps *target_fetch_ops(const Target *target) {
  static const FetchOps fresh = {
      .select = fetch_select, .create = fetch_create, .write = fetch_write, .zero = fetch_zero, .finish = fetch_finish};
  static const FetchOps delta = {.select = fetch_select,
                                 .create = fetch_create,
                                 .write = fetch_write,
                                 .zero = fetch_zero,
                                 .read = fetch_read,
                                 .finish = fetch_finish};
  return target_is_shared(target) && target_plan(target)->delta ? &delta : &fresh;
}
