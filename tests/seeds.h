/* seeds.h: how long the tests over generated input go on, and what they generate. Without an environment every run is
 * the same. HOLDFAST_SEED=n makes other input everywhere, the same for the same n; HOLDFAST_ROUNDS=n says how many
 * rounds (HOLDFAST_CRASH_ROUNDS goes first where processes are killed). A program says both as it begins, so that what
 * failed can be run again. */
#ifndef HF_TESTS_SEEDS_H
#define HF_TESTS_SEEDS_H

#include <stdlib.h>

#include "testing.h"

/* Under ThreadSanitizer a simulation, which runs one thread at a time, has nothing to show and takes long. */
#if defined(__SANITIZE_THREAD__)
#define SEEDS_REAL_THREADS_ONLY true
#elif defined(__has_feature)
#define SEEDS_REAL_THREADS_ONLY __has_feature(thread_sanitizer)
#else
#define SEEDS_REAL_THREADS_ONLY false
#endif

/* 0 when it is not set, or is no number. */
static inline uint64_t seeds_number(const char *variable) {
  const char *text = getenv(variable);
  return text ? strtoull(text, NULL, 10) : 0;
}

/* Where a test's generator begins: at its own number, or at another one for each HOLDFAST_SEED. */
static inline uint64_t seeds_begin(uint64_t own) {
  uint64_t shift = seeds_number("HOLDFAST_SEED");
  return shift ? own ^ test_random(&shift) : own;
}

static inline unsigned seeds_rounds(unsigned usual) {
  uint64_t wanted = seeds_number("HOLDFAST_ROUNDS");
  return wanted ? (unsigned)(wanted < 100000 ? wanted : 100000) : usual;
}

static inline unsigned seeds_crash_rounds(unsigned usual) {
  uint64_t wanted = seeds_number("HOLDFAST_CRASH_ROUNDS");
  return wanted ? (unsigned)(wanted < 100000 ? wanted : 100000) : seeds_rounds(usual);
}

/* First thing in main. */
static inline void seeds_say(void) {
  static const char *const names[] = {"HOLDFAST_SEED", "HOLDFAST_ROUNDS", "HOLDFAST_CRASH_ROUNDS"};
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
    print_message("%s=%s%s", names[i], getenv(names[i]) ? getenv(names[i]) : "", i < 2 ? " " : "\n");
}

#endif
