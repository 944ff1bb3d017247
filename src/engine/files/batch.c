#include "engine/files/batch.h"

#include "base/mem.h"
#include "sys/queue.h"

enum {
  BATCH_FILES = 32,
  BATCH_BYTES = 4 * 1024 * 1024, /* of content: a big file is handed over at once */
  QUEUE_BATCHES = 16,
  READERS_MAX = 16,
};

typedef struct BatchItem {
  size_t name; /* offset in Batch.names */
  struct stat st;
  uint64_t device;
  bool twin;
} BatchItem;

typedef struct Batch {
  DirRef *dir;
  Buf dir_path; /* in the tree */
  Buf names;
  BatchItem items[BATCH_FILES];
  size_t len;
  uint64_t bytes;
} Batch;

typedef struct ReaderThread {
  struct Dispatch *dispatch;
  Thread *thread;
  Reader reader;
} ReaderThread;

struct Dispatch {
  ReadShared *shared;
  Reader own;
  Queue *queue; /* NULL: no threads */
  ReaderThread threads[READERS_MAX];
  size_t threads_len;
  Batch *filling;
  atomic_bool failed;
  Mutex mutex; /* guards error */
  Error *error;
};

static void batch_free(Batch *take) {
  dirref_drop(take->dir);
  buf_free(&take->dir_path);
  buf_free(&take->names);
  free(take);
}

static void set_failure(Dispatch *dispatch, Error *take) {
  if (!take) return;
  LOCKED(&dispatch->mutex);
  dispatch->error = err_first(dispatch->error, take);
  atomic_store(&dispatch->failed, true);
}

static Error *current_failure(Dispatch *dispatch) {
  if (!atomic_load(&dispatch->failed)) return NULL;
  LOCKED(&dispatch->mutex);
  return err_copy(dispatch->error);
}

static Error *read_batch(Reader *reader, const Batch *batch, const atomic_bool *stop) {
  AUTO_BUF Buf path = {0};
  for (size_t i = 0; i < batch->len && !atomic_load(stop); i++) {
    const BatchItem *from = &batch->items[i];
    const char *name = (const char *)batch->names.data + from->name;
    buf_clear(&path);
    buf_add(&path, batch->dir_path.data, batch->dir_path.len);
    if (path.len) buf_put_u8(&path, '/');
    buf_add_str(&path, name);
    ReadItem item = {.dir = batch->dir,
                     .name = name,
                     .path = buf_bytes(&path),
                     .st = &from->st,
                     .device = from->device,
                     .twin = from->twin};
    bool stored;
    TRY(reader_store(reader, &item, &stored));
  }
  return NULL;
}

static void run_reader(void *arg) {
  ReaderThread *self = (ReaderThread *)arg;
  Dispatch *dispatch = self->dispatch;
  for (Batch *batch; (batch = (Batch *)queue_pop(dispatch->queue));) {
    set_failure(dispatch, read_batch(&self->reader, batch, &dispatch->failed));
    batch_free(batch);
  }
}

static Error *start_threads(Dispatch *dispatch, Sys *sys, unsigned readers) {
  dispatch->queue = queue_new(sys, QUEUE_BATCHES);
  for (unsigned i = 0; i < readers; i++) {
    ReaderThread *slot = &dispatch->threads[i];
    *slot = (ReaderThread){.dispatch = dispatch, .reader = {.shared = dispatch->shared, .attrs = attrs_new()}};
    dispatch->threads_len++;
    TRY(thread_start(sys, "files-reader", run_reader, slot, &slot->thread));
  }
  return NULL;
}

Error *dispatch_new(Sys *sys, ReadShared *shared, unsigned readers, Dispatch **out) {
  Dispatch *dispatch = NEW(Dispatch);
  dispatch->shared = shared;
  dispatch->own = (Reader){.shared = shared, .attrs = attrs_new()};
  mutex_init(&dispatch->mutex, sys);
  if (readers > 1) {
    Error *err = start_threads(dispatch, sys, readers < READERS_MAX ? readers : READERS_MAX);
    if (err) return err_first(err, dispatch_finish(dispatch));
  }
  *out = dispatch;
  return NULL;
}

/* The batch being filled goes to the readers. */
static void flush(Dispatch *dispatch) {
  Batch *batch = STEAL(dispatch->filling);
  if (batch && !queue_push(dispatch->queue, batch)) batch_free(batch);
}

static void add_to_batch(Dispatch *dispatch, const ReadItem *item) {
  if (dispatch->filling && dispatch->filling->dir != item->dir) flush(dispatch);
  Batch *batch = dispatch->filling;
  if (!batch) {
    batch = dispatch->filling = NEW(Batch);
    batch->dir = dirref_hold(item->dir);
    Bytes parent = path_parent(item->path);
    buf_add(&batch->dir_path, parent.data, parent.len);
  }
  batch->items[batch->len++] =
      (BatchItem){.name = batch->names.len, .st = *item->st, .device = item->device, .twin = item->twin};
  buf_add(&batch->names, item->name, strlen(item->name) + 1);
  batch->bytes += (uint64_t)item->st->st_size;
  if (batch->len == BATCH_FILES || batch->bytes >= BATCH_BYTES) flush(dispatch);
}

Error *dispatch_file(Dispatch *dispatch, const ReadItem *item) {
  bool stored;
  if (!dispatch->queue) return reader_store(&dispatch->own, item, &stored);
  TRY(current_failure(dispatch));
  add_to_batch(dispatch, item);
  return NULL;
}

Error *dispatch_now(Dispatch *dispatch, const ReadItem *item, bool *stored) {
  return reader_store(&dispatch->own, item, stored);
}

Reader *dispatch_reader(Dispatch *dispatch) { return &dispatch->own; }

Error *dispatch_finish(Dispatch *take) {
  if (take->queue) {
    flush(take);
    queue_close(take->queue);
  }
  for (size_t i = 0; i < take->threads_len; i++) {
    if (take->threads[i].thread) thread_join(take->threads[i].thread);
    attrs_free(take->threads[i].reader.attrs);
  }
  if (take->queue) queue_free(take->queue);
  attrs_free(take->own.attrs);
  mutex_free(&take->mutex);
  Error *err = take->error;
  free(take);
  return err;
}
