#include "cli/workspace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/exit_code.h"
#include "repo/uuid.h"
#include "sys/fs.h"

enum { NOTICES_ALIKE = 5, NOTICES_SAID = 100 };

/* ---- the state directory -------------------------------------------------------------------------------------------
 */

/* Who this machine is must not depend on whether its state directory can be written today. */
static void temporary_host_id(Workspace *w) {
  AUTO_BUF Buf machine = {0};
  err_ignore(fs_read_file("/etc/machine-id", 256, &machine));
  state_host_id_derive(NULL, buf_bytes(&machine), w->host_id);
}

static Error *open_temporary(Workspace *w, const Error *why) {
  const char *parent = getenv("TMPDIR");
  AUTO_FREE char *path = fs_join(parent && parent[0] == '/' ? parent : "/tmp", "holdfast-XXXXXX");
  if (!mkdtemp(path)) return err_copy(why);
  bool known = w->state != NULL; /* readable, not writable */
  if (known)
    memcpy(w->host_id, state_host_id(w->state), sizeof w->host_id);
  else
    temporary_host_id(w);
  state_free(STEAL(w->state));
  w->temporary = STEAL(path);
  output_warning(w->ctx->output, "%s; working in %s, nothing is kept there", err_text(why), w->temporary);
  return state_open(w->ctx->sys, w->temporary, &w->state);
}

static Error *open_state(Workspace *w) {
  Error *err = state_open(w->ctx->sys, w->ctx->state_dir, &w->state);
  if (!err && access(state_scratch_dir(w->state), W_OK) == 0 && access(state_cache_dir(w->state), W_OK) == 0) {
    memcpy(w->host_id, state_host_id(w->state), sizeof w->host_id);
    return NULL;
  }
  if (!err) err = err_new(ERR_DENIED, "the state directory %s cannot be written", state_path(w->state));
  ErrCode code = err_code(err);
  if (code != ERR_DENIED && code != ERR_NO_SPACE && code != ERR_IO && code != ERR_NOT_FOUND) return err;
  Error *failed = open_temporary(w, err);
  err_free(err);
  return failed;
}

/* ---- scratch: one directory a process, locked; those whose process is gone are removed -----------------------------
 */

static bool lock_dir(const char *path, int *out_fd) {
  AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat held, named;
  if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) return false;
  /* Somebody may have taken it for left over before it was locked. */
  if (fstat(fd, &held) != 0 || stat(path, &named) != 0 || held.st_ino != named.st_ino) return false;
  *out_fd = fd_steal(&fd);
  return true;
}

static void sweep_scratch(const char *parent) {
  DIR *dir = opendir(parent);
  if (!dir) return;
  struct dirent *entry;
  while ((entry = readdir(dir))) {
    if (!str_starts(entry->d_name, "job-")) continue;
    AUTO_FREE char *path = fs_join(parent, entry->d_name);
    AUTO_FD int fd = -1;
    if (lock_dir(path, &fd)) err_ignore(fs_remove_tree(path));
  }
  closedir(dir);
}

static Error *make_scratch(Workspace *w) {
  const char *parent = state_scratch_dir(w->state);
  sweep_scratch(parent);
  for (unsigned attempt = 0; attempt < 10; attempt++) {
    uint64_t random;
    sys_random(w->ctx->sys, &random, sizeof random);
    AUTO_FREE char *path = mem_printf("%s/job-%016llx", parent, (unsigned long long)random);
    TRY(fs_make_dirs(path, 0700));
    if (!lock_dir(path, &w->scratch_fd)) continue;
    w->scratch = STEAL(path);
    return NULL;
  }
  return err_hint(err_new(ERR_IO, "%s: no directory there can be locked", parent),
                  "keep the state directory on a local file system: --state-dir");
}

/* ---- opening -------------------------------------------------------------------------------------------------------
 */

static void notice_json(const Workspace *w, NoticeLevel level, Bytes path, const char *message) {
  static const char *const names[] = {
      [NOTICE_INFO] = "info", [NOTICE_WARNING] = "warning", [NOTICE_PARTIAL] = "partial"};
  json_t *doc = output_document("notice");
  json_object_set_new(doc, "level", json_string(names[level]));
  output_json_set_name(doc, "path", path);
  json_object_set_new(doc, "message", output_json_name(bytes_str(message)));
  output_json_note(w->ctx->output, doc);
}

/* How often this was said before, and whether that is often enough. Guarded by w->lock. */
static bool is_enough(Workspace *w, const char *message) {
  w->notices++;
  NoticeKind *kind = NULL;
  for (size_t i = 0; i < w->kinds_len && !kind; i++)
    if (strcmp(w->kinds[i].message, message) == 0) kind = &w->kinds[i];
  if (!kind && w->kinds_len < NELEMS(w->kinds)) {
    kind = &w->kinds[w->kinds_len++];
    *kind = (NoticeKind){.message = mem_strdup(message)};
  }
  if (kind ? kind->said == NOTICES_ALIKE : w->others_said == NOTICES_SAID) {
    ++*(kind ? &kind->held : &w->others_held);
    return true;
  }
  ++*(kind ? &kind->said : &w->others_said);
  return false;
}

