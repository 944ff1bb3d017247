/* command.c: any program's standard output as a source. The shell runs spec.paths[0]; what it prints is the one entry
 * "stdout"; its exit status decides whether there is a snapshot at all. Restored into a file, or piped into
 * spec.restore_command. Neither the environment nor the command's arguments are recorded: both may hold secrets. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/shell.h"
#include "codec/blake3.h"
#include "engine/engine.h"
#include "sys/fs.h"
#include "sys/process.h"
#include "sys/temporary.h"

enum {
  STDERR_KEEP = 16 * 1024,
  PIPE_BYTES = 1024 * 1024, /* asked for; the kernel may give less */
  POLL_MS = 40,             /* how late a cancellation may be noticed */
  ABANDONED_MS = 3000,      /* how long a pipe may stand still that a daemon, left behind by the command, holds open */
  CHECK_BYTES = 256 * 1024,
  DIGEST_TEXT = 2 * BLAKE3_OUT_LEN + 1,
};

static const char entry_name[] = "stdout";

typedef struct CommandEngine {
  Engine engine;
  char *command;         /* NULL: opened for restore or check only */
  char *restore_command; /* NULL: into a file */
  bool named;
} CommandEngine;

static CommandEngine *command_engine(Engine *engine) { return (CommandEngine *)(void *)engine; }

static Error *start_shell(Sys *sys, const char *command, bool input, Process **out) {
  const char *const argv[] = {"/bin/sh", "-c", command, NULL};
  ProcessSpec spec = {.argv = argv, .pipe_stdin = input, .pipe_stdout = !input, .stderr_keep_bytes = STDERR_KEEP};
  return process_start(sys, &spec, out);
}

/* ---- backup ---- */

typedef struct Capture {
  const CommandEngine *engine;
  Sink *sink;
  SinkStream *stream; /* NULL before the first byte */
  Cancel *cancel;
  Process *process;
  int fd;
  unsigned idle_ms; /* since the command is over */
  Entry entry;
  Blake3 hash;
} Capture;

/* Called when a pipe stood still for POLL_MS. */
static bool is_abandoned(Process *process, unsigned *idle_ms) {
  *idle_ms = process_is_over(process) ? *idle_ms + POLL_MS : 0;
  return *idle_ms >= ABANDONED_MS;
}

static Error *wait_for_end(Process *process, const Cancel *cancel) {
  Error *err = process_wait(process, cancel);
  if (err_is(err, ERR_IO)) err = err_recode(err, ERR_UNREACHABLE);
  return err_hint(err, "run the command by hand as this user; nothing of its output was kept");
}

/* A daemon that the command left behind could hold the output open for ever. What it was to write, if anything, is
 * missing: this is no success, whatever the exit status. */
static Error *check_abandoned(Capture *job) {
  if (!is_abandoned(job->process, &job->idle_ms)) return NULL;
  TRY(wait_for_end(job->process, job->cancel));
  return err_hint(err_new(ERR_UNREACHABLE, "the command ended, but something it started holds its output open"),
                  "let it not inherit standard output: 'start-it >/dev/null'");
}

/* As many bytes as the buffer takes; fewer only at the end. */
static Error *read_pipe(Capture *job, uint8_t *out, size_t cap, size_t *out_len) {
  *out_len = 0;
  while (*out_len < cap) {
    TRY(cancel_check(job->cancel));
    struct pollfd ready = {.fd = job->fd, .events = POLLIN};
    int n = poll(&ready, 1, POLL_MS);
    if (n == 0) TRY(check_abandoned(job));
    if (n == 0 || (n < 0 && errno == EINTR)) continue;
    if (n < 0) return err_errno(errno, "waiting for output");
    job->idle_ms = 0;
    ssize_t got = read(job->fd, out + *out_len, cap - *out_len);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return err_errno(errno, "reading output");
    if (got == 0) return NULL;
    *out_len += (size_t)got;
  }
  return NULL;
}

static Error *read_output(Capture *job) {
  const SinkOps *ops = job->sink->ops;
  uint8_t first;
  size_t len;
  TRY(read_pipe(job, &first, 1, &len));
  if (len == 0) return NULL;
  job->entry.size = UINT64_MAX;
  TRY(ops->begin(job->sink, &job->entry, STREAM_BYTES, &job->stream, job->cancel));
  job->entry.size = 0;
  bool more = true;
  for (size_t have = 1; more; have = 0) {
    uint8_t *out;
    size_t cap;
    TRY(ops->buffer(job->stream, &out, &cap, job->cancel));
    if (have) out[0] = first;
    TRY(read_pipe(job, out + have, cap - have, &len));
    more = len == cap - have;
    len += have;
    if (len == 0) break;
    blake3_update(&job->hash, out, len);
    TRY(ops->write(job->stream, len));
    job->entry.size += len;
  }
  return NULL;
}

