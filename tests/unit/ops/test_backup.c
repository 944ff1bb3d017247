#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "catalog/state.h"
#include "codec/secret.h"
#include "ops/backup.h"
#include "ops/restore.h"
#include "store/store_fault.h"
#include "store/store_memory.h"
#include "sys/fs.h"

#include "testing.h"

typedef struct Fixture {
  char root[64], source[80], scratch[80];
  char host_id[HOST_ID_TEXT_LEN];
  Ops ops;
  unsigned warnings;
} Fixture;

static void count_notice(void *ctx, NoticeLevel level, Bytes path UNUSED, const char *text UNUSED) {
  if (level >= NOTICE_WARNING) ((Fixture *)ctx)->warnings++;
}

static void put(const Fixture *f, const char *name, const char *text, size_t times) {
  AUTO_FREE char *path = fs_join(f->source, name);
  AUTO_BUF Buf body = {0};
  for (size_t i = 0; i < times; i++) buf_printf(&body, "%zu %s\n", i, text);
  assert_ok(fs_replace_file(path, buf_bytes(&body), 0644));
}

static const char *host_id(uint8_t number, char out[HOST_ID_TEXT_LEN]) {
  uint8_t random[HOST_ID_RANDOM_LEN] = {number};
  state_host_id_derive(random, bytes_str("0123456789abcdef0123456789abcdef"), out);
  return out;
}

static int setup(void **state) {
  Fixture *f = NEW(Fixture);
  strcpy(f->root, "/tmp/holdfast-test-XXXXXX");
  assert_non_null(mkdtemp(f->root));
  snprintf(f->source, sizeof f->source, "%s/source", f->root);
  snprintf(f->scratch, sizeof f->scratch, "%s/scratch", f->root);
  assert_int_equal(mkdir(f->source, 0700), 0);
  assert_int_equal(mkdir(f->scratch, 0700), 0);
  f->ops = (Ops){.sys = sys_real(),
                 .scratch_dir = f->scratch,
                 .host = "here",
                 .host_id = host_id(1, f->host_id),
                 .cpus = 2,
                 .notice = count_notice,
                 .notice_ctx = f};
  put(f, "a", "some text of the first file", 30000);
  put(f, "b", "other text", 10);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  Fixture *f = (Fixture *)*state;
  assert_ok(fs_remove_tree(f->root));
  free(f);
  return 0;
}

static Repo *new_repo(Store *take) {
  Unlock unlock = {.kind = SLOT_KEY_FILE, .secret = bytes_str("a key file of some length")};
  RepoInit init = {.unlocks = &unlock, .unlocks_len = 1};
  Repo *repo;
  assert_ok(repo_init(sys_real(), take, &init, NULL, NULL, &repo, NULL));
  return repo;
}

static Error *backup(Fixture *f, Repo *const *repos, size_t len, BackupMode mode, BackupResult *out) {
  SourceSpec spec = {.type = "files", .scratch_dir = f->scratch};
  strlist_add(&spec.paths, f->source);
  BackupRequest request = {.spec = &spec,
                           .name = "here:files:/x",
                           .address = "files:/x",
                           .mode = mode,
                           .tool_version = "test",
                           .repos = repos,
                           .repos_len = len};
  assert_ok(compression_parse("zstd:1", &request.compression));
  Error *err = ops_backup(&f->ops, &request, out);
  strlist_free(&spec.paths);
  return err;
}

static void expect_restores(Fixture *f, Repo *repo, const Snapshot *snapshot) {
  AUTO_FREE char *target = fs_join(f->root, "restored");
  RestoreRequest request = {.repo = repo,
                            .snapshot = snapshot,
                            .target = target,
                            .check = true,
                            .level = CHECK_COMPREHENSIVE,
                            .source_path = f->source};
  RestoreResult result = {0};
  assert_ok(ops_restore(&f->ops, &request, &result));
  assert_true(result.checked && result.report.len > 0);
  assert_int_equal(result.partial, 0);
  restore_result_free(&result);
  assert_ok(fs_remove_tree(target));
}

/* How much a tree holds is not known before it was walked, but the last time it was. */
static void test_the_last_snapshot_says_what_to_expect(void **state) {
  Fixture *f = (Fixture *)*state;
  Repo *repo = new_repo(store_memory_new(sys_real()));
  Progress progress = {0};
  BackupResult result;
  f->ops.progress = &progress;
  assert_ok(backup(f, &repo, 1, BACKUP_INCREMENTAL, &result));
  uint64_t first = result.targets[0].snapshot.stats.source_bytes;
  backup_result_free(&result);
  assert_int_equal(progress_get(&progress.total_bytes), 0);
  assert_false(atomic_load(&progress.total_estimated));
  put(f, "c", "more", 1000);
  progress_phase(&progress, "again", true);
  assert_ok(backup(f, &repo, 1, BACKUP_FULL, &result));
  assert_int_equal(progress_get(&progress.total_bytes), first);
  assert_true(atomic_load(&progress.total_estimated));
  assert_true(progress_get(&progress.done_bytes) > first);
  backup_result_free(&result);
  f->ops.progress = NULL;
  repo_free(repo);
}

