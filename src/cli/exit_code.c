#include "cli/exit_code.h"

int exit_code_of(const Error *err, const Cancel *cancel) {
  if (!err) return EXIT_DONE;
  switch (err_code(err)) {
    case ERR_USAGE: return EXIT_USAGE;
    case ERR_PARTIAL: return EXIT_PARTIAL;
    case ERR_NO_REPOSITORY: return EXIT_NO_REPOSITORY;
    case ERR_REFUSED: return EXIT_REFUSED;
    case ERR_WRONG_KEY: return EXIT_WRONG_KEY;
    case ERR_CORRUPT:
    case ERR_DAMAGED: return EXIT_CORRUPT;
    case ERR_NOT_EMPTY: return EXIT_NOT_EMPTY;
    case ERR_UNREACHABLE: return EXIT_UNREACHABLE;
    case ERR_CHECK_FAILED: return EXIT_CHECK_FAILED;
    case ERR_CANCELLED: {
      int reason = cancel ? cancel_reason(cancel) : 0;
      return reason > 0 ? EXIT_SIGNAL + reason : EXIT_ERROR;
    }
    case ERR_INTERNAL:
    case ERR_IO:
    case ERR_NO_SPACE:
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_DENIED:
    case ERR_TEMPORARY:
    case ERR_TIMEOUT:
    case ERR_LIMIT:
    case ERR_UNSUPPORTED: break;
  }
  return EXIT_ERROR;
}
