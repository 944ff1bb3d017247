/* shell.h: command lines for people: what may be shown of one that was typed, and words for one to type. */
#ifndef HF_BASE_SHELL_H
#define HF_BASE_SHELL_H

#include "base/base.h"

/* The name of the program that a shell would run first, without its folder: "pg_dump" of "PGPASSWORD=x
 * /usr/bin/pg_dump -U me". Never a variable's value or an argument, since they may be secrets: where it is not plain
 * which word is the program, the answer is "sh". Owned. */
char *shell_program(const char *line);

/* The text as one word of a command line: as it is, or in single quotes. Owned. */
char *shell_quote(const char *text);

#endif
