#include "ops/export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/compress_stream.h"
#include "engine/sqlite/sqlite_dump.h"
#include "ops/export_file.h"
#include "ops/only.h"
#include "ops/tar.h"
#include "repo/content_runs.h"
#include "repo/frames.h"
#include "sys/fs.h"

/* Data frames kept while content is read in order: small files share frames, and page files jump between a base frame
 * and those of their changes. */
enum { FRAMES_KEPT = 8 };

typedef struct Export {
  const Ops *ops;
  const ExportRequest *request;
  ExportResult *result;
  Index *index;
  FrameReader *reader;
  FrameSource *source;
  struct {
    FrameId id;
    Buf raw;
    uint64_t used;
  } frames[FRAMES_KEPT];
  uint64_t clock;
} Export;

typedef Error *ContentWrite(void *ctx, Bytes part);

static bool is_selected(const Export *e, Bytes path, EntryType type) {
  return only_selects(&e->request->only, path, type);
}

static void notice(const Export *e, NoticeLevel level, Bytes path, const char *what) {
  e->ops->notice(e->ops->notice_ctx, level, path, what);
}

/* ---- content in order ----------------------------------------------------------------------------------------------
 */

static Error *get_frame(Export *e, const FrameId *id, Bytes *out) {
  size_t oldest = 0;
  e->clock++;
  for (size_t i = 0; i < FRAMES_KEPT; i++) {
    if (e->frames[i].used && frame_id_equal(&e->frames[i].id, id)) {
      e->frames[i].used = e->clock;
      *out = buf_bytes(&e->frames[i].raw);
      return NULL;
    }
    if (e->frames[i].used < e->frames[oldest].used) oldest = i;
  }
  e->frames[oldest].used = 0;
  TRY(e->source->get(e->source, FRAME_DATA, id, &e->frames[oldest].raw));
  e->frames[oldest].id = *id;
  e->frames[oldest].used = e->clock;
  *out = buf_bytes(&e->frames[oldest].raw);
  return NULL;
}

typedef struct ContentJob {
  Export *e;
  ContentWrite *write;
  void *ctx;
} ContentJob;

static Error *write_hole(const ContentJob *job, uint64_t len) {
  static const uint8_t zeros[64 * 1024];
  while (len) {
    size_t n = len < sizeof zeros ? (size_t)len : sizeof zeros;
    TRY(cancel_check(job->e->ops->cancel));
    TRY(job->write(job->ctx, bytes(zeros, n)));
    len -= n;
  }
  return NULL;
}

static Error *write_run(void *ctx, const ContentRun *run) {
  const ContentJob *job = (const ContentJob *)ctx;
  Export *e = job->e;
  TRY(cancel_check(e->ops->cancel));
  e->result->bytes += run->len;
  if (e->ops->progress) progress_add(&e->ops->progress->done_bytes, run->len);
  if (frame_id_is_hole(&run->id)) return write_hole(job, run->len);
  Bytes raw;
  TRY(get_frame(e, &run->id, &raw));
  if (run->frame_offset > raw.len || run->len > raw.len - run->frame_offset)
    return err_new(ERR_CORRUPT, "content map: names bytes beyond a frame");
  return job->write(job->ctx, bytes(raw.data + run->frame_offset, (size_t)run->len));
}

static Error *write_content(Export *e, const TreeEntry *entry, ContentWrite *write, void *ctx) {
  ContentJob job = {.e = e, .write = write, .ctx = ctx};
  return content_runs(e->source, &entry->content, entry->entry.size, write_run, &job);
}

/* ---- tar -----------------------------------------------------------------------------------------------------------
 */

typedef struct TarJob {
  Export *e;
  TarWriter *tar;
  Map *names;        /* content that came under a hard link's name, because the file itself comes later or not at all */
  TreeCursor *links; /* finds what hard links name; NULL until there is one */
} TarJob;

static Error *write_file(void *ctx, Bytes part) { return export_file_write((ExportFile *)ctx, part); }
static Error *write_tar(void *ctx, Bytes part) { return tar_data((TarWriter *)ctx, part); }

static Error *add_plain(TarJob *job, const Entry *entry) {
  TRY(tar_begin(job->tar, entry));
  return tar_end(job->tar);
}

static Error *add_link(TarJob *job, const Entry *entry, Bytes target) {
  Entry link = *entry;
  link.type = ENTRY_HARDLINK;
  link.target = target;
  return add_plain(job, &link);
}

static Error *add_file(TarJob *job, const TreeEntry *file) {
  const Buf *other = (const Buf *)map_get(job->names, file->entry.path);
  if (other) return add_link(job, &file->entry, buf_bytes(other));
  TRY(tar_begin(job->tar, &file->entry));
  TRY(write_content(job->e, file, write_tar, job->tar));
  return tar_end(job->tar);
}

