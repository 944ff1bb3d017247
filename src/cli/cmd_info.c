#include "base/mem.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/info_facts.h"
#include "cli/pick.h"
#include "cli/snapshot_json.h"
#include "repo/frames.h"
#include "repo/pagemap.h"
#include "repo/uuid.h"

enum { COVERAGE_DAYS = 30, COVERAGE_LEVEL = 2, PAGE_FILES_MAX = 1000 };

/* What the snapshot does not say of itself. */
typedef struct Proven {
  SnapshotCheck check; /* time_ns 0: never */
  Coverage coverage;
  bool known; /* the ledger could be asked */
} Proven;

typedef struct PageFile {
  char *path;
  uint64_t size;
  PageMapStats stats;
} PageFile;

typedef struct InfoCommand {
  CliContext *ctx;
  Workspace w;
  Repositories repositories;
  Picked picked;
  Proven proven;
  PageFile *pages;
  size_t pages_len;
} InfoCommand;

/* ---- collecting ----------------------------------------------------------------------------------------------------
 */

static void ask_ledger(InfoCommand *c) {
  Catalog *catalog = c->w.catalog;
  if (!catalog) return;
  const Uuid *repo = &c->picked.from->repo->keys->repo;
  uint64_t now = sys_now_ns(c->ctx->sys), window = COVERAGE_DAYS * 86400 * NS_PER_SECOND;
  Error *err = catalog_snapshot_last_check(catalog, repo, &c->picked.snapshot.id, &c->proven.check);
  if (!err) err = catalog_coverage(catalog, repo, COVERAGE_LEVEL, now > window ? now - window : 0, &c->proven.coverage);
  c->proven.known = !err;
  workspace_catalog_result(&c->w, err);
}

static Error *add_pages(InfoCommand *c, FrameSource *source, const TreeEntry *entry) {
  AUTO_FREE PageMap *map = NEW(PageMap);
  PageFile file = {.size = entry->entry.size};
  TRY(pagemap_load(source, &entry->content.pages, map));
  TRY(pagemap_stats(source, map, &file.stats));
  file.path = str_printable(entry->entry.path);
  c->pages = (PageFile *)mem_resize(c->pages, c->pages_len + 1, sizeof *c->pages);
  c->pages[c->pages_len++] = file;
  return NULL;
}

static Error *walk_pages(InfoCommand *c, FrameSource *source) {
  TreeCursor *cursor = tree_cursor_new(source, &c->picked.snapshot.root);
  Error *err = NULL;
  for (bool found = true; !err && c->pages_len < PAGE_FILES_MAX;) {
    TreeEntry entry;
    err = cancel_check(c->ctx->cancel);
    if (!err) err = tree_cursor_next(cursor, &entry, &found);
    if (err || !found) break;
    if (entry.content.kind == CONTENT_PAGES) err = add_pages(c, source, &entry);
  }
  tree_cursor_free(cursor);
  return err;
}

/* Only databases are page files: other trees are not walked. */
static Error *collect_pages(InfoCommand *c) {
  if (strcmp(c->picked.snapshot.engine, "sqlite") != 0) return NULL;
  Repo *repo = c->picked.from->repo;
  Index *index;
  TRY(index_open_reading(repo, &index, c->ctx->cancel));
  FrameReader *reader = frame_reader_new(repo, index, c->ctx->cancel);
  Error *err = walk_pages(c, frame_reader_source(reader));
  frame_reader_free(reader);
  index_free(index);
  return err;
}

/* ---- JSON ----------------------------------------------------------------------------------------------------------
 */

static json_t *stats_json(const SnapshotStats *s) {
  json_t *doc = json_object();
  json_object_set_new(doc, "entries", json_count(s->entries));
  json_object_set_new(doc, "files", json_count(s->files));
  json_object_set_new(doc, "source_bytes", json_count(s->source_bytes));
  json_object_set_new(doc, "read_bytes", json_count(s->read_bytes));
  json_object_set_new(doc, "new_bytes", json_count(s->new_bytes));
  json_object_set_new(doc, "stored_bytes", json_count(s->stored_bytes));
  json_object_set_new(doc, "duration_seconds", json_seconds(s->duration_ns));
  return doc;
}

static json_t *proven_json(const Proven *p) {
  json_t *doc = json_object();
  json_t *check = json_null();
  if (p->check.time_ns) {
    check = json_object();
    json_object_set_new(check, "level", json_string(p->check.level));
    json_object_set_new(check, "passed", json_count(p->check.passed));
    json_object_set_new(check, "total", json_count(p->check.total));
    json_object_set_new(check, "time", json_time(p->check.time_ns));
  }
  json_object_set_new(doc, "last_check", check);
  json_object_set_new(doc, "packs", p->known ? json_count(p->coverage.known_packs) : json_null());
  json_object_set_new(doc, "packs_verified_30d", p->known ? json_count(p->coverage.verified_packs) : json_null());
  return doc;
}

