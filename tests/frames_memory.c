#include "frames_memory.h"

#include "base/map.h"
#include "base/mem.h"
#include "codec/blake3.h"

typedef struct Stored {
  Buf raw;
} Stored;

struct FramesMemory {
  FrameSink sink;     /* first: the sink is the memory */
  FrameSource source; /* found by its offset */
  Map *frames;        /* type and id -> Stored */
  FramesMemoryCounts counts[FRAME_TYPE_MAX + 1];
};

typedef struct FrameKey {
  uint8_t b[1 + sizeof(FrameId)];
} FrameKey;

static FrameKey frame_key(FrameType type, const FrameId *id) {
  FrameKey key;
  key.b[0] = (uint8_t)type;
  memcpy(key.b + 1, id->b, sizeof id->b);
  return key;
}

static Stored *find(const FramesMemory *m, FrameType type, const FrameId *id) {
  FrameKey key = frame_key(type, id);
  return (Stored *)map_get(m->frames, bytes(key.b, sizeof key.b));
}

const uint8_t *frames_memory_key(FrameType type) {
  static const uint8_t keys[FRAME_TYPE_MAX + 1][32] = {{0}, {1, 'd'}, {2, 't'}, {3, 'm'}};
  return keys[type];
}

static Error *memory_put(FrameSink *sink, FrameType type, Bytes raw, FrameId *out) {
  FramesMemory *m = (FramesMemory *)sink;
  if (raw.len == 0 || raw.len > FRAME_RAW_MAX) return err_new(ERR_INTERNAL, "a frame of %zu bytes", raw.len);
  blake3_keyed(frames_memory_key(type), raw.data, raw.len, out->b);
  if (find(m, type, out)) return NULL;
  Stored *stored = NEW(Stored);
  buf_add(&stored->raw, raw.data, raw.len);
  FrameKey key = frame_key(type, out);
  map_set(m->frames, bytes(key.b, sizeof key.b), stored);
  m->counts[type].stored++;
  m->counts[type].stored_bytes += raw.len;
  return NULL;
}

static Error *memory_get(FrameSource *source, FrameType type, const FrameId *id, Buf *out) {
  FramesMemory *m = (FramesMemory *)(void *)((char *)source - offsetof(FramesMemory, source));
  const Stored *stored = find(m, type, id);
  if (!stored) return err_new(ERR_CORRUPT, "no such frame");
  m->counts[type].got++;
  buf_clear(out);
  buf_add(out, stored->raw.data, stored->raw.len);
  return NULL;
}

FramesMemory *frames_memory_new(void) {
  FramesMemory *m = NEW(FramesMemory);
  m->sink.put = memory_put;
  m->source.get = memory_get;
  m->frames = map_new();
  return m;
}

void frames_memory_free(FramesMemory *take) {
  if (!take) return;
  size_t pos = 0;
  Bytes key;
  void *value;
  while (map_next(take->frames, &pos, &key, &value)) {
    Stored *stored = (Stored *)value;
    buf_free(&stored->raw);
    free(stored);
  }
  map_free(take->frames);
  free(take);
}

FrameSink *frames_memory_sink(FramesMemory *m) { return &m->sink; }
FrameSource *frames_memory_source(FramesMemory *m) { return &m->source; }
FramesMemoryCounts frames_memory_counts(const FramesMemory *m, FrameType type) { return m->counts[type]; }
void frames_memory_reset_counts(FramesMemory *m) { memset(m->counts, 0, sizeof m->counts); }

void frames_memory_flip(FramesMemory *m, FrameType type, const FrameId *id, size_t bit) {
  Stored *stored = find(m, type, id);
  CHECK(stored && bit / 8 < stored->raw.len);
  stored->raw.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
}

void frames_memory_drop(FramesMemory *m, FrameType type, const FrameId *id) {
  FrameKey key = frame_key(type, id);
  Stored *stored = (Stored *)map_remove(m->frames, bytes(key.b, sizeof key.b));
  if (stored) buf_free(&stored->raw);
  free(stored);
}
