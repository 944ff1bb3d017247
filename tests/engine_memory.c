#include "engine_memory.h"

#include <pthread.h>

#include "base/mem.h"

#include "testing.h"

enum { PIECE = 128 * 1024, NOTICES_MAX = 4096 };

/* ---- notices ------------------------------------------------------------------------------------------------- */

typedef struct Notice {
  NoticeLevel level;
  char *text;
} Notice;

typedef struct MemoryNotices {
  Notices base;
  pthread_mutex_t lock; /* guards items and len */
  Notice items[NOTICES_MAX];
  size_t len;
} MemoryNotices;

static void notices_report(Notices *base, NoticeLevel level, Bytes path, const char *message) {
  MemoryNotices *notices = (MemoryNotices *)base;
  char *text = mem_printf("%.*s: %s", (int)path.len, path.len ? (const char *)path.data : "", message);
  pthread_mutex_lock(&notices->lock);
  CHECK(notices->len < NOTICES_MAX);
  notices->items[notices->len++] = (Notice){.level = level, .text = text};
  pthread_mutex_unlock(&notices->lock);
}

static void notices_init(MemoryNotices *notices) {
  notices->base.report = notices_report;
  pthread_mutex_init(&notices->lock, NULL);
}

static void notices_free(MemoryNotices *notices) {
  for (size_t i = 0; i < notices->len; i++) free(notices->items[i].text);
  pthread_mutex_destroy(&notices->lock);
}

static size_t notices_count(MemoryNotices *notices, NoticeLevel level, const char *text) {
  size_t count = 0;
  pthread_mutex_lock(&notices->lock);
  for (size_t i = 0; i < notices->len; i++)
    if (notices->items[i].level == level && (!text || strstr(notices->items[i].text, text))) count++;
  pthread_mutex_unlock(&notices->lock);
  return count;
}

/* ---- the tree ------------------------------------------------------------------------------------------------ */

static void node_clear(MemoryNode *node) {
  entry_free(node->entry);
  free(node->data);
}

void memory_tree_free(MemoryTree *take) {
  if (!take) return;
  for (size_t i = 0; i < take->len; i++) node_clear(&take->nodes[i]);
  free(take->nodes);
  free(take);
}

static const MemoryNode *tree_find(const MemoryTree *tree, Bytes path) {
  for (size_t i = 0; tree && i < tree->len; i++)
    if (bytes_equal(tree->nodes[i].entry->path, path)) return &tree->nodes[i];
  return NULL;
}

const MemoryNode *memory_tree_get(const MemoryTree *tree, const char *path) { return tree_find(tree, bytes_str(path)); }

static int node_compare(const void *a, const void *b) {
  return entry_path_compare(((const MemoryNode *)a)->entry->path, ((const MemoryNode *)b)->entry->path);
}

/* ---- the sink ------------------------------------------------------------------------------------------------ */

struct MemorySink {
  Sink base;
  Sys *sys;
  MemoryNotices notices;
  const MemoryTree *parent;
  uint64_t fail_at;
  void (*on_buffer)(void *ctx, Bytes path, uint64_t offset);
  void *on_buffer_ctx;
  size_t buffer_size;
  pthread_mutex_t lock; /* guards all below */
  MemoryTree *tree;
  size_t cap;
  uint64_t writes;
  size_t open_streams;
  size_t aborted;
};

typedef struct MemoryStream {
  SinkStream base;
  MemorySink *sink;
  Entry *entry;
  MemoryNode node;
  Buf data;
  uint8_t *buffer;
  bool buffer_out;
  bool ended; /* a part that is no multiple of 128 KiB was written: nothing may follow */
} MemoryStream;

static MemorySink *sink_of(Sink *sink) { return (MemorySink *)sink; }

static Error *sink_parent(Sink *base, Bytes path, ParentEntry *out, bool *found) {
  const MemoryNode *node = tree_find(sink_of(base)->parent, path);
  *found = node != NULL;
  if (node) *out = (ParentEntry){.entry = *node->entry, .read_ns = node->read_ns};
  return NULL;
}

