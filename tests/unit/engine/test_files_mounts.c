/* Other file systems: staying on one, the kernel's own, and a disk that fills up. Each test mounts in a namespace of a
 * forked child and is skipped where that is not allowed. */
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "files_testing.h"

enum { NOT_ALLOWED = 77 };

/* Runs `test` in a child that may mount. */
static void in_namespace(void (*test)(const char *scratch)) {
  char *scratch = scratch_new();
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) _exit(NOT_ALLOWED);
    test(scratch);
    _exit(0); /* a failed assertion ends the child in another way */
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  scratch_free(scratch);
  if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_ALLOWED) {
    print_message("mounting is not allowed here\n");
    skip();
  }
  assert_int_equal(status, 0);
}

static void mount_on(const char *dir, const char *name, const char *type, const char *options) {
  make_dir(dir, name);
  AUTO_FREE char *path = at(dir, name);
  if (mount("none", path, type, 0, options) != 0) _exit(NOT_ALLOWED);
}

static void one_file_system(const char *scratch) {
  mount_on(scratch, "source/mnt", "tmpfs", NULL);
  mount_on(scratch, "source/named", "tmpfs", NULL);
  put(scratch, "source/mnt/far", "x");
  put(scratch, "source/named/near", "x");
  AUTO_FREE char *source = at(scratch, "source");
  AUTO_FREE char *named = at(scratch, "source/named");
  Job job = job_new(source);
  job_backup(&job);
  assert_non_null(memory_tree_get(job.tree, "mnt/far"));
  job.spec.one_file_system = true;
  job_backup(&job);
  assert_non_null(memory_tree_get(job.tree, "mnt")); /* the empty directory it is mounted on */
  assert_null(memory_tree_get(job.tree, "mnt/far"));
  strlist_add(&job.spec.paths, named); /* named by the operator: wanted */
  job_backup(&job);
  AUTO_FREE char *near = mem_printf("%s/source/named/near", scratch + 1);
  AUTO_FREE char *far = mem_printf("%s/source/mnt/far", scratch + 1);
  assert_non_null(memory_tree_get(job.tree, near));
  assert_null(memory_tree_get(job.tree, far));
  job_free(&job);
}

static void test_one_file_system(void **state) {
  (void)state;
  in_namespace(one_file_system);
}

static void kernel_file_systems(const char *scratch) {
  mount_on(scratch, "source/proc", "proc", NULL);
  AUTO_FREE char *source = at(scratch, "source");
  Job job = job_new(source);
  job_backup(&job);
  assert_int_equal(job.tree->len, 2);
  job_free(&job);
}

static void test_kernel_file_systems(void **state) {
  (void)state;
  in_namespace(kernel_file_systems);
}

static void full_disk(const char *scratch) {
  mount_on(scratch, "small", "tmpfs", "size=1m");
  make_dir(scratch, "source");
  put_random(scratch, "source/big", 3 * MIB, 1);
  AUTO_FREE char *source = at(scratch, "source");
  AUTO_FREE char *target = at(scratch, "small/target");
  Job job = job_new(source);
  job_backup(&job);
  assert_err(job_try_restore(&job, target), ERR_NO_SPACE);
  assert_false(exists_at(target, "big"));
  job_free(&job);
}

static void test_full_disk(void **state) {
  (void)state;
  in_namespace(full_disk);
}

/* No room for another name, rather than for content. */
static void full_of_names(const char *scratch) {
  mount_on(scratch, "small", "tmpfs", "nr_inodes=8");
  make_dir(scratch, "source");
  for (char name[] = "a"; name[0] < 'z'; name[0]++) put(scratch, mem_printf("source/%s", name), "");
  AUTO_FREE char *source = at(scratch, "source");
  AUTO_FREE char *target = at(scratch, "small/target");
  Job job = job_new(source);
  job_backup(&job);
  assert_err(job_try_restore(&job, target), ERR_NO_SPACE);
  job_free(&job);
}

static void test_full_of_names(void **state) {
  (void)state;
  in_namespace(full_of_names);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_file_system),
      cmocka_unit_test(test_kernel_file_systems),
      cmocka_unit_test(test_full_disk),
      cmocka_unit_test(test_full_of_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