/* A link must come after what it names. */
static Error *add_hard_link(TarJob *job, const Entry *entry) {
  const Buf *other = (const Buf *)map_get(job->names, entry->target);
  if (other) return add_link(job, entry, buf_bytes(other));
  if (is_selected(job->e, entry->target, ENTRY_FILE) && entry_path_compare(entry->target, entry->path) < 0)
    return add_plain(job, entry);
  if (!job->links) job->links = tree_cursor_new(job->e->source, &job->e->request->snapshot->root);
  TreeEntry file;
  bool found;
  TRY(tree_cursor_find(job->links, entry->target, &file, &found));
  if (!found || file.entry.type != ENTRY_FILE)
    return err_new(ERR_CORRUPT, "a hard link names a file that is not in the snapshot");
  Buf *name = NEW(Buf);
  buf_add(name, entry->path.data, entry->path.len);
  map_set(job->names, entry->target, name);
  Entry renamed = file.entry;
  renamed.path = buf_bytes(name);
  file.entry = renamed;
  TRY(tar_begin(job->tar, &file.entry));
  TRY(write_content(job->e, &file, write_tar, job->tar));
  return tar_end(job->tar);
}

static Error *add_entry(TarJob *job, const TreeEntry *entry) {
  switch (entry->entry.type) {
    case ENTRY_FILE: return add_file(job, entry);
    case ENTRY_HARDLINK: return add_hard_link(job, &entry->entry);
    case ENTRY_SOCKET:
      job->e->result->left_out++;
      notice(job->e, NOTICE_WARNING, entry->entry.path, "a socket: a tar archive cannot hold it");
      return NULL;
    case ENTRY_DIR:
    case ENTRY_SYMLINK:
    case ENTRY_FIFO:
    case ENTRY_CHAR:
    case ENTRY_BLOCK: break;
  }
  return add_plain(job, &entry->entry);
}

static Error *add_entries(TarJob *job) {
  Export *e = job->e;
  TreeCursor *cursor = tree_cursor_new(e->source, &e->request->snapshot->root);
  Error *err = NULL;
  for (bool found = true; !err;) {
    TreeEntry entry;
    err = cancel_check(e->ops->cancel);
    if (!err) err = tree_cursor_next(cursor, &entry, &found);
    if (err || !found) break;
    if (!is_selected(e, entry.entry.path, entry.entry.type)) continue;
    e->result->entries++;
    AUTO_FREE char *shown = str_printable(entry.entry.path);
    err = err_wrap(add_entry(job, &entry), "exporting %s", *shown ? shown : "the root");
  }
  tree_cursor_free(cursor);
  return err ? err : tar_finish(job->tar);
}

static void names_free(Map *names) {
  Bytes key;
  void *value;
  for (size_t pos = 0; map_next(names, &pos, &key, &value);) {
    buf_free((Buf *)value);
    free(value);
  }
  map_free(names);
}

static Error *export_tar(Export *e, ExportFile *file) {
  TarJob job = {.e = e, .tar = tar_new(write_file, file), .names = map_new()};
  Error *err = add_entries(&job);
  tree_cursor_free(job.links);
  tar_free(job.tar);
  names_free(job.names);
  return err;
}

/* ---- databases -----------------------------------------------------------------------------------------------------
 */

typedef struct ScratchFile {
  int fd;
  const char *path;
} ScratchFile;

static Error *write_scratch(void *ctx, Bytes part) {
  const ScratchFile *file = (const ScratchFile *)ctx;
  return fs_write(file->fd, file->path, part.data, part.len);
}

/* A private copy, which is as good as the snapshot but needs room. */
static Error *fill_scratch(Export *e, const TreeEntry *entry, const char *path) {
  AUTO_FD int fd = -1;
  TRY(fs_open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &fd));
  ScratchFile file = {.fd = fd, .path = path};
  Error *err = write_content(e, entry, write_scratch, &file);
  return err_is(err, ERR_NO_SPACE)
             ? err_hint(err, "SQL is written from a copy in the state directory: --state-dir DIR with more room")
             : err;
}

static Error *export_sql(Export *e, const TreeEntry *entry, ExportFile *file) {
  uint64_t random;
  sys_random(e->ops->sys, &random, sizeof random);
  AUTO_FREE char *dir = mem_printf("%s/export-%016" PRIx64, e->ops->scratch_dir, random);
  AUTO_FREE char *path = fs_join(dir, "copy.db");
  TRY(fs_make_dirs(dir, 0700));
  progress_phase(e->ops->progress, "reading", false);
  Error *err = fill_scratch(e, entry, path);
  progress_phase(e->ops->progress, "writing SQL", false);
  if (!err) err = sqlite_dump(path, write_file, file, e->ops->cancel);
  return err_first(err, fs_remove_tree(dir));
}

static Error *export_database(Export *e, const TreeEntry *entry, ExportFile *file) {
  AUTO_FREE char *shown = str_printable(entry->entry.path);
  Error *err =
      e->request->format == EXPORT_SQL ? export_sql(e, entry, file) : write_content(e, entry, write_file, file);
  return err_wrap(err, "exporting %s", shown);
}

