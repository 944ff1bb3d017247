/* frames_slices.h: a FrameSource over a fuzz input, so that whole structures of hostile frames are read: the input is
 * u8 first root, u8 second root, then frames of u16 length and bytes. A frame's id is its number in the first byte;
 * nothing is verified. Header only.
 */
#ifndef HF_TESTS_FUZZ_FRAMES_SLICES_H
#define HF_TESTS_FUZZ_FRAMES_SLICES_H

#include "repo/frameio.h"

enum { SLICES_MAX = 64 };

typedef struct FrameSlices {
  FrameSource source; /* first: the source is the slices */
  FrameSink sink;     /* forgets what it is given */
  Bytes frames[SLICES_MAX];
  size_t len;
  FrameId roots[2];
  uint64_t gets; /* a structure of so few frames must not be read for ever */
} FrameSlices;

static inline Error *slices_get(FrameSource *source, FrameType type, const FrameId *id, Buf *out) {
  (void)type;
  FrameSlices *s = (FrameSlices *)source;
  if (s->len == 0) return err_new(ERR_CORRUPT, "no frames");
  if (++s->gets > 100000) return err_new(ERR_LIMIT, "too many reads");
  Bytes frame = s->frames[id->b[0] % s->len];
  buf_clear(out);
  buf_add(out, frame.data, frame.len);
  return NULL;
}

static inline Error *slices_put(FrameSink *sink, FrameType type, Bytes raw, FrameId *out) {
  (void)sink;
  if (raw.len == 0 || raw.len > FRAME_RAW_MAX) return err_new(ERR_INTERNAL, "a frame of %zu bytes", raw.len);
  memset(out, (int)type, sizeof *out);
  return NULL;
}

static inline void slices_init(FrameSlices *s, const uint8_t *data, size_t size) {
  *s = (FrameSlices){.source = {.get = slices_get}, .sink = {.put = slices_put}};
  Cursor c = cursor(bytes(data, size));
  s->roots[0].b[0] = cursor_u8(&c);
  s->roots[1].b[0] = cursor_u8(&c);
  while (s->len < SLICES_MAX && cursor_left(&c) > 2) {
    size_t len = cursor_u16(&c), left = cursor_left(&c);
    s->frames[s->len++] = cursor_take(&c, len < left ? len : left);
  }
}

#endif
