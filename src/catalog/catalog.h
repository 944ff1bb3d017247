/* catalog.h: what happened: jobs, and when which pack and which snapshot was last found good. One SQLite file in the
 * state directory, catalog.db, used by any number of holdfast processes at once.
 *
 * The catalog is a record, never a condition: a backup goes on without it. So whatever fails here comes back as an
 * error for the caller to turn into a warning, and every function that records takes a NULL catalog and does nothing
 * then; a caller whose catalog did not open warns once and goes on. A damaged file is moved aside as
 * catalog.db.corrupt-<time> and a new one is begun, when it is opened (see catalog_moved_aside) or in the middle of use
 * (that call returns ERR_CORRUPT and says so; the next ones work).
 *
 * Errors of all functions: ERR_TEMPORARY when another process held the file for too long, ERR_CORRUPT as above,
 * ERR_NO_SPACE, ERR_DENIED, ERR_IO. A Catalog is thread-safe. Moments are UTC nanoseconds; numbers above INT64_MAX are
 * kept as INT64_MAX. Text is kept up to a limit and cut behind it.
 */
#ifndef HF_CATALOG_CATALOG_H
#define HF_CATALOG_CATALOG_H

#include "catalog/state.h"
#include "repo/format.h"

typedef struct Catalog Catalog;

/* Makes or migrates catalog.db as needed. ERR_UNSUPPORTED when a newer holdfast wrote it, ERR_REFUSED when the file is
 * a database of something else; both leave it as it is. `state` is not needed afterwards. */
Error *catalog_open(Sys *sys, const State *state, Catalog **out) NODISCARD;
/* Writes what catalog_pack_verified still holds; what that fails with is lost: ask catalog_flush first. */
void catalog_free(Catalog *take);
/* Where catalog_open, or a later call, put a damaged catalog last; NULL: there was none. Owned. */
char *catalog_moved_aside(Catalog *catalog);
/* How long a call waits for other processes, 10 s unless told. */
void catalog_set_lock_wait(Catalog *catalog, unsigned wait_ms);

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

typedef enum JobResult {
  JOB_RUNNING,
  JOB_OK,
  JOB_PARTIAL,
  JOB_FAILED,
  JOB_CANCELLED,
  JOB_DIED, /* never written: no result, and its process is gone */
} JobResult;
const char *job_result_name(JobResult result); /* "running", "ok", …: stable, for JSON */

enum { JOB_ID_LEN = 13 }; /* 12 hex digits and the end */

/* What is known when a job begins. Text is borrowed and may be NULL, but kind. */
typedef struct JobStart {
  char id[JOB_ID_LEN]; /* by job_start_init */
  uint64_t start_ns;   /* by job_start_init */
  const char *kind;    /* "backup", "restore", "verify", "check", "export", … */
  const char *source;
  const char *repository; /* as configured: a name or an address */
  const char *command;    /* for people; no secret */
} JobStart;

/* What is known when it ends. */
typedef struct JobOutcome {
  JobResult result; /* JOB_OK … JOB_CANCELLED */
  int exit_code;
  const char *error;         /* NULL: none */
  const char *repository;    /* when it became known only later; NULL: as at the start */
  const Uuid *repository_id; /* NULL: not known */
  const Uuid *snapshot;      /* the one made or used; NULL: none */
  uint64_t read_bytes, new_bytes, stored_bytes, files;
  uint64_t duration_ns;     /* 0: from the start until now, by the clock */
  const char *summary_json; /* as printed; NULL: none; dropped when longer than 64 KiB */
} JobOutcome;

/* Draws the id and takes the time; everything else is zeroed. Needs no catalog, so every job has an id. */
void job_start_init(Sys *sys, const char *kind, JobStart *out);
/* Records the job as running in this process. ERR_EXISTS when the id is taken. */
Error *catalog_job_begin(Catalog *catalog, const JobStart *job) NODISCARD;
/* Records the end, also of a job whose begin was not recorded. */
Error *catalog_job_end(Catalog *catalog, const JobStart *job, const JobOutcome *outcome) NODISCARD;

typedef struct Job { /* text is owned; NULL when absent */
  char id[JOB_ID_LEN];
  char *kind, *source, *repository, *command;
  int64_t pid;
  uint64_t start_ns;
  JobResult result; /* JOB_DIED as seen from this machine and process namespace */
  /* The rest is zero unless the job ended. */
  uint64_t end_ns;
  int exit_code;
  char *error;
  char *repository_id, *snapshot; /* 32 hex digits */
  uint64_t read_bytes, new_bytes, stored_bytes, files, duration_ns;
  char *summary_json;
} Job;

