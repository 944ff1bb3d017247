#include "base/mem.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/entry_text.h"
#include "cli/pick.h"
#include "cli/repositories.h"
#include "cli/snapshot_json.h"
#include "cli/sources.h"
#include "ops/address.h"
#include "ops/select.h"
#include "repo/frames.h"

typedef struct LsCommand {
  CliContext *ctx;
  Workspace w;
  Repositories repositories;
} LsCommand;

/* ---- snapshots -----------------------------------------------------------------------------------------------------
 */

/* --label key=value, --label key */
static bool has_label(const Snapshot *s, const char *wanted) {
  const char *equals = strchr(wanted, '=');
  size_t len = equals ? (size_t)(equals - wanted) : strlen(wanted);
  for (size_t i = 0; i < s->labels_len; i++) {
    const Label *l = &s->labels[i];
    if (strlen(l->key) == len && memcmp(l->key, wanted, len) == 0 && (!equals || strcmp(l->value, equals + 1) == 0))
      return true;
  }
  return false;
}

static bool is_wanted(const LsCommand *ls, const Snapshot *s) {
  const StrList *labels = args_list(ls->ctx->args, OPT_LABEL);
  for (size_t i = 0; i < labels->len; i++)
    if (!has_label(s, labels->items[i])) return false;
  return true;
}

static void snapshot_json(const LsCommand *ls, const OpenRepository *r, const Snapshot *s) {
  json_t *doc = output_document("snapshot");
  snapshot_json_add(doc, s);
  json_object_set_new(doc, "size_bytes", json_count(s->stats.source_bytes));
  json_object_set_new(doc, "files", json_count(s->stats.files));
  json_object_set_new(doc, "new_bytes", json_count(s->stats.new_bytes));
  json_object_set_new(doc, "stored_bytes", json_count(s->stats.stored_bytes));
  output_json_set_name(doc, "repository", bytes_str(r->place.name));
  output_json(ls->ctx->output, doc);
}

static char *labels_text(const Snapshot *s) {
  AUTO_BUF Buf text = {0};
  for (size_t i = 0; i < s->labels_len; i++)
    buf_printf(&text, "%s%s=%s", i ? " " : "", s->labels[i].key, s->labels[i].value);
  return buf_steal_str(&text);
}

static Table *snapshot_table(bool several) {
  static const struct {
    const char *heading;
    Align align;
  } columns[] = {{"ID", ALIGN_LEFT},     {"TIME", ALIGN_LEFT},   {"SOURCE", ALIGN_LEFT},    {"KIND", ALIGN_LEFT},
                 {"SIZE", ALIGN_RIGHT},  {"FILES", ALIGN_RIGHT}, {"NEW", ALIGN_RIGHT},      {"STORED", ALIGN_RIGHT},
                 {"LABELS", ALIGN_LEFT}, {"STATE", ALIGN_LEFT},  {"REPOSITORY", ALIGN_LEFT}};
  Table *table = table_new(NELEMS(columns) - (several ? 0 : 1));
  for (size_t i = 0; i < NELEMS(columns) - (several ? 0 : 1); i++)
    table_column(table, i, columns[i].heading, columns[i].align);
  return table;
}

static void snapshot_row(Table *table, const OpenRepository *r, const Snapshot *s, bool several) {
  char id[SHORT_ID_LEN], when[36], size[16];
  AUTO_FREE char *labels = labels_text(s);
  table_cell(table, short_id(&s->id, id));
  table_cell(table, time_format_local(s->time_ns, when));
  table_cell(table, s->source);
  table_cell(table, snapshot_kind_name(s->kind));
  table_cell(table, str_size(s->stats.source_bytes, size));
  table_cellf(table, "%llu", (unsigned long long)s->stats.files);
  table_cell(table, str_size(s->stats.new_bytes, size));
  table_cell(table, str_size(s->stats.stored_bytes, size));
  table_cell(table, labels);
  table_cell(table, s->damaged && s->partial ? "damaged, partial"
                    : s->damaged             ? "damaged"
                    : s->partial             ? "partial"
                                             : "");
  if (several) table_cell(table, r->place.name);
}

