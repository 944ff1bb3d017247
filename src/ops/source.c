#include "ops/source.h"

#include "base/mem.h"
#include "repo/frames.h"
#include "sys/fs.h"

enum { FILES_AT_ONCE = 8192 };

struct OpsSource {
  Source base;
  const Ops *ops;
  Repo *repo;
  Index *index;
  const Snapshot *snapshot;
  RestoreStats stats;
};

static Error *source_entries(Source *source, SourceVisit *visit, void *ctx, Cancel *cancel) {
  OpsSource *s = (OpsSource *)source;
  FrameReader *reader = frame_reader_new(s->repo, s->index, cancel);
  TreeCursor *cursor = tree_cursor_new(frame_reader_source(reader), &s->snapshot->root);
  Error *err = NULL;
  for (bool found = true; !err;) {
    TreeEntry entry;
    err = cancel_check(cancel);
    if (!err) err = tree_cursor_next(cursor, &entry, &found);
    if (err || !found) break;
    err = visit(ctx, &entry.entry);
  }
  tree_cursor_free(cursor);
  frame_reader_free(reader);
  return err;
}

/* RestoreOps over FetchOps: the same calls, files untyped below. */
typedef struct Fetch {
  const FetchOps *ops;
  void *ctx;
} Fetch;

static bool fetch_select(void *ctx, const Entry *entry) {
  Fetch *f = (Fetch *)ctx;
  return f->ops->select(f->ctx, entry);
}

static Error *fetch_create(void *ctx, const Entry *entry, void **out_file) {
  Fetch *f = (Fetch *)ctx;
  SourceFile *file = NULL;
  TRY(f->ops->create(f->ctx, entry, &file));
  *out_file = file;
  return NULL;
}

static Error *fetch_write(void *ctx, void *file, uint64_t offset, Bytes data) {
  Fetch *f = (Fetch *)ctx;
  return f->ops->write(f->ctx, (SourceFile *)file, offset, data);
}

static Error *fetch_zero(void *ctx, void *file, uint64_t offset, uint64_t len) {
  Fetch *f = (Fetch *)ctx;
  return f->ops->zero ? f->ops->zero(f->ctx, (SourceFile *)file, offset, len) : NULL;
}

static Error *fetch_read(void *ctx, void *file, uint64_t offset, uint8_t *out, size_t len, size_t *out_len) {
  Fetch *f = (Fetch *)ctx;
  return f->ops->read(f->ctx, (SourceFile *)file, offset, out, len, out_len);
}

static Error *fetch_finish(void *ctx, void *file, const Error *failed) {
  Fetch *f = (Fetch *)ctx;
  return f->ops->finish(f->ctx, (SourceFile *)file, failed);
}

/* As many as the limit of memory has room for. */
static unsigned workers_for(const Ops *ops) {
  unsigned workers = ops->cpus ? ops->cpus : sys_cpus(ops->sys);
  if (!ops->memory_bytes) return workers;
  uint64_t most = (ops->memory_bytes - OPS_MEMORY_OWN) / RESTORE_WORKER_MEMORY;
  return workers < most ? workers : most ? (unsigned)most : 1;
}

static Error *source_fetch(Source *source, const FetchOps *ops, void *ctx, Cancel *cancel) {
  OpsSource *s = (OpsSource *)source;
  Fetch fetch = {.ops = ops, .ctx = ctx};
  RestoreOps restore_ops = {.select = fetch_select,
                            .create = fetch_create,
                            .write = fetch_write,
                            .zero = fetch_zero,
                            .read = ops->read ? fetch_read : NULL,
                            .finish = fetch_finish};
  uint32_t files = fs_open_files_limit(); /* half of them: directories and packs are open too */
  RestoreOptions options = {.workers = workers_for(s->ops),
                            .progress = s->ops->progress,
                            .max_open_files = files / 2 < FILES_AT_ONCE ? files / 2 : FILES_AT_ONCE};
  RestoreStats stats;
  Error *err = restore_fetch(s->repo, s->index, &s->snapshot->root, &restore_ops, &fetch, &options, &stats, cancel);
  s->stats.files += stats.files;
  s->stats.bytes += stats.bytes;
  s->stats.fetched_bytes += stats.fetched_bytes;
  s->stats.kept_bytes += stats.kept_bytes;
  s->stats.damaged_files += stats.damaged_files;
  return err;
}

/* Counts what passes. */
typedef struct Stream {
  OpsSource *source;
  Error *(*write)(void *ctx, Bytes part);
  void *ctx;
} Stream;

static Error *stream_write(void *ctx, Bytes part) {
  Stream *stream = (Stream *)ctx;
  TRY(stream->write(stream->ctx, part));
  stream->source->stats.bytes += part.len;
  return NULL;
}

static Error *source_stream(Source *source, Bytes path, Error *(*write)(void *ctx, Bytes part), void *ctx,
                            Cancel *cancel) {
  OpsSource *s = (OpsSource *)source;
  Stream stream = {.source = s, .write = write, .ctx = ctx};
  TRY(restore_stream(s->repo, s->index, &s->snapshot->root, path, stream_write, &stream, s->ops->progress, cancel));
  s->stats.files++;
  return NULL;
}

OpsSource *ops_source_new(const Ops *ops, Repo *repo, Index *index, const Snapshot *snapshot, Notices *notices) {
  static const SourceOps source_ops = {.entries = source_entries, .fetch = source_fetch, .stream = source_stream};
  OpsSource *s = NEW(OpsSource);
  s->base = (Source){.ops = &source_ops, .notices = notices, .facts_json = snapshot->facts_json};
  s->ops = ops;
  s->repo = repo;
  s->index = index;
  s->snapshot = snapshot;
  return s;
}

void ops_source_free(OpsSource *take) { free(take); }

Source *ops_source_base(OpsSource *source) { return &source->base; }

const RestoreStats *ops_source_stats(const OpsSource *source) { return &source->stats; }
