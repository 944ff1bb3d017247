/* A baton goes round: the running thread is the only one that may touch anything of the simulation, all others wait on
 * a condition of their own. So nothing here but handing over the baton needs a real lock. The baton also orders every
 * access in the code under test, so a forgotten lock shows here as a wrong result, never as a report of
 * ThreadSanitizer: that needs a run on sys_real(). */
#include "sys/sim.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "sys/sys_impl.h"

#define NO_DEADLINE UINT64_MAX

typedef enum ThreadState {
  THREAD_READY,
  THREAD_WAITS_LOCK,
  THREAD_WAITS_COND,
  THREAD_WAITS_END, /* joins another */
  THREAD_ENDED,
} ThreadState;

struct SimLock {
  const SimThread *owner;
};

struct SimCond {
  size_t waiters;
};

struct SimThread {
  char name[16];
  pthread_t id;
  pthread_cond_t turn; /* with Sim.baton */
  ThreadState state;
  const void *waits_for; /* the SimLock, SimCond or SimThread */
  uint64_t deadline_ns;  /* THREAD_WAITS_COND */
  bool timed_out;
};

struct Sim {
  Sys sys;
  pthread_mutex_t baton; /* guards `running` */
  SimThread *running;
  SimThread **threads; /* in the order they were started */
  size_t threads_len;
  uint64_t seed;
  uint64_t schedule_state;
  uint64_t random_state;
  unsigned stay_percent; /* how often a thread that could go on does without asking the dice */
  uint64_t mono_ns;
  uint64_t now_offset_ns; /* UTC minus monotonic, modulo 2^64 */
  uint64_t steps;
  unsigned cpus;
};

