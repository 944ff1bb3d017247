/* context.h: what a command works with: where to print, how to be stopped, which settings hold. */
#ifndef HF_CLI_CONTEXT_H
#define HF_CLI_CONTEXT_H

#include "base/progress.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "ops/config.h"
#include "sys/cancel.h"

struct CliContext {
  Sys *sys;
  Cancel *cancel;
  Output *output;
  Log *log;            /* on standard error, or the file that the configuration names */
  int log_fd;          /* of that file; -1: standard error */
  const Args *args;    /* of the command that runs */
  Progress progress;   /* for ops/ to count in */
  ProgressView *view;  /* while progress is shown */
  Config *config;      /* NULL until context_config */
  char *state_dir;     /* never NULL; it need not exist */
  uint8_t *passphrase; /* secret memory; of HOLDFAST_PASSPHRASE; NULL: not set */
  size_t passphrase_len;
  int exit_code; /* not 0: the exit code although there is no error (16 of `status --check`) */
};

/* The configuration: --config, HOLDFAST_CONFIG, the default file, or none; with STATE/conf.d. Read once. Borrowed. */
Error *context_config(CliContext *ctx, const Config **out) NODISCARD;

/* From here on events go where the configuration says. A file that cannot be written is a warning. */
void context_log_open(CliContext *ctx, const Config *config);

/* Options of the command line before those of the configuration. */
typedef struct CliSettings {
  unsigned cpus;                                           /* >= 1 */
  uint64_t memory_bytes;                                   /* 256 MiB unless said; OPS_MEMORY_MIN or more */
  uint64_t read_bytes_per_second, upload_bytes_per_second; /* 0: no limit */
  uint64_t timeout_ns;                                     /* 0: none */
  int nice;                                                /* 0: as it is */
} CliSettings;
Error *context_settings(CliContext *ctx, CliSettings *out) NODISCARD;

/* Shows ctx->progress as options and terminal have it, until stopped or the command ends. */
Error *context_progress_start(CliContext *ctx) NODISCARD;
void context_progress_stop(CliContext *ctx);

/* Asks on the terminal, without echo; `twice` for a new one. *out is secret memory. ERR_USAGE with a hint when there is
 * no terminal. */
Error *context_ask_secret(CliContext *ctx, const char *prompt, bool twice, uint8_t **out, size_t *out_len) NODISCARD;
bool context_has_terminal(void); /* someone can be asked */

#endif
