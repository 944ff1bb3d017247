#include "repo/tree_node.h"

#include "base/mem.h"
#include "base/str.h"

/* The first byte of an entry: its type, and which of the optional fields follow. */
enum {
  HEAD_TYPE = 0x0f,
  HEAD_XATTRS = 0x10,
  HEAD_OWNER = 0x20,  /* else as the entry before */
  HEAD_DEVICE = 0x40, /* else as the entry before */
  HEAD_UNUSED = 0x80,
  MODE_MAX = 07777,
};

/* ---- entries ------------------------------------------------------------------------------------------------------
 */

static bool xattrs_valid(const Entry *e) {
  if (e->xattrs_len > ENTRY_XATTRS_MAX) return false;
  size_t total = 0;
  for (size_t i = 0; i < e->xattrs_len; i++) {
    const Xattr *x = &e->xattrs[i];
    if (x->name.len == 0 || x->name.len > ENTRY_NAME_MAX || memchr(x->name.data, 0, x->name.len)) return false;
    if (i > 0 && bytes_compare(e->xattrs[i - 1].name, x->name) >= 0) return false;
    if (ADD_OVERFLOWS(total, x->name.len, &total) || ADD_OVERFLOWS(total, x->value.len, &total)) return false;
    if (total > ENTRY_XATTR_MAX) return false;
  }
  return true;
}

static bool target_valid(const Entry *e) {
  if (e->type == ENTRY_HARDLINK) return entry_path_valid(e->target);
  if (e->type != ENTRY_SYMLINK) return true;
  return e->target.len <= ENTRY_PATH_MAX && (e->target.len == 0 || !memchr(e->target.data, 0, e->target.len));
}

const char *tree_entry_problem(const TreeEntry *entry) {
  const Entry *e = &entry->entry;
  if (e->path.len > ENTRY_PATH_MAX || !entry_path_valid(e->path)) return "its path";
  if (e->type < ENTRY_FILE || e->type > ENTRY_BLOCK) return "its type";
  if (e->mode > MODE_MAX) return "its mode";
  if (e->user.len > ENTRY_NAME_MAX || e->group.len > ENTRY_NAME_MAX) return "its owner's name";
  if (e->type == ENTRY_FILE && e->size > FILE_SIZE_MAX) return "its size";
  if (!target_valid(e)) return "its target";
  if (!xattrs_valid(e)) return "its extended attributes";
  if (entry->content.kind != CONTENT_NONE && e->type != ENTRY_FILE) return "content where there can be none";
  return NULL;
}

static bool entry_has_rdev(EntryType type) { return type == ENTRY_CHAR || type == ENTRY_BLOCK; }
static bool entry_has_target(EntryType type) { return type == ENTRY_SYMLINK || type == ENTRY_HARDLINK; }

static bool same_owner(const Entry *e, const TreeContext *before) {
  return before->started && e->uid == before->uid && e->gid == before->gid && bytes_equal(e->user, before->user) &&
         bytes_equal(e->group, before->group);
}

void tree_entry_encode(const TreeEntry *entry, const TreeContext *before, Buf *out) {
  const Entry *e = &entry->entry;
  bool owner = !same_owner(e, before);
  bool device = !before->started || e->device != before->device;
  buf_put_u8(out, (uint8_t)((unsigned)e->type | (e->xattrs_len ? HEAD_XATTRS : 0u) | (owner ? HEAD_OWNER : 0u) |
                            (device ? HEAD_DEVICE : 0u)));
  buf_put_var(out, e->mode);
  if (owner) {
    buf_put_var(out, e->uid);
    buf_put_var(out, e->gid);
    buf_put_bytes(out, e->user);
    buf_put_bytes(out, e->group);
  }
  if (device) buf_put_var(out, e->device);
  buf_put_svar(out, (int64_t)(e->inode - before->inode));
  buf_put_svar(out, e->mtime_ns);
  buf_put_svar(out, (int64_t)((uint64_t)e->ctime_ns - (uint64_t)e->mtime_ns));
  if (e->type == ENTRY_FILE) buf_put_var(out, e->size);
  if (entry_has_rdev(e->type)) buf_put_var(out, e->rdev);
  if (entry_has_target(e->type)) buf_put_bytes(out, e->target);
  if (e->xattrs_len) {
    buf_put_var(out, e->xattrs_len);
    for (size_t i = 0; i < e->xattrs_len; i++) {
      buf_put_bytes(out, e->xattrs[i].name);
      buf_put_bytes(out, e->xattrs[i].value);
    }
  }
  if (e->type == ENTRY_FILE) {
    buf_put_svar(out, (int64_t)(entry->read_ns - before->read_ns));
    content_encode(&entry->content, out);
  }
}