static void say_notice(void *ctx, NoticeLevel level, Bytes path, const char *message) {
  Workspace *w = (Workspace *)ctx;
  Output *out = w->ctx->output;
  bool enough = false;
  if (level != NOTICE_INFO) {
    LOCKED(&w->lock);
    enough = is_enough(w, message);
  }
  AUTO_FREE char *name = str_printable(path);
  AUTO_FREE char *text = path.len ? mem_printf("%s: %s", name, message) : mem_strdup(message);
  /* On standard error it would be said twice. */
  if (w->ctx->log_fd >= 0) log_event(w->ctx->log, level == NOTICE_INFO ? LOG_DEBUG : LOG_WARN, "notice", text, NULL);
  bool verbose = output_verbosity(out) >= VERBOSITY_VERBOSE;
  if (level == NOTICE_INFO && !verbose) return;
  if (output_json_mode(out))
    notice_json(w, level, path, message);
  else if (level == NOTICE_INFO)
    output_note(out, VERBOSITY_VERBOSE, "%s", text);
  else if (!enough || verbose)
    output_warning(out, "%s", text);
}

static void say_held(const Workspace *w, uint64_t held, const char *message) {
  bool all = output_json_mode(w->ctx->output) || output_verbosity(w->ctx->output) >= VERBOSITY_VERBOSE;
  if (held && !all)
    output_warning(w->ctx->output, "%llu more: %s (--verbose names all)", (unsigned long long)held, message);
}

void workspace_notices_end(Workspace *w) {
  LOCKED(&w->lock);
  for (size_t i = 0; i < w->kinds_len; i++) {
    say_held(w, w->kinds[i].held, w->kinds[i].message);
    free(w->kinds[i].message);
  }
  say_held(w, w->others_held, "of other kinds");
  w->kinds_len = 0;
  w->others_said = w->others_held = 0;
}

Error *workspace_unopened(const Workspace *w) {
  if (!w->notices) return NULL;
  return err_new(ERR_CORRUPT, "%llu snapshot%s not open", (unsigned long long)w->notices,
                 w->notices == 1 ? " does" : "s do");
}

static void open_catalog(Workspace *w) {
  if (w->temporary) return;
  Error *err = catalog_open(w->ctx->sys, w->state, &w->catalog);
  AUTO_FREE char *aside = w->catalog ? catalog_moved_aside(w->catalog) : NULL;
  if (aside) output_warning(w->ctx->output, "the catalog was damaged: a new one is begun, the old is %s", aside);
  workspace_catalog_result(w, err);
}

static void fill_ops(Workspace *w) {
  w->ops = (Ops){.sys = w->ctx->sys,
                 .cancel = w->ctx->cancel,
                 .progress = &w->ctx->progress,
                 .cache_dir = state_cache_dir(w->state),
                 .scratch_dir = w->scratch,
                 .host = w->host,
                 .host_id = w->host_id,
                 .cpus = w->settings.cpus,
                 .memory_bytes = w->settings.memory_bytes,
                 .read_bytes_per_second = w->settings.read_bytes_per_second,
                 .notice = say_notice,
                 .notice_ctx = w};
}

/* Threads and children that are started from here on inherit it. */
static void be_nice(const Workspace *w) {
  int wanted = w->settings.nice;
  if (wanted == 0 || (wanted > 0 && getpriority(PRIO_PROCESS, 0) >= wanted)) return;
  if (setpriority(PRIO_PROCESS, 0, wanted) == 0) return;
  Error *err = err_errno(errno, "limits.nice: %d", wanted);
  output_warning(w->ctx->output, "%s", err_text(err));
  err_free(err);
}

static Error *apply_settings(Workspace *w) {
  TRY(context_settings(w->ctx, &w->settings));
  context_log_open(w->ctx, w->config);
  be_nice(w);
  if (!w->settings.timeout_ns || !w->ctx->cancel) return NULL;
  return deadline_start(w->ctx->sys, w->ctx->cancel, w->settings.timeout_ns, &w->deadline);
}

static Error *open_parts(Workspace *w) {
  TRY(context_config(w->ctx, &w->config));
  TRY(apply_settings(w));
  if (gethostname(w->host, sizeof w->host - 1) != 0 || w->host[0] == '\0')
    snprintf(w->host, sizeof w->host, "localhost");
  TRY(open_state(w));
  TRY(make_scratch(w));
  open_catalog(w);
  fill_ops(w);
  return NULL;
}

