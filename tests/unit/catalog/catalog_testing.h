/* catalog_testing.h: a state directory for one test, and processes that use it. */
#ifndef HF_TESTS_CATALOG_TESTING_H
#define HF_TESTS_CATALOG_TESTING_H

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "catalog/catalog.h"
#include "sys/fs.h"

#include "testing.h"

typedef struct Place {
  char *dir;
  State *state;
} Place;

static inline Place place_make(void) {
  char name[] = "/tmp/holdfast-catalog-XXXXXX";
  assert_non_null(mkdtemp(name));
  Place place = {.dir = mem_strdup(name)};
  assert_ok(state_open(sys_real(), name, &place.state));
  return place;
}

static inline void place_discard(Place *place) {
  state_free(place->state);
  assert_ok(fs_remove_tree(place->dir));
  free(place->dir);
}

static inline Catalog *place_catalog(const Place *place) {
  Catalog *catalog;
  assert_ok(catalog_open(sys_real(), place->state, &catalog));
  return catalog;
}

/* A child's work returns its exit status: cmocka's assertions belong to the parent. */
typedef int ChildWork(const Place *place, unsigned number);

static inline pid_t child_start(ChildWork *work, const Place *place, unsigned number) {
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) _exit(work(place, number));
  return pid;
}

static inline int child_wait(pid_t pid) {
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* For children: says what went wrong and tells it by the error's code, 0 for none. */
static inline int child_report(Error *take) {
  int code = take ? (int)err_code(take) : 0;
  if (take) print_message("child: %s\n", err_text(take));
  err_free(take);
  return code;
}

static inline Uuid uuid_of(uint8_t number) {
  Uuid id = {.b = {0xab, number}};
  return id;
}

#endif