void tree_context_set(TreeContext *context, const TreeEntry *entry, Buf *names) {
  const Entry *e = &entry->entry;
  if (!same_owner(e, context)) {
    buf_clear(names);
    buf_add(names, e->user.data, e->user.len);
    buf_add(names, e->group.data, e->group.len);
    context->user = bytes(names->data, e->user.len);
    context->group = bytes(names->data ? names->data + e->user.len : NULL, e->group.len);
  }
  context->started = true;
  context->uid = e->uid;
  context->gid = e->gid;
  context->device = e->device;
  context->inode = e->inode;
  if (e->type == ENTRY_FILE) context->read_ns = entry->read_ns;
}

static void xattrs_decode(Cursor *c, XattrList *list, Entry *out) {
  size_t len = (size_t)cursor_var_max(c, ENTRY_XATTRS_MAX);
  if (len == 0 || len > cursor_left(c) / 2) c->failed = true;
  if (c->failed) return;
  if (list->cap < len) {
    list->items = (Xattr *)mem_resize(list->items, len, sizeof list->items[0]);
    list->cap = len;
  }
  for (size_t i = 0; i < len; i++) {
    list->items[i].name = cursor_bytes(c, ENTRY_NAME_MAX);
    list->items[i].value = cursor_bytes(c, ENTRY_XATTR_MAX);
  }
  out->xattrs = list->items;
  out->xattrs_len = len;
}

static void owner_decode(Cursor *c, uint8_t head, TreeContext *context) {
  if (head & HEAD_OWNER) {
    context->uid = (uint32_t)cursor_var_max(c, UINT32_MAX);
    context->gid = (uint32_t)cursor_var_max(c, UINT32_MAX);
    context->user = cursor_bytes(c, ENTRY_NAME_MAX);
    context->group = cursor_bytes(c, ENTRY_NAME_MAX);
  }
  if (head & HEAD_DEVICE) context->device = cursor_var(c);
  if (!context->started && (head & (HEAD_OWNER | HEAD_DEVICE)) != (HEAD_OWNER | HEAD_DEVICE)) c->failed = true;
  context->started = true;
}

void tree_entry_decode(Cursor *c, TreeContext *context, XattrList *xattrs, TreeEntry *out) {
  memset(out, 0, sizeof *out);
  Entry *e = &out->entry;
  uint8_t head = cursor_u8(c);
  e->type = (EntryType)(head & HEAD_TYPE);
  if ((head & HEAD_UNUSED) || e->type < ENTRY_FILE || e->type > ENTRY_BLOCK) c->failed = true;
  e->mode = (uint32_t)cursor_var_max(c, MODE_MAX);
  owner_decode(c, head, context);
  e->uid = context->uid;
  e->gid = context->gid;
  e->user = context->user;
  e->group = context->group;
  e->device = context->device;
  e->inode = context->inode += (uint64_t)cursor_svar(c);
  e->mtime_ns = cursor_svar(c);
  e->ctime_ns = (int64_t)((uint64_t)e->mtime_ns + (uint64_t)cursor_svar(c));
  if (e->type == ENTRY_FILE) e->size = cursor_var_max(c, FILE_SIZE_MAX);
  if (entry_has_rdev(e->type)) e->rdev = cursor_var(c);
  if (entry_has_target(e->type)) e->target = cursor_bytes(c, ENTRY_PATH_MAX);
  if (head & HEAD_XATTRS) xattrs_decode(c, xattrs, e);
  if (e->type == ENTRY_FILE) {
    out->read_ns = context->read_ns += (uint64_t)cursor_svar(c);
    content_decode(c, &out->content);
  }
}

size_t tree_path_shared(Bytes a, Bytes b) {
  size_t limit = a.len < b.len ? a.len : b.len;
  size_t n = 0;
  while (n < limit && a.data[n] == b.data[n]) n++;
  return n;
}

