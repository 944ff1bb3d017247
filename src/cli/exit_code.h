/* exit_code.h: what the shell sees. */
#ifndef HF_CLI_EXIT_CODE_H
#define HF_CLI_EXIT_CODE_H

#include "sys/cancel.h"

enum {
  EXIT_DONE = 0,
  EXIT_ERROR = 1,
  EXIT_USAGE = 2,
  EXIT_PARTIAL = 3,
  EXIT_NO_REPOSITORY = 10,
  EXIT_REFUSED = 11,
  EXIT_WRONG_KEY = 12,
  EXIT_CORRUPT = 13,
  EXIT_NOT_EMPTY = 14,
  EXIT_UNREACHABLE = 15,
  EXIT_OVERDUE = 16, /* no error stands for it: a command sets ctx->exit_code */
  EXIT_CHECK_FAILED = 17,
  EXIT_SIGNAL = 128, /* plus the signal's number */
};

/* NULL: EXIT_DONE. What was cancelled by a signal yields 128 and its number. */
int exit_code_of(const Error *err, const Cancel *cancel);

#endif
