#include <errno.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/timex.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/findings.h"
#include "cli/repositories.h"
#include "cli/sources.h"
#include "cli/version.h"
#include "repo/marker.h"
#include "repo/snapshot.h"
#include "sys/fs.h"

/* Before this a clock is certainly wrong; and by how much two clocks may differ before somebody should look. */
static const uint64_t OLDEST_NOW_NS = UINT64_C(1735689600) * NS_PER_SECOND; /* 2025-01-01 */
static const uint64_t CLOCK_SLACK_NS = 120 * NS_PER_SECOND;
static const uint64_t LITTLE_SPACE = 1 * GIB;

/* The write-ahead log of older libraries can be reset under a reader: https://sqlite.org/wal.html */
enum { SQLITE_WAL_RESET_FIXED = 3051003 };

typedef struct DoctorCommand {
  CliContext *ctx;
  Workspace w;
  Findings findings;
} DoctorCommand;

/* ---- the machine ---------------------------------------------------------------------------------------------------
 */

static void add_version(void *ctx, const char *name, const char *version) {
  if (strcmp(name, "version") == 0 || strcmp(name, "build") == 0 || strcmp(name, "compiler") == 0) return;
  buf_printf((Buf *)ctx, "%s%s %s", ((Buf *)ctx)->len ? ", " : "", name, version);
}

static void check_versions(DoctorCommand *d) {
  AUTO_BUF Buf text = {0};
  version_each(add_version, &text);
  AUTO_FREE char *libraries = buf_steal_str(&text);
  findings_add(&d->findings, FINDING_OK, "program", "holdfast %s with %s", version_text(), libraries);
  if (sqlite3_libversion_number() >= SQLITE_WAL_RESET_FIXED) return;
  findings_add(
      &d->findings, FINDING_NOTE, "program",
      "SQLite %s has the race of a log reset under a reader, fixed in 3.51.3: backups check what they read and "
      "never checkpoint a database",
      sqlite3_libversion());
}

static void check_clock(DoctorCommand *d) {
  char text[36];
  uint64_t now = sys_now_ns(d->ctx->sys);
  if (now < OLDEST_NOW_NS) {
    findings_add(&d->findings, FINDING_PROBLEM, "clock", "it says %s: snapshots would be dated wrong",
                 time_format_utc(now, text));
    findings_hint(&d->findings, "set the clock, and keep it right with chrony or systemd-timesyncd");
    return;
  }
  struct timex state = {0};
  bool synchronised = adjtimex(&state) >= 0 && (state.status & STA_UNSYNC) == 0;
  findings_add(&d->findings, synchronised ? FINDING_OK : FINDING_NOTE, "clock", "it says %s%s",
               time_format_local(now, text),
               synchronised ? ", synchronised" : "; the kernel does not know of anything that keeps it right");
}

static void check_space(DoctorCommand *d, const char *area, const char *path) {
  uint64_t free_bytes;
  char size[16];
  Error *err = fs_free_space(path, &free_bytes);
  if (err) {
    findings_add_error(&d->findings, FINDING_WARNING, area, err);
    err_free(err);
    return;
  }
  bool little = free_bytes < LITTLE_SPACE;
  findings_add(&d->findings, little ? FINDING_WARNING : FINDING_OK, area, "%s free at %s", str_size(free_bytes, size),
               path);
}

static void check_state(DoctorCommand *d) {
  struct stat st;
  if (d->w.temporary) {
    findings_add(&d->findings, FINDING_PROBLEM, "state", "%s cannot be used: nothing is recorded, caches are lost",
                 d->ctx->state_dir);
    findings_hint(&d->findings, "run as the user who makes the backups, or give --state-dir");
    return;
  }
  const char *path = state_path(d->w.state);
  if (stat(path, &st) == 0 && (st.st_mode & 077) != 0) {
    findings_add(&d->findings, FINDING_WARNING, "state", "%s can be entered by others (mode %04o)", path,
                 (unsigned)(st.st_mode & 07777));
    findings_hint(&d->findings, "chmod 700 %s", path);
  }
  check_space(d, "state", path);
  if (!d->w.catalog) findings_add(&d->findings, FINDING_PROBLEM, "state", "the catalog in %s does not open", path);
}

static void check_configuration(DoctorCommand *d) {
  const char *path = config_path(d->w.config);
  size_t sources = config_source_count(d->w.config), repositories = config_repository_count(d->w.config);
  findings_add(&d->findings, FINDING_OK, "configuration", "%s: %zu source%s, %zu %s",
               path ? path : "no file, and none is needed", sources, plural(sources), repositories,
               repositories == 1 ? "repository" : "repositories");
}