/* ---- nodes --------------------------------------------------------------------------------------------------------
 */

Error *tree_reader_open(TreeReader *r, Bytes raw) {
  r->raw = raw;
  r->c = cursor(raw);
  r->level = cursor_u8(&r->c);
  r->count = cursor_var(&r->c);
  r->read = 0;
  r->paths_total = 0;
  r->context = (TreeContext){0};
  buf_clear(&r->path);
  if (r->level >= TREE_DEPTH_MAX || r->count > cursor_left(&r->c) || (r->level > 0 && r->count == 0))
    r->c.failed = true;
  if (r->c.failed || r->count == 0) return cursor_end(&r->c, "tree node");
  return NULL;
}

void tree_reader_free(TreeReader *r) {
  buf_free(&r->path);
  free(r->xattrs.items);
  *r = (TreeReader){0};
}

static Error *node_error(const TreeReader *r, const char *why) {
  char *name = str_printable(buf_bytes(&r->path));
  Error *err = err_new(ERR_CORRUPT, "tree node: entry %llu (%.200s): %s", (unsigned long long)r->read, name, why);
  free(name);
  return err;
}

/* The path of the next item: it replaces the one before in place. */
static Error *reader_path(TreeReader *r) {
  size_t shared = (size_t)cursor_var_max(&r->c, r->path.len);
  Bytes rest = cursor_bytes(&r->c, ENTRY_PATH_MAX - shared);
  if (r->c.failed) return cursor_end(&r->c, "tree node");
  /* Both begin with the shared bytes, and the order looks at bytes from left to right: the rests decide. */
  Bytes before = bytes(r->path.data ? r->path.data + shared : NULL, r->path.len - shared);
  bool ascending = r->read == 0 || entry_path_compare(before, rest) < 0;
  r->path.len = shared;
  buf_add(&r->path, rest.data, rest.len);
  r->paths_total += r->path.len;
  if (!ascending) return node_error(r, "not in order");
  if (!entry_path_valid(buf_bytes(&r->path))) return node_error(r, "the path is not valid");
  if (r->read > 0 && r->paths_total > TREE_NODE_PATHS_MAX)
    return err_new(ERR_LIMIT, "tree node: the paths of one node are beyond %d bytes", TREE_NODE_PATHS_MAX);
  return NULL;
}

static Error *reader_item_end(TreeReader *r) {
  r->read++;
  if (r->c.failed || r->read == r->count) return cursor_end(&r->c, "tree node");
  return NULL;
}

Error *tree_reader_entry(TreeReader *r, TreeEntry *out) {
  TRY(reader_path(r));
  tree_entry_decode(&r->c, &r->context, &r->xattrs, out);
  if (!r->c.failed) {
    out->entry.path = buf_bytes(&r->path);
    const char *problem = tree_entry_problem(out);
    if (problem) return node_error(r, problem);
  }
  return reader_item_end(r);
}

Error *tree_reader_child(TreeReader *r, TreeChild *out) {
  TRY(reader_path(r));
  cursor_copy(&r->c, out->id.b, sizeof out->id.b);
  out->entries = cursor_var(&r->c);
  out->bytes = cursor_var(&r->c);
  if (out->entries == 0) r->c.failed = true;
  return reader_item_end(r);
}

Error *tree_node_decode(Bytes raw, uint8_t expect_level, Error *(*entry)(void *ctx, const TreeEntry *),
                        Error *(*child)(void *ctx, Bytes path, const FrameId *id, uint64_t entries, uint64_t bytes),
                        void *ctx) {
  TreeReader r = {0};
  Error *err = tree_reader_open(&r, raw);
  if (!err && r.level != expect_level) err = err_new(ERR_CORRUPT, "tree node: level %u, not %u", r.level, expect_level);
  while (!err && r.read < r.count) {
    if (r.level == 0) {
      TreeEntry item;
      err = tree_reader_entry(&r, &item);
      if (!err && entry) err = entry(ctx, &item);
    } else {
      TreeChild item;
      err = tree_reader_child(&r, &item);
      if (!err && child) err = child(ctx, buf_bytes(&r.path), &item.id, item.entries, item.bytes);
    }
  }
  tree_reader_free(&r);
  return err;
}
