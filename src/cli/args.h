/* args.h: the parsed command line, driven by the table of command.h.
 *
 * GNU style: --name=value, --name value, -q, -qv, -r value, `--` ends options, options and operands in any order. What
 * is not given comes from the option's environment variable. Values are checked and converted here, so a command reads
 * typed values and never parses text of its own.
 */
#ifndef HF_CLI_ARGS_H
#define HF_CLI_ARGS_H

#include "base/str.h"
#include "cli/command.h"

typedef const char *EnvLookup(void *ctx, const char *name); /* NULL: not set */

/* ERR_USAGE with a suggestion when something is unknown, missing, malformed or out of place. argv[0] is skipped. With
 * --help or --version given, operands and required options are not asked for. env may be NULL: no environment.
 * args_command() is NULL when no command was named. */
Error *args_parse(int argc, const char *const *argv, EnvLookup *env, void *env_ctx, Args **out) NODISCARD;
void args_free(Args *take);

/* Whether argv asks for JSON, as well as can be told when it does not parse. */
bool args_wants_json(int argc, const char *const *argv);

const CommandSpec *args_command(const Args *args);
bool args_given(const Args *args, OptionId id);          /* on the command line or by the environment */
unsigned args_times(const Args *args, OptionId id);      /* how often a flag was given */
const char *args_text(const Args *args, OptionId id);    /* the last value; NULL: none */
const StrList *args_list(const Args *args, OptionId id); /* all values, in order; never NULL */
/* Sizes and rates in bytes (a second), durations in nanoseconds, counts; of a choice the index. */
uint64_t args_number(const Args *args, OptionId id, uint64_t otherwise);
size_t args_operand_count(const Args *args);
const char *args_operand(const Args *args, size_t index); /* NULL beyond the last */

#endif
