/* workspace.h: what commands that work on repositories have in common: the state directory with cache, scratch and
 * catalog, and the Ops that operations run in.
 *
 * Everything works without a configuration and with a state directory that does not exist yet. When it cannot be made
 * or written (a read-only home), a private temporary directory takes its place, with a warning: caches are then built
 * anew each time and nothing is recorded.
 */
#ifndef HF_CLI_WORKSPACE_H
#define HF_CLI_WORKSPACE_H

#include "catalog/catalog.h"
#include "cli/context.h"
#include "cli/deadline.h"
#include "ops/ops.h"

/* Notices of one text, about different files, say. */
typedef struct NoticeKind {
  char *message;
  uint64_t said, held; /* the first few are said, the others counted */
} NoticeKind;
enum { NOTICE_KINDS = 32 };

typedef struct Workspace {
  CliContext *ctx; /* borrowed */
  const Config *config;
  CliSettings settings;
  State *state;
  Catalog *catalog; /* NULL: not usable, which was said once */
  char *temporary;  /* the directory that stands for the state directory; NULL: not needed */
  char *scratch;    /* this process's own, removed at the end */
  int scratch_fd;   /* locked while it is in use */
  char host[256];
  char host_id[HOST_ID_TEXT_LEN];
  Ops ops;
  Deadline *deadline; /* NULL: there is none */
  Mutex lock;
  uint64_t notices; /* so far, guarded by lock, as is what follows */
  NoticeKind kinds[NOTICE_KINDS];
  size_t kinds_len;
  uint64_t others_said, others_held; /* of more kinds than that */
  bool catalog_failed;
} Workspace;

Error *workspace_open(CliContext *ctx, Workspace *out) NODISCARD;
void workspace_close(Workspace *w); /* a zeroed one is fine */

/* ---- job records: what fails here is a warning ---- */

void workspace_job_begin(Workspace *w, const char *kind, const char *source, const char *repository, JobStart *out);
/* result, exit code and error text of *outcome follow `err` (borrowed; NULL: done, partial when outcome->result says
 * so). */
void workspace_job_end(Workspace *w, const JobStart *job, JobOutcome *outcome, const Error *err);
/* After going through snapshots: ERR_CORRUPT when some did not open, each of which was a notice. */
Error *workspace_unopened(const Workspace *w) NODISCARD;
/* Says how many notices were held back since the last time. The end of a job does. */
void workspace_notices_end(Workspace *w);
/* Takes the failure of a catalog call: says so once. */
void workspace_catalog_result(Workspace *w, Error *take);

/* ---- words that several commands use ---- */

enum { SHORT_ID_LEN = 9 };
static inline const char *plural(uint64_t n) { return n == 1 ? "" : "s"; } /* "3 file%s" */
char *short_id(const Uuid *id, char out[SHORT_ID_LEN]);                    /* the first 8 digits; returns out */
json_t *json_count(uint64_t n);     /* beyond what JSON's numbers hold: the largest */
json_t *json_seconds(uint64_t ns);  /* with milliseconds */
char *json_text(const json_t *doc); /* one line; owned */
json_t *json_text_or_null(const char *text);
void json_set_path(json_t *object, const char *key, const char *path); /* as output_json_set_name; NULL: null */
json_t *json_uuid(const Uuid *id);
json_t *json_time(uint64_t ns); /* RFC 3339, UTC */
/* Adds the strings as an array. */
void json_set_texts(json_t *object, const char *key, char *const *texts, size_t len);

#endif
