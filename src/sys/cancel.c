#include "sys/cancel.h"

#include <signal.h>

#include "base/mem.h"
#include "base/timefmt.h"

void cancel_set(Cancel *cancel, int reason) {
  int none = 0;
  atomic_compare_exchange_strong(&cancel->set, &none, reason ? reason : -1);
}

int cancel_reason(const Cancel *cancel) { return cancel ? atomic_load(&cancel->set) : 0; }

Error *cancel_check(const Cancel *cancel) {
  int reason = cancel_reason(cancel);
  if (reason == 0) return NULL;
  const char *name = reason > 0 ? sigabbrev_np(reason) : NULL;
  if (name) return err_new(ERR_CANCELLED, "stopped by SIG%s", name);
  if (reason > 0) return err_new(ERR_CANCELLED, "stopped by signal %d", reason);
  if (reason == CANCEL_TIMEOUT) return err_new(ERR_CANCELLED, "stopped: the time allowed has passed");
  return err_new(ERR_CANCELLED, "stopped");
}

Error *cancel_sleep_ms(Sys *sys, uint64_t ms, const Cancel *cancel) {
  enum { NOTICE_MS = 40 };
  Mutex mutex;
  Cond never;
  mutex_init(&mutex, sys);
  cond_init(&never, sys);
  uint64_t now = sys_mono_ns(sys), span, end;
  if (MUL_OVERFLOWS(ms, NS_PER_SECOND / 1000, &span) || ADD_OVERFLOWS(now, span, &end)) end = UINT64_MAX;
  mutex_lock(&mutex);
  /* A handler cannot signal a condition, so a sleep is a row of naps. */
  while (!cancel_is_set(cancel) && now < end) {
    uint64_t nap = NOTICE_MS * (NS_PER_SECOND / 1000);
    cond_wait_until(&never, &mutex, end - now < nap ? end : now + nap);
    now = sys_mono_ns(sys);
  }
  mutex_unlock(&mutex);
  cond_free(&never);
  mutex_free(&mutex);
  return cancel_check(cancel);
}