typedef struct JobList {
  Job *items;
  size_t len, cap;
} JobList;

typedef struct JobQuery {
  const char *source, *kind; /* NULL: any */
  uint64_t since_ns;         /* began then or later */
  size_t limit;              /* 0: all */
} JobQuery;

/* Newest first. `query` may be NULL: all. */
Error *catalog_job_list(Catalog *catalog, const JobQuery *query, JobList *out) NODISCARD;
/* By the start of its id. ERR_NOT_FOUND; ERR_USAGE when it is no hex text or several jobs match. */
Error *catalog_job_get(Catalog *catalog, const char *id_prefix, Job *out) NODISCARD;
void job_free(Job *job); /* what is in it */
void job_list_free(JobList *list);

/* ---- the ledger: what was proven good ---------------------------------------------------------------------------- */

/* Level 0 says only that the pack exists: record it for new packs, and coverage knows what there is to cover. Records
 * are gathered and written in batches; catalog_last_verified sees them at once, other processes after the batch. An
 * error means that a batch was lost: those packs count as not verified. */
Error *catalog_pack_verified(Catalog *catalog, const Uuid *repo, const Uuid *pack, unsigned level, uint64_t time_ns,
                             uint64_t size_bytes) NODISCARD;
/* The pack is no more. */
Error *catalog_pack_removed(Catalog *catalog, const Uuid *repo, const Uuid *pack) NODISCARD;
/* Writes what was gathered. */
Error *catalog_flush(Catalog *catalog) NODISCARD;
/* When the pack was last found good at this level or above; *out_ns is 0 for never (and with a NULL catalog). */
Error *catalog_last_verified(Catalog *catalog, const Uuid *repo, const Uuid *pack, unsigned level,
                             uint64_t *out_ns) NODISCARD;

typedef struct Coverage {
  uint64_t known_packs, known_bytes;       /* every pack the ledger has heard of */
  uint64_t verified_packs, verified_bytes; /* of these, found good at the level or above, at the moment or later */
} Coverage;
Error *catalog_coverage(Catalog *catalog, const Uuid *repo, unsigned level, uint64_t since_ns, Coverage *out) NODISCARD;

enum { CHECK_LEVEL_LEN = 24 };

/* One proof of a restored snapshot: how many of its checks passed. */
typedef struct SnapshotCheck {
  char level[CHECK_LEVEL_LEN]; /* "quick", "standard", … */
  uint64_t passed, total;
  uint64_t time_ns; /* 0: never checked */
} SnapshotCheck;

/* Every check is kept. ERR_USAGE for an empty level, or one that is not ended within the array. */
Error *catalog_snapshot_checked(Catalog *catalog, const Uuid *repo, const Uuid *snapshot,
                                const SnapshotCheck *check) NODISCARD;
/* The newest; all zeros when there is none. */
Error *catalog_snapshot_last_check(Catalog *catalog, const Uuid *repo, const Uuid *snapshot,
                                   SnapshotCheck *out) NODISCARD;

/* ---- status ------------------------------------------------------------------------------------------------------ */

/* The backups of one source into one repository. Moments are 0 for never; text is owned. */
typedef struct SourceStatus {
  char *source, *repository; /* "" when the job knew none */
  uint64_t last_attempt_ns;  /* when it began, as all here */
  JobResult last_result;     /* of the last attempt; JOB_RUNNING and JOB_DIED too */
  char *last_error;          /* of the last attempt; NULL: none */
  uint64_t last_success_ns;  /* result ok */
  uint64_t last_snapshot_ns; /* result ok or partial: the backup that made last_snapshot */
  char *last_snapshot;       /* 32 hex digits; NULL: none */
  /* Of the jobs that began at the query's moment or later and do not run: */
  uint64_t jobs, succeeded, partial; /* succeeded / jobs is the success rate */
  uint64_t stored_bytes;             /* what they added to the repository */
  /* Of any of its snapshots: */
  SnapshotCheck last_check;
  char *last_check_snapshot; /* NULL: none */
} SourceStatus;

typedef struct SourceStatusList {
  SourceStatus *items; /* by source, then repository */
  size_t len, cap;
} SourceStatusList;

/* `source` NULL: all. since_ns bounds the counts only. */
Error *catalog_status(Catalog *catalog, const char *source, uint64_t since_ns, SourceStatusList *out) NODISCARD;
void source_status_list_free(SourceStatusList *list);

#endif
