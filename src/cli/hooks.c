#include "cli/hooks.h"

#include <signal.h>

#include "base/timefmt.h"
#include "sys/process.h"

static const uint64_t TICK_NS = NS_PER_SECOND / 20;

/* Stops the hook's process when its time is up or the operator stops everything. */
typedef struct Guard {
  Sys *sys;
  const Cancel *outer;
  Cancel stop; /* what the process waits with */
  uint64_t deadline_ns;
  Mutex lock; /* done */
  Cond changed;
  bool done, late;
} Guard;

static void run_guard(void *arg) {
  Guard *g = (Guard *)arg;
  LOCKED(&g->lock);
  while (!g->done) {
    uint64_t now = sys_mono_ns(g->sys);
    if (cancel_is_set(g->outer)) cancel_set(&g->stop, cancel_reason(g->outer));
    if (now >= g->deadline_ns && !g->late) {
      g->late = true;
      cancel_set(&g->stop, SIGALRM);
    }
    cond_wait_until(&g->changed, &g->lock, now + TICK_NS);
  }
}

static Error *run_guarded(Guard *g, const char *command) {
  const char *const argv[] = {"/bin/sh", "-c", command, NULL};
  ProcessSpec spec = {.argv = argv, .stderr_keep_bytes = 4096};
  Process *process;
  TRY(process_start(g->sys, &spec, &process));
  Error *err = process_wait(process, &g->stop);
  process_free(process);
  return err;
}

static Error *run(Guard *g, const ConfigHook *hook) {
  Thread *thread;
  TRY(thread_start(g->sys, "hook", run_guard, g, &thread));
  Error *err = run_guarded(g, hook->command);
  mutex_lock(&g->lock);
  g->done = true;
  cond_signal(&g->changed);
  mutex_unlock(&g->lock);
  thread_join(thread);
  if (!g->late || !err_is(err, ERR_CANCELLED)) return err;
  err_free(err);
  return err_new(ERR_TIMEOUT, "not done after %s", hook->timeout);
}

Error *hook_run(Workspace *w, const char *name, const ConfigHook *hook) {
  if (!hook || !hook->command) return NULL;
  Sys *sys = w->ctx->sys;
  Guard g = {.sys = sys, .outer = w->ctx->cancel, .deadline_ns = UINT64_MAX};
  if (hook->timeout_ns) g.deadline_ns = sys_mono_ns(sys) + hook->timeout_ns;
  mutex_init(&g.lock, sys);
  cond_init(&g.changed, sys);
  output_note(w->ctx->output, VERBOSITY_VERBOSE, "running the hook %s", name);
  Error *err = run(&g, hook);
  cond_free(&g.changed);
  mutex_free(&g.lock);
  return err_wrap(err, "hook %s", name);
}
