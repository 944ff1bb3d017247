/* error.h: how every failure travels.
 *
 * A function that can fail returns `Error *`: NULL is success, anything else is owned by the caller, who returns it
 * (usually through TRY), wraps it with what it was doing, or frees it. Outputs are set only on success. The text reads
 * "doing: what: why"; the hint says what the operator does next. Never put a secret in either.
 */
#ifndef HF_BASE_ERROR_H
#define HF_BASE_ERROR_H

#include "base/base.h"

typedef enum ErrCode {
  ERR_INTERNAL = 1,  /* a bug or an impossible state */
  ERR_USAGE,         /* the command or the configuration is wrong */
  ERR_IO,            /* the operating system or a store failed */
  ERR_NO_SPACE,      /* disk or quota full */
  ERR_NOT_FOUND,     /* no such object, file, snapshot */
  ERR_EXISTS,        /* PUT_NEW on a taken key; a name in use */
  ERR_DENIED,        /* permission */
  ERR_TEMPORARY,     /* worth trying again: throttled, connection lost */
  ERR_TIMEOUT,       /* a deadline passed */
  ERR_CANCELLED,     /* the operator or a signal stopped the work */
  ERR_CORRUPT,       /* bytes are not what was written */
  ERR_LIMIT,         /* a count, depth or size is beyond the format's limits */
  ERR_UNSUPPORTED,   /* newer format, unknown feature, missing ability */
  ERR_NO_REPOSITORY, /* nothing of ours at that address */
  ERR_WRONG_KEY,     /* no key slot opens with what was given */
  ERR_REFUSED,       /* the state forbids it: identity changed, hot journal, fenced, … */
  ERR_NOT_EMPTY,     /* the restore target holds something */
  ERR_UNREACHABLE,   /* the source cannot be reached or opened */
  ERR_PARTIAL,       /* done, but something was left out and reported */
  ERR_DAMAGED,       /* the source itself is corrupt */
  ERR_CHECK_FAILED,  /* a restored copy is not what the record says */
} ErrCode;

typedef struct Error Error;

Error *err_new(ErrCode code, const char *fmt, ...) PRINTF_LIKE(2, 3) NODISCARD;

/* ": strerror(errno_value)" is appended; the code follows the errno (ENOSPC and EDQUOT: ERR_NO_SPACE, ENOENT:
 * ERR_NOT_FOUND, EEXIST: ERR_EXISTS, EACCES, EPERM and EROFS: ERR_DENIED, else ERR_IO). */
Error *err_errno(int errno_value, const char *fmt, ...) PRINTF_LIKE(2, 3) NODISCARD;

/* Prepends "doing: " to `take`'s text. NULL stays NULL, so `return err_wrap(f(), "…")` is fine. */
Error *err_wrap(Error *take, const char *fmt, ...) PRINTF_LIKE(2, 3) NODISCARD;

/* Sets the hint unless one closer to the cause is there already. NULL stays NULL. */
Error *err_hint(Error *take, const char *fmt, ...) PRINTF_LIKE(2, 3) NODISCARD;

/* Replaces the code. NULL stays NULL. */
Error *err_recode(Error *take, ErrCode code) NODISCARD;

/* Keeps `first` if there is one, else `second`; frees the other. For clean-up that may fail too. */
Error *err_first(Error *first, Error *second) NODISCARD;

ErrCode err_code(const Error *err);          /* err must not be NULL */
const char *err_text(const Error *err);      /* borrowed */
const char *err_hint_text(const Error *err); /* borrowed; NULL when there is none */
Error *err_copy(const Error *err) NODISCARD; /* NULL stays NULL; for handing one failure to several waiters */
const char *err_code_name(ErrCode code);     /* "corrupt", "wrong_key", …: stable, for JSON */

void err_free(Error *take); /* NULL is fine */

/* Drops an error on purpose (best-effort clean-up). */
static inline void err_ignore(Error *take) { err_free(take); }

static inline bool err_is(const Error *err, ErrCode code) { return err && err_code(err) == code; }

#define TRY(call)                  \
  do {                             \
    Error *try_err_ = (call);      \
    if (try_err_) return try_err_; \
  } while (0)

/* For functions with one clean-up path: sets `err` (a local `Error *`) and jumps to `label`. */
#define TRY_GOTO(err, call, label) \
  do {                             \
    (err) = (call);                \
    if (err) goto label;           \
  } while (0)

static inline void err_cleanup(Error **err) { err_free(*err); }
#define AUTO_ERR __attribute__((cleanup(err_cleanup)))

#endif