static Error *list_repository(LsCommand *ls, const OpenRepository *r, const char *source, Table *table, bool several) {
  SnapshotList list = {0};
  TRY(ops_list_snapshots(&ls->w.ops, r->repo, source, &list));
  for (size_t i = 0; i < list.len; i++) {
    if (!is_wanted(ls, &list.items[i])) continue;
    if (table)
      snapshot_row(table, r, &list.items[i], several);
    else
      snapshot_json(ls, r, &list.items[i]);
  }
  snapshot_list_free(&list);
  return NULL;
}

/* One repository that has the source is enough. */
static Error *list_snapshots(LsCommand *ls, const char *source) {
  bool several = ls->repositories.len > 1;
  Table *table = output_json_mode(ls->ctx->output) ? NULL : snapshot_table(several);
  Error *first = NULL;
  size_t done = 0;
  for (size_t i = 0; i < ls->repositories.len; i++) {
    const OpenRepository *r = &ls->repositories.items[i];
    if (!r->repo) continue;
    Error *err = list_repository(ls, r, source, table, several);
    if (!err) done++;
    bool ends = err && err_code(err) != ERR_NOT_FOUND;
    first = ends ? err_first(err, first) : err_first(first, err);
    if (ends) done = 0;
    if (ends) break;
  }
  if (table && done) output_table(ls->ctx->output, table);
  table_free(table);
  if (!done) return first;
  err_free(first);
  return workspace_unopened(&ls->w);
}

/* ---- what is in one ------------------------------------------------------------------------------------------------
 */

static void entry_json(Output *out, const Entry *e) {
  json_t *doc = output_document("entry");
  output_json_set_name(doc, "path", e->path);
  json_object_set_new(doc, "kind", json_string(entry_type_name(e->type)));
  json_object_set_new(doc, "mode", json_integer((json_int_t)e->mode));
  json_object_set_new(doc, "uid", json_integer((json_int_t)e->uid));
  json_object_set_new(doc, "gid", json_integer((json_int_t)e->gid));
  output_json_set_name(doc, "user", e->user);
  output_json_set_name(doc, "group", e->group);
  json_object_set_new(doc, "size_bytes", json_count(e->size));
  json_object_set_new(doc, "mtime_ns", json_integer((json_int_t)e->mtime_ns));
  if (e->target.len) output_json_set_name(doc, "target", e->target);
  output_json(out, doc);
}

/* A column's widths are not known before the end: these are wide enough for most, and no line waits for the last. */
static void entry_long(Output *out, const Entry *e, const char *path) {
  AUTO_FREE char *mode = entry_mode_text(e);
  AUTO_FREE char *user = entry_owner_text(e->user, e->uid);
  AUTO_FREE char *group = entry_owner_text(e->group, e->gid);
  AUTO_FREE char *changed = entry_mtime_text(e->mtime_ns);
  AUTO_FREE char *target = str_printable(e->target);
  const char *arrow = e->type == ENTRY_SYMLINK ? " -> " : e->type == ENTRY_HARDLINK ? " = " : "";
  output_text(out, "%s %-8s %-8s %12llu %s %s%s%s\n", mode, user, group, (unsigned long long)e->size, changed, path,
              arrow, *arrow ? target : "");
}

static void print_entry(const LsCommand *ls, const Entry *e) {
  Output *out = ls->ctx->output;
  if (output_json_mode(out)) {
    entry_json(out, e);
    return;
  }
  AUTO_FREE char *path = entry_path_text(e);
  if (args_given(ls->ctx->args, OPT_LONG))
    entry_long(out, e, path);
  else
    output_text(out, "%s\n", path);
}

/* "a/b/" → "a/b"; "/" and "." → "". */
static Bytes tidy_path(const char *path) {
  if (strcmp(path, ".") == 0) path++;
  if (str_starts(path, "./")) path += 2;
  while (*path == '/') path++;
  size_t len = strlen(path);
  while (len > 0 && path[len - 1] == '/') len--;
  return bytes(path, len);
}

/* Directly in `dir`. */
static bool is_child(Bytes path, Bytes dir) {
  if (path.len == 0 || path.len <= dir.len || !entry_path_within(path, dir)) return false;
  size_t start = dir.len ? dir.len + 1 : 0;
  return memchr(path.data + start, '/', path.len - start) == NULL;
}