/* SplitMix64. */
static uint64_t next_random(uint64_t *state) {
  uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

static size_t dice(Sim *sim, size_t sides) { return (size_t)(next_random(&sim->schedule_state) % sides); }

static void describe(const SimThread *thread) {
  switch (thread->state) {
    case THREAD_READY: fprintf(stderr, "  %s: ready\n", thread->name); break;
    case THREAD_WAITS_LOCK: {
      const SimThread *owner = ((const SimLock *)thread->waits_for)->owner;
      fprintf(stderr, "  %s: waits for mutex %p held by %s\n", thread->name, thread->waits_for,
              owner ? owner->name : "nobody");
      break;
    }
    case THREAD_WAITS_COND: fprintf(stderr, "  %s: waits for condition %p\n", thread->name, thread->waits_for); break;
    case THREAD_WAITS_END:
      fprintf(stderr, "  %s: joins %s\n", thread->name, ((const SimThread *)thread->waits_for)->name);
      break;
    case THREAD_ENDED: fprintf(stderr, "  %s: ended\n", thread->name); break;
  }
}

static _Noreturn void die_of_deadlock(const Sim *sim) {
  fprintf(stderr, "sim: deadlock with seed %" PRIu64 " after %" PRIu64 " steps:\n", sim->seed, sim->steps);
  for (size_t i = 0; i < sim->threads_len; i++) describe(sim->threads[i]);
  abort();
}

/* Nobody can go on: time moves to the earliest deadline. False when no thread has one. */
static bool advance_time(Sim *sim) {
  uint64_t earliest = NO_DEADLINE;
  for (size_t i = 0; i < sim->threads_len; i++) {
    const SimThread *t = sim->threads[i];
    if (t->state == THREAD_WAITS_COND && t->deadline_ns < earliest) earliest = t->deadline_ns;
  }
  if (earliest == NO_DEADLINE) return false;
  if (earliest > sim->mono_ns) sim->mono_ns = earliest;
  for (size_t i = 0; i < sim->threads_len; i++) {
    SimThread *t = sim->threads[i];
    if (t->state != THREAD_WAITS_COND || t->deadline_ns > sim->mono_ns) continue;
    t->state = THREAD_READY;
    t->timed_out = true;
  }
  return true;
}

static size_t count_ready(const Sim *sim) {
  size_t ready = 0;
  for (size_t i = 0; i < sim->threads_len; i++) ready += sim->threads[i]->state == THREAD_READY;
  return ready;
}

static SimThread *choose(Sim *sim) {
  sim->steps++;
  if (sim->running->state == THREAD_READY && dice(sim, 100) < sim->stay_percent) return sim->running;
  size_t ready = count_ready(sim);
  while (ready == 0) {
    if (!advance_time(sim)) die_of_deadlock(sim);
    ready = count_ready(sim);
  }
  size_t pick = dice(sim, ready);
  for (size_t i = 0;; i++) {
    if (sim->threads[i]->state == THREAD_READY && pick-- == 0) return sim->threads[i];
  }
}

static void hand_over(Sim *sim, SimThread *next) {
  pthread_mutex_lock(&sim->baton);
  sim->running = next;
  pthread_cond_signal(&next->turn);
  pthread_mutex_unlock(&sim->baton);
}

static void await_turn(Sim *sim, SimThread *self) {
  pthread_mutex_lock(&sim->baton);
  while (sim->running != self) pthread_cond_wait(&self->turn, &sim->baton);
  pthread_mutex_unlock(&sim->baton);
}

/* The running thread, which must be the caller. */
static SimThread *self_of(Sim *sim) {
  pthread_mutex_lock(&sim->baton);
  SimThread *self = sim->running;
  pthread_mutex_unlock(&sim->baton);
  CHECK(pthread_equal(self->id, pthread_self()));
  return self;
}

/* A scheduling point: returns when the caller is chosen (again). Its state says whether it may be. */
static void reschedule(Sim *sim, SimThread *self) {
  SimThread *next = choose(sim);
  if (next == self) return;
  hand_over(sim, next);
  await_turn(sim, self);
}

static void block(Sim *sim, SimThread *self, ThreadState state, const void *on, uint64_t deadline_ns) {
  self->state = state;
  self->waits_for = on;
  self->deadline_ns = deadline_ns;
  self->timed_out = false;
  reschedule(sim, self);
}

/* Makes ready whoever is blocked in this way on this. */
static void wake_all(Sim *sim, ThreadState state, const void *on) {
  for (size_t i = 0; i < sim->threads_len; i++) {
    SimThread *t = sim->threads[i];
    if (t->state == state && t->waits_for == on) t->state = THREAD_READY;
  }
}

static SimThread *add_thread(Sim *sim, const char *name) {
  SimThread *thread = NEW(SimThread);
  snprintf(thread->name, sizeof thread->name, "%s", name);
  CHECK(pthread_cond_init(&thread->turn, NULL) == 0);
  sim->threads = (SimThread **)mem_resize(sim->threads, sim->threads_len + 1, sizeof(SimThread *));
  sim->threads[sim->threads_len++] = thread;
  return thread;
}

static void remove_thread(Sim *sim, SimThread *take) {
  size_t i = 0;
  while (sim->threads[i] != take) i++;
  sim->threads_len--;
  memmove(&sim->threads[i], &sim->threads[i + 1], (sim->threads_len - i) * sizeof(SimThread *));
  pthread_cond_destroy(&take->turn);
  free(take);
}

Sys *sim_new(uint64_t seed, unsigned cpus) {
  /* Some bugs need threads to alternate at every step, others one thread to run far ahead. */
  static const unsigned stays[] = {0, 0, 50, 90};
  Sim *sim = NEW(Sim);
  sim->sys.sim = sim;
  CHECK(pthread_mutex_init(&sim->baton, NULL) == 0);
  sim->seed = seed;
  sim->schedule_state = seed;
  sim->random_state = ~seed;
  sim->stay_percent = stays[dice(sim, NELEMS(stays))];
  sim->cpus = cpus ? cpus : 1;
  sim->mono_ns = NS_PER_SECOND;
  sim->running = add_thread(sim, "main");
  sim->running->id = pthread_self();
  sim_set_now(&sim->sys, UINT64_C(1767225600) * NS_PER_SECOND); /* 2026-01-01 */
  return &sim->sys;
}

void sim_free(Sys *take) {
  if (!take) return;
  Sim *sim = take->sim;
  CHECK(sim->threads_len == 1);
  remove_thread(sim, sim->threads[0]);
  free(sim->threads);
  pthread_mutex_destroy(&sim->baton);
  free(sim);
}

void sim_set_now(Sys *sys, uint64_t utc_ns) { sys->sim->now_offset_ns = utc_ns - sys->sim->mono_ns; }

uint64_t sim_steps(Sys *sys) { return sys->sim->steps; }

uint64_t sim_mono_ns(Sim *sim) {
  reschedule(sim, self_of(sim));
  return sim->mono_ns;
}

uint64_t sim_now_ns(Sim *sim) { return sim_mono_ns(sim) + sim->now_offset_ns; }

void sim_random(Sim *sim, void *out, size_t len) {
  self_of(sim);
  uint8_t *at = (uint8_t *)out;
  for (size_t done = 0; done < len; done += 8) {
    uint64_t word = next_random(&sim->random_state);
    memcpy(at + done, &word, len - done < 8 ? len - done : 8);
  }
}

unsigned sim_cpus(const Sim *sim) { return sim->cpus; }

SimLock *sim_lock_new(void) { return NEW(SimLock); }

void sim_lock_free(Sim *sim, SimLock *take) {
  self_of(sim);
  CHECK(!take->owner);
  free(take);
}

static void acquire(Sim *sim, SimLock *lock, SimThread *self) {
  CHECK(lock->owner != self);
  while (lock->owner) block(sim, self, THREAD_WAITS_LOCK, lock, NO_DEADLINE);
  lock->owner = self;
}

static void release(Sim *sim, SimLock *lock, const SimThread *self) {
  CHECK(lock->owner == self);
  lock->owner = NULL;
  wake_all(sim, THREAD_WAITS_LOCK, lock);
}

void sim_lock(Sim *sim, SimLock *lock) {
  SimThread *self = self_of(sim);
  reschedule(sim, self);
  acquire(sim, lock, self);
}

void sim_unlock(Sim *sim, SimLock *lock) {
  SimThread *self = self_of(sim);
  release(sim, lock, self);
  reschedule(sim, self);
}

SimCond *sim_cond_new(void) { return NEW(SimCond); }

void sim_cond_free(Sim *sim, SimCond *take) {
  self_of(sim);
  CHECK(take->waiters == 0);
  free(take);
}

bool sim_cond_wait(Sim *sim, SimCond *cond, SimLock *lock, uint64_t deadline_ns) {
  enum { SPURIOUS_ONE_IN = 32 };
  SimThread *self = self_of(sim);
  release(sim, lock, self);
  bool in_time = true;
  if (deadline_ns <= sim->mono_ns) {
    in_time = false;
    reschedule(sim, self);
  } else if (dice(sim, SPURIOUS_ONE_IN) == 0) {
    reschedule(sim, self); /* POSIX lets a wait return for no reason: code must ask again what it waited for */
  } else {
    cond->waiters++;
    block(sim, self, THREAD_WAITS_COND, cond, deadline_ns);
    cond->waiters--;
    in_time = !self->timed_out;
  }
  acquire(sim, lock, self);
  return in_time;
}

void sim_cond_wake(Sim *sim, SimCond *cond, bool all) {
  SimThread *self = self_of(sim);
  if (all) {
    wake_all(sim, THREAD_WAITS_COND, cond);
  } else {
    size_t waiting = 0;
    SimThread *woken = NULL;
    for (size_t i = 0; i < sim->threads_len; i++) {
      SimThread *t = sim->threads[i];
      /* Each waiter is chosen with the same chance. */
      if (t->state == THREAD_WAITS_COND && t->waits_for == cond && dice(sim, ++waiting) == 0) woken = t;
    }
    if (woken) woken->state = THREAD_READY;
  }
  reschedule(sim, self);
}

SimThread *sim_thread_add(Sim *sim, const char *name) {
  self_of(sim);
  return add_thread(sim, name);
}

void sim_thread_started(Sim *sim, SimThread *thread, pthread_t id) {
  thread->id = id;
  reschedule(sim, self_of(sim));
}

void sim_thread_drop(Sim *sim, SimThread *take) { remove_thread(sim, take); }

void sim_thread_begin(Sim *sim, SimThread *self) { await_turn(sim, self); }

void sim_thread_end(Sim *sim, SimThread *self) {
  self->state = THREAD_ENDED;
  wake_all(sim, THREAD_WAITS_END, self);
  hand_over(sim, choose(sim));
}

void sim_thread_join(Sim *sim, SimThread *take) {
  SimThread *self = self_of(sim);
  CHECK(take != self);
  reschedule(sim, self);
  while (take->state != THREAD_ENDED) block(sim, self, THREAD_WAITS_END, take, NO_DEADLINE);
  remove_thread(sim, take);
}
