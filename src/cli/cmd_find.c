#include "base/mem.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/entry_text.h"
#include "cli/repositories.h"
#include "cli/sources.h"
#include "ops/select.h"
#include "repo/frames.h"

/* One content of one path, and the snapshots of the source that hold it, which follow each other. */
typedef struct Version {
  Entry *entry;
  size_t first, last; /* in the source's list */
  bool ended;         /* a later snapshot does not hold it */
} Version;

typedef struct FindCommand {
  CliContext *ctx;
  Workspace w;
  Repositories repositories;
  Bytes pattern;
  bool whole_path;
  /* of the source being searched: */
  const OpenRepository *from;
  const Snapshot *snapshots; /* oldest first */
  size_t at;                 /* the snapshot being read */
  Version *versions;
  size_t len, cap;
  Map *open; /* path -> Version number + 1 of the version that still stands */
  uint64_t found;
} FindCommand;

static bool matches(const FindCommand *f, Bytes path) {
  if (path.len == 0) return false;
  if (f->whole_path) return glob_match(f->pattern, path);
  const uint8_t *slash = (const uint8_t *)memrchr(path.data, '/', path.len);
  size_t skip = slash ? (size_t)(slash - path.data) + 1 : 0;
  return glob_match(f->pattern, bytes(path.data + skip, path.len - skip));
}

/* ---- versions ------------------------------------------------------------------------------------------------------
 */

static void begin_version(FindCommand *f, const Entry *entry) {
  MEM_ROOM(f->versions, f->len, f->cap, 64);
  f->versions[f->len++] = (Version){.entry = entry_copy(entry), .first = f->at};
  map_set(f->open, entry->path, (void *)(uintptr_t)f->len);
}

static void end_version(FindCommand *f, Bytes path) {
  uintptr_t number = (uintptr_t)map_remove(f->open, path);
  if (number == 0) return;
  Version *v = &f->versions[number - 1];
  v->last = f->at - 1;
  v->ended = true;
}

static Error *on_change(void *ctx, TreeChange change, const TreeEntry *before, const TreeEntry *after) {
  FindCommand *f = (FindCommand *)ctx;
  TRY(cancel_check(f->ctx->cancel));
  if (change == TREE_TOUCHED || !matches(f, after ? after->entry.path : before->entry.path)) return NULL;
  if (before) end_version(f, before->entry.path);
  if (after) begin_version(f, &after->entry);
  return NULL;
}

static Error *first_tree(FindCommand *f, FrameSource *source, const TreeRoot *root) {
  TreeCursor *cursor = tree_cursor_new(source, root);
  Error *err = NULL;
  for (bool found = true; !err;) {
    TreeEntry entry;
    err = cancel_check(f->ctx->cancel);
    if (!err) err = tree_cursor_next(cursor, &entry, &found);
    if (err || !found) break;
    if (matches(f, entry.entry.path)) begin_version(f, &entry.entry);
  }
  tree_cursor_free(cursor);
  return err;
}

static int compare_versions(const void *a, const void *b) {
  const Version *va = (const Version *)a, *vb = (const Version *)b;
  int c = entry_path_compare(va->entry->path, vb->entry->path);
  return c ? c : (va->first > vb->first) - (va->first < vb->first);
}

static void free_versions(FindCommand *f) {
  for (size_t i = 0; i < f->len; i++) entry_free(f->versions[i].entry);
  free(f->versions);
  f->versions = NULL;
  f->len = f->cap = 0;
  map_free(f->open);
  f->open = NULL;
}

/* ---- printing ------------------------------------------------------------------------------------------------------
 */

static void set_snapshot(json_t *doc, const char *key, const Snapshot *s) {
  json_t *side = json_object();
  json_object_set_new(side, "id", json_uuid(&s->id));
  json_object_set_new(side, "time", json_time(s->time_ns));
  json_object_set_new(doc, key, side);
}

