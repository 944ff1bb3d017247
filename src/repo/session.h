/* session.h: who is writing: sessions/<uuid>/begin names the series and the commit keys it may use, …/beat-<n> says
 * that it lives, …/end how it ended. Beats tell operators; nothing is decided by them alone (docs/format.md, protocol).
 */
#ifndef HF_REPO_SESSION_H
#define HF_REPO_SESSION_H

#include "repo/repo.h"

enum { COMMIT_KEY_LEN = 10 + 33 + 28 + 33 }; /* "snapshots/<series>/<utc>-<uuid>" */

typedef struct Session {
  Uuid id;
  Uuid series;
  Uuid snapshot;
  uint64_t started_ns;
  char commit_key[COMMIT_KEY_LEN];
  uint32_t beats;
} Session;

/* Durable when it returns. Must come before the plans and the index are listed. */
Error *session_begin(Repo *repo, const Uuid *series, const char *host, Session *out, Cancel *cancel) NODISCARD;
Error *session_beat(Repo *repo, Session *session, Cancel *cancel) NODISCARD;
/* outcome: "committed", "failed", "cancelled". */
Error *session_end(Repo *repo, const Session *session, const char *outcome, Cancel *cancel) NODISCARD;

#endif
