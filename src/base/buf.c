#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

void buf_free(Buf *buf) {
  free(buf->data);
  *buf = (Buf){0};
}

void buf_reserve(Buf *buf, size_t extra) {
  size_t want;
  CHECK(!ADD_OVERFLOWS(buf->len, extra, &want));
  if (want <= buf->cap) return;
  size_t cap = buf->cap ? buf->cap : 64;
  while (cap < want) CHECK(!MUL_OVERFLOWS(cap, (size_t)2, &cap));
  buf->data = (uint8_t *)mem_resize(buf->data, cap, 1);
  buf->cap = cap;
}

uint8_t *buf_grow(Buf *buf, size_t len) {
  buf_reserve(buf, len);
  uint8_t *at = buf->data ? buf->data + buf->len : NULL; /* NULL + 0 is undefined */
  buf->len += len;
  return at;
}

void buf_add(Buf *buf, const void *data, size_t len) {
  if (len) memcpy(buf_grow(buf, len), data, len);
}

void buf_add_str(Buf *buf, const char *text) { buf_add(buf, text, strlen(text)); }

void buf_printf(Buf *buf, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  char *text = NULL;
  int len = vasprintf(&text, fmt, args);
  va_end(args);
  CHECK(len >= 0);
  buf_add(buf, text, (size_t)len);
  free(text);
}

char *buf_steal_str(Buf *buf) {
  buf_put_u8(buf, 0);
  char *text = (char *)buf->data;
  *buf = (Buf){0};
  return text;
}

void buf_put_u8(Buf *buf, uint8_t v) { buf_add(buf, &v, 1); }

void buf_put_u16(Buf *buf, uint16_t v) { buf_add(buf, &v, 2); }

void buf_put_u32(Buf *buf, uint32_t v) { buf_add(buf, &v, 4); }

void buf_put_u64(Buf *buf, uint64_t v) { buf_add(buf, &v, 8); }

void buf_put_var(Buf *buf, uint64_t v) {
  uint8_t out[10];
  size_t n = 0;
  while (v >= 0x80) {
    out[n++] = (uint8_t)(v | 0x80);
    v >>= 7;
  }
  out[n++] = (uint8_t)v;
  buf_add(buf, out, n);
}

void buf_put_svar(Buf *buf, int64_t v) { buf_put_var(buf, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63)); }

void buf_put_bytes(Buf *buf, Bytes b) {
  buf_put_var(buf, b.len);
  buf_add(buf, b.data, b.len);
}

Bytes cursor_take(Cursor *c, size_t len) {
  if (c->failed || (size_t)(c->end - c->at) < len) {
    c->failed = true;
    return (Bytes){0};
  }
  Bytes out = bytes(c->at, len);
  if (len) c->at += len;
  return out;
}

void cursor_copy(Cursor *c, void *out, size_t len) {
  Bytes b = cursor_take(c, len);
  if (b.data && len)
    memcpy(out, b.data, len);
  else
    memset(out, 0, len);
}

uint8_t cursor_u8(Cursor *c) {
  uint8_t v;
  cursor_copy(c, &v, sizeof v);
  return v;
}

uint16_t cursor_u16(Cursor *c) {
  uint16_t v;
  cursor_copy(c, &v, sizeof v);
  return v;
}

uint32_t cursor_u32(Cursor *c) {
  uint32_t v;
  cursor_copy(c, &v, sizeof v);
  return v;
}

uint64_t cursor_u64(Cursor *c) {
  uint64_t v;
  cursor_copy(c, &v, sizeof v);
  return v;
}

uint64_t cursor_var(Cursor *c) {
  uint64_t v = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    uint8_t b = cursor_u8(c);
    if (c->failed) return 0;
    bool overflow = shift == 63 && b > 1;
    bool padded = b == 0 && shift > 0;
    if (overflow || padded) break;
    v |= (uint64_t)(b & 0x7f) << shift;
    if (!(b & 0x80)) return v;
  }
  c->failed = true;
  return 0;
}

int64_t cursor_svar(Cursor *c) {
  uint64_t v = cursor_var(c);
  return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

uint64_t cursor_var_max(Cursor *c, uint64_t max) {
  uint64_t v = cursor_var(c);
  if (v > max) {
    c->failed = true;
    return 0;
  }
  return v;
}

Bytes cursor_bytes(Cursor *c, size_t max_len) {
  uint64_t len = cursor_var_max(c, max_len);
  return cursor_take(c, (size_t)len);
}

Error *cursor_end(const Cursor *c, const char *what) {
  if (c->failed) return err_new(ERR_CORRUPT, "%s: truncated or malformed", what);
  if (c->at != c->end) return err_new(ERR_CORRUPT, "%s: %zu bytes left over", what, (size_t)(c->end - c->at));
  return NULL;
}
