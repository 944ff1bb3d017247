/* buf.h: a growing byte buffer, and the two ends of every binary format: `buf_put_*` writes little-endian fields,
 * `Cursor` reads them back with bounds checked.
 *
 * A Cursor remembers the first failure; after it every read yields zeros, so a parser reads a whole structure and asks
 * once. `cursor_end` says whether everything was consumed and nothing ran over.
 */
#ifndef HF_BASE_BUF_H
#define HF_BASE_BUF_H

#include "base/error.h"

typedef struct Buf {
  uint8_t *data;
  size_t len;
  size_t cap;
} Buf;

void buf_free(Buf *buf); /* leaves an empty Buf */
#define AUTO_BUF __attribute__((cleanup(buf_free)))

void buf_reserve(Buf *buf, size_t extra); /* room for `extra` more bytes */
uint8_t *buf_grow(Buf *buf, size_t len);  /* appends `len` uninitialised bytes, returns where they start */
void buf_add(Buf *buf, const void *data, size_t len);
void buf_add_str(Buf *buf, const char *text);
void buf_printf(Buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void buf_clear(Buf *buf) { buf->len = 0; }
static inline Bytes buf_bytes(const Buf *buf) { return bytes(buf->data, buf->len); }
/* The content as an owned C string; leaves an empty Buf. */
char *buf_steal_str(Buf *buf);

void buf_put_u8(Buf *buf, uint8_t v);
void buf_put_u16(Buf *buf, uint16_t v);
void buf_put_u32(Buf *buf, uint32_t v);
void buf_put_u64(Buf *buf, uint64_t v);
void buf_put_var(Buf *buf, uint64_t v); /* LEB128, at most 10 bytes */
void buf_put_svar(Buf *buf, int64_t v); /* zigzag LEB128 */
void buf_put_bytes(Buf *buf, Bytes b);  /* var length, then the bytes */

static inline void store_u16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void store_u32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void store_u64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }
static inline uint16_t load_u16(const uint8_t *p) {
  uint16_t v;
  memcpy(&v, p, 2);
  return v;
}
static inline uint32_t load_u32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}
static inline uint64_t load_u64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format's integers are little-endian");

typedef struct Cursor {
  const uint8_t *at;
  const uint8_t *end;
  bool failed; /* ran over the end, or a varint was malformed or not minimal, or a bound was passed */
} Cursor;

static inline Cursor cursor(Bytes b) {
  return (Cursor){.at = b.data, .end = b.len ? b.data + b.len : b.data, .failed = false};
}
static inline size_t cursor_left(const Cursor *c) { return c->failed ? 0 : (size_t)(c->end - c->at); }
uint8_t cursor_u8(Cursor *c);
uint16_t cursor_u16(Cursor *c);
uint32_t cursor_u32(Cursor *c);
uint64_t cursor_u64(Cursor *c);
uint64_t cursor_var(Cursor *c); /* rejects encodings that are not the shortest */
int64_t cursor_svar(Cursor *c);
uint64_t cursor_var_max(Cursor *c, uint64_t max);   /* fails when the value is above max */
Bytes cursor_take(Cursor *c, size_t len);           /* borrowed from the input */
Bytes cursor_bytes(Cursor *c, size_t max_len);      /* var length, then the bytes */
void cursor_copy(Cursor *c, void *out, size_t len); /* zeros on failure */
/* ERR_CORRUPT "<what>: truncated or malformed" / "<what>: N bytes left over", or NULL. */
Error *cursor_end(const Cursor *c, const char *what) NODISCARD;

#endif
