#include "ops/export_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "codec/compress_stream.h"
#include "sys/fs.h"
#include "sys/temporary.h"

struct ExportFile {
  int fd;
  char *path;      /* of the finished file; NULL: a descriptor */
  char *temporary; /* what is written */
  char *shown;     /* for messages */
  CompressStream *stream;
  uint64_t written;
};

static Error *write_out(void *ctx, Bytes part) {
  ExportFile *file = (ExportFile *)ctx;
  file->written += part.len;
  return fs_write(file->fd, file->shown, part.data, part.len);
}

static ExportFile *file_new(int fd, const char *name, Compression compression) {
  ExportFile *file = NEW(ExportFile);
  file->fd = fd;
  file->shown = str_printable(bytes_str(name));
  file->stream = compress_stream_new(compression, write_out, file);
  return file;
}

static void file_free(ExportFile *take) {
  compress_stream_free(take->stream);
  free(take->path);
  free(take->temporary);
  free(take->shown);
  free(take);
}

static Error *taken(const char *shown) {
  return err_hint(err_new(ERR_NOT_EMPTY, "%s exists", shown), "an export never overwrites: choose a new name");
}

static char *parent_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
}

Error *export_file_create(Sys *sys, const char *path, Compression compression, ExportFile **out) {
  AUTO_FREE char *shown = str_printable(bytes_str(path));
  const char *slash = strrchr(path, '/');
  if (path[0] != '/' || !slash[1]) return err_new(ERR_USAGE, "%s: not the path of a file", shown);
  struct stat st;
  if (lstat(path, &st) == 0) return taken(shown);
  AUTO_FREE char *parent = parent_of(path);
  TRY(fs_make_dirs(parent, 0777));
  char name[TEMPORARY_NAME_CAP];
  AUTO_FD int dir = -1;
  TRY(fs_open(parent, O_PATH | O_DIRECTORY, 0, &dir));
  temporary_sweep(dir, TEMPORARY_PREFIX);
  int fd = temporary_create(sys, dir, TEMPORARY_PREFIX, name, sizeof name);
  if (fd < 0) return err_errno(errno, "creating a file in %s", parent);
  *out = file_new(fd, path, compression);
  (*out)->path = mem_strdup(path);
  (*out)->temporary = fs_join(parent, name);
  return NULL;
}

ExportFile *export_file_to(int fd, const char *name, Compression compression) {
  return file_new(fd, name, compression);
}

Error *export_file_write(ExportFile *file, Bytes part) { return compress_stream_add(file->stream, part); }

/* Not every file system can rename without replacing: a hard link cannot replace either. */
static Error *give_name(const ExportFile *file) {
  if (renameat2(AT_FDCWD, file->temporary, AT_FDCWD, file->path, RENAME_NOREPLACE) == 0) return NULL;
  if (errno == EINVAL || errno == ENOSYS) {
    if (link(file->temporary, file->path) == 0) {
      unlink(file->temporary);
      return NULL;
    }
  }
  return errno == EEXIST ? taken(file->shown) : err_errno(errno, "naming %s", file->shown);
}

static Error *publish(ExportFile *file) {
  Error *err = fs_sync(file->fd, file->shown);
  if (close(file->fd) != 0) err = err_first(err, err_errno(errno, "closing %s", file->shown));
  file->fd = -1;
  TRY(err);
  TRY(give_name(file));
  AUTO_FREE char *parent = parent_of(file->path);
  return fs_sync_dir(parent);
}

Error *export_file_finish(ExportFile *take, uint64_t *out_written) {
  Error *err = compress_stream_finish(take->stream);
  if (!err && take->path) err = publish(take);
  if (err) {
    export_file_abort(take);
    return err;
  }
  *out_written = take->written;
  file_free(take);
  return NULL;
}

void export_file_abort(ExportFile *take) {
  if (!take) return;
  if (take->temporary) {
    if (take->fd >= 0) close(take->fd);
    unlink(take->temporary);
  }
  file_free(take);
}
