#include "ops/sink.h"

#include "base/mem.h"
#include "base/timefmt.h"

typedef struct OpsSink {
  Sink base;
  const Ops *ops;
  Writer *const *writers;
  size_t len;
  Mutex lock;          /* the throttle */
  uint64_t allowed_ns; /* when the bytes taken so far are paid for */
} OpsSink;

typedef struct OpsStream {
  SinkStream base;
  WriterStream **streams; /* one a writer; NULL: given up */
  uint8_t *buffer;        /* the first writer's, being filled */
} OpsStream;

static OpsSink *sink_of(Sink *sink) { return (OpsSink *)sink; }

static Error *sink_parent(Sink *sink, Bytes path, ParentEntry *out, bool *found) {
  OpsSink *s = sink_of(sink);
  *found = false;
  ParentFile first = {0};
  for (size_t i = 0; i < s->len; i++) {
    ParentFile parent;
    bool here;
    TRY(writer_parent(s->writers[i], path, &parent, &here));
    if (!here) return NULL;
    if (i == 0) {
      first = parent;
      continue;
    }
    bool same = parent.type == first.type && parent.mtime_ns == first.mtime_ns && parent.ctime_ns == first.ctime_ns &&
                parent.inode == first.inode && parent.device == first.device && parent.size == first.size;
    if (!same) return NULL;
    if (parent.read_ns < first.read_ns) first.read_ns = parent.read_ns;
  }
  *out = (ParentEntry){.entry = {.path = path,
                                 .type = first.type,
                                 .mode = first.mode,
                                 .mtime_ns = first.mtime_ns,
                                 .ctime_ns = first.ctime_ns,
                                 .inode = first.inode,
                                 .device = first.device,
                                 .size = first.size},
                       .read_ns = first.read_ns};
  *found = true;
  return NULL;
}

static Error *sink_add(Sink *sink, const Entry *entry) {
  OpsSink *s = sink_of(sink);
  for (size_t i = 0; i < s->len; i++) TRY(writer_add(s->writers[i], entry));
  return NULL;
}

static Error *sink_keep(Sink *sink, const Entry *entry) {
  OpsSink *s = sink_of(sink);
  for (size_t i = 0; i < s->len; i++) TRY(writer_keep(s->writers[i], entry));
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
    Error *err = writer_stream_open(s->writers[i], &spec, &stream->streams[i]);
    if (!err) continue;
    stream_drop(stream);
    return err;
  }
  *out = &stream->base;
  return NULL;
}

static Error *stream_buffer(SinkStream *stream, uint8_t **out, size_t *out_cap, Cancel *cancel UNUSED) {
  OpsStream *st = (OpsStream *)stream;
  TRY(writer_stream_buffer(st->streams[0], &st->buffer, out_cap));
  *out = st->buffer;
  return NULL;
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

static Error *copy_to(WriterStream *stream, const uint8_t *data, size_t len) {
  while (len) {
    uint8_t *place;
    size_t cap;
    TRY(writer_stream_buffer(stream, &place, &cap));
    size_t n = len < cap ? len : cap;
    memcpy(place, data, n);
    TRY(writer_stream_write(stream, n));
    data += n;
    len -= n;
  }
  return NULL;
}

static Error *stream_write(SinkStream *stream, size_t len) {
  OpsStream *st = (OpsStream *)stream;
  OpsSink *s = sink_of(stream->sink);
  TRY(throttle(s, len));
  /* The others first: the first writer's buffer is its own once it is handed over. */
  for (size_t i = 1; i < s->len; i++) TRY(copy_to(st->streams[i], st->buffer, len));
  return writer_stream_write(st->streams[0], len);
}

static Error *stream_hole(SinkStream *stream, uint64_t len) {
  OpsStream *st = (OpsStream *)stream;
  for (size_t i = 0; i < sink_of(stream->sink)->len; i++) TRY(writer_stream_hole(st->streams[i], len));
  return NULL;
}

static Error *stream_keep_range(SinkStream *stream, uint64_t len) {
  OpsStream *st = (OpsStream *)stream;
  for (size_t i = 0; i < sink_of(stream->sink)->len; i++) TRY(writer_stream_keep(st->streams[i], len));
  return NULL;
}

static Error *stream_end(SinkStream *take, const Entry *final) {
  OpsStream *st = (OpsStream *)take;
  OpsSink *s = sink_of(take->sink);
  Error *err = NULL;
  for (size_t i = 0; i < s->len && !err; i++) err = writer_stream_end(STEAL(st->streams[i]), final);
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
  mutex_init(&s->lock, ops->sys);
  return &s->base;
}

void ops_sink_free(Sink *take) {
  if (!take) return;
  mutex_free(&sink_of(take)->lock);
  free(take);
}
