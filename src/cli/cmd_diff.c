#include "base/mem.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/entry_text.h"
#include "cli/pick.h"
#include "repo/frames.h"

typedef struct DiffCommand {
  CliContext *ctx;
  Workspace w;
  Repositories repositories;
  Picked a, b;
  uint64_t counts[4]; /* by TreeChange */
  uint64_t added_bytes, removed_bytes;
} DiffCommand;

static const char *change_name(TreeChange change) {
  switch (change) {
    case TREE_ADDED: return "added";
    case TREE_REMOVED: return "removed";
    case TREE_CHANGED: return "changed";
    case TREE_TOUCHED: return "touched";
  }
  return "unknown";
}

static uint64_t size_of(const TreeEntry *e) { return e && e->entry.type == ENTRY_FILE ? e->entry.size : 0; }

static void set_side(json_t *doc, const char *key, const TreeEntry *e) {
  if (!e) {
    json_object_set_new(doc, key, json_null());
    return;
  }
  json_t *side = json_object();
  json_object_set_new(side, "type", json_string(entry_type_name(e->entry.type)));
  json_object_set_new(side, "size_bytes", json_count(size_of(e)));
  json_object_set_new(side, "mtime_ns", json_integer((json_int_t)e->entry.mtime_ns));
  json_object_set_new(side, "mode", json_integer((json_int_t)e->entry.mode));
  json_object_set_new(doc, key, side);
}

static void print_json(const DiffCommand *d, TreeChange change, const TreeEntry *before, const TreeEntry *after) {
  const Entry *e = after ? &after->entry : &before->entry;
  json_t *doc = output_document("change");
  json_object_set_new(doc, "change", json_string(change_name(change)));
  output_json_set_name(doc, "path", e->path);
  set_side(doc, "before", before);
  set_side(doc, "after", after);
  output_json(d->ctx->output, doc);
}

static void print_line(const DiffCommand *d, TreeChange change, const TreeEntry *before, const TreeEntry *after) {
  static const char marks[] = {[TREE_ADDED] = '+', [TREE_REMOVED] = '-', [TREE_CHANGED] = 'M', [TREE_TOUCHED] = 'T'};
  const Entry *e = after ? &after->entry : &before->entry;
  AUTO_FREE char *path = entry_path_text(e);
  char from[16], to[16];
  AUTO_FREE char *sizes = NULL;
  if (change == TREE_CHANGED && size_of(before) != size_of(after))
    sizes = mem_printf("  %s -> %s", str_size(size_of(before), from), str_size(size_of(after), to));
  else if (change != TREE_TOUCHED && e->type == ENTRY_FILE)
    sizes = mem_printf("  %s", str_size(e->size, to));
  output_text(d->ctx->output, "%c %s%s\n", marks[change], path, sizes ? sizes : "");
}

static Error *visit(void *ctx, TreeChange change, const TreeEntry *before, const TreeEntry *after) {
  DiffCommand *d = (DiffCommand *)ctx;
  TRY(cancel_check(d->ctx->cancel));
  d->counts[change]++;
  if (change == TREE_ADDED || change == TREE_CHANGED) d->added_bytes += size_of(after);
  if (change == TREE_REMOVED || change == TREE_CHANGED) d->removed_bytes += size_of(before);
  if (output_json_mode(d->ctx->output))
    print_json(d, change, before, after);
  else
    print_line(d, change, before, after);
  return NULL;
}

static void print_summary(const DiffCommand *d) {
  if (output_json_mode(d->ctx->output)) {
    json_t *doc = output_document("summary");
    json_object_set_new(doc, "before", json_uuid(&d->a.snapshot.id));
    json_object_set_new(doc, "after", json_uuid(&d->b.snapshot.id));
    for (TreeChange c = TREE_ADDED; c <= TREE_TOUCHED; c++)
      json_object_set_new(doc, change_name(c), json_count(d->counts[c]));
    json_object_set_new(doc, "added_bytes", json_count(d->added_bytes));
    json_object_set_new(doc, "removed_bytes", json_count(d->removed_bytes));
    output_json(d->ctx->output, doc);
    return;
  }
  if (output_verbosity(d->ctx->output) == VERBOSITY_QUIET) return;
  char a[SHORT_ID_LEN], b[SHORT_ID_LEN];
  bool same = d->counts[0] + d->counts[1] + d->counts[2] + d->counts[3] == 0;
  if (same)
    output_text(d->ctx->output, "%s and %s hold the same\n", short_id(&d->a.snapshot.id, a),
                short_id(&d->b.snapshot.id, b));
  else
    output_text(d->ctx->output, "%s to %s: %llu added, %llu removed, %llu changed, %llu with other attributes only\n",
                short_id(&d->a.snapshot.id, a), short_id(&d->b.snapshot.id, b),
                (unsigned long long)d->counts[TREE_ADDED], (unsigned long long)d->counts[TREE_REMOVED],
                (unsigned long long)d->counts[TREE_CHANGED], (unsigned long long)d->counts[TREE_TOUCHED]);
}

static Error *run(DiffCommand *d) {
  const Args *args = d->ctx->args;
  TRY(repositories_open(&d->w, NULL, REPOSITORIES_ANY, &d->repositories));
  TRY(pick_two(&d->w, &d->repositories, args_operand(args, 0), args_operand(args, 1), &d->a, &d->b));
  Index *index;
  TRY(index_open_reading(d->a.from->repo, &index, d->ctx->cancel));
  FrameReader *reader = frame_reader_new(d->a.from->repo, index, d->ctx->cancel);
  Error *err = tree_diff(frame_reader_source(reader), &d->a.snapshot.root, &d->b.snapshot.root, visit, d);
  frame_reader_free(reader);
  index_free(index);
  if (!err) print_summary(d);
  return err;
}

Error *cmd_diff(CliContext *ctx, const Args *args UNUSED) {
  DiffCommand d = {.ctx = ctx};
  TRY(workspace_open(ctx, &d.w));
  Error *err = run(&d);
  picked_free(&d.a);
  picked_free(&d.b);
  repositories_close(&d.repositories);
  workspace_close(&d.w);
  return err;
}
