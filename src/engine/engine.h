/* engine.h: what holdfast needs from a kind of source. An engine knows its database and no repository.
 *
 * Backup: ops/ opens an engine from a SourceSpec, calls backup with a Sink; the engine reads its source and describes
 * it to the sink as a tree of entries, some with content. Restore: ops/ hands a Source, the same tree read back; the
 * engine makes files of it. Check proves a restored copy against the facts recorded in the snapshot and, if it is at
 * hand, the source itself.
 */
#ifndef HF_ENGINE_ENGINE_H
#define HF_ENGINE_ENGINE_H

#include "base/entry.h"
#include "base/str.h"
#include "sys/cancel.h"

/* ---- what a source is ---------------------------------------------------------------------------------------- */

typedef struct SourceSpec {
  const char *type; /* "sqlite", "files", "command" */
  StrList paths;    /* sqlite, files: absolute paths or globs; command: exactly one, the command line */
  StrList include;  /* files: only what matches (empty: everything) */
  StrList exclude;
  StrList avoid;      /* files: directories left out with a warning: the repositories that the backup goes to */
  const char *preset; /* NULL, "configuration", "logs", "application" */
  bool one_file_system;
  bool recover_copy;           /* sqlite: roll a hot journal back on a private copy instead of refusing */
  const char *restore_command; /* command: what the stream is piped into */
  bool named;              /* command: its name was chosen by somebody, so that any command line may stand behind it */
  const char *scratch_dir; /* private directory for copies; exists, 0700 */
} SourceSpec;

/* ---- notices: what the operator must hear, reported by whoever finds it ------------------------------------------ */

typedef enum NoticeLevel {
  NOTICE_INFO,
  NOTICE_WARNING, /* something is odd; the result is complete */
  NOTICE_PARTIAL, /* something was left out or changed while read: the job ends with exit 3 */
} NoticeLevel;

typedef struct Notices Notices;
struct Notices {
  /* Thread-safe. `path` is the entry or file concerned (any bytes, may be empty). */
  void (*report)(Notices *, NoticeLevel level, Bytes path, const char *message);
};

/* ---- backup ------------------------------------------------------------------------------------------------------ */

typedef enum BackupMode { BACKUP_FULL, BACKUP_INCREMENTAL, BACKUP_DIFFERENTIAL } BackupMode;

typedef struct BackupPlan {
  BackupMode mode;                /* FULL: read everything, trust nothing about the parent */
  bool force;                     /* keep what can be had of a damaged database (the snapshot is marked damaged) */
  unsigned readers;               /* threads worth using */
  uint64_t read_bytes_per_second; /* 0: no limit; the sink enforces it, engines need not */
  uint64_t started_ns;            /* UTC */
} BackupPlan;

typedef enum StreamKind {
  STREAM_BYTES, /* content-defined pieces */
  STREAM_PAGES, /* a page file: fixed 128 KiB pieces, changes tracked per 4 KiB */
} StreamKind;

typedef struct Sink Sink;
typedef struct SinkStream SinkStream;

typedef struct ParentEntry {
  Entry entry;      /* borrowed until the next `parent` call on this sink from the same thread */
  uint64_t read_ns; /* UTC: when the backup that stored this content began to read it */
} ParentEntry;

/* Entries may be added and streams written from several threads at once; each stream from one thread. Any order of
 * entries is accepted; ascending entry_path_compare order is fastest. Every path once. */
typedef struct SinkOps {
  /* What the newest usable parent snapshot holds at `path`; *found false when there is none, when it was not
   * trustworthy, or when (several repositories) not all of them hold the same. */
  Error *(*parent)(Sink *, Bytes path, ParentEntry *out, bool *found);
  /* An entry without content (directory, link, device), or an empty file. */
  Error *(*add)(Sink *, const Entry *entry);
  /* A file whose content is, provably, what the parent holds at this path. Attributes are `entry`'s. */
  Error *(*keep)(Sink *, const Entry *entry);
  /* A file with content to follow. `entry->size` is the size expected (a hint; UINT64_MAX unknown). */
  Error *(*begin)(Sink *, const Entry *entry, StreamKind kind, SinkStream **out, Cancel *);
  /* The next buffer to fill, at least 128 KiB (page streams: a multiple of 128 KiB, aligned to the stream's frames);
   * blocks while all are in use (the pipeline is full), fails once the pipeline has failed. */
  Error *(*buffer)(SinkStream *, uint8_t **out, size_t *out_cap, Cancel *);
  /* The first len bytes of the buffer last handed out are the stream's next. len <= cap; page streams: less than cap
   * only at the end of the stream or before `hole`/`keep_range`, and then a multiple of 128 KiB unless at the end. */
  Error *(*write)(SinkStream *, size_t len);
  /* The next len bytes are zeros and need no storage. Page streams: multiples of 128 KiB, or up to the end. */
  Error *(*hole)(SinkStream *, uint64_t len);
  /* Page streams: the next len bytes are proven to equal the parent's. Multiples of 128 KiB. ERR_REFUSED without a
   * parent stream. */
  Error *(*keep_range)(SinkStream *, uint64_t len);
  /* `final` has the attributes as they were after reading; final->size must be what was written. Consumes the stream.
   */
  Error *(*end)(SinkStream *take, const Entry *final);
  /* Nothing of this file will be in the snapshot. */
  void (*abort)(SinkStream *take);
} SinkOps;

struct Sink {
  const SinkOps *ops;
  Notices *notices;
};
struct SinkStream {
  Sink *sink;
};

/* What the engine learned. All owned. */
typedef struct EngineFacts {
  char *json;         /* an object, engine-specific and documented in docs/; never NULL on success */
  char *log_position; /* where the log stands at this snapshot, or NULL */
  bool damaged;       /* kept by force although the source is corrupt */
} EngineFacts;
void engine_facts_free(EngineFacts *facts);

