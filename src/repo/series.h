/* series.h: a source's identity: an id with name, host and what the engine says makes the source the same one.
 * Snapshots of one series share parents and retention; two hosts' /srv/app.db never do.
 *
 * A series is a list of records series/<id>/<revision>; the newest counts. `source adopt` writes the next.
 */
#ifndef HF_REPO_SERIES_H
#define HF_REPO_SERIES_H

#include "repo/repo.h"

typedef struct Series { /* all text owned */
  Uuid id;
  uint32_t revision;
  char *name;     /* "host:/srv/app.db", or as configured */
  char *engine;   /* "sqlite" */
  char *address;  /* what it was opened by, for people */
  char *host;     /* host name, for people */
  char *host_id;  /* what makes the machine the same one */
  char *identity; /* the engine's; may be empty */
  uint64_t created_ns;
} Series;

typedef struct SeriesList {
  Series *items;
  size_t len, cap;
  Error *broken; /* the first record that does not open; NULL: all are known. Owned */
} SeriesList;

void series_free(Series *series);
void series_list_free(SeriesList *list);
/* Newest revisions, by name. */
Error *series_list(Repo *repo, SeriesList *out, Cancel *cancel) NODISCARD;
/* Leaves out the records that do not open (out->broken says why), so that the other sources go on: before a missing
 * name is taken for a new source, ask series_maybe_broken. */
Error *series_list_readable(Repo *repo, SeriesList *out, Cancel *cancel) NODISCARD;
const Series *series_by_name(const SeriesList *list, const char *name); /* NULL when absent */
/* For whoever did not find a source: ERR_CORRUPT when it may be the one whose record does not open, else NULL. */
Error *series_maybe_broken(const SeriesList *list, const char *name) NODISCARD;
const Series *series_by_id(const SeriesList *list, const Uuid *id);
/* Sets id, revision and created_ns, and writes it. The id follows from the name, so ERR_EXISTS says that somebody else
 * made a source of this name meanwhile: list again. */
Error *series_create(Repo *repo, Series *io, Cancel *cancel) NODISCARD;
/* Writes io as the next revision. ERR_EXISTS when somebody else did at the same time. */
Error *series_update(Repo *repo, Series *io, Cancel *cancel) NODISCARD;
/* Pure, for the fuzzer. */
Error *series_decode(Bytes body, Series *out) NODISCARD;

#endif
