#include "engine/files/roots.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/entry.h"
#include "base/mem.h"

static const char *const layout_names[] = {
    [LAYOUT_DIRECTORY] = "directory", [LAYOUT_FILE] = "file", [LAYOUT_PATHS] = "paths"};

const char *roots_layout_name(RootsLayout layout) { return layout_names[layout]; }

bool roots_layout_parse(const char *name, RootsLayout *out) {
  for (size_t i = 0; name && i < NELEMS(layout_names); i++) {
    if (strcmp(name, layout_names[i]) != 0) continue;
    *out = (RootsLayout)i;
    return true;
  }
  return false;
}

static void root_free(Root *root) {
  free(root->absolute);
  free(root->tree);
}

void roots_free(Roots *roots) {
  for (size_t i = 0; i < roots->len; i++) root_free(&roots->items[i]);
  for (size_t i = 0; i < roots->nested_len; i++) root_free(&roots->nested[i]);
  free(roots->items);
  free(roots->nested);
  strlist_free(&roots->missing);
  *roots = (Roots){0};
}

static void list_add(Root **items, size_t *len, Root take) {
  *items = (Root *)mem_resize(*items, *len + 1, sizeof(Root));
  (*items)[(*len)++] = take;
}

/* A name that exists as it stands is meant as it stands, whatever characters it has. */
static bool is_literal(const char *path) {
  struct stat st;
  return !strpbrk(path, "*?[") || lstat(path, &st) == 0;
}

static void add_missing(Roots *roots, const char *path, const char *why) {
  AUTO_FREE char *name = str_printable(bytes_str(path));
  AUTO_FREE char *text = mem_printf("%s: %s", name, why);
  strlist_add(&roots->missing, text);
}