static void check_entry(const Entry *entry) {
  if (!entry_path_valid(entry->path)) fail_msg("an entry's path is not valid");
  assert_true(entry->type >= ENTRY_FILE && entry->type <= ENTRY_BLOCK);
  assert_int_equal(entry->mode & ~07777u, 0);
}

static void sink_store(MemorySink *sink, MemoryNode node) {
  pthread_mutex_lock(&sink->lock);
  if (tree_find(sink->tree, node.entry->path))
    fail_msg("path given twice: %.*s", (int)node.entry->path.len, (const char *)node.entry->path.data);
  if (sink->tree->len == sink->cap) {
    sink->cap = sink->cap ? sink->cap * 2 : 64;
    sink->tree->nodes = mem_resize(sink->tree->nodes, sink->cap, sizeof(MemoryNode));
  }
  sink->tree->nodes[sink->tree->len++] = node;
  pthread_mutex_unlock(&sink->lock);
}

static Error *sink_add(Sink *base, const Entry *entry) {
  check_entry(entry);
  if (entry->type == ENTRY_FILE) assert_int_equal(entry->size, 0);
  sink_store(sink_of(base), (MemoryNode){.entry = entry_copy(entry)});
  return NULL;
}

static Error *sink_keep(Sink *base, const Entry *entry) {
  MemorySink *sink = sink_of(base);
  check_entry(entry);
  assert_int_equal(entry->type, ENTRY_FILE);
  const MemoryNode *parent = tree_find(sink->parent, entry->path);
  if (!parent) fail_msg("keep without a parent entry");
  assert_int_equal(parent->entry->size, entry->size);
  MemoryNode node = *parent;
  node.entry = entry_copy(entry);
  node.kept = true;
  node.data = mem_dup(parent->data, (size_t)entry->size);
  node.written = node.hole_bytes = node.kept_bytes = 0;
  sink_store(sink, node);
  return NULL;
}

static Error *sink_begin(Sink *base, const Entry *entry, StreamKind kind, SinkStream **out, Cancel *cancel) {
  MemorySink *sink = sink_of(base);
  TRY(cancel_check(cancel));
  check_entry(entry);
  assert_int_equal(entry->type, ENTRY_FILE);
  MemoryStream *stream = NEW(MemoryStream);
  stream->base.sink = base;
  stream->sink = sink;
  stream->entry = entry_copy(entry);
  stream->node = (MemoryNode){.has_content = true, .kind = kind, .read_ns = sys_now_ns(sink->sys)};
  stream->buffer = mem_alloc(sink->buffer_size);
  pthread_mutex_lock(&sink->lock);
  sink->open_streams++;
  pthread_mutex_unlock(&sink->lock);
  *out = &stream->base;
  return NULL;
}

static Error *sink_buffer(SinkStream *base, uint8_t **out, size_t *out_cap, Cancel *cancel) {
  MemoryStream *stream = (MemoryStream *)base;
  TRY(cancel_check(cancel));
  assert_false(stream->ended);
  if (stream->sink->on_buffer)
    stream->sink->on_buffer(stream->sink->on_buffer_ctx, stream->entry->path, stream->data.len);
  /* Old content must not pass for new. */
  memset(stream->buffer, 0xa5, stream->sink->buffer_size);
  stream->buffer_out = true;
  *out = stream->buffer;
  *out_cap = stream->sink->buffer_size;
  return NULL;
}

static void stream_account(MemoryStream *stream, uint64_t len) {
  assert_false(stream->ended);
  if (stream->node.kind == STREAM_PAGES && len % PIECE != 0) stream->ended = true;
}