Error *workspace_open(CliContext *ctx, Workspace *out) {
  *out = (Workspace){.ctx = ctx, .scratch_fd = -1};
  mutex_init(&out->lock, ctx->sys);
  Error *err = open_parts(out);
  if (err) workspace_close(out);
  return err;
}

void workspace_close(Workspace *w) {
  if (!w->ctx) return;
  context_progress_stop(w->ctx);
  workspace_notices_end(w);
  deadline_stop(w->deadline);
  catalog_free(w->catalog);
  if (w->scratch) err_ignore(fs_remove_tree(w->scratch));
  if (w->scratch_fd >= 0) close(w->scratch_fd);
  if (w->temporary) err_ignore(fs_remove_tree(w->temporary));
  free(w->scratch);
  free(w->temporary);
  state_free(w->state);
  mutex_free(&w->lock);
  *w = (Workspace){.scratch_fd = -1};
}

/* ---- job records ---------------------------------------------------------------------------------------------------
 */

void workspace_catalog_result(Workspace *w, Error *take) {
  if (take && !w->catalog_failed) {
    output_warning(w->ctx->output, "the catalog cannot be used, this job may not show in `holdfast status`: %s",
                   err_text(take));
    w->catalog_failed = true;
  }
  err_free(take);
}

void workspace_job_begin(Workspace *w, const char *kind, const char *source, const char *repository, JobStart *out) {
  job_start_init(w->ctx->sys, kind, out);
  out->source = source;
  out->repository = repository;
  out->command = args_command(w->ctx->args)->name;
  workspace_catalog_result(w, catalog_job_begin(w->catalog, out));
  log_event(w->ctx->log, LOG_INFO, "job_begin", kind, "job", out->id, "source", source, "repository", repository, NULL);
}

static void log_end(const Workspace *w, const JobStart *job, const JobOutcome *outcome) {
  char snapshot[UUID_TEXT_LEN] = "";
  if (outcome->snapshot) uuid_text(outcome->snapshot, snapshot);
  bool good = outcome->result == JOB_OK || outcome->result == JOB_CANCELLED;
  LogLevel level = good ? LOG_INFO : outcome->result == JOB_PARTIAL ? LOG_WARN : LOG_ERROR;
  if (w->ctx->log_fd < 0) level = LOG_INFO; /* on standard error the error is said by itself */
  log_event(w->ctx->log, level, "job_end", job->kind, "job", job->id, "source", job->source, "repository",
            job->repository, "result", job_result_name(outcome->result), "snapshot", snapshot, "error", outcome->error,
            NULL);
}

void workspace_job_end(Workspace *w, const JobStart *job, JobOutcome *outcome, const Error *err) {
  workspace_notices_end(w);
  if (err) {
    bool cancelled = err_code(err) == ERR_CANCELLED && cancel_reason(w->ctx->cancel) != CANCEL_TIMEOUT;
    outcome->result = cancelled ? JOB_CANCELLED : err_code(err) == ERR_PARTIAL ? JOB_PARTIAL : JOB_FAILED;
    outcome->exit_code = exit_code_of(err, w->ctx->cancel);
    outcome->error = err_text(err);
  } else if (outcome->result == JOB_RUNNING) {
    outcome->result = JOB_OK;
  } else if (outcome->result == JOB_PARTIAL) {
    outcome->exit_code = EXIT_PARTIAL;
  }
  workspace_catalog_result(w, catalog_job_end(w->catalog, job, outcome));
  log_end(w, job, outcome);
}

/* ---- words ---------------------------------------------------------------------------------------------------------
 */

char *short_id(const Uuid *id, char out[SHORT_ID_LEN]) {
  hex_encode(id->b, (SHORT_ID_LEN - 1) / 2, out);
  return out;
}

json_t *json_count(uint64_t n) { return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n); }

json_t *json_seconds(uint64_t ns) {
  uint64_t ms = ns / 1000000;
  return json_real((double)ms / 1000.0);
}

char *json_text(const json_t *doc) {
  char *text = json_dumps(doc, JSON_COMPACT | JSON_REAL_PRECISION(15));
  CHECK(text);
  return text;
}

json_t *json_text_or_null(const char *text) { return text ? output_json_name(bytes_str(text)) : json_null(); }

void json_set_path(json_t *object, const char *key, const char *path) {
  if (path)
    output_json_set_name(object, key, bytes_str(path));
  else
    json_object_set_new(object, key, json_null());
}

json_t *json_uuid(const Uuid *id) {
  char text[UUID_TEXT_LEN];
  return json_string(uuid_text(id, text));
}

json_t *json_time(uint64_t ns) {
  char text[36];
  return json_string(time_format_utc(ns, text));
}

void json_set_texts(json_t *object, const char *key, char *const *texts, size_t len) {
  json_t *list = json_array();
  for (size_t i = 0; i < len; i++) json_array_append_new(list, output_json_name(bytes_str(texts[i])));
  json_object_set_new(object, key, list);
}
