#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "store/store_file_impl.h"
#include "sys/fs.h"

enum {
  TEMP_ID_LEN = 16,
  TEMP_NAME_LEN = 2 * TEMP_ID_LEN,
  SLICE_BYTES = 4 << 20, /* written at once, between two looks at the Cancel; also the unit of early write-back */
};
static const uint64_t stale_after_ns = 24 * 3600 * UINT64_C(1000000000);

typedef struct FilePut {
  StorePut base;
  char *key;
  PutMode mode;
  int tmp_dir;
  int fd;
  bool named; /* the temporary name exists */
  char temp[TEMP_NAME_LEN + 1];
  uint64_t len;     /* bytes written */
  uint64_t started; /* of them, bytes whose write-back was started */
} FilePut;

static Error *put_failed(const FilePut *put, Error *take) {
  const char *name = put->base.store->name;
  if (err_is(take, ERR_NO_SPACE)) take = err_hint(take, "make room on the file system that holds %s", name);
  if (err_is(take, ERR_DENIED))
    take = err_hint(take, "check the owner and the mode of %s, and that it is not mounted read-only", name);
  return take;
}

static Error *create_temp(FileStore *fs, FilePut *put) {
  for (int tries = 0; tries < 16; tries++) {
    uint8_t id[TEMP_ID_LEN];
    sys_random(fs->sys, id, sizeof id);
    hex_encode(id, sizeof id, put->temp);
    put->fd = openat(put->tmp_dir, put->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (put->fd >= 0) break;
    if (errno != EEXIST) return err_errno(errno, "making a temporary file");
  }
  if (put->fd < 0) return err_new(ERR_IO, "making a temporary file: every name is taken");
  put->named = true;
  if (fchmod(put->fd, FILE_MODE) < 0 && file_mode_matters(errno))
    return err_errno(errno, "setting a temporary file's mode");
  /* Tells a cleaner that this file's writer lives. Where locks do not work, the age alone decides. */
  if (flock(put->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
    return err_new(ERR_IO, "making a temporary file: another process holds %s", put->temp);
  return NULL;
}

static bool is_temp_name(const char *name) {
  uint8_t id[TEMP_ID_LEN];
  return strlen(name) == TEMP_NAME_LEN && hex_decode(name, id, sizeof id);
}

/* Removes one temporary file when it is old by the file system's own clock and nobody holds it. */
static void clean_temp(int tmp_dir, const char *name, uint64_t now_ns) {
  struct stat st;
  if (fstatat(tmp_dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode)) return;
  uint64_t modified_ns = file_modified_ns(&st);
  if (modified_ns > now_ns || now_ns - modified_ns < stale_after_ns) return;
  AUTO_FD int fd = openat(tmp_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) return;
  unlinkat(tmp_dir, name, 0);
}

/* What crashed writers left behind goes; best effort, once per store opened for writing. */
static void clean_tmp(FileStore *fs, const FilePut *put) {
  mutex_lock(&fs->lock);
  bool first = !fs->cleaned;
  fs->cleaned = true;
  mutex_unlock(&fs->lock);
  struct stat own;
  if (!first || fstat(put->fd, &own) < 0) return;
  int fd = openat(put->tmp_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
  if (!dir) {
    if (fd >= 0) close(fd);
    return;
  }
  for (const struct dirent *entry; (entry = readdir(dir));)
    if (is_temp_name(entry->d_name)) clean_temp(put->tmp_dir, entry->d_name, file_modified_ns(&own));
  closedir(dir);
}

static void put_destroy(FilePut *put) {
  if (put->named) unlinkat(put->tmp_dir, put->temp, 0);
  if (put->fd >= 0) close(put->fd);
  if (put->tmp_dir >= 0) close(put->tmp_dir);
  free(put->key);
  free(put);
}

static Error *put_open(FileStore *fs, FilePut *put) {
  TRY(file_open_tmp(fs, &put->tmp_dir));
  TRY(create_temp(fs, put));
  clean_tmp(fs, put);
  return NULL;
}

Error *file_put_begin(Store *store, const char *key, PutMode mode, StorePut **out, Cancel *cancel UNUSED) {
  FilePut *put = NEW(FilePut);
  *put = (FilePut){.base.store = store, .key = mem_strdup(key), .mode = mode, .tmp_dir = -1, .fd = -1};
  Error *err = put_failed(put, put_open(file_store_of(store), put));
  if (err)
    put_destroy(put);
  else
    *out = &put->base;
  return err;
}

/* Lets the disk work while the next part is being prepared, so that the last fdatasync finds little to do. */
static void start_writeback(FilePut *put) {
  if (put->len - put->started < SLICE_BYTES) return;
  off_t from = (off_t)put->started, len = (off_t)(put->len - put->started);
  sync_file_range(put->fd, from, len, SYNC_FILE_RANGE_WRITE); /* only a hint: fdatasync reports what fails */
  put->started = put->len;
}

static Error *write_slices(FilePut *put, Bytes part, const Cancel *cancel) {
  while (part.len) {
    TRY(cancel_check(cancel));
    size_t n = part.len < SLICE_BYTES ? part.len : SLICE_BYTES;
    TRY(fs_write_at(put->fd, "the temporary file", part.data, n, put->len));
    put->len += n;
    part = bytes(part.data + n, part.len - n);
    start_writeback(put);
  }
  return NULL;
}

static Error *put_wrap(const FilePut *put, Error *take) {
  return err_wrap(put_failed(put, take), "storing %s in %s", put->key, put->base.store->name);
}

Error *file_put_write(StorePut *base, Bytes part, Cancel *cancel) {
  FilePut *put = (FilePut *)base;
  return put_wrap(put, write_slices(put, part, cancel));
}

void file_put_abort(StorePut *take) { put_destroy((FilePut *)take); }

/* Gives the object its name unless that is taken, where hard links do not exist. */
static Error *rename_new(const FilePut *put, int dir, int link_errno) {
  if (renameat2(put->tmp_dir, put->temp, dir, file_leaf(put->key), RENAME_NOREPLACE) == 0) return NULL;
  if (errno == EEXIST) return err_new(ERR_EXISTS, "the key is taken");
  return err_hint(err_errno(link_errno, "linking"), "use a file system that has hard links");
}

static Error *link_new(const FilePut *put, int dir) {
  if (linkat(put->tmp_dir, put->temp, dir, file_leaf(put->key), 0) == 0) return NULL;
  int why = errno;
  if (why == EPERM || why == EOPNOTSUPP || why == ENOSYS || why == EMLINK) return rename_new(put, dir, why);
  if (why != EEXIST) return err_errno(why, "linking");
  /* NFS may repeat a link whose first answer was lost: then the name that is in the way is ours. */
  struct stat st;
  if (fstat(put->fd, &st) == 0 && st.st_nlink == 2) return NULL;
  return err_new(ERR_EXISTS, "the key is taken");
}

static Error *publish(FileStore *fs, FilePut *put) {
  TRY(fs_sync(put->fd, "the temporary file"));
  AUTO_FD int dir = -1;
  TRY(file_make_dir(fs, put->key, &dir));
  Error *err = NULL;
  if (put->mode == PUT_NEW)
    err = link_new(put, dir);
  else if (renameat(put->tmp_dir, put->temp, dir, file_leaf(put->key)) < 0)
    err = err_errno(errno, "renaming");
  if (err && err_code(err) != ERR_EXISTS) return err;
  if (put->mode == PUT_NEW) unlinkat(put->tmp_dir, put->temp, 0);
  put->named = false;
  /* Also when the key was taken: who is told so may rely on the object that is there. After a failure here the object
   * stays: somebody may have seen it. */
  return err_first(err, file_sync_dir(dir));
}

Error *file_put_commit(StorePut *take, Cancel *cancel UNUSED) {
  FilePut *put = (FilePut *)take;
  Error *err = put_wrap(put, publish(file_store_of(take->store), put));
  put_destroy(put);
  return err;
}

Error *file_put(Store *store, const char *key, Bytes body, PutMode mode, Cancel *cancel) {
  StorePut *base;
  TRY(file_put_begin(store, key, mode, &base, cancel));
  FilePut *put = (FilePut *)base;
  Error *err = write_slices(put, body, cancel);
  if (!err) err = publish(file_store_of(store), put);
  err = put_failed(put, err);
  put_destroy(put);
  return err;
}
