/* deadline.h: stops the work when its time is up (limits.timeout), as an operator would. */
#ifndef HF_CLI_DEADLINE_H
#define HF_CLI_DEADLINE_H

#include "sys/cancel.h"

typedef struct Deadline Deadline;

/* Sets `cancel` to CANCEL_TIMEOUT after that time, unless stopped before. */
Error *deadline_start(Sys *sys, Cancel *cancel, uint64_t after_ns, Deadline **out) NODISCARD;
void deadline_stop(Deadline *take); /* NULL is fine */

#endif