/* ---- restore ----------------------------------------------------------------------------------------------------- */

typedef struct Source Source;

/* One file being restored: the engine's own struct starts with this. */
typedef struct SourceFile {
  const Entry *entry; /* borrowed, valid until finish returns */
} SourceFile;

/* How fetched content reaches the engine's files. create and finish are called from one thread; write, zero and read
 * from several at once, also for one file, at any offsets. */
typedef struct FetchOps {
  /* Wanted? Called in tree order for every entry with content. */
  bool (*select)(void *ctx, const Entry *entry);
  Error *(*create)(void *ctx, const Entry *entry, SourceFile **out);
  Error *(*write)(void *ctx, SourceFile *file, uint64_t offset, Bytes data);
  /* The range reads as zeros (new files: NULL or nothing to do). */
  Error *(*zero)(void *ctx, SourceFile *file, uint64_t offset, uint64_t len);
  /* Optional, for restoring over an existing file: what is there now; *out_len may be short at the end of the file.
   * Content that already has the right id is not fetched. */
  Error *(*read)(void *ctx, SourceFile *file, uint64_t offset, uint8_t *out, size_t len, size_t *out_len);
  /* All content is in place, or `failed` (not NULL, borrowed) says why not. Consumes the file. */
  Error *(*finish)(void *ctx, SourceFile *take, const Error *failed);
} FetchOps;

typedef Error *SourceVisit(void *ctx, const Entry *entry);

typedef struct SourceOps {
  /* Every entry in tree order. */
  Error *(*entries)(Source *, SourceVisit *visit, void *ctx, Cancel *);
  /* Fetches all selected content, in whatever order is fastest, decoding on all cores. */
  Error *(*fetch)(Source *, const FetchOps *ops, void *ctx, Cancel *);
  /* One entry's content in order, for pipes. */
  Error *(*stream)(Source *, Bytes path, Error *(*write)(void *ctx, Bytes part), void *ctx, Cancel *);
} SourceOps;

struct Source {
  const SourceOps *ops;
  Notices *notices;
  const char *facts_json; /* as recorded by backup */
  uint64_t empty_files;   /* restored by the engine itself, for want of content to fetch: it counts them here */
};

typedef struct RestorePlan {
  const char *target; /* absolute path: the database file, or the directory that becomes the tree's root */
  StrList only;       /* globs on tree paths; empty: everything */
  bool overwrite;     /* named by the operator: existing content may be replaced */
  bool delta;         /* with overwrite: compare and rewrite only what differs */
  bool owners;        /* restore uid/gid (needs root) */
  bool no_sync;       /* skip fsync (tests only) */
  const char *scratch_dir;
} RestorePlan;

/* ---- check ------------------------------------------------------------------------------------------------------- */

typedef enum CheckLevel { CHECK_QUICK, CHECK_STANDARD, CHECK_COMPREHENSIVE } CheckLevel;

typedef struct CheckItem {
  char *name;     /* "app.db: integrity", "app.db: rows of orders", … */
  char *expected; /* as text, or NULL */
  char *found;
  bool passed;
} CheckItem;

typedef struct CheckReport {
  CheckItem *items;
  size_t len, cap;
} CheckReport;

void check_report_add(CheckReport *report, bool passed, const char *name, const char *expected, const char *found);
void check_report_free(CheckReport *report);
size_t check_report_passed(const CheckReport *report);

typedef struct DrillTarget {
  const char *path;        /* where the restored copy is */
  const char *facts_json;  /* the snapshot's record */
  const char *source_path; /* the live source to compare content with, or NULL: against the record */
  const StrList *only;     /* what was restored, as in RestorePlan; NULL or empty: everything */
  bool amid;               /* files: restored into a tree that may hold more than the snapshot */
  const char *scratch_dir;
} DrillTarget;

/* ---- the engine -------------------------------------------------------------------------------------------------- */

typedef struct ServerInfo { /* all owned */
  char *version;            /* "SQLite 3.40.1" */
  char *identity; /* what makes this source the same one tomorrow: "fs=… inode=…"; empty when there is nothing stable */
  uint64_t size_bytes; /* estimate of what a full backup reads; 0 unknown */
  uint64_t members;    /* databases or roots found */
  StrList possible;    /* sentences: what can be done */
  StrList missing;     /* sentences: what cannot, and what to do about it */
} ServerInfo;
void server_info_free(ServerInfo *info);

typedef struct Engine Engine;

typedef struct EngineOps {
  Error *(*probe)(Engine *, ServerInfo *out, Cancel *);
  Error *(*backup)(Engine *, const BackupPlan *, Sink *, EngineFacts *out, Cancel *);
  Error *(*restore)(Engine *, const RestorePlan *, Source *, Cancel *);
  Error *(*check)(Engine *, const DrillTarget *, CheckLevel, CheckReport *out, Cancel *);
  void (*free)(Engine *take);
} EngineOps;

struct Engine {
  const EngineOps *ops;
  Sys *sys;
};

/* By spec->type; the spec is copied. For restore and check, paths may be empty. ERR_USAGE for an unknown type or a bad
 * spec. */
Error *engine_open(Sys *sys, const SourceSpec *spec, Engine **out) NODISCARD;
void engine_free(Engine *take);
/* Names of all types, NULL-terminated. */
const char *const *engine_types(void);

/* One constructor an engine, in its folder. */
Error *sqlite_engine_open(Sys *sys, const SourceSpec *spec, Engine **out) NODISCARD;
Error *files_engine_open(Sys *sys, const SourceSpec *spec, Engine **out) NODISCARD;
Error *command_engine_open(Sys *sys, const SourceSpec *spec, Engine **out) NODISCARD;

#endif
