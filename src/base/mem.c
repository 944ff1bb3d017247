#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

_Noreturn void base_check_failed(const char *cond, const char *file, int line) {
  fprintf(stderr, "holdfast: internal check failed: %s (%s:%d)\n", cond, file, line);
  abort();
}

static void *need(void *p) {
  if (!p) base_check_failed("out of memory", __FILE__, __LINE__);
  return p;
}

void *mem_alloc(size_t size) { return need(calloc(1, size ? size : 1)); }

void *mem_array(size_t count, size_t size) { return need(calloc(count ? count : 1, size ? size : 1)); }

void *mem_resize(void *take, size_t count, size_t size) {
  return need(reallocarray(take, count ? count : 1, size ? size : 1));
}

void *mem_dup(const void *data, size_t len) {
  if (len == 0) return NULL;
  void *copy = need(malloc(len));
  memcpy(copy, data, len);
  return copy;
}

char *mem_strdup(const char *text) { return text ? (char *)need(strdup(text)) : NULL; }

char *mem_strndup(const char *text, size_t len) { return (char *)need(strndup(text, len)); }

char *mem_vprintf(const char *fmt, va_list args) {
  char *text = NULL;
  CHECK(vasprintf(&text, fmt, args) >= 0);
  return text;
}

char *mem_printf(const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  char *text = mem_vprintf(fmt, args);
  va_end(args);
  return text;
}

void *mem_pages(size_t size) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) base_check_failed("out of memory", __FILE__, __LINE__);
  return p;
}

void mem_free_pages(void *take, size_t size) {
  if (take) munmap(take, size);
}