static json_t *pages_json(const InfoCommand *c) {
  json_t *list = json_array();
  for (size_t i = 0; i < c->pages_len; i++) {
    const PageFile *f = &c->pages[i];
    json_t *doc = json_object();
    json_object_set_new(doc, "path", json_string(f->path));
    json_object_set_new(doc, "size_bytes", json_count(f->size));
    json_object_set_new(doc, "layers", json_count(f->stats.layers));
    json_object_set_new(doc, "base_frames", json_count(f->stats.base_frames));
    json_object_set_new(doc, "delta_frames", json_count(f->stats.delta_frames));
    json_object_set_new(doc, "delta_pages", json_count(f->stats.delta_pages));
    json_object_set_new(doc, "delta_pages_live", json_count(f->stats.delta_pages_live));
    json_array_append_new(list, doc);
  }
  return list;
}

static void print_json(const InfoCommand *c, json_t *facts) {
  const Snapshot *s = &c->picked.snapshot;
  json_t *doc = output_document("info");
  snapshot_json_add(doc, s);
  output_json_set_name(doc, "repository", bytes_str(c->picked.from->place.name));
  json_object_set_new(doc, "key", json_text_or_null(s->key));
  json_object_set_new(doc, "series", json_uuid(&s->series));
  json_object_set_new(doc, "address", json_text_or_null(s->address));
  json_object_set_new(doc, "end", json_time(s->end_ns));
  json_object_set_new(doc, "zone_minutes", json_integer(s->zone_minutes));
  json_object_set_new(doc, "log_position", json_text_or_null(s->log_position));
  json_set_texts(doc, "notices", s->notices, s->notices_len);
  json_object_set_new(doc, "tool_version", json_text_or_null(s->tool_version));
  json_object_set_new(doc, "stats", stats_json(&s->stats));
  json_object_set_new(doc, "facts", facts ? json_incref(facts) : json_null());
  json_object_set_new(doc, "page_files", pages_json(c));
  json_object_set_new(doc, "verified", proven_json(&c->proven));
  output_json(c->ctx->output, doc);
}

/* ---- text ----------------------------------------------------------------------------------------------------------
 */

/* The clock on the wall of the machine that made it, whatever zone this one is in. */
static char *time_text(uint64_t ns, int32_t zone_minutes) {
  char text[36];
  int64_t shift = (int64_t)zone_minutes * 60 * (int64_t)NS_PER_SECOND;
  uint64_t local = shift < 0 ? ns - (uint64_t)-shift : ns + (uint64_t)shift;
  time_format_utc(local - local % NS_PER_SECOND, text);
  text[strcspn(text, "Z")] = '\0';
  char *blank = strchr(text, 'T');
  if (blank) *blank = ' ';
  int32_t minutes = zone_minutes < 0 ? -zone_minutes : zone_minutes;
  return mem_printf("%s %c%02d:%02d", text, zone_minutes < 0 ? '-' : '+', minutes / 60, minutes % 60);
}

static void line(const InfoCommand *c, const char *name, const char *value) {
  if (!value || !*value) return;
  AUTO_FREE char *shown = str_printable(bytes_str(value));
  output_text(c->ctx->output, "%-14s%s\n", name, shown);
}

static void print_identity(const InfoCommand *c) {
  const Snapshot *s = &c->picked.snapshot;
  char id[UUID_TEXT_LEN], took[16];
  line(c, "snapshot", uuid_text(&s->id, id));
  line(c, "repository", c->picked.from->place.name);
  line(c, "source", s->source);
  AUTO_FREE char *engine =
      mem_printf("%s on %s, %s", s->engine, s->host ? s->host : "?", s->address ? s->address : "?");
  line(c, "engine", engine);
  AUTO_FREE char *kind =
      s->has_parent ? mem_printf("%s, read after snapshot %.8s", snapshot_kind_name(s->kind), uuid_text(&s->parent, id))
                    : mem_strdup(snapshot_kind_name(s->kind));
  line(c, "kind", kind);
  AUTO_FREE char *begun = time_text(s->time_ns, s->zone_minutes);
  AUTO_FREE char *when = mem_printf("%s, took %s", begun, str_duration(s->stats.duration_ns, took));
  line(c, "time", when);
  line(c, "state",
       s->damaged   ? "DAMAGED: the source was corrupt and was stored as it was, by --force"
       : s->partial ? "partial: something was left out, see the notices"
                    : "complete");
  line(c, "description", s->description);
  for (size_t i = 0; i < s->labels_len; i++) {
    AUTO_FREE char *label = mem_printf("%s=%s", s->labels[i].key, s->labels[i].value);
    line(c, "label", label);
  }
  line(c, "log position", s->log_position);
  line(c, "made by", s->tool_version);
}

