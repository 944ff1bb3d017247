/* reference.h: what is written about the commands, all made from the table of command.h: help, manual pages in roff,
 * completion scripts. */
#ifndef HF_CLI_REFERENCE_H
#define HF_CLI_REFERENCE_H

#include "base/buf.h"
#include "cli/command.h"

/* NULL: the program. A group: its members. */
void reference_help(const CommandSpec *command, Buf *out);
/* holdfast(1), holdfast-backup(1), … in man(7) macros. `version` stands in the footer. */
void reference_man(const CommandSpec *command, const char *version, Buf *out);
void reference_completion_bash(Buf *out);
void reference_completion_zsh(Buf *out);
void reference_completion_fish(Buf *out);

/* Shared by the three. */
void reference_usage(const CommandSpec *command, Buf *out); /* "backup [OPTION]… SRC…" */
void reference_option(const OptionSpec *option, Buf *out);  /* "-r, --repo REPO", "--verify[=LEVEL]" */
bool reference_is_member(const CommandSpec *command, const CommandSpec *group); /* NULL: the top level */

#endif
