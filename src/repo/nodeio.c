#include "repo/nodeio.h"

const char *frame_id_text(const FrameId *id, char out[FRAME_TEXT_LEN]) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < (FRAME_TEXT_LEN - 1) / 2; i++) {
    out[2 * i] = digits[id->b[i] >> 4];
    out[2 * i + 1] = digits[id->b[i] & 15];
  }
  out[FRAME_TEXT_LEN - 1] = 0;
  return out;
}

Error *node_get(FrameSource *source, FrameType type, const FrameId *id, const char *what, Buf *out) {
  char text[FRAME_TEXT_LEN];
  Error *err = source->get(source, type, id, out);
  return err ? err_wrap(err, "reading %s %s…", what, frame_id_text(id, text)) : NULL;
}

Error *node_put(FrameSink *sink, FrameType type, Bytes raw, const char *what, FrameId *out) {
  if (raw.len > FRAME_RAW_MAX) return err_new(ERR_LIMIT, "storing %s: %zu bytes are beyond a frame", what, raw.len);
  return err_wrap(sink->put(sink, type, raw, out), "storing %s", what);
}

Cursor map_cursor(Bytes raw, MapKind kind) {
  Cursor c = cursor(raw);
  if (cursor_u8(&c) != (uint8_t)kind) c.failed = true;
  return c;
}
