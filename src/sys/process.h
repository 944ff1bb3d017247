/* process.h: children, started without a shell by posix_spawn, their output read through pipes, ended when cancelled.
 */
#ifndef HF_SYS_PROCESS_H
#define HF_SYS_PROCESS_H

#include "base/buf.h"
#include "sys/cancel.h"

typedef struct Process Process;

typedef struct ProcessSpec {
  const char *const *argv;  /* NULL-terminated; argv[0] looked up in PATH */
  const char *const *env;   /* NULL: ours without HOLDFAST_PASSPHRASE and other HOLDFAST_* secrets */
  bool pipe_stdin;          /* else /dev/null */
  bool pipe_stdout;         /* else inherited stderr */
  size_t stderr_keep_bytes; /* how much of the end of stderr to keep for messages (0: inherited) */
} ProcessSpec;

Error *process_start(Sys *sys, const ProcessSpec *spec, Process **out) NODISCARD;
int process_stdin(Process *process); /* -1 when not piped */
int process_stdout(Process *process);
void process_close_stdin(Process *process);
/* Waits for the end. NULL only for exit status 0; else ERR_IO "NAME: exit status 3: <last line of stderr>". When
 * cancelled: SIGTERM, SIGKILL after 5 s, ERR_CANCELLED. */
Error *process_wait(Process *process, const Cancel *cancel) NODISCARD;
/* It has ended, and nothing that it started runs any more, but for what left its process group, as daemons do. Does not
 * wait. */
bool process_is_over(Process *process);
const char *process_stderr(Process *process); /* what was kept, after process_wait */
void process_free(Process *take);             /* kills what still runs */

/* Runs to the end, standard output into *out (at most max bytes). */
Error *process_output(Sys *sys, const char *const *argv, size_t max_bytes, Buf *out, const Cancel *cancel) NODISCARD;

#endif