static Error *finish_output(Capture *job) {
  if (job->stream) return job->sink->ops->end(STEAL(job->stream), &job->entry);
  job->entry.size = 0;
  if (job->sink->notices)
    job->sink->notices->report(job->sink->notices, NOTICE_WARNING, bytes_str(entry_name),
                               "the command printed nothing");
  return job->sink->ops->add(job->sink, &job->entry);
}

static char *facts_json(const Capture *job, uint64_t duration_ns) {
  uint8_t digest[BLAKE3_OUT_LEN];
  char text[DIGEST_TEXT];
  blake3_final(&job->hash, digest);
  hex_encode(digest, sizeof digest, text);
  AUTO_FREE char *command = shell_program(job->engine->command);
  json_t *facts = json_object();
  json_object_set_new(facts, "engine", json_string("command"));
  json_object_set_new(facts, "command", json_string(command));
  json_object_set_new(facts, "exit_status", json_integer(0));
  json_object_set_new(facts, "bytes", json_integer((json_int_t)job->entry.size));
  json_object_set_new(facts, "blake3", json_string(text));
  json_object_set_new(facts, "duration_ns", json_integer((json_int_t)duration_ns));
  char *json = json_dumps(facts, JSON_COMPACT | JSON_SORT_KEYS);
  json_decref(facts);
  CHECK(json);
  return json;
}

static Error *run_and_store(Capture *job) {
  Error *err = read_output(job);
  /* When reading failed the child is ended by process_free; when it succeeded its exit status decides. */
  if (!err) err = wait_for_end(job->process, job->cancel);
  return err ? err : finish_output(job);
}

static Error *command_backup(Engine *base, const BackupPlan *plan, Sink *sink, EngineFacts *out, Cancel *cancel) {
  CommandEngine *self = command_engine(base);
  if (!self->command) return err_new(ERR_USAGE, "command: the source names no command");
  Capture job = {.engine = self, .sink = sink, .cancel = cancel};
  job.entry = (Entry){.path = bytes_str(entry_name),
                      .type = ENTRY_FILE,
                      .mode = 0600,
                      .uid = geteuid(),
                      .gid = getegid(),
                      .mtime_ns = (int64_t)plan->started_ns,
                      .ctime_ns = (int64_t)plan->started_ns};
  blake3_init(&job.hash);
  uint64_t started = sys_mono_ns(base->sys);
  TRY(err_recode(err_wrap(start_shell(base->sys, self->command, false, &job.process), "command"), ERR_UNREACHABLE));
  job.fd = process_stdout(job.process);
  (void)fcntl(job.fd, F_SETPIPE_SZ, PIPE_BYTES); /* fewer switches; only a wish */
  Error *err = run_and_store(&job);
  if (job.stream) sink->ops->abort(job.stream);
  process_free(job.process);
  if (err) return err_wrap(err, "command");
  *out = (EngineFacts){.json = facts_json(&job, sys_mono_ns(base->sys) - started)};
  return NULL;
}

/* ---- restore ---- */

typedef struct Output {
  int fd;
  const char *name;
  Cancel *cancel;
  Process *process; /* NULL: into a file */
  unsigned idle_ms; /* since the process is over */
  bool closed;      /* the reader went away: its exit status says whether that is right */
} Output;

static Error *write_file(void *ctx, Bytes part) {
  Output *out = (Output *)ctx;
  return fs_write(out->fd, out->name, part.data, part.len);
}

