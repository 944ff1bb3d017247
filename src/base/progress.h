/* progress.h: counters that work in progress updates and whoever shows progress reads. Any thread may do either; the
 * numbers are for people, so nothing is ordered against anything else. Zero-initialise. */
#ifndef HF_BASE_PROGRESS_H
#define HF_BASE_PROGRESS_H

#include <stdatomic.h>

#include "base/base.h"

typedef struct Progress {
  _Atomic uint64_t total_bytes;  /* what the work will go through; 0: not known (yet) */
  _Atomic bool total_estimated;  /* that is a guess: it may be more, or less */
  _Atomic uint64_t done_bytes;   /* how far it is */
  _Atomic uint64_t new_bytes;    /* backup: of these, not known to the repository before */
  _Atomic uint64_t stored_bytes; /* backup: what they take there, compressed and encrypted */
  _Atomic uint64_t files_total;  /* 0: not known */
  _Atomic uint64_t files_done;
  _Atomic(const char *) phase; /* a string that lives for ever: "reading", "verifying"; NULL: nothing to say */
} Progress;

/* The pointers may be NULL: nobody watches. */
static inline void progress_add(_Atomic uint64_t *counter, uint64_t n) {
  if (counter) atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline uint64_t progress_get(const _Atomic uint64_t *counter) {
  return counter ? atomic_load_explicit(counter, memory_order_relaxed) : 0;
}

/* A new phase keeps the counters unless `restart`. */
static inline void progress_phase(Progress *progress, const char *phase, bool restart) {
  if (!progress) return;
  if (restart) {
    atomic_store_explicit(&progress->total_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&progress->total_estimated, false, memory_order_relaxed);
    atomic_store_explicit(&progress->done_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&progress->new_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&progress->stored_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&progress->files_total, 0, memory_order_relaxed);
    atomic_store_explicit(&progress->files_done, 0, memory_order_relaxed);
  }
  atomic_store_explicit(&progress->phase, phase, memory_order_relaxed);
}

#endif