static void print_sizes(const InfoCommand *c) {
  const SnapshotStats *s = &c->picked.snapshot.stats;
  char a[16], b[16], d[16];
  AUTO_FREE char *holds =
      mem_printf("%s in %llu file%s, %llu entr%s", str_size(s->source_bytes, a), (unsigned long long)s->files,
                 s->files == 1 ? "" : "s", (unsigned long long)s->entries, s->entries == 1 ? "y" : "ies");
  line(c, "holds", holds);
  AUTO_FREE char *cost = mem_printf("%s read, %s new, %s stored", str_size(s->read_bytes, a), str_size(s->new_bytes, b),
                                    str_size(s->stored_bytes, d));
  line(c, "cost", cost);
}

static void print_proven(const InfoCommand *c) {
  const Proven *p = &c->proven;
  char when[36];
  AUTO_FREE char *check =
      p->check.time_ns
          ? mem_printf("%s, %llu of %llu checks passed, %s", p->check.level, (unsigned long long)p->check.passed,
                       (unsigned long long)p->check.total, time_format_local(p->check.time_ns, when))
          : mem_strdup("never restored and checked from this machine");
  line(c, "last check", check);
  if (!p->known) return;
  AUTO_FREE char *packs = mem_printf("%llu of the repository's %llu known packs read and found good within %d days",
                                     (unsigned long long)p->coverage.verified_packs,
                                     (unsigned long long)p->coverage.known_packs, COVERAGE_DAYS);
  line(c, "verified", packs);
}

static void print_pages(const InfoCommand *c) {
  if (c->pages_len == 0) return;
  static const char *const headings[] = {"  PAGE FILE", "SIZE", "LAYERS", "FRAMES", "DELTAS", "PAGES", "REPLACED"};
  Table *table = table_new(NELEMS(headings));
  for (size_t i = 0; i < NELEMS(headings); i++) table_column(table, i, headings[i], i ? ALIGN_RIGHT : ALIGN_LEFT);
  for (size_t i = 0; i < c->pages_len; i++) {
    const PageFile *f = &c->pages[i];
    const PageMapStats *s = &f->stats;
    char size[16];
    uint64_t dead = s->delta_pages - s->delta_pages_live;
    table_cellf(table, "  %s", f->path);
    table_cell(table, str_size(f->size, size));
    table_cellf(table, "%llu", (unsigned long long)s->layers);
    table_cellf(table, "%llu", (unsigned long long)s->base_frames);
    table_cellf(table, "%llu", (unsigned long long)s->delta_frames);
    table_cellf(table, "%llu", (unsigned long long)s->delta_pages);
    table_cellf(table, "%llu (%llu%%)", (unsigned long long)dead,
                (unsigned long long)(s->delta_pages ? dead * 100 / s->delta_pages : 0));
  }
  output_text(c->ctx->output, "\npage maps\n");
  output_table(c->ctx->output, table);
  table_free(table);
}

static void print_text(const InfoCommand *c, const json_t *facts) {
  const Snapshot *s = &c->picked.snapshot;
  print_identity(c);
  print_sizes(c);
  print_proven(c);
  for (size_t i = 0; i < s->notices_len; i++) line(c, i ? "" : "notices", s->notices[i]);
  print_pages(c);
  if (!facts) return;
  AUTO_BUF Buf text = {0};
  info_facts_print(facts, &text);
  output_text(c->ctx->output, "\nfacts\n");
  output_bytes(c->ctx->output, buf_bytes(&text));
}

/* ---- all -----------------------------------------------------------------------------------------------------------
 */

static Error *run(InfoCommand *c) {
  TRY(repositories_open(&c->w, NULL, REPOSITORIES_ANY, &c->repositories));
  TRY(pick_snapshot(&c->w, &c->repositories, args_operand(c->ctx->args, 0), &c->picked));
  ask_ledger(c);
  TRY(collect_pages(c));
  json_t *facts = c->picked.snapshot.facts_json ? json_loads(c->picked.snapshot.facts_json, 0, NULL) : NULL;
  if (output_json_mode(c->ctx->output))
    print_json(c, facts);
  else
    print_text(c, facts);
  json_decref(facts);
  return NULL;
}

Error *cmd_info(CliContext *ctx, const Args *args UNUSED) {
  InfoCommand c = {.ctx = ctx};
  TRY(workspace_open(ctx, &c.w));
  Error *err = run(&c);
  for (size_t i = 0; i < c.pages_len; i++) free(c.pages[i].path);
  free(c.pages);
  picked_free(&c.picked);
  repositories_close(&c.repositories);
  workspace_close(&c.w);
  return err;
}
