#include "cli/context.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/args.h"
#include "codec/secret.h"
#include "ops/ops.h"
#include "sys/fs.h"

Error *context_config(CliContext *ctx, const Config **out) {
  if (!ctx->config) {
    const char *given = args_text(ctx->args, OPT_CONFIG);
    AUTO_FREE char *path = given ? mem_strdup(given) : config_default_path();
    TRY(config_load(path, ctx->state_dir, &ctx->config));
  }
  *out = ctx->config;
  return NULL;
}

Error *context_settings(CliContext *ctx, CliSettings *out) {
  const Config *config;
  TRY(context_config(ctx, &config));
  static const ConfigLimits none = {0};
  const ConfigLimits *l = config_main(config)->limits ? config_main(config)->limits : &none;
  unsigned cpus = l->cpus ? l->cpus : sys_cpus(ctx->sys);
  unsigned most = (unsigned)option_spec(OPT_CPUS)->max;
  if (cpus > most) cpus = most;
  *out = (CliSettings){
      .cpus = (unsigned)args_number(ctx->args, OPT_CPUS, cpus),
      .memory_bytes = args_number(ctx->args, OPT_MEMORY, l->memory_bytes ? l->memory_bytes : 256 * MIB),
      .read_bytes_per_second = args_number(ctx->args, OPT_LIMIT_READ, l->read_bytes_per_second),
      .upload_bytes_per_second = args_number(ctx->args, OPT_LIMIT_UPLOAD, l->upload_bytes_per_second),
      .timeout_ns = l->timeout_ns,
      .nice = l->nice,
  };
  if (out->memory_bytes >= OPS_MEMORY_MIN) return NULL;
  char said[16], least[16];
  return err_new(ERR_USAGE, "%s: %s are less than %s, which is the least",
                 args_given(ctx->args, OPT_MEMORY) ? "--memory" : "limits.memory", str_size(out->memory_bytes, said),
                 str_size(OPS_MEMORY_MIN, least));
}

/* ---- the log -------------------------------------------------------------------------------------------------------
 */

static LogLevel stderr_level(const CliContext *ctx, const Config *config) {
  switch (output_verbosity(ctx->output)) {
    case VERBOSITY_QUIET: return LOG_ERROR;
    case VERBOSITY_NORMAL: break;
    case VERBOSITY_VERBOSE: return LOG_INFO;
    case VERBOSITY_DEBUG: return LOG_DEBUG;
  }
  /* A person sees the command's own words; events only when asked for. */
  const ConfigLog *log = config_main(config)->log;
  return log && log->level ? config_log_level(config) : LOG_WARN;
}

void context_log_open(CliContext *ctx, const Config *config) {
  const ConfigLog *log = config_main(config)->log;
  LogFormat format = (LogFormat)args_number(ctx->args, OPT_LOG_FORMAT, config_log_format(config));
  LogLevel level = stderr_level(ctx, config);
  if (log && log->file && ctx->log_fd < 0) {
    Error *err = fs_open(log->file, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY, 0600, &ctx->log_fd);
    if (err) output_warning(ctx->output, "the log is not written: %s", err_text(err));
    err_free(err);
  }
  int fd = STDERR_FILENO;
  if (ctx->log_fd >= 0) {
    fd = ctx->log_fd;
    level = output_verbosity(ctx->output) == VERBOSITY_DEBUG ? LOG_DEBUG : config_log_level(config);
  }
  log_free(ctx->log);
  ctx->log = log_new(fd, level, format);
}

/* ---- progress ------------------------------------------------------------------------------------------------------
 */

static ProgressStyle progress_style(const CliContext *ctx) {
  Verbosity verbosity = output_verbosity(ctx->output);
  if (verbosity == VERBOSITY_QUIET || args_given(ctx->args, OPT_NO_PROGRESS)) return PROGRESS_SILENT;
  if (output_json_mode(ctx->output)) return verbosity >= VERBOSITY_VERBOSE ? PROGRESS_JSON : PROGRESS_SILENT;
  return isatty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_LINES;
}

Error *context_progress_start(CliContext *ctx) {
  if (ctx->view) return NULL;
  return progress_view_start(ctx->sys, ctx->output, &ctx->progress, progress_style(ctx), &ctx->view);
}

void context_progress_stop(CliContext *ctx) { progress_view_stop(STEAL(ctx->view)); }

/* ---- asking --------------------------------------------------------------------------------------------------------
 */

enum { ANSWER_MAX = 1024 };

bool context_has_terminal(void) {
  AUTO_FD int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  return fd >= 0;
}

/* One line into `room`, without its end. */
static Error *read_answer(int fd, uint8_t *room, size_t *out_len, const Cancel *cancel) {
  size_t len = 0;
  for (;;) {
    TRY(cancel_check(cancel));
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, 50) <= 0) continue;
    ssize_t n = read(fd, room + len, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return err_errno(errno, "reading from the terminal");
    if (n == 0 || room[len] == '\n') break;
    if (++len == ANSWER_MAX) return err_new(ERR_LIMIT, "the answer is longer than %d characters", ANSWER_MAX - 1);
  }
  *out_len = len;
  return NULL;
}

/* Prompts with echo off: already when the prompt shows, since what was typed before is thrown away. The terminal is
 * always set back. */
static Error *ask(int fd, const char *prompt, uint8_t *room, size_t *out_len, const Cancel *cancel) {
  struct termios before;
  if (tcgetattr(fd, &before) != 0) return err_errno(errno, "asking on the terminal");
  struct termios silent = before;
  silent.c_lflag &= ~(tcflag_t)ECHO;
  if (tcsetattr(fd, TCSAFLUSH, &silent) != 0) return err_errno(errno, "asking on the terminal");
  Error *err = fs_write(fd, "/dev/tty", prompt, strlen(prompt));
  if (!err) err = read_answer(fd, room, out_len, cancel);
  if (tcsetattr(fd, TCSANOW, &before) != 0 && !err) err = err_errno(errno, "setting the terminal back");
  return err_first(err, fs_write(fd, "/dev/tty", "\n", 1));
}

static Error *ask_into(int fd, const char *prompt, bool twice, uint8_t *room, size_t *out_len, const Cancel *cancel) {
  AUTO_FREE char *first = mem_printf("%s: ", prompt);
  TRY(ask(fd, first, room, out_len, cancel));
  if (*out_len == 0) return err_new(ERR_USAGE, "nothing was entered");
  if (!twice) return NULL;
  AUTO_FREE char *second = mem_printf("%s, again: ", prompt);
  uint8_t *again = room + ANSWER_MAX;
  size_t again_len = 0;
  TRY(ask(fd, second, again, &again_len, cancel));
  bool equal = again_len == *out_len && secret_equal(room, again, again_len);
  return equal ? NULL : err_new(ERR_USAGE, "the two are not the same");
}

Error *context_ask_secret(CliContext *ctx, const char *prompt, bool twice, uint8_t **out, size_t *out_len) {
  AUTO_FD int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (fd < 0)
    return err_hint(err_new(ERR_USAGE, "%s: there is no terminal to ask on", prompt),
                    "give --passphrase-file, --key-file or HOLDFAST_PASSPHRASE");
  uint8_t *room = (uint8_t *)secret_alloc(2 * ANSWER_MAX);
  size_t len = 0;
  Error *err = ask_into(fd, prompt, twice, room, &len, ctx->cancel);
  if (!err) {
    *out = (uint8_t *)secret_alloc(len);
    memcpy(*out, room, len);
    *out_len = len;
  }
  secret_free(room);
  return err;
}