/* ---- keys ----------------------------------------------------------------------------------------------------------
 */

static void check_secret_file(DoctorCommand *d, const char *path) {
  struct stat st;
  if (!path) return;
  if (stat(path, &st) != 0) {
    AUTO_ERR Error *err = err_errno(errno, "%s", path);
    findings_add_error(&d->findings, FINDING_PROBLEM, "key", err);
    return;
  }
  if ((st.st_mode & 077) == 0) {
    findings_add(&d->findings, FINDING_OK, "key", "%s is for its owner only", path);
    return;
  }
  findings_add(&d->findings, FINDING_WARNING, "key", "%s can be read by others (mode %04o)", path,
               (unsigned)(st.st_mode & 07777));
  findings_hint(&d->findings, "chmod 600 %s", path);
}

/* Whoever runs `doctor` unattended is not asked for a passphrase. */
static bool has_secret(const DoctorCommand *d, const RepositoryPlace *place) {
  const CliContext *ctx = d->ctx;
  return args_given(ctx->args, OPT_KEY_FILE) || args_given(ctx->args, OPT_PASSPHRASE_FILE) || ctx->passphrase ||
         (place->config && (place->config->key || place->config->passphrase));
}

static void check_keys(DoctorCommand *d) {
  check_secret_file(d, args_text(d->ctx->args, OPT_KEY_FILE));
  check_secret_file(d, args_text(d->ctx->args, OPT_PASSPHRASE_FILE));
  for (size_t i = 0; i < config_repository_count(d->w.config); i++) {
    const ConfigRepository *r = config_repository_at(d->w.config, i);
    if (r->key) check_secret_file(d, r->key->file);
    if (r->passphrase) check_secret_file(d, r->passphrase->file);
  }
}

/* ---- repositories --------------------------------------------------------------------------------------------------
 */

/* The store's own clock against ours, by an object that was just written; and whether it refuses to write twice. */
static Error *check_store(DoctorCommand *d, const char *name, Store *store) {
  static const char key[] = "probe-clock";
  StoreStat stat = {0};
  uint64_t now = sys_now_ns(d->ctx->sys);
  TRY(store_probe(store, d->ctx->sys, d->ctx->cancel));
  TRY(store_put(store, key, bytes_str("clock"), PUT_REPLACE, d->ctx->cancel));
  Error *err = store_stat(store, key, &stat, d->ctx->cancel);
  TRY(err_first(err, store_remove(store, key, d->ctx->cancel)));
  if (store->append_only)
    findings_add(&d->findings, FINDING_WARNING, "repository",
                 "%s does not keep two writers from the same name: nothing can be collected there", name);
  uint64_t apart = stat.modified_ns > now ? stat.modified_ns - now : now - stat.modified_ns;
  if (stat.modified_ns && apart > CLOCK_SLACK_NS) {
    char text[16];
    findings_add(&d->findings, FINDING_WARNING, "clock", "%s's clock and this machine's are %s apart", name,
                 str_duration(apart, text));
  }
  return NULL;
}

static Error *check_opened(DoctorCommand *d, const char *name, Repo *repo) {
  SnapshotList list = {0};
  uint64_t now = sys_now_ns(d->ctx->sys);
  char when[36];
  TRY(snapshot_list(repo, NULL, &list, NULL, NULL, d->ctx->cancel));
  const Snapshot *newest = list.len ? &list.items[list.len - 1] : NULL;
  findings_add(&d->findings, FINDING_OK, "repository", "%s opens: %zu snapshot%s%s%s", name, list.len,
               list.len == 1 ? "" : "s", newest ? ", the newest of " : "",
               newest ? time_format_local(newest->time_ns, when) : "");
  if (newest && newest->time_ns > now + CLOCK_SLACK_NS)
    findings_add(&d->findings, FINDING_PROBLEM, "clock",
                 "the newest snapshot in %s is from the future: this clock or that of its host is wrong", name);
  snapshot_list_free(&list);
  if (!repo->read_only) return NULL;
  findings_add(&d->findings, FINDING_WARNING, "repository", "%s was written by a newer holdfast: it can only be read",
               name);
  return NULL;
}

static Error *open_and_check(DoctorCommand *d, const RepositoryPlace *place) {
  Repo *repo;
  TRY(repository_open(&d->w, place, &repo));
  Error *err = check_opened(d, place->name, repo);
  repo_free(repo);
  return err;
}

