/* cancel.h: how work is told to stop. A Cancel is set once, from any thread or a signal handler, and everything that
 * may take long asks it. Waits (queues, sleeps, retries) take one and notice within 50 ms. */
#ifndef HF_SYS_CANCEL_H
#define HF_SYS_CANCEL_H

#include <stdatomic.h>

#include "sys/sys.h"

typedef struct Cancel {
  atomic_int set; /* 0, or a signal number, or CANCEL_TIMEOUT, or -1 for other reasons */
} Cancel;

enum { CANCEL_TIMEOUT = -2 }; /* as a reason: the time that was allowed has passed */

/* Async-signal-safe. The first reason stays. */
void cancel_set(Cancel *cancel, int reason);
static inline bool cancel_is_set(const Cancel *cancel) {
  return cancel && atomic_load_explicit(&cancel->set, memory_order_relaxed) != 0;
}
int cancel_reason(const Cancel *cancel);
/* ERR_CANCELLED "stopped by SIGINT" once set, NULL before. `cancel` may be NULL: never stops. */
Error *cancel_check(const Cancel *cancel) NODISCARD;
/* ERR_CANCELLED when cancelled meanwhile. */
Error *cancel_sleep_ms(Sys *sys, uint64_t ms, const Cancel *cancel) NODISCARD;

#endif
