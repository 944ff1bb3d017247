/* hooks.h: commands of the configuration that run before and after the work on a source. */
#ifndef HF_CLI_HOOKS_H
#define HF_CLI_HOOKS_H

#include "cli/workspace.h"

/* Runs hook->command by /bin/sh, at most for its timeout; NULL: nothing to do. `name` is for messages:
 * "before_backup". ERR_TIMEOUT; ERR_IO with the last line of what it said on standard error. */
Error *hook_run(Workspace *w, const char *name, const ConfigHook *hook) NODISCARD;

#endif
