/* read.h: one regular file into the sink: kept when provably unchanged, else read, with holes skipped and a change
 * while reading noticed. A Reader belongs to one thread; a ReadShared to all readers of a backup. */
#ifndef HF_ENGINE_FILES_READ_H
#define HF_ENGINE_FILES_READ_H

#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/files/attr.h"
#include "engine/files/walk.h"

typedef struct ReadCounts {
  atomic_uint_least64_t files;           /* with content or empty, hard links not counted again */
  atomic_uint_least64_t bytes;           /* of their content */
  atomic_uint_least64_t read_bytes;      /* actually read */
  atomic_uint_least64_t unchanged_files; /* kept without reading */
  atomic_uint_least64_t left_out;        /* could not be read, or changed its type */
  atomic_uint_least64_t changed;         /* while being read */
  atomic_uint_least64_t vanished;
  atomic_uint_least64_t unpacked; /* gzip rotations stored as what they hold */
} ReadCounts;

typedef struct ReadShared {
  const BackupPlan *plan;
  Sink *sink;
  Cancel *cancel;
  bool logs; /* the preset: growing files are complete, known rotations are recognised */
  atomic_bool sqlite_hinted;
  atomic_uint_least64_t notices[NOTICE_PARTIAL + 1]; /* given, by level: a million of them help nobody */
  ReadCounts counts;
} ReadShared;

typedef struct Reader {
  ReadShared *shared;
  Attrs *attrs;
} Reader;

typedef struct ReadItem {
  DirRef *dir;
  const char *name;
  Bytes path;
  const struct stat *st; /* as found by the walk */
  uint64_t device;       /* of its file system, see Entry.device */
  bool named;            /* the operator named this very file: it must not be missing */
  bool twin;             /* logs: the directory has the name without ".gz" too */
} ReadItem;

/* Stores the file, or reports why not. *stored says whether the path is in the snapshot under its own name. Fails only
 * when the sink does or when cancelled. */
Error *reader_store(Reader *reader, const ReadItem *item, bool *stored) NODISCARD;

/* ---- shared with rotate.c ---- */

enum { READ_ALIGN = 128 * 1024 };

typedef struct OpenFile {
  int fd;
  struct stat st; /* right after opening */
} OpenFile;

/* Opens without blocking or following; reports what goes wrong. False: left out. */
bool reader_open(Reader *reader, const ReadItem *item, OpenFile *out);
void reader_close(const ReadItem *item, const OpenFile *file); /* after reader_open returned true */
/* Reads attributes that need the open file. */
Entry reader_entry(Reader *reader, const ReadItem *item, const OpenFile *file);
/* What the parent has at `path` proves that a file with `st` did not change since. `size` is compared to st's. */
bool read_unchanged(const ParentEntry *parent, const ReadItem *item, uint64_t parent_size);
/* Keeps what the parent has there, under `path`, with the attributes found now. */
Error *reader_keep(Reader *reader, const ReadItem *item, Bytes path, const ParentEntry *parent) NODISCARD;
bool read_stat_equal(const struct stat *a, const struct stat *b);
void read_notice(ReadShared *shared, NoticeLevel level, Bytes path, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Says how many notices were held back, once all is read. */
void read_notices_finish(ReadShared *shared);
static inline void read_count(atomic_uint_least64_t *count, uint64_t add) {
  atomic_fetch_add_explicit(count, add, memory_order_relaxed);
}

#endif
