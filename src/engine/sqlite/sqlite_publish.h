/* sqlite_publish.h: one restored database on its way into place: a temporary file beside the target, and the steps that
 * make it the target without ever leaving the new file beside the log or journal of the old one, which SQLite would
 * apply to it.
 */
#ifndef HF_ENGINE_SQLITE_PUBLISH_H
#define HF_ENGINE_SQLITE_PUBLISH_H

#include "sys/cancel.h"

typedef struct Publish Publish;

typedef struct PublishOptions {
  Sys *sys;
  int dir_fd;       /* of the target's directory; duplicated */
  const char *dir;  /* its path, for messages and for the lock on the old database */
  const char *name; /* of the target in it */
  uint64_t size;
  bool overwrite;
  bool copy_old; /* begin with the content of the old file */
  bool sync;
} PublishOptions;

/* The temporary file, with room for `size` bytes. An existing target: ERR_NOT_EMPTY, or with overwrite an exclusive
 * lock on it, held until the end: ERR_REFUSED when another process uses it. A -wal or -journal without its database:
 * ERR_NOT_EMPTY unless overwrite. */
Error *publish_begin(const PublishOptions *options, Publish **out, Cancel *cancel) NODISCARD;
int publish_fd(const Publish *publish);
const char *publish_path(const Publish *publish); /* of the target */
/* Durable and in place, or the target is what it was. Consumes it. */
Error *publish_commit(Publish *take) NODISCARD;
void publish_abort(Publish *take);

#endif
