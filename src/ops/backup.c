#include "ops/backup.h"

#include "base/mem.h"
#include "base/shell.h"
#include "catalog/state.h"
#include "ops/sink.h"

enum { READERS = 2, LOW_MEMORY = 96 * 1024 * 1024 };

void backup_result_free(BackupResult *result) {
  for (size_t i = 0; i < result->len; i++) {
    snapshot_free(&result->targets[i].snapshot);
    err_free(result->targets[i].err);
  }
  free(result->targets);
  for (size_t i = 0; i < result->notices_len; i++) free(result->notices[i]);
  free(result->notices);
  *result = (BackupResult){0};
}

/* ---- whose backup this is
 * -------------------------------------------------------------------------------------------------- */

static bool lives_elsewhere(const Ops *ops, const Series *series) {
  return !state_host_is_same((HostIdentity){.id = series->host_id, .name = series->host},
                             (HostIdentity){.id = ops->host_id, .name = ops->host});
}

static Error *check_identity(const Ops *ops, const Repo *repo, const Series *series, const char *engine,
                             const char *identity) {
  const char *what = NULL;
  if (strcmp(series->engine, engine) != 0)
    what = "is of another type";
  else if (lives_elsewhere(ops, series))
    what = "lives on another host (another machine, a copy of it, or a state directory that is not the one of before)";
  else if (series->identity[0] && identity[0] && strcmp(series->identity, identity) != 0)
    what = strcmp(engine, "command") == 0
               ? "was another command line before"
               : "is not the one that was backed up before (it was replaced, restored or moved)";
  if (!what) return NULL;
  bool command = strcmp(engine, "command") == 0; /* the repository does not know the whole line */
  AUTO_FREE char *name = command ? mem_strdup("command:'THE COMMAND LINE'") : shell_quote(series->name);
  AUTO_FREE char *place = shell_quote(repo->store->name);
  bool other_line = command && strcmp(series->engine, engine) == 0 && !lives_elsewhere(ops, series);
  return err_hint(err_new(ERR_REFUSED, "source %s %s", series->name, what),
                  "if this is meant to continue the same history: `holdfast source adopt %s --repo %s`; else give it a "
                  "--name of its own%s",
                  name, place, other_line ? ", behind which any command line may stand" : "");
}

static void series_fill(const Ops *ops, Series *s, const char *name, const char *engine, const char *address,
                        const char *identity) {
  s->name = mem_strdup(name);
  s->engine = mem_strdup(engine);
  s->address = mem_strdup(address ? address : "");
  s->host = mem_strdup(ops->host);
  s->host_id = mem_strdup(ops->host_id);
  s->identity = mem_strdup(identity);
}

/* ERR_EXISTS: another program made it at this moment. */
static Error *series_find_or_make(const Ops *ops, const BackupRequest *request, Repo *repo, const char *identity,
                                  Series *out) {
  SeriesList list = {0};
  TRY(series_list_readable(repo, &list, ops->cancel));
  const Series *known = series_by_name(&list, request->name);
  Error *err = NULL;
  Series series = {0};
  if (known) {
    if (!request->any_identity) err = check_identity(ops, repo, known, request->spec->type, identity);
    series.id = known->id;
    series.revision = known->revision;
    series.created_ns = known->created_ns;
  }
  if (!known) err = series_maybe_broken(&list, request->name);
  series_fill(ops, &series, request->name, request->spec->type, request->address, identity);
  if (!err && !known) err = series_create(repo, &series, ops->cancel);
  series_list_free(&list);
  if (err)
    series_free(&series);
  else
    *out = series;
  return err;
}

static Error *series_for(const Ops *ops, const BackupRequest *request, Repo *repo, const char *identity, Series *out) {
  Error *err = series_find_or_make(ops, request, repo, identity, out);
  if (!err_is(err, ERR_EXISTS)) return err;
  err_free(err);
  return series_find_or_make(ops, request, repo, identity, out);
}

