/* findings.h: what `doctor` found, one sentence each, collected to be shown in the order of the checks. */
#ifndef HF_CLI_FINDINGS_H
#define HF_CLI_FINDINGS_H

#include "cli/output.h"

typedef enum FindingLevel { FINDING_OK, FINDING_NOTE, FINDING_WARNING, FINDING_PROBLEM } FindingLevel;

typedef struct Finding {
  FindingLevel level;
  const char *area; /* lives for ever: "machine", "repository", … */
  char *text;
  char *hint; /* NULL: none */
} Finding;

typedef struct Findings { /* zero-initialise */
  Finding *items;
  size_t len;
  size_t warnings, problems;
} Findings;

void findings_add(Findings *list, FindingLevel level, const char *area, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Of the one added last. */
void findings_hint(Findings *list, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A problem: the error's text and hint. */
void findings_add_error(Findings *list, FindingLevel level, const char *area, const Error *err);
void findings_print(Output *out, const Findings *list);
void findings_free(Findings *list);

#endif