/* A log or journal that a former database of this name left: SQLite would apply it to the new file. */
static Error *check_beside(const Export *e, const char *path) {
  static const char *const SUFFIXES[] = {"-journal", "-wal"};
  for (size_t i = 0; path && e->request->format == EXPORT_DB && i < NELEMS(SUFFIXES); i++) {
    AUTO_FREE char *beside = mem_printf("%s%s", path, SUFFIXES[i]);
    AUTO_FREE char *shown = str_printable(bytes_str(beside));
    struct stat st;
    if (lstat(beside, &st) == 0)
      return err_hint(err_new(ERR_NOT_EMPTY, "%s exists, which SQLite would apply to the exported database", shown),
                      "choose a new name, or remove what the former database left");
  }
  return NULL;
}

static Error *open_target(Export *e, const char *path, ExportFile **out) {
  const ExportRequest *r = e->request;
  if (path) return export_file_create(e->ops->sys, path, r->compression, out);
  *out = export_file_to(r->fd, "standard output", r->compression);
  return NULL;
}

static Error *close_target(Export *e, ExportFile *take, Error *err) {
  uint64_t written = 0;
  if (err) {
    export_file_abort(take);
    return err;
  }
  TRY(export_file_finish(take, &written));
  e->result->written_bytes += written;
  e->result->files++;
  return NULL;
}

/* "TARGET/dir/app.db.sql.gz"; paths of a tree stay below the target. */
static Error *member_path(const Export *e, Bytes tree_path, char **out) {
  if (!entry_path_valid(tree_path)) return err_new(ERR_CORRUPT, "an invalid path in the snapshot");
  AUTO_BUF Buf path = {0};
  buf_printf(&path, "%s/", e->request->target);
  buf_add(&path, tree_path.data, tree_path.len);
  buf_printf(&path, "%s%s", e->request->format == EXPORT_SQL ? ".sql" : "",
             compress_stream_ending(e->request->compression.codec));
  *out = buf_steal_str(&path);
  return NULL;
}

static Error *export_one(Export *e, const TreeEntry *entry, bool folder) {
  AUTO_FREE char *path = NULL;
  if (folder) TRY(member_path(e, entry->entry.path, &path));
  const char *target = folder ? path : e->request->target;
  ExportFile *file;
  TRY(check_beside(e, target));
  TRY(open_target(e, target, &file));
  e->result->entries++;
  Error *err = export_database(e, entry, file);
  if (!err) err = check_beside(e, target); /* that may have taken long */
  return close_target(e, file, err);
}

/* With `folder` NULL they are only counted. */
static Error *each_database(Export *e, const bool *folder, size_t *out_count) {
  TreeCursor *cursor = tree_cursor_new(e->source, &e->request->snapshot->root);
  Error *err = NULL;
  *out_count = 0;
  for (bool found = true; !err;) {
    TreeEntry entry;
    err = tree_cursor_next(cursor, &entry, &found);
    if (err || !found) break;
    if (entry.entry.type != ENTRY_FILE || !is_selected(e, entry.entry.path, entry.entry.type)) continue;
    ++*out_count;
    if (folder) err = export_one(e, &entry, *folder);
  }
  tree_cursor_free(cursor);
  return err;
}

static Error *export_databases(Export *e) {
  const ExportRequest *r = e->request;
  size_t count;
  TRY(each_database(e, NULL, &count));
  if (count == 0) return err_new(ERR_NOT_FOUND, "no database in the snapshot is selected");
  bool folder = count > 1;
  if (folder && !r->target)
    return err_hint(err_new(ERR_USAGE, "the snapshot holds %zu databases; standard output has room for one", count),
                    "choose one with --only PATH, or name a folder with --to");
  struct stat st;
  if (folder && lstat(r->target, &st) == 0)
    return err_hint(err_new(ERR_NOT_EMPTY, "%s exists", r->target), "an export never overwrites: choose a new name");
  return each_database(e, &folder, &count);
}

/* ---- the whole -----------------------------------------------------------------------------------------------------
 */

static Error *run(Export *e) {
  const ExportRequest *r = e->request;
  if (r->format != EXPORT_TAR) {
    if (strcmp(r->snapshot->engine, "sqlite") != 0)
      return err_hint(err_new(ERR_USAGE, "the snapshot is of a %s source: only of a database there is SQL or a file",
                              r->snapshot->engine),
                      "use --format tar, or `holdfast restore`");
    return export_databases(e);
  }
  ExportFile *file;
  TRY(open_target(e, r->target, &file));
  return close_target(e, file, export_tar(e, file));
}

Error *ops_export(const Ops *ops, const ExportRequest *request, ExportResult *out) {
  *out = (ExportResult){0};
  Export e = {.ops = ops, .request = request, .result = out};
  progress_phase(ops->progress, "reading the index", false);
  TRY(index_open_reading(request->repo, &e.index, ops->cancel));
  e.reader = frame_reader_new(request->repo, e.index, ops->cancel);
  e.source = frame_reader_source(e.reader);
  if (ops->progress) progress_add(&ops->progress->total_bytes, request->snapshot->root.bytes);
  progress_phase(ops->progress, "exporting", false);
  Error *err = run(&e);
  for (size_t i = 0; i < FRAMES_KEPT; i++) buf_free(&e.frames[i].raw);
  frame_reader_free(e.reader);
  index_free(e.index);
  return err;
}