Error *ops_source_adopt(const Ops *ops, Repo *repo, const SourceSpec *spec, const char *name) {
  Engine *engine;
  TRY(engine_open(ops->sys, spec, &engine));
  ServerInfo info = {0};
  Error *err = engine->ops->probe(engine, &info, ops->cancel);
  engine_free(engine);
  TRY(err);
  SeriesList list = {0};
  err = series_list(repo, &list, ops->cancel);
  const Series *known = err ? NULL : series_by_name(&list, name);
  if (!err && !known) err = err_new(ERR_NOT_FOUND, "no source named %s in this repository", name);
  if (!err) {
    Series next = {.id = known->id, .revision = known->revision, .created_ns = known->created_ns};
    series_fill(ops, &next, name, spec->type, known->address, info.identity ? info.identity : "");
    err = series_update(repo, &next, ops->cancel);
    series_free(&next);
  }
  series_list_free(&list);
  server_info_free(&info);
  return err;
}

/* ---- one repository's part
 * --------------------------------------------------------------------------------------------------- */

typedef struct Target {
  Repo *repo;
  Series series;
  SnapshotList history;
  const Snapshot *parent;
  SnapshotKind kind;
  Compression compression; /* as far as the memory allows */
  Writer *writer;
  Error *failed; /* left behind while others went on */
} Target;

static void broken_snapshot(void *ctx, const char *key, const Error *err) {
  NoticeList *notices = (NoticeList *)ctx;
  AUTO_FREE char *text = mem_printf("snapshot %s does not open: %s", key, err_text(err));
  notices->base.report(&notices->base, NOTICE_WARNING, bytes(NULL, 0), text);
}

/* The newest snapshot to compare with: for a differential the newest full one. Damaged ones are no ground to stand on.
 */
static const Snapshot *choose_parent(const SnapshotList *history, BackupMode mode) {
  if (mode == BACKUP_FULL) return NULL;
  for (size_t i = history->len; i-- > 0;) {
    const Snapshot *s = &history->items[i];
    if (s->damaged || (mode == BACKUP_DIFFERENTIAL && s->kind != SNAPSHOT_FULL)) continue;
    return s;
  }
  return NULL;
}

static SnapshotKind kind_of(const Snapshot *parent, BackupMode mode) {
  if (!parent) return SNAPSHOT_FULL;
  return mode == BACKUP_DIFFERENTIAL ? SNAPSHOT_DIFFERENTIAL : SNAPSHOT_INCREMENTAL;
}

/* For each repository's buffers; 0: no limit. */
static uint64_t memory_share(const Ops *ops, const BackupRequest *request) {
  CHECK(request->repos_len > 0);
  return ops->memory_bytes ? (ops->memory_bytes - OPS_MEMORY_OWN) / request->repos_len : 0;
}

static unsigned readers_for(const Ops *ops, const BackupRequest *request) {
  uint64_t share = memory_share(ops, request);
  return share && share < LOW_MEMORY ? 1 : READERS;
}

static Error *check_memory(const Ops *ops, const BackupRequest *request) {
  CHECK(!ops->memory_bytes || ops->memory_bytes >= OPS_MEMORY_MIN);
  uint64_t share = memory_share(ops, request);
  if (!share || share >= WRITER_MEMORY_MIN) return NULL;
  char has[16], needs[16];
  return err_new(ERR_USAGE, "%s of memory are too little for %zu repositories at once: they need %s",
                 str_size(ops->memory_bytes, has), request->repos_len,
                 str_size((uint64_t)WRITER_MEMORY_MIN * request->repos_len + OPS_MEMORY_OWN, needs));
}

/* A level that takes more memory than there is gives way: the backup is worth more than its last per cents. */
static Compression affordable(const Ops *ops, const BackupRequest *request, NoticeList *notices) {
  uint64_t share = memory_share(ops, request);
  Compression c = request->compression;
  while (share && writer_memory_min(c) > share && compression_lower(&c)) continue;
  if (c.level == request->compression.level) return c;
  char asked[16], used[16], needs[16], has[16];
  uint64_t all = writer_memory_min(request->compression) * request->repos_len + OPS_MEMORY_OWN;
  AUTO_FREE char *text = mem_printf("compression %s needs %s of memory, %s are allowed: it is %s instead (--memory)",
                                    compression_format(request->compression, asked), str_size(all, needs),
                                    str_size(ops->memory_bytes, has), compression_format(c, used));
  notices->base.report(&notices->base, NOTICE_WARNING, bytes(NULL, 0), text);
  return c;
}

