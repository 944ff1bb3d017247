#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "store/store_file_impl.h"
#include "sys/fs.h"

typedef struct Listing {
  FileStore *store;
  const char *prefix;
  StoreVisit *visit;
  void *ctx;
  const Cancel *cancel;
} Listing;

/* The names of one directory that matter. A directory's ends in '/': so plain byte order of the names is the order of
 * the whole keys below them ("a.b" before everything in "a/", since '.' is below '/'). */
typedef struct Names {
  Buf text;
  const char **sorted;
  size_t len;
} Names;

static void names_free(Names *names) {
  buf_free(&names->text);
  free(names->sorted);
}

static int compare_names(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static Error *list_errno(const Listing *l, const char *dir, int errno_value) {
  return err_errno(errno_value, "listing %s/%s", l->store->base.name, dir);
}

/* Keys start with dir + name: can they start with the prefix? For a directory the prefix may also reach further. */
static bool matches(const char *prefix, const char *path, bool is_dir) {
  return str_starts(path, prefix) || (is_dir && str_starts(prefix, path));
}

static bool is_kind(int dir_fd, const struct dirent *entry, bool *out_is_dir) {
  unsigned char type = entry->d_type;
  if (type == DT_UNKNOWN) {
    struct stat st;
    if (fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) return false;
    type = S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : DT_LNK;
  }
  *out_is_dir = type == DT_DIR;
  return type == DT_DIR || type == DT_REG;
}

static void names_add(Names *names, const Listing *l, int dir_fd, const char *dir, const struct dirent *entry) {
  bool is_dir;
  AUTO_FREE char *path = mem_printf("%s%s", dir, entry->d_name);
  if (!store_key_valid(path) || !is_kind(dir_fd, entry, &is_dir)) return;
  AUTO_FREE char *full = mem_printf("%s%s", path, is_dir ? "/" : "");
  if (!matches(l->prefix, full, is_dir)) return;
  buf_add_str(&names->text, full + strlen(dir));
  buf_put_u8(&names->text, 0);
  names->len++;
}

/* Reads the directory behind fd (borrowed); `dir` is its path with a '/' at its end, or "". */
static Error *names_read(Names *names, const Listing *l, int fd, const char *dir) {
  int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *stream = own >= 0 ? fdopendir(own) : NULL;
  if (!stream) {
    Error *err = errno == ENOENT ? NULL : list_errno(l, dir, errno);
    if (own >= 0) close(own);
    return err;
  }
  Error *err = NULL;
  while (!err) {
    errno = 0;
    const struct dirent *entry = readdir(stream);
    if (!entry) {
      if (errno != 0 && errno != ENOENT) err = list_errno(l, dir, errno);
      break;
    }
    names_add(names, l, fd, dir, entry);
    err = cancel_check(l->cancel);
  }
  closedir(stream);
  TRY(err);
  names->sorted = NEW_ARRAY(const char *, names->len);
  const char *at = (const char *)names->text.data;
  for (size_t i = 0; i < names->len; i++, at += strlen(at) + 1) names->sorted[i] = at;
  qsort(names->sorted, names->len, sizeof *names->sorted, compare_names);
  return NULL;
}

static Error *visit_file(const Listing *l, int dir_fd, const char *name, const char *key) {
  struct stat st;
  if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
    if (errno == ENOENT) return NULL; /* removed meanwhile */
    return list_errno(l, key, errno);
  }
  if (!S_ISREG(st.st_mode)) return NULL;
  StoreStat stat = {.size_bytes = (uint64_t)st.st_size, .modified_ns = file_modified_ns(&st)};
  return l->visit(l->ctx, key, &stat);
}

/* Recursion is bounded by the length of a key. */
static Error *list_dir(const Listing *l, int fd, const char *dir) {
  __attribute__((cleanup(names_free))) Names names = {0};
  TRY(names_read(&names, l, fd, dir));
  for (size_t i = 0; i < names.len; i++) {
    TRY(cancel_check(l->cancel));
    /* Some file systems name an entry twice when the directory changes meanwhile. */
    if (i > 0 && strcmp(names.sorted[i], names.sorted[i - 1]) == 0) continue;
    AUTO_FREE char *path = mem_printf("%s%s", dir, names.sorted[i]);
    AUTO_FREE char *name = mem_strdup(names.sorted[i]);
    size_t last = strlen(name) - 1;
    if (name[last] != '/') {
      TRY(visit_file(l, fd, name, path));
      continue;
    }
    name[last] = '\0'; /* with the slash a symbolic link would be followed */
    AUTO_FD int child = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child >= 0)
      TRY(list_dir(l, child, path));
    else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
      return list_errno(l, path, errno);
  }
  return NULL;
}

Error *file_list(Store *store, const char *prefix, StoreVisit *visit, void *ctx, Cancel *cancel) {
  FileStore *fs = file_store_of(store);
  const char *slash = strrchr(prefix, '/');
  AUTO_FREE char *dir = mem_strndup(prefix, slash ? (size_t)(slash + 1 - prefix) : 0);
  AUTO_FREE char *name = mem_strndup(dir, slash ? (size_t)(slash - prefix) : 0);
  if (slash && !store_key_valid(name)) return NULL; /* no key starts like this */
  /* Straight to the directory that the prefix names: nothing beside the way is read. */
  AUTO_FD int fd = -1;
  Error *err = file_open_dir(fs, dir, &fd);
  if (err_is(err, ERR_NOT_FOUND)) {
    err_free(err);
    return NULL;
  }
  if (err) return err_wrap(err, "listing %s/%s", store->name, dir);
  Listing l = {.store = fs, .prefix = prefix, .visit = visit, .ctx = ctx, .cancel = cancel};
  return list_dir(&l, fd, dir);
}
