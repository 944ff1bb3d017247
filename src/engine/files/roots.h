/* roots.h: the paths and globs of a files source, resolved to what is walked and where it stands in the tree. */
#ifndef HF_ENGINE_FILES_ROOTS_H
#define HF_ENGINE_FILES_ROOTS_H

#include "base/error.h"
#include "base/str.h"

typedef enum RootsLayout {
  LAYOUT_DIRECTORY, /* one literal directory: paths are relative to it */
  LAYOUT_FILE,      /* one literal file: its name is the only path */
  LAYOUT_PATHS,     /* several, or globs: absolute paths without the leading '/', parents included */
} RootsLayout;

typedef struct Root {
  char *absolute; /* without symbolic links in it; "/" for the root of the file system */
  char *tree;     /* path in the tree */
  bool directory;
} Root;

typedef struct Roots {
  RootsLayout layout;
  Root *items; /* in tree order, none within another */
  size_t len;
  Root *nested; /* named too, but within one of items: walked even where one_file_system would stop */
  size_t nested_len;
  StrList missing; /* sentences about paths that are not there, to be reported */
} Roots;

/* ERR_USAGE for a path that is not absolute; ERR_UNREACHABLE or ERR_DENIED when nothing is left. */
Error *roots_resolve(const StrList *paths, Roots *out) NODISCARD;
void roots_free(Roots *roots);
const char *roots_layout_name(RootsLayout layout);
bool roots_layout_parse(const char *name, RootsLayout *out);

#endif