static Error *target_begin(const Ops *ops, const BackupRequest *request, const char *identity, NoticeList *notices,
                           Target *t) {
  TRY(series_for(ops, request, t->repo, identity, &t->series));
  TRY(snapshot_list(t->repo, &t->series.id, &t->history, broken_snapshot, notices, ops->cancel));
  t->parent = choose_parent(&t->history, request->mode);
  t->kind = kind_of(t->parent, request->mode);
  WriterOptions options = {.series = &t->series,
                           .parent = t->parent,
                           .compression = t->compression,
                           .workers = ops->cpus,
                           .readers = readers_for(ops, request),
                           .memory_bytes = memory_share(ops, request),
                           .scratch_dir = ops->scratch_dir,
                           .host = ops->host,
                           .progress = ops->progress};
  TRY(writer_begin(t->repo, &options, &t->writer, ops->cancel));
  if (!t->parent || writer_has_parent(t->writer)) return NULL;
  t->kind = SNAPSHOT_FULL;
  AUTO_FREE char *text = mem_printf(
      "%s: the last snapshot needs what is damaged or missing there (`holdfast verify` names it): everything is read, "
      "and what was lost is stored again",
      t->repo->store->name);
  notices->base.report(&notices->base, NOTICE_WARNING, bytes(NULL, 0), text);
  return NULL;
}

static Error *target_commit(const Ops *ops, const BackupRequest *request, Target *t, const EngineFacts *facts,
                            const NoticeList *notices, Snapshot *out) {
  char *host = mem_strdup(ops->host);
  Snapshot fields = {.source = t->series.name,
                     .engine = t->series.engine,
                     .host = host,
                     .address = t->series.address,
                     .kind = t->kind,
                     .facts_json = facts->json,
                     .log_position = facts->log_position,
                     .damaged = facts->damaged,
                     .partial = notices->partial > 0,
                     .notices = notices->texts,
                     .notices_len = notices->len,
                     .labels_len = request->labels_len};
  fields.description = mem_strdup(request->description);
  fields.tool_version = mem_strdup(request->tool_version);
  fields.labels = (Label *)mem_dup(request->labels, request->labels_len * sizeof(Label));
  Error *err = writer_commit(STEAL(t->writer), &fields, out);
  free(fields.labels);
  free(fields.description);
  free(fields.tool_version);
  free(host);
  return err;
}

static void target_free(Target *t, const char *outcome) {
  writer_abort(t->writer, outcome);
  snapshot_list_free(&t->history);
  series_free(&t->series);
  err_free(t->failed);
}

/* ---- the whole
 * ---------------------------------------------------------------------------------------------------------------------
 */

/* A source that is not there, or may not be read, is unreachable. */
static Error *unreachable(Error *take) {
  bool away = err_is(take, ERR_NOT_FOUND) || err_is(take, ERR_DENIED);
  return away ? err_recode(take, ERR_UNREACHABLE) : take;
}

/* How much there will be to go through: what the engine says, else what the last snapshot held. */
static void expect(Progress *progress, const ServerInfo *info, const Target *t) {
  if (!progress) return;
  const SnapshotList *history = &t->history;
  uint64_t last = history->len ? history->items[history->len - 1].stats.source_bytes : 0;
  progress_add(&progress->total_bytes, info->size_bytes ? info->size_bytes : last);
  if (!info->size_bytes && last) atomic_store_explicit(&progress->total_estimated, true, memory_order_relaxed);
}

