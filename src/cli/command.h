/* command.h: the table of commands and options, from which parser, help, completion and manual pages are made.
 *
 * A new command is an entry in command_table.c (its words, operands, options, texts) and a function `cmd_*` declared in
 * commands.h. A new option is an `OptionId` here and an entry in option_table.c. Nothing else has to be told.
 */
#ifndef HF_CLI_COMMAND_H
#define HF_CLI_COMMAND_H

#include "base/error.h"

typedef struct Args Args;
typedef struct CliContext CliContext;

typedef enum OptionId {
  OPT_END = 0, /* ends lists of ids */
  /* everywhere */
  OPT_REPO,
  OPT_KEY_FILE,
  OPT_PASSPHRASE_FILE,
  OPT_CONFIG,
  OPT_STATE_DIR,
  OPT_JSON,
  OPT_QUIET,
  OPT_VERBOSE,
  OPT_LOG_FORMAT,
  OPT_CPUS,
  OPT_MEMORY,
  OPT_LIMIT_READ,
  OPT_LIMIT_UPLOAD,
  OPT_NO_PROGRESS,
  OPT_HELP,
  OPT_VERSION,
  OPT_GLOBAL_LAST = OPT_VERSION,
  /* of some commands */
  OPT_FULL,
  OPT_INCREMENTAL,
  OPT_DIFFERENTIAL,
  OPT_VERIFY_AFTER,
  OPT_LABEL,
  OPT_DESCRIPTION,
  OPT_NAME,
  OPT_COMPRESSION,
  OPT_EXCLUDE,
  OPT_INCLUDE,
  OPT_ONE_FILE_SYSTEM,
  OPT_PRESET,
  OPT_RECOVER_COPY,
  OPT_FORCE,
  OPT_RESTORE_COMMAND,
  OPT_TO,
  OPT_TO_FILE,
  OPT_PLAN,
  OPT_IN_PLACE,
  OPT_FORCE_RESTORE,
  OPT_CONFIRM,
  OPT_ONLY,
  OPT_DELTA,
  OPT_NO_OWNERS,
  OPT_AGAINST_SOURCE,
  OPT_SOURCE_NAME,
  OPT_RECURSIVE,
  OPT_LONG,
  OPT_LEVEL,
  OPT_COVERAGE,
  OPT_FORMAT,
  OPT_CHECK,
  OPT_CREATE_KEY_FILE,
  OPT_NEW_KEY_FILE,
  OPT_NEW_PASSPHRASE_FILE,
  OPT_NEW_RECOVERY_CODE,
  OPT_RECOVERY_CODE_FILE,
  OPT_SLOT_NAME,
  OPT_COUNT,
} OptionId;

typedef enum ValueKind {
  VALUE_FLAG,     /* no value; may be given several times where that means something (-vv) */
  VALUE_TEXT,     /* anything */
  VALUE_FILE,     /* a path; completed as one */
  VALUE_DIR,      /* a folder's path */
  VALUE_SIZE,     /* 64MiB */
  VALUE_RATE,     /* 50MiB or 50MiB/s */
  VALUE_DURATION, /* 30d */
  VALUE_COUNT,    /* a whole number, min to max */
  VALUE_CHOICE,   /* one of `choices` */
} ValueKind;

typedef struct OptionSpec {
  const char *name; /* without "--" */
  char letter;      /* the short form, or 0 */
  ValueKind kind;
  bool repeatable;           /* collects a list; else the last one counts */
  bool optional;             /* --name alone is allowed; a value must be attached with '=' */
  char group;                /* not 0: options of the same group exclude each other */
  uint64_t min, max;         /* VALUE_COUNT */
  const char *const *choice; /* VALUE_CHOICE: NULL-terminated */
  const char *metavar;
  const char *env;   /* the variable read when the option is not given */
  const char *alias; /* another program's word for the same, accepted but not shown */
  const char *help;  /* one sentence, lower case, no full stop */
} OptionSpec;

typedef struct OperandSpec {
  const char *metavar; /* NULL ends the list */
  unsigned min, max;   /* OPERAND_MANY: no limit; only the last one may vary in number */
  const char *help;
  const char *const *choice; /* NULL: anything */
} OperandSpec;

enum { OPERAND_MANY = 1U << 30, OPERANDS_MAX = 4, COMMAND_OPTIONS_MAX = 24, COMMAND_EXITS_MAX = 12 };

typedef Error *CommandRun(CliContext *ctx, const Args *args);

typedef struct CommandSpec {
  const char *name;     /* "backup", "key add"; a group ("key") has no operands and no function of its own */
  const char *summary;  /* one line, imperative, no full stop */
  const char *details;  /* paragraphs separated by an empty line */
  const char *examples; /* lines "# what\ncommand"; empty lines between them; NULL: none */
  CommandRun *run;      /* NULL: a group, or not in this build */
  bool group;
  OperandSpec operands[OPERANDS_MAX];
  OptionId options[COMMAND_OPTIONS_MAX];  /* besides the global ones; OPT_END ends */
  OptionId required[4];                   /* of these, what must be given */
  unsigned char exits[COMMAND_EXITS_MAX]; /* exit codes worth a line in the manual besides 0, 1, 2; 0 ends */
} CommandSpec;

const OptionSpec *option_spec(OptionId id); /* id: above OPT_END, below OPT_COUNT */
size_t command_count(void);
const CommandSpec *command_at(size_t index);            /* in the order of the help; groups before their members */
const CommandSpec *command_find(const char *name);      /* "key add"; NULL: none */
const CommandSpec *command_group(const CommandSpec *c); /* of "key add": "key"; NULL for the others */
bool command_has_option(const CommandSpec *command, OptionId id); /* global ones: true */
const char *command_last_word(const CommandSpec *command);

/* The option `name` (or one of its aliases, `len` bytes) of this command; OPT_END when it has none. With a NULL
 * command: any command's. */
OptionId option_find(const CommandSpec *command, const char *name, size_t len);
OptionId option_find_letter(const CommandSpec *command, char letter);

/* "no repository at that address", …; NULL for a code that is not documented. */
const char *exit_code_text(int code);

#endif
