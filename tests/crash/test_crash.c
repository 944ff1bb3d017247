/* kill -9 at random instants of backups: a child process runs the real writer against a directory, with a page file
 * changed between the rounds, and is killed. After each round every listed snapshot restores exactly and verifies, and
 * what was published is not stored again. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/secret.h"
#include "store/store_file.h"
#include "sys/fs.h"

#include "repo_tools.h"
#include "seeds.h"
#include "testing.h"

enum { ROUNDS = 200 };

typedef struct Crash {
  char *dir, *repo_dir, *cache;
  Model *moments;    /* moments[i]: what snapshot i holds */
  size_t snapshots;  /* seen so far */
  size_t next_check; /* a full comparison of an old snapshot, in turn */
  unsigned killed, committed;
} Crash;

static Repo *open_dir(const Crash *c) {
  Store *store;
  Repo *repo;
  assert_ok(store_file_open(sys_real(), c->repo_dir, true, &store));
  assert_ok(model_repo_open(sys_real(), store, c->cache, &repo));
  return repo;
}

static int setup(void **state) {
  Crash *c = NEW(Crash);
  char template[] = "/tmp/holdfast-crash-XXXXXX";
  assert_non_null(mkdtemp(template));
  c->dir = mem_strdup(template);
  c->repo_dir = fs_join(c->dir, "repo");
  c->cache = fs_join(c->dir, "cache");
  Store *store;
  Repo *repo;
  assert_ok(store_file_open(sys_real(), c->repo_dir, true, &store));
  assert_ok(model_repo_init(sys_real(), store, c->cache, &repo));
  repo_free(repo);
  *state = c;
  return 0;
}

static int teardown(void **state) {
  Crash *c = (Crash *)*state;
  assert_ok(fs_remove_tree(c->dir));
  for (size_t i = 0; i < c->snapshots; i++) model_free(&c->moments[i]);
  free(c->moments);
  free(c->dir);
  free(c->repo_dir);
  free(c->cache);
  free(c);
  return 0;
}

/* The child: one backup; its result is whether a snapshot exists. */
static void child_run(const Crash *c, const Model *model) {
  Repo *repo = open_dir(c);
  ModelBackup how = {.source = "m"};
  Snapshot snapshot;
  Error *err = model_backup(repo, model, &how, &snapshot, NULL);
  _exit(err ? 1 : 0);
}

/* True when the child was killed before it ended. */
static bool backup_and_kill(const Crash *c, const Model *model, uint64_t after_us) {
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) child_run(c, model);
  usleep((useconds_t)after_us);
  kill(pid, SIGKILL);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (WIFEXITED(status)) assert_int_equal(WEXITSTATUS(status), 0);
  return WIFSIGNALED(status);
}

/* Another machine's view: no cache. */
static Repo *open_elsewhere(const Crash *c) {
  Store *store;
  Repo *repo;
  assert_ok(store_file_open(sys_real(), c->repo_dir, false, &store));
  assert_ok(model_repo_open(sys_real(), store, NULL, &repo));
  return repo;
}

static void keep_moment(Crash *c, const Model *model) {
  c->moments = (Model *)mem_resize(c->moments, c->snapshots + 1, sizeof *c->moments);
  c->moments[c->snapshots++] = model_copy(model);
}

/* At most one snapshot may have come; it must be this moment. */
static void check_round(Crash *c, const Model *model, bool killed, unsigned level) {
  Repo *repo = open_elsewhere(c);
  SnapshotList list;
  assert_ok(snapshot_list(repo, NULL, &list, NULL, NULL, NULL));
  assert_true(list.len == c->snapshots || list.len == c->snapshots + 1);
  if (!killed) assert_int_equal(list.len, c->snapshots + 1);
  if (list.len > c->snapshots) {
    keep_moment(c, model);
    c->committed++;
    assert_ok(model_compare(repo, &list.items[list.len - 1], model, NULL));
  }
  if (list.len) {
    size_t old = c->next_check++ % list.len;
    assert_ok(model_compare(repo, &list.items[old], &c->moments[old], NULL));
  }
  uint64_t damaged;
  char *first;
  assert_ok(model_verify(repo, level, &damaged, &first));
  if (damaged) print_error("%s\n", first);
  free(first);
  assert_int_equal(damaged, 0);
  snapshot_list_free(&list);
  repo_free(repo);
}