static Error *write_pipe(void *ctx, Bytes part) {
  Output *out = (Output *)ctx;
  for (size_t at = 0; at < part.len && !out->closed;) {
    TRY(cancel_check(out->cancel));
    struct pollfd ready = {.fd = out->fd, .events = POLLOUT};
    int n = poll(&ready, 1, POLL_MS);
    if (n == 0) out->closed = is_abandoned(out->process, &out->idle_ms);
    if (n == 0 || (n < 0 && errno == EINTR)) continue;
    out->idle_ms = 0;
    ssize_t done = write(out->fd, part.data + at, part.len - at);
    if (done < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (done < 0 && errno != EPIPE) return err_errno(errno, "writing to the restore command");
    out->closed = done < 0;
    if (done > 0) at += (size_t)done;
  }
  return NULL;
}

static Error *find_output(void *ctx, const Entry *entry) {
  if (entry->type == ENTRY_FILE && bytes_equal(entry->path, bytes_str(entry_name))) *(uint64_t *)ctx = entry->size;
  return NULL;
}

/* Nothing was printed: there is no content to stream. */
static Error *stream_output(Source *source, Error *(*write)(void *ctx, Bytes part), Output *out) {
  uint64_t size = UINT64_MAX;
  TRY(source->ops->entries(source, find_output, &size, out->cancel));
  if (size == UINT64_MAX) return err_new(ERR_CORRUPT, "the snapshot has no output in it");
  return size ? source->ops->stream(source, bytes_str(entry_name), write, out, out->cancel) : NULL;
}

/* A command that stops reading must not end us: SIGPIPE is held back in this thread, and one that came is taken. */
static Error *stream_into(Source *source, Output *out) {
  sigset_t pipe_only, before, pending;
  sigemptyset(&pipe_only);
  sigaddset(&pipe_only, SIGPIPE);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
  Error *err = stream_output(source, write_pipe, out);
  if (out->closed && !sigismember(&pending, SIGPIPE)) {
    struct timespec none = {0};
    while (sigtimedwait(&pipe_only, NULL, &none) < 0 && errno == EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return err;
}

static Error *restore_into_command(CommandEngine *self, Source *source, Cancel *cancel) {
  Process *process;
  TRY(err_wrap(start_shell(self->engine.sys, self->restore_command, true, &process), "restore command"));
  int fd = process_stdin(process);
  /* Without blocking, so that a command that hangs can be given up. */
  Error *err = fcntl(fd, F_SETFL, O_NONBLOCK) ? err_errno(errno, "preparing its input") : NULL;
  Output out = {.fd = fd, .cancel = cancel, .process = process};
  if (!err) err = stream_into(source, &out);
  if (!err) {
    process_close_stdin(process);
    err = process_wait(process, cancel);
  }
  process_free(process);
  if (!err && out.closed && source->notices) {
    source->notices->report(source->notices, NOTICE_WARNING, bytes_str(entry_name),
                            "the restore command ended well without reading all of its input");
  }
  return err_wrap(err, "restore command");
}

static Error *write_out(Sys *sys, Source *source, const RestorePlan *plan, const char *parent, Cancel *cancel) {
  char name[TEMPORARY_NAME_CAP];
  AUTO_FD int dir = -1;
  TRY(fs_open(parent, O_PATH | O_DIRECTORY, 0, &dir));
  temporary_sweep(dir, TEMPORARY_PREFIX);
  Output out = {.fd = temporary_create(sys, dir, TEMPORARY_PREFIX, name, sizeof name), .cancel = cancel};
  if (out.fd < 0) return err_errno(errno, "creating a file in %s", parent);
  AUTO_FREE char *temporary = fs_join(parent, name);
  out.name = temporary;
  Error *err = stream_output(source, write_file, &out);
  if (!err && !plan->no_sync) err = fs_sync(out.fd, temporary);
  if (close(out.fd) != 0 && !err) err = err_errno(errno, "closing %s", temporary);
  unsigned flags = plan->overwrite ? 0 : RENAME_NOREPLACE;
  if (!err && renameat2(AT_FDCWD, temporary, AT_FDCWD, plan->target, flags) != 0)
    err = err_errno(errno, "naming %s", plan->target);
  if (err) unlink(temporary);
  return err;
}

static Error *restore_into_file(CommandEngine *self, const RestorePlan *plan, Source *source, Cancel *cancel) {
  struct stat st;
  bool exists = lstat(plan->target, &st) == 0;
  if (exists && !S_ISDIR(st.st_mode) && stat(plan->target, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
    return err_hint(err_new(ERR_REFUSED, "restoring to %s: what is there is no regular file", plan->target),
                    "a command takes the output with --restore-command 'cat'");
  if (exists && (S_ISDIR(st.st_mode) || !plan->overwrite)) {
    return err_hint(
        err_new(ERR_NOT_EMPTY, "restoring to %s: it exists", plan->target),
        "choose the path of a file that does not exist yet, or name what may be overwritten with --confirm");
  }
  const char *slash = strrchr(plan->target, '/');
  if (!slash || !slash[1]) return err_new(ERR_USAGE, "restoring to %s: not the absolute path of a file", plan->target);
  AUTO_FREE char *parent =
      slash == plan->target ? mem_strdup("/") : mem_strndup(plan->target, (size_t)(slash - plan->target));
  TRY(fs_make_dirs(parent, 0755));
  TRY(err_wrap(write_out(self->engine.sys, source, plan, parent, cancel), "restoring to %s", plan->target));
  return plan->no_sync ? NULL : fs_sync_dir(parent);
}

static Error *command_restore(Engine *base, const RestorePlan *plan, Source *source, Cancel *cancel) {
  CommandEngine *self = command_engine(base);
  if (self->restore_command) return restore_into_command(self, source, cancel);
  return restore_into_file(self, plan, source, cancel);
}

/* ---- check ---- */

static Error *hash_file(const char *path, uint64_t *out_size, char out_hex[DIGEST_TEXT], bool content, Cancel *cancel) {
  AUTO_FD int fd = -1;
  TRY(fs_open(path, O_RDONLY, 0, &fd));
  struct stat st;
  if (fstat(fd, &st) != 0) return err_errno(errno, "%s", path);
  *out_size = (uint64_t)st.st_size;
  AUTO_FREE uint8_t *buffer = (uint8_t *)mem_alloc(CHECK_BYTES);
  Blake3 hash;
  blake3_init(&hash);
  for (uint64_t at = 0; content && at < *out_size;) {
    TRY(cancel_check(cancel));
    size_t len;
    TRY(fs_read_some(fd, path, buffer, CHECK_BYTES, at, &len));
    if (len == 0) break;
    blake3_update(&hash, buffer, len);
    at += len;
  }
  uint8_t digest[BLAKE3_OUT_LEN];
  blake3_final(&hash, digest);
  hex_encode(digest, sizeof digest, out_hex);
  return NULL;
}

static Error *command_check(Engine *base, const DrillTarget *target, CheckLevel level, CheckReport *out,
                            Cancel *cancel) {
  (void)base;
  json_t *facts = target->facts_json ? json_loads(target->facts_json, JSON_REJECT_DUPLICATES, NULL) : NULL;
  const json_t *size = json_object_get(facts, "bytes");
  const char *digest = json_string_value(json_object_get(facts, "blake3"));
  if (!json_is_integer(size) || !digest) {
    json_decref(facts);
    return err_new(ERR_CORRUPT, "command: the snapshot's record is not one of a command's output");
  }
  uint64_t found_size = 0;
  char found_digest[DIGEST_TEXT];
  bool content = level >= CHECK_STANDARD;
  Error *err = hash_file(target->path, &found_size, found_digest, content, cancel);
  if (!err) {
    char a[24], b[24];
    snprintf(a, sizeof a, "%" PRId64, (int64_t)json_integer_value(size));
    snprintf(b, sizeof b, "%" PRIu64, found_size);
    check_report_add(out, strcmp(a, b) == 0, "stdout: bytes", a, b);
    if (content) check_report_add(out, strcmp(digest, found_digest) == 0, "stdout: BLAKE3", digest, found_digest);
  }
  json_decref(facts);
  return err;
}

/* ---- the engine ---- */

/* What only its program names must be the same command line each time: else two commands' outputs would be mixed. Of
 * the line a few digits of its hash are kept, from which it cannot be had back. */
static char *identity_of(const CommandEngine *self) {
  enum { KEPT = 8 };
  if (self->named || !self->command) return mem_strdup("");
  uint8_t digest[BLAKE3_OUT_LEN];
  char text[2 * KEPT + 1];
  Blake3 hash;
  blake3_init(&hash);
  blake3_update(&hash, self->command, strlen(self->command));
  blake3_final(&hash, digest);
  hex_encode(digest, KEPT, text);
  return mem_printf("line=%s", text);
}

static Error *command_probe(Engine *base, ServerInfo *out, Cancel *cancel) {
  (void)cancel;
  *out = (ServerInfo){.version = mem_strdup("command"), .identity = identity_of(command_engine(base)), .members = 1};
  strlist_add(&out->possible, "the command's standard output is one stream; its exit status decides");
  return NULL;
}

static void command_free(Engine *take) {
  CommandEngine *self = command_engine(take);
  free(self->command);
  free(self->restore_command);
  free(self);
}

static const EngineOps command_ops = {
    .probe = command_probe,
    .backup = command_backup,
    .restore = command_restore,
    .check = command_check,
    .free = command_free,
};

Error *command_engine_open(Sys *sys, const SourceSpec *spec, Engine **out) {
  if (spec->paths.len > 1 || (spec->paths.len == 1 && spec->paths.items[0][0] == 0)) {
    return err_hint(err_new(ERR_USAGE, "command: exactly one command line is needed"),
                    "quote it as one argument: command:'pg_dumpall -U postgres'");
  }
  CommandEngine *self = NEW(CommandEngine);
  self->engine = (Engine){.ops = &command_ops, .sys = sys};
  self->command = spec->paths.len ? mem_strdup(spec->paths.items[0]) : NULL;
  self->restore_command = mem_strdup(spec->restore_command);
  self->named = spec->named;
  *out = &self->engine;
  return NULL;
}
