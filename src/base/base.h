/* base.h: the few macros and types every file uses. Include the module headers for the rest. */
#ifndef HF_BASE_BASE_H
#define HF_BASE_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED __attribute__((unused))
#define NELEMS(a) (sizeof(a) / sizeof((a)[0]))

#define KIB ((uint64_t)1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

/* A borrowed run of bytes. `data` may be NULL when `len` is 0. */
typedef struct Bytes {
  const uint8_t *data;
  size_t len;
} Bytes;

static inline Bytes bytes(const void *data, size_t len) { return (Bytes){.data = (const uint8_t *)data, .len = len}; }

static inline Bytes bytes_str(const char *text) { return bytes(text, strlen(text)); }

static inline bool bytes_equal(Bytes a, Bytes b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* memcmp order, the shorter first when one is the other's prefix. */
static inline int bytes_compare(Bytes a, Bytes b) {
  size_t n = a.len < b.len ? a.len : b.len;
  int c = n ? memcmp(a.data, b.data, n) : 0;
  return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* Internal invariants stay checked in release builds: a backup tool that goes on after one broke may write a lie. */
#define CHECK(cond) ((cond) ? (void)0 : base_check_failed(#cond, __FILE__, __LINE__))
_Noreturn void base_check_failed(const char *cond, const char *file, int line);

#endif
