/* sys_impl.h: between sys.c and sim.c only. sys.c asks each Sys once whether it is simulated and then calls the
 * functions below, which sim.c defines. All are called by the simulation's running thread. */
#ifndef HF_SYS_SYS_IMPL_H
#define HF_SYS_SYS_IMPL_H

#include "sys/sys.h"

struct Sys {
  Sim *sim; /* NULL: the real machine */
};

typedef struct SimLock SimLock;
typedef struct SimCond SimCond;
typedef struct SimThread SimThread;

uint64_t sim_now_ns(Sim *sim);
uint64_t sim_mono_ns(Sim *sim);
void sim_random(Sim *sim, void *out, size_t len);
unsigned sim_cpus(const Sim *sim);

SimLock *sim_lock_new(void);
void sim_lock_free(Sim *sim, SimLock *take);
void sim_lock(Sim *sim, SimLock *lock);
void sim_unlock(Sim *sim, SimLock *lock);

SimCond *sim_cond_new(void);
void sim_cond_free(Sim *sim, SimCond *take);
/* deadline UINT64_MAX: none. False when the deadline passed. */
bool sim_cond_wait(Sim *sim, SimCond *cond, SimLock *lock, uint64_t deadline_ns);
void sim_cond_wake(Sim *sim, SimCond *cond, bool all);

/* The new thread is known before it runs: sim_thread_add, then pthread_create whose function calls sim_thread_begin
 * first and sim_thread_end last, then sim_thread_started by the creator. */
SimThread *sim_thread_add(Sim *sim, const char *name);
void sim_thread_begin(Sim *sim, SimThread *self);
void sim_thread_end(Sim *sim, SimThread *self);
void sim_thread_started(Sim *sim, SimThread *thread, pthread_t id);
/* Undoes sim_thread_add when the system could not start the thread. */
void sim_thread_drop(Sim *sim, SimThread *take);
/* Returns when the thread has ended; frees it. pthread_join comes after. */
void sim_thread_join(Sim *sim, SimThread *take);

#endif
