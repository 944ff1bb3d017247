#include "ops/sink.h"

#include "base/mem.h"
#include "base/timefmt.h"

/* What a thread was told about a parent: it borrows that until it asks again. */
typedef struct Told {
  uint64_t thread;
  Entry *holder;
} Told;

typedef struct OpsSink {
  Sink base;
  const Ops *ops;
  Writer *const *writers;
  size_t len;
  Mutex lock;
  uint64_t allowed_ns; /* when the bytes taken so far are paid for */
  Error **failed;      /* one a writer */
  size_t alive;
  Told *told; /* one a thread that asked */
  size_t told_len;
} OpsSink;

typedef struct OpsStream {
  SinkStream base;
  WriterStream **streams; /* one a writer; NULL: given up */
  uint8_t *buffer;        /* of writer `lead`, being filled */
  size_t lead;            /* the first writer that is alive */
} OpsStream;

static OpsSink *sink_of(Sink *sink) { return (OpsSink *)sink; }

static bool is_alive(OpsSink *s, size_t i) {
  LOCKED(&s->lock);
  return s->failed[i] == NULL;
}

/* A writer failed: the backup goes on with the others. The last one's failure, and the operator's wish to stop, end it.
 */
static Error *leave_behind(OpsSink *s, size_t i, Error *take) {
  if (!take || err_is(take, ERR_CANCELLED)) return take;
  LOCKED(&s->lock);
  if (!s->failed[i]) {
    s->failed[i] = err_copy(take);
    s->alive--;
  }
  if (s->alive == 0) return take;
  err_free(take);
  return NULL;
}

/* Keeps an entry for this thread, in place of the one before. */
static void hold_for_thread(OpsSink *s, Entry *take) {
  LOCKED(&s->lock);
  uint64_t self = thread_id();
  for (size_t i = 0; i < s->told_len; i++) {
    if (s->told[i].thread != self) continue;
    entry_free(s->told[i].holder);
    s->told[i].holder = take;
    return;
  }
  if (!take) return;
  s->told = (Told *)mem_resize(s->told, s->told_len + 1, sizeof *s->told);
  s->told[s->told_len++] = (Told){.thread = self, .holder = take};
}

/* What all repositories have at this path, or *found false. */
static Error *common_parent(OpsSink *s, Bytes path, ParentFile *out, bool *found) {
  for (size_t i = 0; i < s->len; i++) {
    ParentFile parent = {0};
    bool here = false;
    if (!is_alive(s, i)) continue;
    Error *err = writer_parent(s->writers[i], path, &parent, &here);
    if (err) {
      TRY(leave_behind(s, i, err));
      continue;
    }
    if (here && !*found) {
      *found = true;
      *out = parent;
      continue;
    }
    entry_free(parent.holder);
    bool same = here && parent.type == out->type && parent.mtime_ns == out->mtime_ns &&
                parent.ctime_ns == out->ctime_ns && parent.inode == out->inode && parent.device == out->device &&
                parent.size == out->size;
    if (!same) {
      *found = false;
      return NULL;
    }
    if (parent.read_ns < out->read_ns) out->read_ns = parent.read_ns;
  }
  return NULL;
}

static Error *sink_parent(Sink *sink, Bytes path, ParentEntry *out, bool *found) {
  OpsSink *s = sink_of(sink);
  *found = false;
  ParentFile first = {0};
  Error *err = common_parent(s, path, &first, found);
  hold_for_thread(s, first.holder);
  if (err || !*found) return err;
  *out = (ParentEntry){.entry = {.path = path,
                                 .type = first.type,
                                 .mode = first.mode,
                                 .mtime_ns = first.mtime_ns,
                                 .ctime_ns = first.ctime_ns,
                                 .inode = first.inode,
                                 .device = first.device,
                                 .size = first.size,
                                 .xattrs = first.holder ? first.holder->xattrs : NULL,
                                 .xattrs_len = first.holder ? first.holder->xattrs_len : 0},
                       .read_ns = first.read_ns};
  return NULL;
}

static Error *sink_add(Sink *sink, const Entry *entry) {
  OpsSink *s = sink_of(sink);
  for (size_t i = 0; i < s->len; i++)
    if (is_alive(s, i)) TRY(leave_behind(s, i, writer_add(s->writers[i], entry)));
  return NULL;
}

static Error *sink_keep(Sink *sink, const Entry *entry) {
  OpsSink *s = sink_of(sink);
  for (size_t i = 0; i < s->len; i++)
    if (is_alive(s, i)) TRY(leave_behind(s, i, writer_keep(s->writers[i], entry)));
  return NULL;
}

static void stream_drop(OpsStream *stream) {
  OpsSink *s = sink_of(stream->base.sink);
  for (size_t i = 0; i < s->len; i++) writer_stream_abort(stream->streams[i]);
  free(stream->streams);
  free(stream);
}

static Error *sink_begin(Sink *sink, const Entry *entry, StreamKind kind, SinkStream **out, Cancel *cancel UNUSED) {
  OpsSink *s = sink_of(sink);
  OpsStream *stream = NEW(OpsStream);
  stream->base.sink = sink;
  stream->streams = NEW_ARRAY(WriterStream *, s->len);
  WriterStreamSpec spec = {
      .path = entry->path, .pages = kind == STREAM_PAGES, .size_hint = entry->size, .read_ns = sys_now_ns(s->ops->sys)};
  for (size_t i = 0; i < s->len; i++) {
    Error *err = is_alive(s, i) ? writer_stream_open(s->writers[i], &spec, &stream->streams[i]) : NULL;
    err = leave_behind(s, i, err);
    if (!err) continue;
    stream_drop(stream);
    return err;
  }
  *out = &stream->base;
  return NULL;
}

