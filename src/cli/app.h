/* app.h: the program without the process: parses, runs a command, reports. main() gives it the machine's own streams,
 * tests give it others. */
#ifndef HF_CLI_APP_H
#define HF_CLI_APP_H

#include <stdio.h>

#include "cli/args.h"
#include "sys/cancel.h"

typedef struct AppIo {
  FILE *data, *notes; /* standard output and error */
  EnvLookup *env;     /* NULL: no environment */
  void *env_ctx;
  Cancel *cancel;
  uint8_t *passphrase; /* secret memory, borrowed; NULL: none in the environment */
  size_t passphrase_len;
} AppIo;

/* The exit code. argv[0] is skipped. */
int app_run(const AppIo *io, int argc, const char *const *argv);

#endif