static Error *sink_write(SinkStream *base, size_t len) {
  MemoryStream *stream = (MemoryStream *)base;
  MemorySink *sink = stream->sink;
  assert_true(stream->buffer_out);
  assert_true(len <= sink->buffer_size);
  stream->buffer_out = false;
  pthread_mutex_lock(&sink->lock);
  bool fails = ++sink->writes == sink->fail_at;
  pthread_mutex_unlock(&sink->lock);
  if (fails) return err_new(ERR_IO, "injected: write fails");
  stream_account(stream, len);
  buf_add(&stream->data, stream->buffer, len);
  stream->node.written += len;
  return NULL;
}

static Error *sink_hole(SinkStream *base, uint64_t len) {
  MemoryStream *stream = (MemoryStream *)base;
  stream_account(stream, len);
  memset(buf_grow(&stream->data, (size_t)len), 0, (size_t)len);
  stream->node.hole_bytes += len;
  return NULL;
}

static Error *sink_keep_range(SinkStream *base, uint64_t len) {
  MemoryStream *stream = (MemoryStream *)base;
  const MemoryNode *parent = tree_find(stream->sink->parent, stream->entry->path);
  assert_int_equal(stream->node.kind, STREAM_PAGES);
  assert_int_equal(len % PIECE, 0);
  assert_false(stream->ended);
  if (!parent || !parent->has_content) return err_new(ERR_REFUSED, "keeping a range: no parent");
  assert_true(stream->data.len + len <= parent->entry->size);
  buf_add(&stream->data, parent->data + stream->data.len, (size_t)len);
  stream->node.kept_bytes += len;
  return NULL;
}

static void stream_free(MemoryStream *take) {
  MemorySink *sink = take->sink;
  pthread_mutex_lock(&sink->lock);
  CHECK(sink->open_streams > 0);
  sink->open_streams--;
  pthread_mutex_unlock(&sink->lock);
  entry_free(take->entry);
  buf_free(&take->data);
  free(take->buffer);
  free(take);
}

static Error *sink_end(SinkStream *base, const Entry *final) {
  MemoryStream *stream = (MemoryStream *)base;
  check_entry(final);
  assert_true(bytes_equal(final->path, stream->entry->path));
  assert_int_equal(final->size, stream->data.len);
  MemoryNode node = stream->node;
  node.entry = entry_copy(final);
  node.data = mem_dup(stream->data.data, stream->data.len);
  sink_store(stream->sink, node);
  stream_free(stream);
  return NULL;
}

static void sink_abort(SinkStream *base) {
  MemoryStream *stream = (MemoryStream *)base;
  pthread_mutex_lock(&stream->sink->lock);
  stream->sink->aborted++;
  pthread_mutex_unlock(&stream->sink->lock);
  stream_free(stream);
}

static const SinkOps SINK_OPS = {
    .parent = sink_parent,
    .add = sink_add,
    .keep = sink_keep,
    .begin = sink_begin,
    .buffer = sink_buffer,
    .write = sink_write,
    .hole = sink_hole,
    .keep_range = sink_keep_range,
    .end = sink_end,
    .abort = sink_abort,
};

MemorySink *memory_sink_new(Sys *sys, const MemoryTree *parent) {
  MemorySink *sink = NEW(MemorySink);
  notices_init(&sink->notices);
  sink->base = (Sink){.ops = &SINK_OPS, .notices = &sink->notices.base};
  sink->sys = sys;
  sink->parent = parent;
  sink->buffer_size = (size_t)MIB;
  sink->tree = NEW(MemoryTree);
  pthread_mutex_init(&sink->lock, NULL);
  return sink;
}

Sink *memory_sink(MemorySink *sink) { return &sink->base; }
void memory_sink_fail_at(MemorySink *sink, uint64_t nth_write) { sink->fail_at = nth_write; }

void memory_sink_on_buffer(MemorySink *sink, void (*call)(void *ctx, Bytes path, uint64_t offset), void *ctx) {
  sink->on_buffer = call;
  sink->on_buffer_ctx = ctx;
}

void memory_sink_buffer_size(MemorySink *sink, size_t size) {
  CHECK(size > 0 && size % PIECE == 0);
  sink->buffer_size = size;
}

