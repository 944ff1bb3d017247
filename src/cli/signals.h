/* signals.h: SIGINT, SIGTERM and SIGHUP stop the work: the first cleanly and resumably, the second at once. SIGUSR1
 * asks for the state of progress. SIGPIPE and SIGXFSZ are ignored: a closed pipe and a file at its
 * size limit are write errors like any other. */
#ifndef HF_CLI_SIGNALS_H
#define HF_CLI_SIGNALS_H

#include "sys/cancel.h"

/* Before threads are started. */
void signals_install(void);
/* Set by the first signal; lives for ever. */
Cancel *signals_cancel(void);
/* True once after each SIGUSR1. */
bool signals_take_state_request(void);

#endif