/* Runs to its end. */
static void resume(Crash *c, const Model *model) {
  Repo *repo = open_dir(c);
  Snapshot s;
  tools_backup(repo, model, &s);
  assert_ok(model_compare(repo, &s, model, NULL));
  keep_moment(c, model);
  snapshot_free(&s);
  repo_free(repo);
}

static void grow_and_change(Model *model, uint64_t *seed) {
  uint8_t *db = NULL;
  for (size_t i = 0; i < model->len; i++)
    if (strcmp(model->files[i].path, "db") == 0) db = model->files[i].data;
  for (int i = 0; i < 12; i++) db[test_random(seed) % (6 * 131072)] ^= 0x21;
  tools_add_random(model, "log", false, 200 * 1000, seed);
}

static void test_kill(void **state) {
  Crash *c = (Crash *)*state;
  uint64_t seed = seeds_begin(77);
  unsigned rounds = seeds_crash_rounds(ROUNDS);
  Model model = {0};
  tools_add_random(&model, "db", true, 6 * 131072 + 100, &seed);
  tools_add_random(&model, "small", false, 900, &seed);
  uint64_t whole_us = 0;
  for (unsigned round = 0; round < rounds; round++) {
    grow_and_change(&model, &seed);
    if (round % 20 == 0) { /* how long one takes now; and the next backup after a crash succeeds */
      uint64_t start = sys_mono_ns(sys_real());
      resume(c, &model);
      whole_us = (sys_mono_ns(sys_real()) - start) / 1000;
      continue;
    }
    bool killed = backup_and_kill(c, &model, test_random(&seed) % (whole_us + 2000));
    if (killed) c->killed++;
    check_round(c, &model, killed, round % 10 == 1 ? 3 : 1);
  }
  Repo *repo = open_dir(c);
  assert_int_equal(tools_expect_moments(repo, c->moments, c->snapshots), c->snapshots);
  tools_expect_clean(repo);
  repo_free(repo);
  print_message("%u killed, %u ended in time or had committed\n", c->killed, c->committed);
  assert_true(c->killed >= rounds / 4);
  model_free(&model);
}

/* A large first backup is killed again and again; each takes over what the last one published, until one ends. */
static void test_resume(void **state UNUSED) {
  Crash *c;
  void *made = NULL;
  setup(&made);
  c = (Crash *)made;
  uint64_t seed = seeds_begin(5);
  Model model = {0};
  tools_add_random(&model, "db", true, 24 * MIB, &seed);
  uint64_t published = 0;
  for (int round = 0; round < 12; round++) {
    backup_and_kill(c, &model, 60 * 1000 + test_random(&seed) % 300000);
    Repo *repo = open_elsewhere(c);
    size_t segments = tools_count(repo->store, "index/");
    assert_true(segments >= published);
    published = segments;
    SnapshotList list;
    assert_ok(snapshot_list(repo, NULL, &list, NULL, NULL, NULL));
    size_t len = list.len;
    snapshot_list_free(&list);
    repo_free(repo);
    if (len) break;
  }
  Repo *repo = open_dir(c);
  Snapshot s;
  tools_backup(repo, &model, &s);
  assert_ok(model_compare(repo, &s, &model, NULL));
  if (published) assert_true(s.stats.new_bytes < model.files[0].len);
  tools_expect_clean(repo);
  snapshot_free(&s);
  repo_free(repo);
  model_free(&model);
  teardown(&made);
}

int main(void) {
  seeds_say();
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
      cmocka_unit_test(test_resume),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