static Error *check_place(DoctorCommand *d, const RepositoryPlace *place) {
  Store *store;
  TRY(repository_store(&d->w, place, false, &store));
  StoreStat marker;
  Error *err = store_stat(store, MARKER_KEY, &marker, d->ctx->cancel);
  if (err_is(err, ERR_NOT_FOUND)) {
    err_free(err);
    err = err_hint(err_new(ERR_NO_REPOSITORY, "%s holds no repository", place->path),
                   "is its disk mounted, and the address right? A new one is made by `holdfast init --repo %s`",
                   place->name);
  }
  if (!err) err = check_store(d, place->name, store);
  store_free(store);
  TRY(err);
  check_space(d, "repository", place->path);
  if (has_secret(d, place)) return open_and_check(d, place);
  findings_add(&d->findings, FINDING_NOTE, "repository", "%s is there; without a key at hand it was not opened",
               place->name);
  return NULL;
}

static Error *check_repositories(DoctorCommand *d) {
  RepositoryPlaces places = {0};
  if (!args_given(d->ctx->args, OPT_REPO) && config_repository_count(d->w.config) == 0) {
    findings_add(&d->findings, FINDING_NOTE, "repository", "none is named: --repo, or `holdfast repo add`");
    return NULL;
  }
  TRY(repository_places(&d->w, NULL, &places));
  Error *err = NULL;
  for (size_t i = 0; i < places.len && !err; i++) {
    err = check_place(d, &places.items[i]);
    if (!err || err_is(err, ERR_CANCELLED)) continue;
    findings_add_error(&d->findings, FINDING_PROBLEM, "repository", err);
    err_free(err);
    err = NULL;
  }
  repository_places_free(&places);
  return err;
}

/* ---- sources -------------------------------------------------------------------------------------------------------
 */

static void say_source(DoctorCommand *d, const CliSource *source, const ServerInfo *info) {
  char size[16];
  findings_add(&d->findings, FINDING_OK, "source", "%s: %s, %llu member%s, %s", source->name,
               info->version ? info->version : source->spec.type, (unsigned long long)info->members,
               info->members == 1 ? "" : "s", str_size(info->size_bytes, size));
  for (size_t i = 0; i < info->possible.len; i++)
    findings_add(&d->findings, FINDING_OK, "source", "%s: %s", source->name, info->possible.items[i]);
  for (size_t i = 0; i < info->missing.len; i++)
    findings_add(&d->findings, FINDING_WARNING, "source", "%s: %s", source->name, info->missing.items[i]);
}

static Error *probe_source(DoctorCommand *d, const char *text) {
  CliSource source;
  TRY(cli_source_resolve(&d->w, text, &source));
  Engine *engine = NULL;
  ServerInfo info = {0};
  Error *err = engine_open(d->ctx->sys, &source.spec, &engine);
  if (!err) err = engine->ops->probe(engine, &info, d->ctx->cancel);
  if (!err) say_source(d, &source, &info);
  server_info_free(&info);
  engine_free(engine);
  cli_source_free(&source);
  return err;
}

static Error *check_source(DoctorCommand *d, const char *text) {
  Error *err = probe_source(d, text);
  if (!err || err_is(err, ERR_CANCELLED)) return err;
  err = err_wrap(err, "%s", text);
  findings_add_error(&d->findings, FINDING_PROBLEM, "source", err);
  err_free(err);
  return NULL;
}

/* Those that are named, else all that are configured. */
static Error *check_sources(DoctorCommand *d) {
  size_t named = args_operand_count(d->ctx->args);
  for (size_t i = 0; i < named; i++) TRY(check_source(d, args_operand(d->ctx->args, i)));
  for (size_t i = 0; i < config_source_count(d->w.config) && named == 0; i++)
    TRY(check_source(d, config_source_at(d->w.config, i)->name));
  return NULL;
}

/* ---- all -----------------------------------------------------------------------------------------------------------
 */

static Error *run(DoctorCommand *d) {
  check_versions(d);
  check_clock(d);
  check_state(d);
  check_configuration(d);
  check_keys(d);
  TRY(check_repositories(d));
  TRY(check_sources(d));
  findings_print(d->ctx->output, &d->findings);
  const Findings *f = &d->findings;
  if (!output_json_mode(d->ctx->output))
    output_text(d->ctx->output, "\n%s: %zu problem%s, %zu warning%s\n", f->problems ? "NOT WELL" : "well", f->problems,
                f->problems == 1 ? "" : "s", f->warnings, f->warnings == 1 ? "" : "s");
  if (f->problems == 0) return NULL;
  return err_new(ERR_PARTIAL, "%zu problem%s found", f->problems, f->problems == 1 ? " was" : "s were");
}

Error *cmd_doctor(CliContext *ctx, const Args *args UNUSED) {
  DoctorCommand d = {.ctx = ctx};
  TRY(workspace_open(ctx, &d.w));
  Error *err = run(&d);
  findings_free(&d.findings);
  workspace_close(&d.w);
  return err;
}
