/* repositories.h: the repositories of a command line, opened: those that --repo names (a path, a file URL or a name of
 * the configuration), or without any all that are configured.
 *
 * What opens them is collected by secrets.h.
 */
#ifndef HF_CLI_REPOSITORIES_H
#define HF_CLI_REPOSITORIES_H

#include "cli/secrets.h"
#include "cli/workspace.h"
#include "repo/repo.h"

typedef struct RepositoryPlace {
  char *name;                     /* as configured; else the path */
  char *path;                     /* absolute */
  const ConfigRepository *config; /* NULL: not configured */
} RepositoryPlace;

typedef struct RepositoryPlaces {
  RepositoryPlace *items;
  size_t len;
} RepositoryPlaces;

/* `names` NULL: --repo, else all of the configuration. ERR_USAGE when there is none. */
Error *repository_places(Workspace *w, const StrList *names, RepositoryPlaces *out) NODISCARD;
void repository_places_free(RepositoryPlaces *places);

/* ---- secrets ---- */

/* What was collected, as the repository takes it; borrowed from *secrets. Returns how many. */
size_t secrets_unlocks(const CliSecrets *secrets, Unlock out[CLI_SECRETS_MAX]);
/* A new key file of 32 random bytes, written as hex without a line end: 0600, durable. ERR_EXISTS. */
Error *key_file_make(CliContext *ctx, const char *path) NODISCARD;

/* ---- open repositories ---- */

typedef struct OpenRepository {
  RepositoryPlace place;
  Repo *repo; /* NULL: it did not open */
  Error *err; /* then why; owned */
} OpenRepository;

typedef struct Repositories {
  OpenRepository *items;
  size_t len;
} Repositories;

typedef enum RepositoriesNeed {
  REPOSITORIES_ALL,  /* the first that does not open is the error */
  REPOSITORIES_ANY,  /* one is enough; the others keep their error in `err` */
  REPOSITORIES_EACH, /* every one keeps its own */
} RepositoriesNeed;

/* `names` as for repository_places. */
Error *repositories_open(Workspace *w, const StrList *names, RepositoriesNeed need, Repositories *out) NODISCARD;
/* Exactly one, for commands that work on one. ERR_USAGE when several are named. */
Error *repositories_open_one(Workspace *w, Repositories *out, Repo **out_repo) NODISCARD;
void repositories_close(Repositories *repositories);
/* ERR_REFUSED when something written to `target` (absolute, need not exist) would stand in the folder of one of them.
 */
Error *repositories_spare(const Repositories *repositories, const char *target) NODISCARD;
/* What did not open: a warning each; or the first error, moved out, for those who go on and report it at the end. */
void repositories_warn(Workspace *w, const Repositories *repositories);
Error *repositories_failure(Repositories *repositories) NODISCARD;

/* The repository at a place, opened with what is at hand, or what the terminal is asked for. */
Error *repository_open(Workspace *w, const RepositoryPlace *place, Repo **out) NODISCARD;
/* The store of a place, with rate limits and retries around it. */
Error *repository_store(Workspace *w, const RepositoryPlace *place, bool create, Store **out) NODISCARD;

#endif