static Error *begin_all(const Ops *ops, const BackupRequest *request, Engine *engine, NoticeList *notices,
                        Target *targets, ServerInfo *info) {
  progress_phase(ops->progress, "opening the source", false);
  TRY(unreachable(engine->ops->probe(engine, info, ops->cancel)));
  progress_phase(ops->progress, "reading the index", false);
  Compression compression = affordable(ops, request, notices);
  size_t begun = 0;
  for (size_t i = 0; i < request->repos_len; i++) {
    targets[i].repo = request->repos[i];
    targets[i].compression = compression;
    Error *err = target_begin(ops, request, info->identity ? info->identity : "", notices, &targets[i]);
    if (err_is(err, ERR_CANCELLED)) return err;
    targets[i].failed = err_wrap(err, "%s", request->repos[i]->store->name);
    if (err) continue;
    expect(ops->progress, info, &targets[i]);
    begun++;
  }
  /* One repository that is away keeps nothing from the others. */
  return begun ? NULL : STEAL(targets[0].failed);
}

static Error *read_source(const Ops *ops, const BackupRequest *request, Engine *engine, NoticeList *notices,
                          Target *targets, EngineFacts *facts) {
  AUTO_FREE Writer **writers = NEW_ARRAY(Writer *, request->repos_len);
  size_t len = 0;
  for (size_t i = 0; i < request->repos_len; i++)
    if (targets[i].writer) writers[len++] = targets[i].writer;
  Sink *sink = ops_sink_new(ops, writers, len, &notices->base);
  BackupPlan plan = {.mode = request->mode,
                     .force = request->force,
                     .readers = readers_for(ops, request),
                     .read_bytes_per_second = ops->read_bytes_per_second,
                     .started_ns = sys_now_ns(ops->sys)};
  progress_phase(ops->progress, "reading", false);
  Error *err = engine->ops->backup(engine, &plan, sink, facts, ops->cancel);
  for (size_t i = 0, k = 0; i < request->repos_len; i++)
    if (targets[i].writer)
      targets[i].failed = err_wrap(err_copy(ops_sink_error(sink, k++)), "%s", request->repos[i]->store->name);
  ops_sink_free(sink);
  return err;
}

/* What this process has written, and the snapshot to come, are under keys that a slot removed meanwhile opens too. */
static void warn_of_new_epoch(const Ops *ops, const Target *t, NoticeList *notices) {
  Error *err = t->failed ? NULL : repo_check_epoch(t->repo, ops->cancel);
  if (err_is(err, ERR_REFUSED)) {
    AUTO_FREE char *text = mem_printf(
        "%s: a key slot was removed or the keys were rotated while this backup ran: it is complete, but under the keys "
        "from before, as everything older is (docs/keys.md)",
        t->repo->store->name);
    notices->base.report(&notices->base, NOTICE_WARNING, bytes(NULL, 0), text);
  }
  err_free(err); /* what else is wrong the commit finds */
}

static Error *commit_all(const Ops *ops, const BackupRequest *request, Target *targets, const EngineFacts *facts,
                         NoticeList *notices, BackupResult *result) {
  progress_phase(ops->progress, "committing", false);
  Error *first = NULL;
  size_t committed = 0;
  for (size_t i = 0; i < request->repos_len; i++) warn_of_new_epoch(ops, &targets[i], notices);
  result->targets = NEW_ARRAY(BackupTarget, request->repos_len);
  result->len = request->repos_len;
  for (size_t i = 0; i < request->repos_len; i++) {
    Error *err = STEAL(targets[i].failed);
    if (!err)
      err = err_wrap(target_commit(ops, request, &targets[i], facts, notices, &result->targets[i].snapshot), "%s",
                     request->repos[i]->store->name);
    if (!err) committed++;
    result->targets[i].err = err_copy(err);
    first = err_first(first, err);
  }
  if (committed == 0) backup_result_free(result);
  return first;
}

