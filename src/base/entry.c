#include "base/entry.h"

#include "base/mem.h"

static bool component_valid(const uint8_t *name, size_t len) {
  if (len == 0 || len > ENTRY_NAME_MAX) return false;
  bool dot = len == 1 && name[0] == '.';
  bool dot_dot = len == 2 && name[0] == '.' && name[1] == '.';
  return !dot && !dot_dot;
}

bool entry_path_valid(Bytes path) {
  if (path.len == 0) return true;
  if (path.len > ENTRY_PATH_MAX || memchr(path.data, '\0', path.len)) return false;
  size_t start = 0;
  for (size_t i = 0; i <= path.len; i++) {
    if (i < path.len && path.data[i] != '/') continue;
    if (!component_valid(path.data + start, i - start)) return false;
    start = i + 1;
  }
  return true;
}

/* A separator is below every byte a name can hold, so "a/z" comes before "a.b" as it must. */
static int byte_rank(uint8_t c) { return c == '/' ? 0 : c; }

int entry_path_compare(Bytes a, Bytes b) {
  size_t n = a.len < b.len ? a.len : b.len;
  for (size_t i = 0; i < n; i++) {
    if (a.data[i] != b.data[i]) return byte_rank(a.data[i]) - byte_rank(b.data[i]);
  }
  return (a.len > b.len) - (a.len < b.len);
}

bool entry_path_within(Bytes path, Bytes dir) {
  if (dir.len == 0) return true;
  if (path.len < dir.len || memcmp(path.data, dir.data, dir.len) != 0) return false;
  return path.len == dir.len || path.data[dir.len] == '/';
}

/* Moves what `b` points at to *at, which advances. */
static void own_bytes(Bytes *b, uint8_t **at) {
  if (b->len == 0) {
    *b = (Bytes){0};
    return;
  }
  memcpy(*at, b->data, b->len);
  b->data = *at;
  *at += b->len;
}

Entry *entry_copy(const Entry *entry) {
  /* One block: the entry, its xattrs, all bytes. */
  size_t total = sizeof *entry + entry->path.len + entry->user.len + entry->group.len + entry->target.len;
  for (size_t i = 0; i < entry->xattrs_len; i++)
    total += sizeof(Xattr) + entry->xattrs[i].name.len + entry->xattrs[i].value.len;
  Entry *copy = (Entry *)mem_alloc(total);
  *copy = *entry;
  _Static_assert(sizeof(Entry) % _Alignof(Xattr) == 0, "xattrs follow the entry");
  Xattr *xattrs = (Xattr *)(void *)(copy + 1);
  uint8_t *at = (uint8_t *)(xattrs + entry->xattrs_len);
  own_bytes(&copy->path, &at);
  own_bytes(&copy->user, &at);
  own_bytes(&copy->group, &at);
  own_bytes(&copy->target, &at);
  for (size_t i = 0; i < entry->xattrs_len; i++) {
    xattrs[i] = entry->xattrs[i];
    own_bytes(&xattrs[i].name, &at);
    own_bytes(&xattrs[i].value, &at);
  }
  copy->xattrs = entry->xattrs_len ? xattrs : NULL;
  return copy;
}

void entry_free(Entry *take) { free(take); }
