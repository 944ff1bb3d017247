/* testing.h: what every cmocka test includes first, and a few helpers. */
#ifndef HF_TESTS_TESTING_H
#define HF_TESTS_TESTING_H

/* cmocka.h needs the others before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
/* clang-format on */

#include "base/error.h"

/* Fails the test with the error's text. Frees it. */
#define assert_ok(call)                                                      \
  do {                                                                       \
    Error *assert_err_ = (call);                                             \
    if (assert_err_) {                                                       \
      print_error("%s:%d: %s\n", __FILE__, __LINE__, err_text(assert_err_)); \
      err_free(assert_err_);                                                 \
      fail();                                                                \
    }                                                                        \
  } while (0)

/* The call must fail with this code. */
#define assert_err(call, expected)                                                                              \
  do {                                                                                                          \
    Error *assert_err_ = (call);                                                                                \
    if (!assert_err_) fail_msg("%s succeeded", #call);                                                          \
    if (err_code(assert_err_) != (expected))                                                                    \
      fail_msg("%s: %s, expected %s: %s", #call, err_code_name(err_code(assert_err_)), err_code_name(expected), \
               err_text(assert_err_));                                                                          \
    err_free(assert_err_);                                                                                      \
  } while (0)

/* A small seeded generator (SplitMix64) for reproducible test data. */
static inline uint64_t test_random(uint64_t *state) {
  uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

#endif