/* The path with the links of its parents resolved, but not its own last component. NULL with errno set. */
static char *resolve_parent(const char *path) {
  AUTO_FREE char *copy = mem_strdup(path);
  size_t len = strlen(copy);
  while (len > 1 && copy[len - 1] == '/') copy[--len] = 0;
  char *slash = strrchr(copy, '/');
  const char *name = slash + 1;
  if (*name == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return realpath(path, NULL);
  char *parent = NULL;
  if (slash == copy) {
    parent = mem_strdup("");
  } else {
    *slash = 0;
    parent = realpath(copy, NULL);
  }
  if (!parent) return NULL;
  char *whole = mem_printf("%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name);
  free(parent);
  return whole;
}

/* One path of several. `follow`: the operator named it, so a link stands for what it points to. */
static void add_path(Roots *roots, const char *path, bool follow) {
  char reason[128];
  struct stat st;
  char *absolute = follow ? realpath(path, NULL) : resolve_parent(path);
  if (!absolute || lstat(absolute, &st) != 0) {
    add_missing(roots, path, strerror_r(errno, reason, sizeof reason));
    free(absolute);
    return;
  }
  list_add(&roots->items, &roots->len,
           (Root){.absolute = absolute, .tree = mem_strdup(absolute + 1), .directory = S_ISDIR(st.st_mode)});
}

/* glob() passes over what it may not look into, where matches may be: those directories are missing. `part`: the
 * beginning of `pattern` that names directories; what follows it is a pattern again, or a plain name. */
static void add_unreadable(Roots *roots, const char *pattern, const char *part) {
  char reason[128];
  const char *next = pattern + strlen(part) + 1;
  size_t len = strcspn(next, "/");
  AUTO_FREE char *name = mem_strndup(next, len);
  int needed = strpbrk(name, "*?[") ? R_OK | X_OK : X_OK;
  glob_t found = {0};
  if (glob(part[0] ? part : "/", GLOB_NOSORT, NULL, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; i++) {
      struct stat st;
      if (stat(found.gl_pathv[i], &st) != 0 || !S_ISDIR(st.st_mode)) continue;
      if (faccessat(AT_FDCWD, found.gl_pathv[i], needed, AT_EACCESS) == 0 || errno != EACCES) continue;
      AUTO_FREE char *directory = str_printable(bytes_str(found.gl_pathv[i]));
      AUTO_FREE char *why = mem_printf("looking into %s: %s", directory, strerror_r(EACCES, reason, sizeof reason));
      add_missing(roots, pattern, why);
    }
  }
  globfree(&found);
}

static void add_glob(Roots *roots, const char *pattern) {
  for (const char *slash = pattern; (slash = strchr(slash, '/')); slash++) {
    AUTO_FREE char *part = mem_strndup(pattern, (size_t)(slash - pattern));
    add_unreadable(roots, pattern, part);
  }
  glob_t found = {0};
  int rc = glob(pattern, GLOB_NOSORT, NULL, &found);
  if (rc == 0) {
    for (size_t i = 0; i < found.gl_pathc; i++) add_path(roots, found.gl_pathv[i], false);
  } else {
    add_missing(roots, pattern, rc == GLOB_NOMATCH ? "nothing matches" : "the pattern could not be expanded");
  }
  globfree(&found);
}

static int compare_roots(const void *a, const void *b) {
  return entry_path_compare(bytes_str(((const Root *)a)->tree), bytes_str(((const Root *)b)->tree));
}

/* Sorts, and moves what another root covers to `nested`. */
static void arrange(Roots *roots) {
  if (roots->len > 1) qsort(roots->items, roots->len, sizeof(Root), compare_roots);
  size_t kept = 0;
  for (size_t i = 0; i < roots->len; i++) {
    Root *root = &roots->items[i];
    const Root *last = kept ? &roots->items[kept - 1] : NULL;
    if (last && strcmp(last->tree, root->tree) == 0) {
      root_free(root);
    } else if (last && last->directory && entry_path_within(bytes_str(root->tree), bytes_str(last->tree))) {
      list_add(&roots->nested, &roots->nested_len, *root);
    } else {
      roots->items[kept++] = *root;
    }
  }
  roots->len = kept;
}

static Error *resolve_one(const char *path, Roots *out) {
  char *absolute = realpath(path, NULL);
  struct stat st;
  if (!absolute || lstat(absolute, &st) != 0) {
    int saved = errno;
    free(absolute);
    AUTO_FREE char *name = str_printable(bytes_str(path));
    Error *err = err_errno(saved, "files: %s", name);
    return err_hint(err_is(err, ERR_DENIED) ? err : err_recode(err, ERR_UNREACHABLE),
                    "check the path; a source of type files takes directories, files and globs");
  }
  bool directory = S_ISDIR(st.st_mode);
  out->layout = directory ? LAYOUT_DIRECTORY : LAYOUT_FILE;
  char *tree;
  if (directory) {
    tree = mem_strdup("");
  } else {
    const char *slash = strrchr(path, '/');
    tree = mem_strdup(slash + 1);
  }
  list_add(&out->items, &out->len, (Root){.absolute = absolute, .tree = tree, .directory = directory});
  return NULL;
}

static Error *resolve_several(const StrList *paths, Roots *out) {
  out->layout = LAYOUT_PATHS;
  for (size_t i = 0; i < paths->len; i++) {
    if (is_literal(paths->items[i]))
      add_path(out, paths->items[i], true);
    else
      add_glob(out, paths->items[i]);
  }
  arrange(out);
  if (out->len > 0) return NULL;
  CHECK(out->missing.len > 0);
  return err_hint(err_new(ERR_UNREACHABLE, "files: %s", out->missing.items[0]),
                  "none of the source's paths exists; check them, and quote globs from the shell");
}

Error *roots_resolve(const StrList *paths, Roots *out) {
  if (paths->len == 0) return err_new(ERR_USAGE, "files: the source has no paths");
  for (size_t i = 0; i < paths->len; i++) {
    if (paths->items[i][0] == '/') continue;
    AUTO_FREE char *name = str_printable(bytes_str(paths->items[i]));
    return err_hint(err_new(ERR_USAGE, "files: %s: not an absolute path", name), "write it from the root: /srv/data");
  }
  Roots roots = {0};
  bool one = paths->len == 1 && is_literal(paths->items[0]);
  Error *err = one ? resolve_one(paths->items[0], &roots) : resolve_several(paths, &roots);
  if (err) {
    roots_free(&roots);
    return err;
  }
  *out = roots;
  return NULL;
}
