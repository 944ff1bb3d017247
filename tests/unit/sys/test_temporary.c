#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "sys/fs.h"
#include "sys/temporary.h"

#include "testing.h"

typedef struct Folder {
  char path[32];
  int fd;
} Folder;

static int make_folder(void **state) {
  Folder *f = NEW(Folder);
  memcpy(f->path, "/tmp/holdfast-part-XXXXXX", sizeof "/tmp/holdfast-part-XXXXXX");
  *state = f;
  if (!mkdtemp(f->path)) return -1;
  f->fd = open(f->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  return f->fd < 0;
}

static int remove_folder(void **state) {
  Folder *f = (Folder *)*state;
  close(f->fd);
  err_ignore(fs_remove_tree(f->path));
  free(f);
  return 0;
}

static bool is_there(const Folder *f, const char *name) { return faccessat(f->fd, name, F_OK, 0) == 0; }

static void make(const Folder *f, const char *name) {
  int fd = openat(f->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  close(fd);
}

static void what_is_written_stays_what_was_left_goes(void **state) {
  Folder *f = (Folder *)*state;
  char left[TEMPORARY_NAME_CAP], written[TEMPORARY_NAME_CAP];
  int fd = temporary_create(sys_real(), f->fd, TEMPORARY_PREFIX, left, sizeof left);
  assert_true(fd >= 0);
  close(fd); /* as when its process was killed */
  fd = temporary_create(sys_real(), f->fd, TEMPORARY_PREFIX, written, sizeof written);
  assert_true(fd >= 0);
  assert_true(str_starts(left, TEMPORARY_PREFIX) && strcmp(left, written) != 0);
  assert_int_equal(temporary_sweep(f->fd, TEMPORARY_PREFIX), 1);
  assert_false(is_there(f, left));
  assert_true(is_there(f, written));
  close(fd);
  assert_int_equal(temporary_sweep(f->fd, TEMPORARY_PREFIX), 1);
  assert_false(is_there(f, written));
}

static void only_its_own_pattern_is_swept(void **state) {
  static const char *const others[] = {".holdfast-0123456789abcdef.part-wal", ".holdfast-0123456789abcde.part",
                                       ".holdfast-0123456789abcdef",          ".holdfast-0123456789ABCDEF.part",
                                       ".x.holdfast-0123456789abcdef.part",   "holdfast-0123456789abcdef.part",
                                       ".holdfast-restore-unfinished",        ".holdfast-0123456789abcdef0.part"};
  Folder *f = (Folder *)*state;
  for (size_t i = 0; i < NELEMS(others); i++) make(f, others[i]);
  assert_int_equal(symlinkat("nowhere", f->fd, ".holdfast-00000000000000aa.part"), 0);
  assert_int_equal(mkdirat(f->fd, ".holdfast-00000000000000bb.part", 0700), 0);
  make(f, ".holdfast-0123456789abcdef.part");
  assert_int_equal(temporary_sweep(f->fd, TEMPORARY_PREFIX), 1);
  for (size_t i = 0; i < NELEMS(others); i++) assert_true(is_there(f, others[i]));
  assert_int_equal(temporary_sweep(f->fd, ".x.holdfast-"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void) {
  const struct CMUnitTest tests[] = {TEST(what_is_written_stays_what_was_left_goes),
                                     TEST(only_its_own_pattern_is_swept)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
