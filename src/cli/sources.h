/* sources.h: from a SRC of the command line (a name of the configuration, or an address) to what an engine opens. */
#ifndef HF_CLI_SOURCES_H
#define HF_CLI_SOURCES_H

#include "cli/workspace.h"

typedef struct CliSource {
  char *name;                 /* the series' name: as configured, --name, or host and address */
  char *address;              /* "sqlite:/srv/app.db", for people */
  SourceSpec spec;            /* its lists are owned, single texts borrowed from configuration and options */
  const ConfigSource *config; /* NULL: not configured */
} CliSource;

/* Options of the command line (--exclude, --preset, --restore-command, …) go before or are added to the
 * configuration's. ERR_USAGE for a name that is not configured. */
Error *cli_source_resolve(Workspace *w, const char *text, CliSource *out) NODISCARD;
void cli_source_free(CliSource *source);

/* SRC or SRC@WHEN as the repository knows it: relative paths made absolute, --source-name put in place of SRC. Owned.
 */
Error *cli_source_selector(Workspace *w, const char *text, char **out) NODISCARD;

#endif
