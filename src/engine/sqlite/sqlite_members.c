#include "engine/sqlite/sqlite_members.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "engine/sqlite/sqlite_dbfile.h"
#include "engine/sqlite/sqlite_format.h"
#include "sys/fs.h"

enum { DEPTH_MAX = 128 };

typedef struct Search {
  Members *out;
  size_t cap;
  Notices *notices;
  Cancel *cancel;
  const char *rest; /* the pattern below the base directory */
} Search;

bool members_has_wildcard(const char *pattern) { return strpbrk(pattern, "*?[\\") != NULL; }

char *members_base_dir(const char *pattern) {
  size_t end = members_has_wildcard(pattern) ? strcspn(pattern, "*?[\\") : strlen(pattern);
  while (end > 0 && pattern[end - 1] != '/') end--;
  /* Without the slash, but "/" stays. */
  return mem_strndup(pattern, end > 1 ? end - 1 : end);
}

static void add_member(Search *search, const char *path, const char *tree_path, bool by_glob) {
  Members *out = search->out;
  for (size_t i = 0; i < out->len; i++)
    if (strcmp(out->items[i].path, path) == 0) {
      out->items[i].by_glob = out->items[i].by_glob && by_glob;
      return;
    }
  MEM_ROOM(out->items, out->len, search->cap, 16);
  out->items[out->len++] = (Member){.path = mem_strdup(path), .tree_path = mem_strdup(tree_path), .by_glob = by_glob};
}

static void add_other(Search *search, const char *path, const char *tree_path) {
  Members *out = search->out;
  out->others = mem_resize(out->others, out->others_len + 1, sizeof(Member));
  out->others[out->others_len++] =
      (Member){.path = mem_strdup(path), .tree_path = mem_strdup(tree_path), .by_glob = true};
}

static void report(const Search *search, NoticeLevel level, const char *path, const char *message) {
  if (search->notices) search->notices->report(search->notices, level, bytes_str(path), message);
}

/* ---- globs --------------------------------------------------------------------------------------------------- */

/* What SQLite keeps beside a database. The database may be gone, but its files are none. */
static bool is_companion(const char *name) {
  return str_ends(name, "-wal") || str_ends(name, "-shm") || str_ends(name, "-journal");
}

/* Looks at the first bytes through SQLite's file layer (see sqlite_dbfile.h). An empty file is an empty database. */
static Error *looks_like_database(const char *path, bool *out) {
  DbFile *file = NULL;
  uint8_t head[16];
  uint64_t size = 0;
  *out = false;
  TRY(dbfile_open(path, false, &file));
  Error *err = dbfile_size(file, &size);
  if (!err) err = dbfile_read(file, 0, head, sizeof(head));
  if (!err) *out = size == 0 || db_header_magic(bytes(head, sizeof(head)));
  dbfile_close(file);
  return err;
}

static void found_file(Search *search, const char *path, const char *below) {
  bool database = false;
  Error *err = looks_like_database(path, &database);
  if (err) {
    report(search, NOTICE_PARTIAL, path, err_text(err));
    err_free(err);
  } else if (database) {
    add_member(search, path, below, true);
  } else {
    add_other(search, path, below);
  }
}

/* The pattern's component at this depth, or NULL when only whole paths can tell (behind a `**`). */
static const char *component_at(const char *rest, int depth, size_t *out_len, bool *last) {
  for (int i = 0;; i++) {
    size_t len = strcspn(rest, "/");
    if (memmem(rest, len, "**", 2)) return NULL;
    *last = rest[len] == 0;
    if (i == depth) {
      *out_len = len;
      return rest;
    }
    if (*last) return "";
    rest += len + 1;
  }
}

static Error *search_dir(Search *search, const char *dir, const char *below, int depth);

static Error *search_name(Search *search, const char *dir, const char *below, const char *name, int depth) {
  size_t len = 0;
  bool last = false;
  const char *component = component_at(search->rest, depth, &len, &last);
  if (component && !glob_match(bytes(component, len), bytes_str(name))) return NULL;
  AUTO_FREE char *path = fs_join(dir, name);
  AUTO_FREE char *next = *below ? fs_join(below, name) : mem_strdup(name);
  struct stat st, link;
  if (lstat(path, &link) != 0 || stat(path, &st) != 0) return NULL; /* gone meanwhile, or a dangling link */
  /* Links to directories are not followed: they may lead round in a circle. */
  if (S_ISDIR(link.st_mode) && !(component && last)) return search_dir(search, path, next, depth + 1);
  bool whole = component ? last : glob_match(bytes_str(search->rest), bytes_str(next));
  if (S_ISREG(st.st_mode) && whole && !is_companion(name)) found_file(search, path, next);
  return NULL;
}

