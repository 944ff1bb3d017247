/* Core dumps: RLIMIT_CORE goes to zero (soft only, so that a database server started for a drill may raise its own
 * again), and libsodium marks its pages MADV_DONTDUMP, which also holds where a core_pattern pipe ignores the limit.
 * PR_SET_DUMPABLE stays as it is: zero would hand /proc/self to root, and the file engine opens names through
 * /proc/self/fd. */
#include "codec/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/fs.h"

enum { SECRET_FILE_MAX = 64 * 1024 };

void secret_init(void) {
  CHECK(sodium_init() >= 0);
  struct rlimit limit;
  if (getrlimit(RLIMIT_CORE, &limit) == 0) {
    limit.rlim_cur = 0;
    (void)setrlimit(RLIMIT_CORE, &limit); /* lowering a soft limit is always allowed */
  }
}

void *secret_alloc(size_t len) {
  CHECK(sodium_init() >= 0); /* idempotent; tests and fuzzers come here without secret_init */
  void *p = sodium_malloc(len);
  CHECK(p != NULL);
  sodium_memzero(p, len);
  return p;
}

void secret_free(void *take) { sodium_free(take); }

void secret_wipe(void *data, size_t len) {
  if (len > 0) sodium_memzero(data, len);
}

bool secret_equal(const void *a, const void *b, size_t len) { return len == 0 || sodium_memcmp(a, b, len) == 0; }

/* Reads to the end or to `cap`. read(2), because a secret may come through a pipe or a terminal. */
static Error *read_all(int fd, const char *path, uint8_t *out, size_t cap, size_t *out_len) {
  size_t len = 0;
  while (len < cap) {
    ssize_t n = read(fd, out + len, cap - len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return err_errno(errno, "reading the secret in %s", path);
    if (n == 0) break;
    len += (size_t)n;
  }
  *out_len = len;
  return NULL;
}

static Error *read_secret(int fd, const char *path, bool keep_newline, uint8_t *room, size_t *out_len) {
  size_t len = 0;
  TRY(read_all(fd, path, room, SECRET_FILE_MAX + 1, &len));
  if (len > SECRET_FILE_MAX)
    return err_hint(err_new(ERR_LIMIT, "reading the secret in %s: more than 64 KiB", path),
                    "a passphrase or key file is small; was another file meant?");
  if (!keep_newline && len > 0 && room[len - 1] == '\n') len--;
  if (len == 0) return err_new(ERR_USAGE, "reading the secret in %s: the file is empty", path);
  *out_len = len;
  return NULL;
}

Error *secret_read_file(const char *path, bool keep_newline, uint8_t **out, size_t *out_len, bool *out_mode_open) {
  AUTO_FD int fd = -1;
  TRY(fs_open(path, O_RDONLY | O_NOCTTY, 0, &fd));
  struct stat st;
  if (fstat(fd, &st) != 0) return err_errno(errno, "reading the secret in %s", path);
  if (S_ISDIR(st.st_mode)) return err_errno(EISDIR, "reading the secret in %s", path);
  uint8_t *room = secret_alloc(SECRET_FILE_MAX + 1);
  size_t len = 0;
  Error *err = read_secret(fd, path, keep_newline, room, &len);
  if (!err) {
    *out = secret_alloc(len);
    memcpy(*out, room, len);
    *out_len = len;
    *out_mode_open = S_ISREG(st.st_mode) && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0;
  }
  secret_free(room);
  return err;
}
