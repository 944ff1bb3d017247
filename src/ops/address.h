/* address.h: how sources, repositories and moments are named on a command line.
 *
 *   sqlite:/srv/app.db   files:./conf   command:'pg_dumpall'   shop          a source: TYPE:REST, or a configured name
 *   app@-2h   sqlite:/srv/a@b.db@latest   app@3f9c21d0                       SRC@WHEN
 *   /backup   file:///srv/backup   backup/here                               a repository's place
 *
 * All of it is text: nothing is looked up on disk.
 */
#ifndef HF_OPS_ADDRESS_H
#define HF_OPS_ADDRESS_H

#include "base/error.h"

typedef struct SourceAddress { /* owned texts */
  char *type;                  /* "sqlite", "files", "command", …; NULL: `rest` is a configured name */
  char *rest;                  /* an absolute path or glob; a command line; a URL's rest; a name */
} SourceAddress;

/* Relative paths of sqlite: and files: are taken from the working directory; "//", "." and ".." are resolved as text
 * (file:///… style "sqlite:///srv/app.db" is /srv/app.db). ERR_USAGE for an unknown type, an empty rest, or text that
 * is neither an address nor a name; a path without a type gets a hint that names the type. */
Error *source_address_parse(const char *text, SourceAddress *out) NODISCARD;
void source_address_free(SourceAddress *address);
#define AUTO_ADDRESS __attribute__((cleanup(source_address_free)))
/* "sqlite:/srv/app.db"; "shop"; printable, as a repository keeps it (str.h); of a command line only its program, since
 * the rest may hold secrets: "command:pg_dump". Owned. */
char *source_address_text(const SourceAddress *address);
/* The name of a source that has only an address: "db1:sqlite:/srv/app.db". Owned. */
char *source_address_name(const char *host, const SourceAddress *address);
/* "pg_dump -U me shop" → "command:pg_dump". Owned. */
char *source_command_address(const char *line);

typedef enum WhenKind {
  WHEN_LATEST,   /* "latest", or nothing said */
  WHEN_SNAPSHOT, /* an id or its first digits: 4 to 64 hex digits, in lower case */
  WHEN_TIME,     /* the newest at or before this moment */
} WhenKind;

typedef struct When {
  WhenKind kind;
  bool said;         /* false: nothing was said */
  char snapshot[65]; /* WHEN_SNAPSHOT */
  uint64_t time_ns;  /* WHEN_TIME: UTC */
} When;

/* ERR_USAGE that names the forms. Four digits ("2026") are a snapshot's; a date has dashes. */
Error *when_parse(const char *text, uint64_t now_ns, When *out) NODISCARD;

/* Splits at the last '@' that has a WHEN to its right: *out_src is owned, when->said false without one. What follows
 * an '@' but is no WHEN belongs to the name; *out_suspect (owned, may be NULL as argument) is then that text, for a
 * hint when no such source exists. */
Error *source_when_split(const char *text, uint64_t now_ns, char **out_src, When *out_when,
                         char **out_suspect) NODISCARD;

/* The file system path of a repository's place, absolute: a path or a file URL (file:///srv, file:/srv,
 * file://localhost/srv, %XX decoded). ERR_UNSUPPORTED for another scheme. Owned. */
Error *repository_path(const char *text, char **out) NODISCARD;

#endif
