/* sim.h: a seeded scheduler for tests. Threads are real, but only one runs at a time; at every lock, unlock, wait,
 * signal, sleep, thread start and time query the seed decides who goes on. Time moves only when all wait. The same
 * seed gives the same interleaving. A deadlock aborts with every thread's name and what it waits for. */
#ifndef HF_SYS_SIM_H
#define HF_SYS_SIM_H

#include "sys/sys.h"

/* The calling thread becomes the simulation's first. Owned; free when all other threads were joined. */
Sys *sim_new(uint64_t seed, unsigned cpus);
void sim_free(Sys *take);
/* Moves the simulated UTC clock (a machine whose clock is wrong). */
void sim_set_now(Sys *sys, uint64_t utc_ns);
/* How many scheduling decisions were made. */
uint64_t sim_steps(Sys *sys);

#endif
