/* version.h: which build this is. */
#ifndef HF_CLI_VERSION_H
#define HF_CLI_VERSION_H

#include "base/buf.h"

const char *version_text(void); /* "0.1.0" */
/* "holdfast 0.1.0 (1a2b3c4)" and, `verbose`, a line each for compiler, system and libraries as linked now. */
void version_describe(bool verbose, Buf *out);
/* The same facts one by one, for JSON. */
typedef void VersionVisit(void *ctx, const char *name, const char *version);
void version_each(VersionVisit *visit, void *ctx);

#endif