static void print_json(const FindCommand *f, const Version *v) {
  const Snapshot *last = &f->snapshots[v->last];
  json_t *doc = output_document("match");
  output_json_set_name(doc, "repository", bytes_str(f->from->place.name));
  output_json_set_name(doc, "source", bytes_str(last->source));
  output_json_set_name(doc, "path", v->entry->path);
  json_object_set_new(doc, "kind", json_string(entry_type_name(v->entry->type)));
  json_object_set_new(doc, "size_bytes", json_count(v->entry->size));
  json_object_set_new(doc, "mtime_ns", json_integer((json_int_t)v->entry->mtime_ns));
  json_object_set_new(doc, "mode", json_integer((json_int_t)v->entry->mode));
  set_snapshot(doc, "first", &f->snapshots[v->first]);
  set_snapshot(doc, "last", last);
  json_object_set_new(doc, "snapshots", json_count(v->last - v->first + 1));
  json_object_set_new(doc, "newest", json_boolean(!v->ended));
  output_json(f->ctx->output, doc);
}

static Table *make_table(bool detailed) {
  static const char *const headings[] = {"PATH", "SIZE",      "FROM", "",      "TO",
                                         "",     "SNAPSHOTS", "MODE", "OWNER", "MODIFIED"};
  size_t columns = detailed ? NELEMS(headings) : NELEMS(headings) - 3;
  Table *table = table_new(columns);
  for (size_t i = 0; i < columns; i++) table_column(table, i, headings[i], i == 1 || i == 6 ? ALIGN_RIGHT : ALIGN_LEFT);
  return table;
}

static void add_row(const FindCommand *f, Table *table, const Version *v, bool detailed) {
  const Snapshot *first = &f->snapshots[v->first], *last = &f->snapshots[v->last];
  char text[36];
  AUTO_FREE char *path = entry_path_text(v->entry);
  table_cell(table, path);
  table_cell(table, v->entry->type == ENTRY_FILE ? str_size(v->entry->size, text) : "");
  table_cell(table, short_id(&first->id, text));
  table_cell(table, time_format_local(first->time_ns, text));
  table_cell(table, short_id(&last->id, text));
  table_cell(table, time_format_local(last->time_ns, text));
  table_cellf(table, "%zu%s", v->last - v->first + 1, v->ended ? "" : " (newest)");
  if (!detailed) return;
  AUTO_FREE char *mode = entry_mode_text(v->entry);
  AUTO_FREE char *user = entry_owner_text(v->entry->user, v->entry->uid);
  AUTO_FREE char *group = entry_owner_text(v->entry->group, v->entry->gid);
  AUTO_FREE char *modified = entry_mtime_text(v->entry->mtime_ns);
  table_cell(table, mode);
  table_cellf(table, "%s:%s", user, group);
  table_cell(table, modified);
}

static void print_source(FindCommand *f) {
  if (f->len == 0) return;
  qsort(f->versions, f->len, sizeof *f->versions, compare_versions);
  f->found += f->len;
  if (output_json_mode(f->ctx->output)) {
    for (size_t i = 0; i < f->len; i++) print_json(f, &f->versions[i]);
    return;
  }
  bool detailed = args_given(f->ctx->args, OPT_LONG);
  AUTO_FREE char *source = str_printable(bytes_str(f->snapshots[f->at - 1].source));
  AUTO_FREE char *place = str_printable(bytes_str(f->from->place.name));
  output_text(f->ctx->output, "%s%s", f->found > f->len ? "\n" : "", source);
  if (f->repositories.len > 1) output_text(f->ctx->output, " in %s", place);
  output_text(f->ctx->output, "\n");
  Table *table = make_table(detailed);
  for (size_t i = 0; i < f->len; i++) add_row(f, table, &f->versions[i], detailed);
  output_table(f->ctx->output, table);
  table_free(table);
}

/* ---- searching -----------------------------------------------------------------------------------------------------
 */

