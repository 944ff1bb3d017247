/* main.c: the process: signals, secrets out of the environment, streams. Everything else is app.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/app.h"
#include "cli/signals.h"
#include "codec/secret.h"

static const char *lookup(void *ctx UNUSED, const char *name) { return getenv(name); }

/* Moves HOLDFAST_PASSPHRASE into secret memory: children and /proc/self/environ do not show it from here on. */
static uint8_t *take_passphrase(size_t *out_len) {
  static const char name[] = "HOLDFAST_PASSPHRASE";
  char *value = getenv(name);
  if (!value) return NULL;
  Bytes text = bytes_str(value);
  uint8_t *secret = NULL;
  if (text.len > 0) {
    secret = (uint8_t *)secret_alloc(text.len);
    memcpy(secret, text.data, text.len);
    secret_wipe(value, text.len);
  }
  unsetenv(name);
  *out_len = text.len;
  return secret;
}

/* What is closed would be taken by the next file opened, and messages would go into it. Reading only: what is written
 * there still fails, and is reported. */
static void open_standard_streams(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    int taken = open("/dev/null", O_RDONLY);
    CHECK(taken == fd);
  }
}

int main(int argc, char **argv) {
  open_standard_streams();
  secret_init();
  signals_install();
  size_t passphrase_len = 0;
  uint8_t *passphrase = take_passphrase(&passphrase_len);
  AppIo io = {
      .data = stdout,
      .notes = stderr,
      .env = lookup,
      .cancel = signals_cancel(),
      .passphrase = passphrase,
      .passphrase_len = passphrase_len,
  };
  int exit_code = app_run(&io, argc, (const char *const *)argv);
  secret_free(passphrase);
  return exit_code;
}
