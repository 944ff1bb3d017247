/* sqlite_live.h: a read transaction on a WAL-mode database in use, and what it sees: the end mark, taken from the
 * shared wal-index, and whether the main file alone is that state.
 *
 * The connection never checkpoints, never deletes the -wal when it is the last to close, and never writes: it is opened
 * read-only, with NO_CKPT_ON_CLOSE and PERSIST_WAL set before the first read.
 */
#ifndef HF_ENGINE_SQLITE_LIVE_H
#define HF_ENGINE_SQLITE_LIVE_H

#include "sys/cancel.h"

typedef struct Live Live;

/* What one committed state is made of. */
typedef struct LiveMark {
  bool wal;        /* false: SQLite does not use a WAL here after all; nothing below holds */
  bool open_ended; /* the wal-index may not be shared (read-only -shm, nobody alive): any commit in the WAL will do */
  bool main_only;  /* everything up to the mark was copied into the main file */
  uint32_t frames; /* the mark: frames of the WAL that belong to the state */
  uint32_t pages;  /* of the database; 0: as the main file's size says */
  uint32_t page_size; /* 0 when open_ended */
  uint8_t salt[8];
  uint32_t checksum[2]; /* of the last frame */
} LiveMark;

/* Opens a connection and begins. Waits up to wait_ms while the database is locked or recovered by another process. */
Error *live_open(const char *path, Sys *sys, uint64_t wait_ms, Live **out, LiveMark *mark, Cancel *cancel) NODISCARD;
/* *out is false when the WAL the mark belongs to was begun anew, which the transaction should have prevented. */
Error *live_still_holds(Live *live, const LiveMark *mark, bool *out) NODISCARD;
void live_close(Live *take);

#endif
