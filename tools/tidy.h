/* tidy.h: read before every source by tools/tidy, and by nothing else. It tells the analyser, which does not look into
 * other sources, what base/error.h promises: a new error is not NULL, and what takes an error gives one back. Without
 * this it follows ways on which a failure goes unnoticed. */
#ifndef HF_TOOLS_TIDY_H
#define HF_TOOLS_TIDY_H

#include "base/error.h"

static inline Error *tidy_known(bool is_error, Error *err) {
  if (is_error != (err != NULL)) __builtin_unreachable();
  return err;
}

/* Copies the condition before the call takes the error. */
#define TIDY_PASSED(taken, call)                     \
  ({                                                 \
    __typeof__(taken) tidy_taken_ = (taken);         \
    const bool tidy_is_error_ = tidy_taken_ != NULL; \
    tidy_known(tidy_is_error_, (call));              \
  })

#define err_new(...) tidy_known(true, err_new(__VA_ARGS__))
#define err_errno(...) tidy_known(true, err_errno(__VA_ARGS__))
#define err_wrap(take, ...) TIDY_PASSED(take, err_wrap(tidy_taken_, __VA_ARGS__))
#define err_hint(take, ...) TIDY_PASSED(take, err_hint(tidy_taken_, __VA_ARGS__))
#define err_recode(take, code) TIDY_PASSED(take, err_recode(tidy_taken_, code))
#define err_copy(err) TIDY_PASSED(err, err_copy(tidy_taken_))

#endif