size_t memory_sink_aborted(MemorySink *sink) { return sink->aborted; }

size_t memory_sink_notices(MemorySink *sink, NoticeLevel level, const char *text) {
  return notices_count(&sink->notices, level, text);
}

MemoryTree *memory_sink_finish(MemorySink *take) {
  assert_int_equal(take->open_streams, 0);
  MemoryTree *tree = take->tree;
  if (tree->len) qsort(tree->nodes, tree->len, sizeof(MemoryNode), node_compare);
  notices_free(&take->notices);
  pthread_mutex_destroy(&take->lock);
  free(take);
  return tree;
}

/* ---- the source ---------------------------------------------------------------------------------------------- */

struct MemorySource {
  Source base;
  Sys *sys;
  MemoryNotices notices;
  const MemoryTree *tree;
  unsigned threads;
  uint64_t seed;
  const char *fail_path;
  _Atomic uint64_t written;
};

typedef struct Piece {
  SourceFile *file;
  const MemoryNode *node;
  uint64_t offset;
  size_t len;
} Piece;

typedef struct Fetch {
  MemorySource *source;
  const FetchOps *ops;
  void *ctx;
  Cancel *cancel;
  Piece *pieces;
  size_t pieces_len;
  pthread_mutex_t lock; /* guards next and error */
  size_t next;
  Error *error;
} Fetch;

static Error *source_entries(Source *base, SourceVisit *visit, void *ctx, Cancel *cancel) {
  MemorySource *source = (MemorySource *)base;
  for (size_t i = 0; i < source->tree->len; i++) {
    TRY(cancel_check(cancel));
    TRY(visit(ctx, source->tree->nodes[i].entry));
  }
  return NULL;
}

static bool all_zero(const uint8_t *data, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (data[i]) return false;
  return true;
}

static Error *fetch_piece(Fetch *fetch, const Piece *piece) {
  const uint8_t *data = piece->node->data + piece->offset;
  TRY(cancel_check(fetch->cancel));
  if (fetch->source->fail_path && bytes_equal(piece->node->entry->path, bytes_str(fetch->source->fail_path)) &&
      piece->offset >= piece->node->entry->size / 2)
    return err_new(ERR_CORRUPT, "injected: content is corrupt");
  if (fetch->ops->read) {
    uint8_t *there = mem_alloc(piece->len);
    size_t got = 0;
    Error *err = fetch->ops->read(fetch->ctx, piece->file, piece->offset, there, piece->len, &got);
    bool same = !err && got == piece->len && memcmp(there, data, got) == 0;
    free(there);
    if (err || same) return err;
  }
  if (all_zero(data, piece->len))
    return fetch->ops->zero ? fetch->ops->zero(fetch->ctx, piece->file, piece->offset, piece->len) : NULL;
  atomic_fetch_add(&fetch->source->written, piece->len);
  return fetch->ops->write(fetch->ctx, piece->file, piece->offset, bytes(data, piece->len));
}

static void fetch_run(void *arg) {
  Fetch *fetch = arg;
  for (;;) {
    pthread_mutex_lock(&fetch->lock);
    bool stop = fetch->error || fetch->next == fetch->pieces_len;
    const Piece *piece = stop ? NULL : &fetch->pieces[fetch->next++];
    pthread_mutex_unlock(&fetch->lock);
    if (!piece) return;
    Error *err = fetch_piece(fetch, piece);
    if (!err) continue;
    pthread_mutex_lock(&fetch->lock);
    fetch->error = err_first(fetch->error, err);
    pthread_mutex_unlock(&fetch->lock);
  }
}

static void fetch_shuffle(Fetch *fetch) {
  uint64_t state = fetch->source->seed;
  for (size_t i = fetch->pieces_len; i > 1; i--) {
    size_t j = (size_t)(test_random(&state) % i);
    Piece swap = fetch->pieces[i - 1];
    fetch->pieces[i - 1] = fetch->pieces[j];
    fetch->pieces[j] = swap;
  }
}

