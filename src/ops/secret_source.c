#include "ops/secret_source.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "codec/secret.h"
#include "sys/process.h"

/* Moves bytes into secret memory and wipes where they were. */
static Error *take_bytes(uint8_t *data, size_t len, bool raw, uint8_t **out, size_t *out_len) {
  size_t used = len;
  if (!raw && used > 0 && data[used - 1] == '\n') used--;
  if (!raw && used > 0 && data[used - 1] == '\r') used--;
  if (used == 0) {
    secret_wipe(data, len);
    return err_new(ERR_USAGE, "the secret is empty");
  }
  uint8_t *secret = (uint8_t *)secret_alloc(used);
  memcpy(secret, data, used);
  secret_wipe(data, len);
  *out = secret;
  *out_len = used;
  return NULL;
}

/* Children get nothing that begins with HOLDFAST_ (process.h). */
static char *hidden_name(const char *name) { return mem_printf("HOLDFAST_SECRET_%s", name); }

void secret_source_hide(const SecretSource *source) {
  if (!source || !source->env || str_starts(source->env, "HOLDFAST_")) return;
  char *value = getenv(source->env);
  if (!value) return;
  AUTO_FREE char *hidden = hidden_name(source->env);
  CHECK(setenv(hidden, value, 1) == 0);
  secret_wipe(value, strlen(value)); /* /proc/PID/environ shows where it was */
  unsetenv(source->env);
}

static Error *read_env(const char *name, bool raw, uint8_t **out, size_t *out_len) {
  AUTO_FREE char *hidden = hidden_name(name);
  const char *value = getenv(name);
  if (!value) value = getenv(hidden);
  if (!value) return err_new(ERR_USAGE, "the variable is not set");
  size_t len = strlen(value);
  if (len > SECRET_SOURCE_MAX) return err_new(ERR_LIMIT, "longer than 64 KiB");
  /* A copy: the variable stays as it is for the next reader. */
  uint8_t *copy = (uint8_t *)mem_strdup(value);
  Error *err = take_bytes(copy, len, raw, out, out_len);
  secret_wipe(copy, len);
  free(copy);
  return err;
}

/* Reads to the end, at most cap bytes, noticing `cancel`. */
static Error *read_pipe(int fd, uint8_t *out, size_t cap, size_t *out_len, const Cancel *cancel) {
  size_t len = 0;
  for (;;) {
    TRY(cancel_check(cancel));
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, 50) == 0) continue;
    ssize_t n = read(fd, out + len, cap - len);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return err_errno(errno, "reading its output");
    if (n == 0) break;
    len += (size_t)n;
    if (len == cap) return err_new(ERR_LIMIT, "its output is longer than 64 KiB");
  }
  *out_len = len;
  return NULL;
}

/* Not by process_output: its buffers are not wiped. */
static Error *read_command(Sys *sys, const char *command, bool raw, const Cancel *cancel, uint8_t **out,
                           size_t *out_len) {
  const char *const argv[] = {"/bin/sh", "-c", command, NULL};
  ProcessSpec spec = {.argv = argv, .pipe_stdout = true, .stderr_keep_bytes = 4096};
  Process *process;
  TRY(process_start(sys, &spec, &process));
  uint8_t *room = (uint8_t *)secret_alloc(SECRET_SOURCE_MAX + 1);
  size_t len = 0;
  Error *err = read_pipe(process_stdout(process), room, SECRET_SOURCE_MAX + 1, &len, cancel);
  if (!err) err = process_wait(process, cancel);
  if (!err) err = take_bytes(room, len, raw, out, out_len);
  secret_free(room);
  process_free(process);
  return err;
}

Error *secret_source_read(Sys *sys, const SecretSource *source, bool raw, const Cancel *cancel, uint8_t **out,
                          size_t *out_len, bool *out_open) {
  AUTO_FREE char *where = secret_source_describe(source);
  bool open_to_others = false;
  Error *err;
  if (source->file)
    err = secret_read_file(source->file, raw, out, out_len, &open_to_others);
  else if (source->env)
    err = read_env(source->env, raw, out, out_len);
  else if (source->command)
    err = read_command(sys, source->command, raw, cancel, out, out_len);
  else
    err = err_new(ERR_USAGE, "nothing is named");
  if (err) return err_wrap(err, "reading a secret from %s", where);
  if (out_open) *out_open = open_to_others;
  return NULL;
}

char *secret_source_describe(const SecretSource *source) {
  if (source->file) {
    AUTO_FREE char *shown = str_printable(bytes_str(source->file));
    return mem_printf("file %s", shown);
  }
  if (source->env) {
    AUTO_FREE char *shown = str_printable(bytes_str(source->env));
    return mem_printf("variable %s", shown);
  }
  if (source->command) {
    size_t len = strcspn(source->command, " \t\n");
    /* "VAR=secret program": even the first word may be one. */
    bool assigns = memchr(source->command, '=', len) != NULL;
    AUTO_FREE char *shown = str_printable(bytes(source->command, assigns ? 0 : len));
    return mem_printf("command %s%s…", shown, assigns ? "" : " ");
  }
  return mem_strdup("nowhere");
}