/* What every call on a stream does for each of its writers. */
typedef Error *StreamCall(WriterStream *stream, uint64_t len, const uint8_t *data);

/* A writer's stream failed: it is given up, and with it the writer. */
static Error *stream_failed(OpsStream *st, size_t i, Error *take) {
  if (!take) return NULL;
  writer_stream_abort(STEAL(st->streams[i]));
  return leave_behind(sink_of(st->base.sink), i, take);
}

static Error *for_each(OpsStream *st, size_t except, StreamCall *call, uint64_t len, const uint8_t *data) {
  for (size_t i = 0; i < sink_of(st->base.sink)->len; i++)
    if (i != except && st->streams[i]) TRY(stream_failed(st, i, call(st->streams[i], len, data)));
  return NULL;
}

static Error *stream_buffer(SinkStream *stream, uint8_t **out, size_t *out_cap, Cancel *cancel UNUSED) {
  OpsStream *st = (OpsStream *)stream;
  for (size_t i = 0; i < sink_of(stream->sink)->len; i++) {
    if (!st->streams[i]) continue;
    Error *err = writer_stream_buffer(st->streams[i], &st->buffer, out_cap);
    if (err) {
      TRY(stream_failed(st, i, err));
      continue;
    }
    st->lead = i;
    *out = st->buffer;
    return NULL;
  }
  return err_new(ERR_IO, "no repository takes this file any more");
}

/* Waits until the bytes are within the rate. */
static Error *throttle(OpsSink *s, size_t len) {
  uint64_t rate = s->ops->read_bytes_per_second;
  if (!rate) return NULL;
  uint64_t now = sys_mono_ns(s->ops->sys), wait;
  {
    LOCKED(&s->lock);
    if (s->allowed_ns < now) s->allowed_ns = now;
    wait = s->allowed_ns - now;
    s->allowed_ns += (uint64_t)((double)len * (double)NS_PER_SECOND / (double)rate);
  }
  return wait ? cancel_sleep_ms(s->ops->sys, wait / 1000000, s->ops->cancel) : NULL;
}

static Error *copy_to(WriterStream *stream, uint64_t len, const uint8_t *data) {
  while (len) {
    uint8_t *place;
    size_t cap;
    TRY(writer_stream_buffer(stream, &place, &cap));
    size_t n = len < cap ? (size_t)len : cap;
    memcpy(place, data, n);
    TRY(writer_stream_write(stream, n));
    data += n;
    len -= n;
  }
  return NULL;
}

static Error *stream_write(SinkStream *stream, size_t len) {
  OpsStream *st = (OpsStream *)stream;
  TRY(throttle(sink_of(stream->sink), len));
  /* The others first: the leading writer's buffer is its own once it is handed over. */
  TRY(for_each(st, st->lead, copy_to, len, st->buffer));
  return stream_failed(st, st->lead, writer_stream_write(st->streams[st->lead], len));
}

static Error *hole_in(WriterStream *stream, uint64_t len, const uint8_t *data UNUSED) {
  return writer_stream_hole(stream, len);
}

static Error *stream_hole(SinkStream *stream, uint64_t len) {
  return for_each((OpsStream *)stream, SIZE_MAX, hole_in, len, NULL);
}

static Error *keep_in(WriterStream *stream, uint64_t len, const uint8_t *data UNUSED) {
  return writer_stream_keep(stream, len);
}

static Error *stream_keep_range(SinkStream *stream, uint64_t len) {
  return for_each((OpsStream *)stream, SIZE_MAX, keep_in, len, NULL);
}

static Error *stream_end(SinkStream *take, const Entry *final) {
  OpsStream *st = (OpsStream *)take;
  OpsSink *s = sink_of(take->sink);
  Error *err = NULL;
  for (size_t i = 0; i < s->len && !err; i++)
    if (st->streams[i]) err = leave_behind(s, i, writer_stream_end(STEAL(st->streams[i]), final));
  stream_drop(st);
  return err;
}

static void stream_abort(SinkStream *take) { stream_drop((OpsStream *)take); }

Sink *ops_sink_new(const Ops *ops, Writer *const *writers, size_t len, Notices *notices) {
  static const SinkOps sink_ops = {.parent = sink_parent,
                                   .add = sink_add,
                                   .keep = sink_keep,
                                   .begin = sink_begin,
                                   .buffer = stream_buffer,
                                   .write = stream_write,
                                   .hole = stream_hole,
                                   .keep_range = stream_keep_range,
                                   .end = stream_end,
                                   .abort = stream_abort};
  OpsSink *s = NEW(OpsSink);
  s->base = (Sink){.ops = &sink_ops, .notices = notices};
  s->ops = ops;
  s->writers = writers;
  s->len = len;
  s->failed = NEW_ARRAY(Error *, len);
  s->alive = len;
  mutex_init(&s->lock, ops->sys);
  return &s->base;
}

const Error *ops_sink_error(const Sink *sink, size_t writer) { return ((const OpsSink *)sink)->failed[writer]; }

void ops_sink_free(Sink *take) {
  if (!take) return;
  OpsSink *s = sink_of(take);
  for (size_t i = 0; i < s->len; i++) err_free(s->failed[i]);
  free(s->failed);
  for (size_t i = 0; i < s->told_len; i++) entry_free(s->told[i].holder);
  free(s->told);
  mutex_free(&s->lock);
  free(s);
}
