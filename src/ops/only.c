#include "ops/only.h"

#include "engine/files/filter.h"

static bool matches(const StrList *only, Bytes path, EntryType type) {
  AUTO_BUF Buf absolute = {0};
  buf_put_u8(&absolute, '/');
  buf_add(&absolute, path.data, path.len);
  return patterns_match(only, &(FilterItem){.path = path, .absolute = buf_bytes(&absolute), .type = type});
}

bool only_selects(const StrList *only, Bytes path, EntryType type) {
  if (only->len == 0) return true;
  if (path.len == 0) return false;
  if (matches(only, path, type)) return true;
  for (size_t k = path.len; k-- > 1;)
    if (path.data[k] == '/' && matches(only, bytes(path.data, k), ENTRY_DIR)) return true;
  return false;
}