static void test_two_repositories(void **state) {
  Fixture *f = (Fixture *)*state;
  Repo *repos[] = {new_repo(store_memory_new(sys_real())), new_repo(store_memory_new(sys_real()))};
  BackupResult result;
  assert_ok(backup(f, repos, 2, BACKUP_INCREMENTAL, &result));
  assert_int_equal(result.len, 2);
  for (size_t i = 0; i < 2; i++) {
    assert_null(result.targets[i].err);
    assert_int_equal(result.targets[i].snapshot.stats.read_bytes, result.targets[0].snapshot.stats.read_bytes);
    expect_restores(f, repos[i], &result.targets[i].snapshot);
  }
  backup_result_free(&result);
  repo_free(repos[0]);
  repo_free(repos[1]);
}

/* A repository that dies at any operation keeps nothing from the other one. */
static void test_one_repository_dies(void **state) {
  Fixture *f = (Fixture *)*state;
  for (uint64_t at = 1; at < 40; at += 3) {
    Store *faulty = store_fault_new(sys_real(), store_memory_new(sys_real()));
    Repo *repos[] = {new_repo(faulty), new_repo(store_memory_new(sys_real()))};
    store_fault_at(faulty, at, FAULT_DEAD);
    BackupResult result;
    Error *err = backup(f, repos, 2, BACKUP_INCREMENTAL, &result);
    if (err) {
      err_free(err);
      assert_int_equal(result.len, 2);
      assert_non_null(result.targets[0].err);
    }
    assert_null(result.targets[1].err);
    expect_restores(f, repos[1], &result.targets[1].snapshot);
    backup_result_free(&result);
    repo_free(repos[0]);
    repo_free(repos[1]);
  }
}

static Error *remove_key(void *ctx, const char *key, const StoreStat *stat UNUSED) {
  strlist_add((StrList *)ctx, key);
  return NULL;
}

static void lose(Repo *repo, const char *prefix) {
  AUTO_STRLIST StrList keys = {0};
  assert_ok(store_list(repo->store, prefix, remove_key, &keys, NULL));
  assert_true(keys.len > 0);
  for (size_t i = 0; i < keys.len; i++) assert_ok(store_remove(repo->store, keys.items[i], NULL));
}

/* What unchanged files are taken over from is gone: the backup must not say ok to a snapshot that cannot be restored.
 */
static void test_lost_parts_are_stored_again(void **state) {
  Fixture *f = (Fixture *)*state;
  const char *const lost[] = {"index/", "packs/"};
  sleep(3); /* files must be older than a timestamp's tick to be trusted at all */
  for (size_t i = 0; i < NELEMS(lost); i++) {
    Repo *repo = new_repo(store_memory_new(sys_real()));
    BackupResult result;
    assert_ok(backup(f, &repo, 1, BACKUP_INCREMENTAL, &result));
    backup_result_free(&result);
    assert_ok(backup(f, &repo, 1, BACKUP_INCREMENTAL, &result));
    assert_int_equal(result.targets[0].snapshot.stats.read_bytes, 0);
    backup_result_free(&result);
    lose(repo, lost[i]);
    assert_ok(backup(f, &repo, 1, BACKUP_INCREMENTAL, &result));
    expect_restores(f, repo, &result.targets[0].snapshot);
    backup_result_free(&result);
    repo_free(repo);
  }
}

static void test_identity_is_guarded(void **state) {
  Fixture *f = (Fixture *)*state;
  Repo *repo = new_repo(store_memory_new(sys_real()));
  BackupResult result;
  assert_ok(backup(f, &repo, 1, BACKUP_INCREMENTAL, &result));
  backup_result_free(&result);
  f->ops.host = "there"; /* a host that was renamed is no other one */
  assert_ok(backup(f, &repo, 1, BACKUP_INCREMENTAL, &result));
  backup_result_free(&result);
  f->ops.host_id = host_id(2, f->host_id);
  f->ops.host = "elsewhere";
  assert_err(backup(f, &repo, 1, BACKUP_INCREMENTAL, &result), ERR_REFUSED);
  SourceSpec spec = {.type = "files", .scratch_dir = f->scratch};
  strlist_add(&spec.paths, f->source);
  assert_ok(ops_source_adopt(&f->ops, repo, &spec, "here:files:/x"));
  strlist_free(&spec.paths);
  assert_ok(backup(f, &repo, 1, BACKUP_INCREMENTAL, &result));
  backup_result_free(&result);
  repo_free(repo);
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_two_repositories, setup, teardown),
      cmocka_unit_test_setup_teardown(test_the_last_snapshot_says_what_to_expect, setup, teardown),
      cmocka_unit_test_setup_teardown(test_one_repository_dies, setup, teardown),
      cmocka_unit_test_setup_teardown(test_lost_parts_are_stored_again, setup, teardown),
      cmocka_unit_test_setup_teardown(test_identity_is_guarded, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
