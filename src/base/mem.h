/* mem.h: allocation that cannot fail quietly, and clean-up at the end of a scope.
 *
 * Small allocations abort on failure. A size that comes from outside is bounded by its parser before it gets here.
 */
#ifndef HF_BASE_MEM_H
#define HF_BASE_MEM_H

#include <stdarg.h>
#include <stdlib.h>

#include "base/base.h"

void *mem_alloc(size_t size);                            /* zeroed; aborts when there is no memory */
void *mem_array(size_t count, size_t size);              /* zeroed; aborts on overflow */
void *mem_resize(void *take, size_t count, size_t size); /* new bytes are not zeroed */
void *mem_dup(const void *data, size_t len);             /* NULL when len is 0 */
char *mem_strdup(const char *text);                      /* NULL stays NULL */
char *mem_strndup(const char *text, size_t len);
char *mem_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);
char *mem_vprintf(const char *fmt, va_list args) PRINTF_LIKE(1, 0);
/* Page-aligned, zeroed, for the data plane; free with mem_free_pages. */
void *mem_pages(size_t size);
void mem_free_pages(void *take, size_t size);

#define NEW(Type) ((Type *)mem_alloc(sizeof(Type)))
#define NEW_ARRAY(Type, count) ((Type *)mem_array((count), sizeof(Type)))

/* Room for one more behind the first `len` of an array of `cap`, which doubles; it begins with `least`. */
#define MEM_ROOM(array, len, cap, least)                                                             \
  do {                                                                                               \
    if ((len) == (cap)) {                                                                            \
      (cap) = (cap) ? (cap)*2 : (least);                                                             \
      (array) = (__typeof__(array))mem_resize((array), (size_t)(cap), sizeof(__typeof__(*(array)))); \
    }                                                                                                \
  } while (0)

static inline void mem_cleanup(void *slot) {
  void **p = (void **)slot;
  free(*p);
}
#define AUTO_FREE __attribute__((cleanup(mem_cleanup)))

/* Moves a pointer out of a variable that would otherwise clean it up. */
#define STEAL(var)                   \
  ({                                 \
    __typeof__(var) stolen_ = (var); \
    (var) = NULL;                    \
    stolen_;                         \
  })

/* True (and *out unset) when the result does not fit. */
#define ADD_OVERFLOWS(a, b, out) __builtin_add_overflow((a), (b), (out))
#define MUL_OVERFLOWS(a, b, out) __builtin_mul_overflow((a), (b), (out))

#endif