/* The first tree is read whole, of the others only what differs from the one before. */
static Error *search_source(FindCommand *f, FrameSource *source, const Snapshot *snapshots, size_t len) {
  f->snapshots = snapshots;
  f->open = map_new();
  f->at = 0;
  Error *err = first_tree(f, source, &snapshots[0].root);
  for (f->at = 1; f->at < len && !err; f->at++)
    err = tree_diff(source, &snapshots[f->at - 1].root, &snapshots[f->at].root, on_change, f);
  for (size_t i = 0; i < f->len; i++)
    if (!f->versions[i].ended) f->versions[i].last = len - 1;
  f->at = len;
  if (!err) print_source(f);
  free_versions(f);
  return err;
}

static int by_series(const void *a, const void *b) {
  const Snapshot *sa = (const Snapshot *)a, *sb = (const Snapshot *)b;
  int c = strcmp(sa->source, sb->source);
  if (c == 0) c = memcmp(&sa->series, &sb->series, sizeof sa->series);
  return c ? c : (sa->time_ns > sb->time_ns) - (sa->time_ns < sb->time_ns);
}

static Error *search_list(FindCommand *f, FrameSource *source, SnapshotList *list) {
  if (list->len) qsort(list->items, list->len, sizeof *list->items, by_series);
  for (size_t i = 0; i < list->len;) {
    size_t end = i + 1;
    while (end < list->len && uuid_equal(&list->items[end].series, &list->items[i].series)) end++;
    TRY(search_source(f, source, &list->items[i], end - i));
    i = end;
  }
  return NULL;
}

static Error *search_repository(FindCommand *f, const OpenRepository *r, const char *selector) {
  SnapshotList list = {0};
  TRY(ops_list_snapshots(&f->w.ops, r->repo, selector, &list));
  Index *index;
  Error *err = index_open_reading(r->repo, &index, f->ctx->cancel);
  if (!err) {
    FrameReader *reader = frame_reader_new(r->repo, index, f->ctx->cancel);
    f->from = r;
    err = search_list(f, frame_reader_source(reader), &list);
    frame_reader_free(reader);
    index_free(index);
  }
  snapshot_list_free(&list);
  return err;
}

/* A source that only some repositories have is no error. */
static Error *search_all(FindCommand *f, const char *selector) {
  Error *missing = NULL;
  size_t searched = 0;
  for (size_t i = 0; i < f->repositories.len; i++) {
    const OpenRepository *r = &f->repositories.items[i];
    if (!r->repo) continue;
    Error *err = search_repository(f, r, selector);
    if (err && err_code(err) != ERR_NOT_FOUND) return err_first(err, missing);
    if (!err) searched++;
    missing = err_first(missing, err);
  }
  if (searched == 0) return missing;
  err_free(missing);
  return NULL;
}

static Error *run(FindCommand *f) {
  const Args *args = f->ctx->args;
  const char *pattern = args_operand(args, 0), *source = args_operand(args, 1);
  AUTO_FREE char *selector = NULL;
  if (source) TRY(cli_source_selector(&f->w, source, &selector));
  while (*pattern == '/') pattern++; /* paths of a tree are relative */
  f->pattern = bytes_str(pattern);
  f->whole_path = strchr(args_operand(args, 0), '/') != NULL;
  TRY(repositories_open(&f->w, NULL, REPOSITORIES_ANY, &f->repositories));
  TRY(search_all(f, selector));
  if (f->found == 0)
    output_note(f->ctx->output, VERBOSITY_NORMAL, "nothing matches; paths are as `holdfast ls SRC@latest` shows them");
  return workspace_unopened(&f->w);
}

Error *cmd_find(CliContext *ctx, const Args *args UNUSED) {
  FindCommand f = {.ctx = ctx};
  TRY(workspace_open(ctx, &f.w));
  Error *err = run(&f);
  err = err_first(err, repositories_failure(&f.repositories));
  repositories_close(&f.repositories);
  workspace_close(&f.w);
  return err;
}