/* *read: the source was opened and read from, so a failure may be about what the snapshot would hold. */
static Error *backup_once(const Ops *ops, const BackupRequest *request, BackupResult *out, bool *read) {
  NoticeList notices;
  notice_list_init(&notices, ops);
  Target *targets = NEW_ARRAY(Target, request->repos_len);
  EngineFacts facts = {0};
  ServerInfo info = {0};
  BackupResult result = {0};
  Engine *engine = NULL;
  Error *err = engine_open(ops->sys, request->spec, &engine);
  if (!err) err = begin_all(ops, request, engine, &notices, targets, &info);
  *read = err == NULL;
  if (!err) err = read_source(ops, request, engine, &notices, targets, &facts);
  if (!err) err = commit_all(ops, request, targets, &facts, &notices, &result);
  const char *outcome = err_is(err, ERR_CANCELLED) ? "cancelled" : "failed";
  for (size_t i = 0; i < request->repos_len; i++) target_free(&targets[i], outcome);
  free(targets);
  result.notices = STEAL(notices.texts);
  result.notices_len = notices.len;
  notices.len = 0;
  result.partial = notices.partial;
  result.warnings = notices.warnings;
  notice_list_free(&notices);
  engine_facts_free(&facts);
  server_info_free(&info);
  engine_free(engine);
  *out = result;
  return err;
}

/* ---- the same as a plan
 * ------------------------------------------------------------------------------------------------------------ */

void backup_preview_free(BackupPreview *preview) {
  server_info_free(&preview->info);
  free(preview->targets);
  *preview = (BackupPreview){0};
}

static Error *plan_target(const Ops *ops, const BackupRequest *request, Repo *repo, const char *identity,
                          NoticeList *notices, BackupPreviewTarget *out) {
  SeriesList list = {0};
  SnapshotList history = {0};
  TRY(series_list(repo, &list, ops->cancel));
  const Series *known = series_by_name(&list, request->name);
  Error *err = known ? check_identity(ops, repo, known, request->spec->type, identity) : NULL;
  if (!err && known) err = snapshot_list(repo, &known->id, &history, broken_snapshot, notices, ops->cancel);
  series_list_free(&list);
  TRY(err);
  const Snapshot *parent = choose_parent(&history, request->mode);
  *out = (BackupPreviewTarget){.kind = kind_of(parent, request->mode), .has_parent = parent != NULL};
  if (parent) {
    out->parent = parent->id;
    out->parent_time_ns = parent->time_ns;
  }
  snapshot_list_free(&history);
  return NULL;
}

Error *ops_backup_plan(const Ops *ops, const BackupRequest *request, BackupPreview *out) {
  Engine *engine = NULL;
  TRY(engine_open(ops->sys, request->spec, &engine));
  NoticeList notices;
  notice_list_init(&notices, ops);
  *out = (BackupPreview){.targets = NEW_ARRAY(BackupPreviewTarget, request->repos_len)};
  Error *err = unreachable(engine->ops->probe(engine, &out->info, ops->cancel));
  const char *identity = err || !out->info.identity ? "" : out->info.identity;
  for (size_t i = 0; i < request->repos_len && !err; i++)
    err = err_wrap(plan_target(ops, request, request->repos[i], identity, &notices, &out->targets[i]), "%s",
                   request->repos[i]->store->name);
  notice_list_free(&notices);
  engine_free(engine);
  if (err) backup_preview_free(out);
  return err;
}

Error *ops_backup(const Ops *ops, const BackupRequest *request, BackupResult *out) {
  TRY(check_memory(ops, request));
  bool read;
  Error *err = backup_once(ops, request, out, &read);
  if (!err_is(err, ERR_CORRUPT) || !read || out->len) return err;
  /* Something that the snapshot would need is damaged in the repository, which is noted there now; the source is at
   * hand: read everything and store it anew. */
  AUTO_FREE char *text = mem_printf("%s; backing up in full instead", err_text(err));
  ops->notice(ops->notice_ctx, NOTICE_WARNING, bytes(NULL, 0), text);
  backup_result_free(out);
  err_free(err);
  BackupRequest full = *request;
  full.mode = BACKUP_FULL;
  return backup_once(ops, &full, out, &read);
}
