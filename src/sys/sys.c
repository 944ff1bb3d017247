#include "sys/sys.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "sys/sys_impl.h"

struct Thread {
  Sys *sys;
  pthread_t id;
  char name[16];
  void (*run)(void *);
  void *arg;
  SimThread *sim;
};

Sys *sys_real(void) {
  static Sys real; /* never written */
  return &real;
}

static uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  CHECK(clock_gettime(clock, &t) == 0);
  return (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec;
}

uint64_t sys_now_ns(Sys *sys) { return sys->sim ? sim_now_ns(sys->sim) : clock_ns(CLOCK_REALTIME); }

uint64_t sys_mono_ns(Sys *sys) { return sys->sim ? sim_mono_ns(sys->sim) : clock_ns(CLOCK_MONOTONIC); }

void sys_random(Sys *sys, void *out, size_t len) {
  if (sys->sim) {
    sim_random(sys->sim, out, len);
    return;
  }
  uint8_t *at = (uint8_t *)out;
  while (len) {
    ssize_t n = getrandom(at, len, 0);
    if (n < 0 && errno == EINTR) continue;
    CHECK(n > 0);
    at += n;
    len -= (size_t)n;
  }
}

unsigned sys_cpus(Sys *sys) {
  if (sys->sim) return sim_cpus(sys->sim);
  /* A set for 1024 processors is too small on the largest machines; grow until the kernel is content. */
  for (int room = 1024; room <= 1 << 20; room *= 2) {
    cpu_set_t *set = CPU_ALLOC((size_t)room);
    CHECK(set);
    size_t size = CPU_ALLOC_SIZE((size_t)room);
    int failed = sched_getaffinity(0, size, set);
    int count = failed ? 0 : CPU_COUNT_S(size, set);
    CPU_FREE(set);
    if (count > 0) return (unsigned)count;
  }
  return 1;
}

static void *thread_main(void *arg) {
  Thread *thread = (Thread *)arg;
  pthread_setname_np(pthread_self(), thread->name);
  if (thread->sim) sim_thread_begin(thread->sys->sim, thread->sim);
  thread->run(thread->arg);
  if (thread->sim) sim_thread_end(thread->sys->sim, thread->sim);
  return NULL;
}

Error *thread_start(Sys *sys, const char *name, void (*run)(void *), void *arg, Thread **out) {
  Thread *thread = NEW(Thread);
  thread->sys = sys;
  thread->run = run;
  thread->arg = arg;
  snprintf(thread->name, sizeof thread->name, "%s", name);
  if (sys->sim) thread->sim = sim_thread_add(sys->sim, thread->name);
  /* Signals are the main thread's: a new thread inherits the mask of the one that starts it. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(&thread->id, NULL, thread_main, thread);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (failed) {
    if (thread->sim) sim_thread_drop(sys->sim, thread->sim);
    free(thread);
    return err_hint(err_errno(failed, "starting thread %s", name), "the limit of processes (ulimit -u) may be reached");
  }
  if (thread->sim) sim_thread_started(sys->sim, thread->sim, thread->id);
  *out = thread;
  return NULL;
}

void thread_join(Thread *take) {
  if (!take) return;
  if (take->sim) sim_thread_join(take->sys->sim, take->sim);
  CHECK(pthread_join(take->id, NULL) == 0);
  free(take);
}

uint64_t thread_id(void) {
  _Static_assert(sizeof(pthread_t) <= sizeof(uint64_t), "an id holds it");
  return (uint64_t)pthread_self();
}

void mutex_init(Mutex *mutex, Sys *sys) {
  *mutex = (Mutex){.sys = sys};
  CHECK(pthread_mutex_init(&mutex->real, NULL) == 0);
  if (sys->sim) mutex->sim = sim_lock_new();
}

void mutex_free(Mutex *mutex) {
  if (mutex->sim) sim_lock_free(mutex->sys->sim, mutex->sim);
  CHECK(pthread_mutex_destroy(&mutex->real) == 0);
}

void mutex_lock(Mutex *mutex) {
  if (mutex->sim)
    sim_lock(mutex->sys->sim, mutex->sim);
  else
    CHECK(pthread_mutex_lock(&mutex->real) == 0);
}

void mutex_unlock(Mutex *mutex) {
  if (mutex->sim)
    sim_unlock(mutex->sys->sim, mutex->sim);
  else
    CHECK(pthread_mutex_unlock(&mutex->real) == 0);
}

void cond_init(Cond *cond, Sys *sys) {
  *cond = (Cond){.sys = sys};
  pthread_condattr_t attr;
  CHECK(pthread_condattr_init(&attr) == 0);
  CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
  CHECK(pthread_cond_init(&cond->real, &attr) == 0);
  pthread_condattr_destroy(&attr);
  if (sys->sim) cond->sim = sim_cond_new();
}

void cond_free(Cond *cond) {
  if (cond->sim) sim_cond_free(cond->sys->sim, cond->sim);
  CHECK(pthread_cond_destroy(&cond->real) == 0);
}

void cond_wait(Cond *cond, Mutex *mutex) {
  if (cond->sim)
    sim_cond_wait(cond->sys->sim, cond->sim, mutex->sim, UINT64_MAX);
  else
    CHECK(pthread_cond_wait(&cond->real, &mutex->real) == 0);
}

bool cond_wait_until(Cond *cond, Mutex *mutex, uint64_t deadline_ns) {
  if (cond->sim) return sim_cond_wait(cond->sys->sim, cond->sim, mutex->sim, deadline_ns);
  struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / NS_PER_SECOND),
                              .tv_nsec = (long)(deadline_ns % NS_PER_SECOND)};
  int failed = pthread_cond_timedwait(&cond->real, &mutex->real, &deadline);
  CHECK(failed == 0 || failed == ETIMEDOUT);
  return failed == 0;
}

void cond_signal(Cond *cond) {
  if (cond->sim)
    sim_cond_wake(cond->sys->sim, cond->sim, false);
  else
    CHECK(pthread_cond_signal(&cond->real) == 0);
}

void cond_broadcast(Cond *cond) {
  if (cond->sim)
    sim_cond_wake(cond->sys->sim, cond->sim, true);
  else
    CHECK(pthread_cond_broadcast(&cond->real) == 0);
}