static Error *search_dir(Search *search, const char *dir, const char *below, int depth) {
  struct dirent **names = NULL;
  TRY(cancel_check(search->cancel));
  if (depth > DEPTH_MAX) return err_new(ERR_LIMIT, "searching %s: more than %d directories deep", dir, DEPTH_MAX);
  int count = scandir(dir, &names, NULL, alphasort);
  if (count < 0 && depth == 0) return err_errno(errno, "searching %s", dir);
  if (count < 0) {
    AUTO_ERR Error *why = err_errno(errno, "searching %s", dir);
    report(search, NOTICE_PARTIAL, dir, err_text(why));
    return NULL;
  }
  Error *err = NULL;
  for (int i = 0; i < count; i++) {
    const char *name = names[i]->d_name;
    if (!err && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) err = search_name(search, dir, below, name, depth);
    free(names[i]);
  }
  free(names);
  return err;
}

/* ---- patterns ------------------------------------------------------------------------------------------------ */

static Error *nothing_there(const char *pattern, bool glob) {
  AUTO_FREE char *name = str_printable(bytes_str(pattern));
  Error *err =
      err_new(ERR_NOT_FOUND, glob ? "looking for %s: no SQLite database matches" : "opening %s: no such file", name);
  return err_hint(err, "check the path; a pattern for several databases looks like '/srv/app/*.db' (quoted)");
}

static Error *find_named(Search *search, const char *pattern) {
  const char *slash = strrchr(pattern, '/');
  struct stat st;
  if (stat(pattern, &st) != 0) {
    AUTO_FREE char *name = str_printable(bytes_str(pattern));
    return errno == ENOENT ? nothing_there(pattern, false) : err_errno(errno, "opening %s", name);
  }
  if (!S_ISREG(st.st_mode))
    return err_hint(
        err_new(ERR_USAGE, "backing up %s: it is no regular file", pattern),
        S_ISDIR(st.st_mode) ? "for all databases in a directory: '%s/*.db'" : "give the database file, not %s",
        pattern);
  add_member(search, pattern, slash ? slash + 1 : pattern, false);
  return NULL;
}

static Error *find_pattern(Search *search, const char *pattern) {
  struct stat st;
  if (pattern[0] != '/') return err_new(ERR_USAGE, "looking for %s: the path must be absolute", pattern);
  if (!members_has_wildcard(pattern) || lstat(pattern, &st) == 0) return find_named(search, pattern);
  AUTO_FREE char *base = members_base_dir(pattern);
  size_t base_len = strlen(base), before = search->out->len;
  search->rest = pattern + (base_len > 1 ? base_len + 1 : 1);
  TRY(search_dir(search, base, "", 0));
  return search->out->len > before ? NULL : nothing_there(pattern, true);
}

static int member_compare(const void *a, const void *b) {
  return entry_path_compare(bytes_str(((const Member *)a)->tree_path), bytes_str(((const Member *)b)->tree_path));
}

static void sort_members(Members *members) {
  if (members->len) qsort(members->items, members->len, sizeof(Member), member_compare);
}

static Error *use_whole_paths(Members *members) {
  for (size_t i = 0; i < members->len; i++) {
    AUTO_FREE char *path = NULL;
    TRY(fs_absolute(members->items[i].path, &path));
    free(members->items[i].tree_path);
    members->items[i].tree_path = mem_strdup(path + 1);
  }
  return NULL;
}

/* Two members of one name, or one where the other has a directory. */
static bool members_collide(const Members *members) {
  for (size_t i = 1; i < members->len; i++) {
    Bytes a = bytes_str(members->items[i - 1].tree_path), b = bytes_str(members->items[i].tree_path);
    if (entry_path_within(b, a)) return true;
  }
  return false;
}

Error *members_find(const StrList *patterns, Notices *notices, Members *out, Cancel *cancel) {
  Members found = {0};
  Search search = {.out = &found, .notices = notices, .cancel = cancel};
  Error *err = NULL;
  for (size_t i = 0; i < patterns->len && !err; i++) err = find_pattern(&search, patterns->items[i]);
  sort_members(&found);
  if (!err && members_collide(&found)) {
    err = use_whole_paths(&found);
    sort_members(&found);
  }
  if (err) {
    members_free(&found);
    return err;
  }
  *out = found;
  return NULL;
}

static void free_items(Member *items, size_t len) {
  for (size_t i = 0; i < len; i++) {
    free(items[i].path);
    free(items[i].tree_path);
  }
  free(items);
}

void members_free(Members *members) {
  free_items(members->items, members->len);
  free_items(members->others, members->others_len);
  *members = (Members){0};
}