static void fetch_add_pieces(Fetch *fetch, SourceFile *file, const MemoryNode *node) {
  for (uint64_t at = 0; at < node->entry->size; at += PIECE) {
    uint64_t left = node->entry->size - at;
    fetch->pieces = mem_resize(fetch->pieces, fetch->pieces_len + 1, sizeof(Piece));
    fetch->pieces[fetch->pieces_len++] =
        (Piece){.file = file, .node = node, .offset = at, .len = left < PIECE ? (size_t)left : PIECE};
  }
}

static void fetch_all(Fetch *fetch) {
  Thread *threads[16];
  unsigned started = 0;
  for (; started < fetch->source->threads && started < NELEMS(threads); started++)
    assert_ok(thread_start(fetch->source->sys, "fetch", fetch_run, fetch, &threads[started]));
  for (unsigned i = 0; i < started; i++) thread_join(threads[i]);
}

static Error *source_fetch(Source *base, const FetchOps *ops, void *ctx, Cancel *cancel) {
  MemorySource *source = (MemorySource *)base;
  Fetch fetch = {.source = source, .ops = ops, .ctx = ctx, .cancel = cancel};
  SourceFile **files = NEW_ARRAY(SourceFile *, source->tree->len + 1);
  Error *err = NULL;
  pthread_mutex_init(&fetch.lock, NULL);
  for (size_t i = 0; i < source->tree->len && !err; i++) {
    const MemoryNode *node = &source->tree->nodes[i];
    if (!node->has_content || !ops->select(ctx, node->entry)) continue;
    err = ops->create(ctx, node->entry, &files[i]);
    if (!err) fetch_add_pieces(&fetch, files[i], node);
  }
  fetch_shuffle(&fetch);
  if (!err) fetch_all(&fetch);
  err = err_first(err, fetch.error);
  for (size_t i = 0; i < source->tree->len; i++)
    if (files[i]) err = err_first(err, ops->finish(ctx, files[i], err));
  free(files);
  free(fetch.pieces);
  pthread_mutex_destroy(&fetch.lock);
  return err;
}

static Error *source_stream(Source *base, Bytes path, Error *(*write)(void *ctx, Bytes part), void *ctx,
                            Cancel *cancel) {
  MemorySource *source = (MemorySource *)base;
  const MemoryNode *node = tree_find(source->tree, path);
  if (!node || !node->has_content) return err_new(ERR_NOT_FOUND, "no content at this path");
  for (uint64_t at = 0; at < node->entry->size; at += PIECE) {
    uint64_t left = node->entry->size - at;
    TRY(cancel_check(cancel));
    TRY(write(ctx, bytes(node->data + at, left < PIECE ? (size_t)left : PIECE)));
  }
  return NULL;
}

static const SourceOps SOURCE_OPS = {.entries = source_entries, .fetch = source_fetch, .stream = source_stream};

MemorySource *memory_source_new(Sys *sys, const MemoryTree *tree, const char *facts_json, unsigned threads,
                                uint64_t seed) {
  MemorySource *source = NEW(MemorySource);
  notices_init(&source->notices);
  source->base = (Source){.ops = &SOURCE_OPS, .notices = &source->notices.base, .facts_json = facts_json};
  source->sys = sys;
  source->tree = tree;
  source->threads = threads ? threads : 1;
  source->seed = seed;
  return source;
}

Source *memory_source(MemorySource *source) { return &source->base; }
void memory_source_fail_path(MemorySource *source, const char *path) { source->fail_path = path; }
uint64_t memory_source_written(MemorySource *source) { return source->written; }

size_t memory_source_notices(MemorySource *source, NoticeLevel level, const char *text) {
  return notices_count(&source->notices, level, text);
}

void memory_source_free(MemorySource *take) {
  if (!take) return;
  notices_free(&take->notices);
  free(take);
}
