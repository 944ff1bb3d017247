#include "cli/deadline.h"

#include "base/mem.h"

struct Deadline {
  Sys *sys;
  Cancel *cancel;
  uint64_t at_ns;
  Thread *thread;
  Mutex lock; /* stopped */
  Cond changed;
  bool stopped;
};

static void run(void *arg) {
  Deadline *d = (Deadline *)arg;
  LOCKED(&d->lock);
  while (!d->stopped) {
    if (cond_wait_until(&d->changed, &d->lock, d->at_ns)) continue;
    if (!d->stopped) cancel_set(d->cancel, CANCEL_TIMEOUT);
    return;
  }
}

static void free_deadline(Deadline *d) {
  cond_free(&d->changed);
  mutex_free(&d->lock);
  free(d);
}

Error *deadline_start(Sys *sys, Cancel *cancel, uint64_t after_ns, Deadline **out) {
  Deadline *d = NEW(Deadline);
  *d = (Deadline){.sys = sys, .cancel = cancel};
  if (ADD_OVERFLOWS(sys_mono_ns(sys), after_ns, &d->at_ns)) d->at_ns = UINT64_MAX;
  mutex_init(&d->lock, sys);
  cond_init(&d->changed, sys);
  Error *err = thread_start(sys, "deadline", run, d, &d->thread);
  if (err)
    free_deadline(d);
  else
    *out = d;
  return err;
}

void deadline_stop(Deadline *take) {
  if (!take) return;
  mutex_lock(&take->lock);
  take->stopped = true;
  cond_signal(&take->changed);
  mutex_unlock(&take->lock);
  thread_join(take->thread);
  free_deadline(take);
}
