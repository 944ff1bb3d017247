#include "engine/files/tree_dirs.h"

#include "base/mem.h"

typedef struct PendingDir {
  size_t path_len; /* the path itself is the beginning of whatever is met below it */
  Entry *entry;    /* without its path */
} PendingDir;

static void drop_from(TreeDirs *dirs, size_t keep) {
  while (dirs->len > keep) entry_free(dirs->pending[--dirs->len].entry);
}

void tree_dirs_free(TreeDirs *dirs) {
  drop_from(dirs, 0);
  free(dirs->pending);
  buf_free(&dirs->included);
  buf_free(&dirs->last);
}

static Error *add(TreeDirs *dirs, const Entry *entry) {
  dirs->added++;
  return dirs->sink->ops->add(dirs->sink, entry);
}

/* Pending directories that are not above `path` had nothing wanted in them. */
static void leave_others(TreeDirs *dirs, Bytes path) {
  size_t common = 0;
  size_t max = dirs->last.len < path.len ? dirs->last.len : path.len;
  while (common < max && dirs->last.data[common] == path.data[common]) common++;
  while (dirs->len > 0) {
    size_t len = dirs->pending[dirs->len - 1].path_len;
    if (len <= common && (len == 0 || len == path.len || path.data[len] == '/')) return;
    drop_from(dirs, dirs->len - 1);
  }
}

static void push(TreeDirs *dirs, const Entry *entry) {
  MEM_ROOM(dirs->pending, dirs->len, dirs->cap, 16);
  Entry bare = *entry;
  bare.path = bytes(NULL, 0);
  dirs->pending[dirs->len++] = (PendingDir){.path_len = entry->path.len, .entry = entry_copy(&bare)};
}

bool tree_dirs_selects(const TreeDirs *dirs, const FilterItem *item) {
  if (!filter_is_selective(dirs->filter)) return true;
  if (dirs->has_included && entry_path_within(item->path, buf_bytes(&dirs->included))) return true;
  return filter_includes(dirs->filter, item);
}

Error *tree_dirs_need(TreeDirs *dirs, Bytes path) {
  if (dirs->len == 0) return NULL;
  leave_others(dirs, path);
  for (size_t i = 0; i < dirs->len; i++) {
    Entry entry = *dirs->pending[i].entry;
    entry.path = bytes(path.data, dirs->pending[i].path_len);
    TRY(add(dirs, &entry));
  }
  drop_from(dirs, 0);
  return NULL;
}

Error *tree_dirs_enter(TreeDirs *dirs, const Entry *entry, const FilterItem *item) {
  if (!filter_is_selective(dirs->filter)) return add(dirs, entry);
  bool wanted = tree_dirs_selects(dirs, item);
  leave_others(dirs, entry->path);
  buf_clear(&dirs->last);
  buf_add(&dirs->last, entry->path.data, entry->path.len);
  if (!wanted) {
    push(dirs, entry);
    return NULL;
  }
  TRY(tree_dirs_need(dirs, entry->path));
  bool inside = dirs->has_included && entry_path_within(entry->path, buf_bytes(&dirs->included));
  if (!inside) {
    buf_clear(&dirs->included);
    buf_add(&dirs->included, entry->path.data, entry->path.len);
    dirs->has_included = true;
  }
  return add(dirs, entry);
}
