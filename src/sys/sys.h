/* sys.h: time, randomness, threads and waiting, as an interface.
 *
 * Everything above sys/ that starts a thread, takes a lock, waits, asks the time or draws random bytes does it through
 * a `Sys`, so that a test can run the whole repository engine under a seeded scheduler (sim.h) that decides every
 * interleaving and owns the clock. `sys_real()` is the machine itself; locks cost one predictable branch there.
 */
#ifndef HF_SYS_SYS_H
#define HF_SYS_SYS_H

#include <pthread.h>

#include "base/error.h"

typedef struct Sys Sys;
typedef struct Sim Sim;
typedef struct Thread Thread;

/* The real machine. Immutable, lives for ever. */
Sys *sys_real(void);

uint64_t sys_now_ns(Sys *sys);                    /* UTC */
uint64_t sys_mono_ns(Sys *sys);                   /* monotonic; for durations and deadlines */
void sys_random(Sys *sys, void *out, size_t len); /* unpredictable: getrandom (real), seeded (sim) */
unsigned sys_cpus(Sys *sys);                      /* processors this process may use, >= 1 */

/* Owned by the caller, who must join it. `name` (<= 15 characters) is copied. Blocks all signals in the new thread. */
Error *thread_start(Sys *sys, const char *name, void (*run)(void *), void *arg, Thread **out) NODISCARD;
void thread_join(Thread *take);
/* The calling thread's, unique among those that live. */
uint64_t thread_id(void);

typedef struct Mutex {
  Sys *sys;
  pthread_mutex_t real;
  struct SimLock *sim;
} Mutex;

typedef struct Cond {
  Sys *sys;
  pthread_cond_t real; /* CLOCK_MONOTONIC */
  struct SimCond *sim;
} Cond;

void mutex_init(Mutex *mutex, Sys *sys);
void mutex_free(Mutex *mutex);
void mutex_lock(Mutex *mutex);
void mutex_unlock(Mutex *mutex);

void cond_init(Cond *cond, Sys *sys);
void cond_free(Cond *cond);
void cond_wait(Cond *cond, Mutex *mutex);
/* False when the deadline (sys_mono_ns) passed. */
bool cond_wait_until(Cond *cond, Mutex *mutex, uint64_t deadline_ns);
void cond_signal(Cond *cond);
void cond_broadcast(Cond *cond);

static inline void mutex_cleanup(Mutex **held) {
  if (*held) mutex_unlock(*held);
}
/* Holds the mutex to the end of the scope. */
#define LOCKED_NAME2(line) locked_##line
#define LOCKED_NAME(line) LOCKED_NAME2(line)
#define LOCKED(mutex) \
  Mutex *LOCKED_NAME(__LINE__) __attribute__((cleanup(mutex_cleanup), unused)) = (mutex_lock(mutex), (mutex))

#endif