/* A folder's own entries, everything below it, or the entry itself when it is no folder. A whole tree is passed once;
 * what lies outside `dir` is not read, and what lies deeper is skipped by seeking past it. */
static Error *walk(LsCommand *ls, TreeCursor *cursor, Bytes dir, size_t *found) {
  bool deep = args_given(ls->ctx->args, OPT_RECURSIVE);
  TRY(tree_cursor_seek(cursor, dir));
  for (;;) {
    TreeEntry entry;
    bool more;
    TRY(cancel_check(ls->ctx->cancel));
    TRY(tree_cursor_next(cursor, &entry, &more));
    if (!more || !entry_path_within(entry.entry.path, dir)) return NULL;
    (*found)++;
    bool itself = entry.entry.path.len == dir.len;
    if (itself && entry.entry.type == ENTRY_DIR) continue;
    if (itself || deep || is_child(entry.entry.path, dir)) print_entry(ls, &entry.entry);
    if (itself || deep || entry.entry.type != ENTRY_DIR) continue;
    /* '0' is the byte after '/': the first path behind everything below this folder, in component order it is the
     * folder's name with NUL behind it. */
    AUTO_BUF Buf behind = {0};
    buf_add(&behind, entry.entry.path.data, entry.entry.path.len);
    buf_put_u8(&behind, 1);
    TRY(tree_cursor_seek(cursor, buf_bytes(&behind)));
  }
}

static Error *list_tree(LsCommand *ls, const OpenRepository *r, const Snapshot *snapshot, const char *path) {
  Index *index;
  TRY(index_open_reading(r->repo, &index, ls->ctx->cancel));
  FrameReader *reader = frame_reader_new(r->repo, index, ls->ctx->cancel);
  TreeCursor *cursor = tree_cursor_new(frame_reader_source(reader), &snapshot->root);
  size_t found = 0;
  Bytes dir = tidy_path(path ? path : "");
  Error *err = walk(ls, cursor, dir, &found);
  tree_cursor_free(cursor);
  frame_reader_free(reader);
  index_free(index);
  if (!err && !found && dir.len) err = err_new(ERR_NOT_FOUND, "the snapshot holds no %s", path);
  return err;
}

static Error *list_content(LsCommand *ls, const char *text, const char *path) {
  Picked picked;
  TRY(pick_snapshot(&ls->w, &ls->repositories, text, &picked));
  Error *err = list_tree(ls, picked.from, &picked.snapshot, path);
  picked_free(&picked);
  return err;
}

/* ---- all -----------------------------------------------------------------------------------------------------------
 */

/* SRC lists snapshots; SRC@WHEN, an id alone or a PATH what a snapshot holds. */
static Error *run(LsCommand *ls) {
  const Args *args = ls->ctx->args;
  const char *text = args_operand(args, 0), *path = args_operand(args, 1);
  const char *name = args_text(args, OPT_SOURCE_NAME);
  TRY(repositories_open(&ls->w, NULL, REPOSITORIES_ANY, &ls->repositories));
  if (!text) return list_snapshots(ls, name);
  AUTO_FREE char *selector = NULL;
  AUTO_FREE char *source = NULL;
  AUTO_FREE char *suspect = NULL;
  TRY(cli_source_selector(&ls->w, text, &selector));
  When when, alone;
  TRY(source_when_split(selector, sys_now_ns(ls->ctx->sys), &source, &when, &suspect));
  Error *no_moment = when_parse(text, sys_now_ns(ls->ctx->sys), &alone);
  bool is_id = !no_moment && alone.kind == WHEN_SNAPSHOT;
  err_free(no_moment);
  if (!when.said && !path && !is_id) return ops_suspect_moment(list_snapshots(ls, selector), suspect);
  return list_content(ls, text, path);
}

Error *cmd_ls(CliContext *ctx, const Args *args UNUSED) {
  LsCommand ls = {.ctx = ctx};
  TRY(workspace_open(ctx, &ls.w));
  Error *err = run(&ls);
  err = err_first(err, repositories_failure(&ls.repositories));
  repositories_close(&ls.repositories);
  workspace_close(&ls.w);
  return err;
}
