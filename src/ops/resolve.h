/* resolve.h: from what an operator types to what is meant: a configured name or an address, for sources that are to be
 * backed up and for repositories. */
#ifndef HF_OPS_RESOLVE_H
#define HF_OPS_RESOLVE_H

#include "engine/engine.h"
#include "ops/config.h"

typedef struct ResolvedSource {
  char *name;                     /* of the source in repositories; owned */
  char *address;                  /* "sqlite:/srv/app.db", for people; owned */
  SourceSpec spec;                /* what it points to is owned by this struct; scratch_dir is left NULL */
  const ConfigSource *configured; /* borrowed from the configuration; NULL: an address */
} ResolvedSource;

/* A configured source by its name, else an address, named after host and address. ERR_USAGE with a suggestion when it
 * is neither. */
Error *resolve_source(const Config *config, const char *host, const char *text, ResolvedSource *out) NODISCARD;
void resolved_source_free(ResolvedSource *source);

typedef struct ResolvedRepository {
  char *name;                         /* the configured name, else the address as given; owned */
  char *path;                         /* of a local store; owned */
  const ConfigRepository *configured; /* borrowed; NULL: an address */
} ResolvedRepository;

/* A configured repository by its name, else a path or a file URL. */
Error *resolve_repository(const Config *config, const char *text, ResolvedRepository *out) NODISCARD;
void resolved_repository_free(ResolvedRepository *repository);

#endif
