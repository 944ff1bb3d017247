/* The file: opening, migrating, damage, several processes. What is in it: test_catalog_records.c. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>

#include "sys/sim.h"

#include "catalog_testing.h"

static char *db_path(const Place *place) { return fs_join(place->dir, "catalog.db"); }

/* Runs SQL on the file, behind the catalog's back. */
static void sql_on(const char *path, const char *sql) {
  sqlite3 *db;
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static size_t files_like(const char *dir, const char *prefix) {
  DIR *stream = opendir(dir);
  assert_non_null(stream);
  size_t count = 0;
  for (const struct dirent *e; (e = readdir(stream));) count += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
  closedir(stream);
  return count;
}

static Error *record_job(Catalog *catalog, Sys *sys, const char *source) {
  JobStart job;
  job_start_init(sys, "backup", &job);
  job.source = source;
  TRY(catalog_job_begin(catalog, &job));
  return catalog_job_end(catalog, &job, &(JobOutcome){.result = JOB_OK});
}

static size_t count_jobs(Catalog *catalog) {
  JobList list;
  assert_ok(catalog_job_list(catalog, NULL, &list));
  size_t count = list.len;
  job_list_free(&list);
  return count;
}

/* Works, and holds nothing from before. */
static void assert_fresh(const Place *place) {
  Catalog *catalog = place_catalog(place);
  assert_int_equal(count_jobs(catalog), 0);
  assert_ok(record_job(catalog, sys_real(), "a"));
  assert_int_equal(count_jobs(catalog), 1);
  catalog_free(catalog);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static void test_files_are_private(void **unused UNUSED) {
  Place place = place_make();
  static const char *const names[] = {"catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.lock"};
  mode_t before = umask(0);
  Catalog *catalog = place_catalog(&place);
  assert_ok(record_job(catalog, sys_real(), "a"));
  umask(before);
  for (size_t i = 0; i < NELEMS(names); i++) {
    AUTO_FREE char *path = fs_join(place.dir, names[i]);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
  }
  assert_null(catalog_moved_aside(catalog));
  catalog_free(catalog);
  place_discard(&place);
}

static void test_records_stay(void **unused UNUSED) {
  Place place = place_make();
  Catalog *catalog = place_catalog(&place);
  assert_ok(record_job(catalog, sys_real(), "a"));
  catalog_free(catalog);
  catalog = place_catalog(&place);
  assert_int_equal(count_jobs(catalog), 1);
  catalog_free(catalog);
  place_discard(&place);
}

/* Version 1 as it was: jobs only. */
static const char VERSION_1[] =
    "CREATE TABLE jobs("
    " id TEXT PRIMARY KEY, kind TEXT NOT NULL, source TEXT NOT NULL, repository TEXT NOT NULL, command TEXT,"
    " pid INTEGER NOT NULL, process TEXT NOT NULL, started INTEGER NOT NULL,"
    " ended INTEGER, result TEXT, exit_code INTEGER, error TEXT, repository_id TEXT, snapshot TEXT,"
    " read_bytes INTEGER, new_bytes INTEGER, stored_bytes INTEGER, files INTEGER, duration INTEGER, summary TEXT);"
    "CREATE INDEX jobs_by_start ON jobs(started);"
    "CREATE INDEX jobs_by_source ON jobs(kind, source, repository, started);"
    "INSERT INTO jobs(id, kind, source, repository, pid, process, started, result)"
    " VALUES('0123456789ab', 'backup', 'old', 'local', 1, '', 1000, 'ok');"
    "PRAGMA application_id = 1751532385; PRAGMA user_version = 1;";

static void test_older_version_is_migrated(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = db_path(&place);
  sql_on(path, VERSION_1);
  Catalog *catalog = place_catalog(&place);
  assert_null(catalog_moved_aside(catalog));
  Job job;
  assert_ok(catalog_job_get(catalog, "0123", &job));
  assert_string_equal(job.source, "old");
  assert_int_equal(job.start_ns, 1000);
  assert_int_equal(job.result, JOB_OK);
  job_free(&job);
  Uuid repo = uuid_of(1), pack = uuid_of(2);
  uint64_t when;
  assert_ok(catalog_pack_verified(catalog, &repo, &pack, 2, 77, 10));
  assert_ok(catalog_flush(catalog));
  assert_ok(catalog_last_verified(catalog, &repo, &pack, 2, &when));
  assert_int_equal(when, 77);
  catalog_free(catalog);
  place_discard(&place);
}

static void test_a_file_of_others_is_left_alone(void **unused UNUSED) {
  static const struct {
    const char *sql;
    ErrCode code;
  } cases[] = {{"PRAGMA application_id = 1751532385; PRAGMA user_version = 99; CREATE TABLE t(a)", ERR_UNSUPPORTED},
               {"CREATE TABLE t(a)", ERR_REFUSED},
               {"PRAGMA user_version = 1", ERR_REFUSED},
               {"PRAGMA application_id = 7; CREATE TABLE t(a)", ERR_REFUSED}};
  for (size_t i = 0; i < NELEMS(cases); i++) {
    Place place = place_make();
    AUTO_FREE char *path = db_path(&place);
    Catalog *catalog;
    sql_on(path, cases[i].sql);
    assert_err(catalog_open(sys_real(), place.state, &catalog), cases[i].code);
    assert_int_equal(files_like(place.dir, "catalog.db.corrupt"), 0);
    if (i != 2) sql_on(path, "INSERT INTO t VALUES(1)");
    place_discard(&place);
  }
}

static void test_directory_in_the_way(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = db_path(&place);
  Catalog *catalog;
  assert_ok(fs_make_dirs(path, 0700));
  assert_err(catalog_open(sys_real(), place.state, &catalog), ERR_REFUSED);
  assert_true(fs_exists(path));
  place_discard(&place);
}

static int open_as_nobody(const Place *place, unsigned number UNUSED) {
  enum { NOBODY = 65534 };
  Catalog *catalog;
  if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0) return 255;
  return child_report(catalog_open(sys_real(), place->state, &catalog));
}

static void test_directory_that_cannot_be_written(void **unused UNUSED) {
  Place place = place_make();
  assert_int_equal(chmod(place.dir, 0555), 0);
  assert_int_equal(child_wait(child_start(open_as_nobody, &place, 0)), ERR_DENIED);
  assert_int_equal(chmod(place.dir, 0755), 0);
  /* And a file that cannot be read is not damage. */
  if (geteuid() == 0) {
    assert_fresh(&place);
    assert_int_equal(child_wait(child_start(open_as_nobody, &place, 0)), ERR_DENIED);
    assert_int_equal(files_like(place.dir, "catalog.db.corrupt"), 0);
  }
  place_discard(&place);
}

/* ---- damage ------------------------------------------------------------------------------------------------------ */

static void test_damaged_file_is_moved_aside(void **unused UNUSED) {
  static const char text[] = "this is no database, and it is long enough that SQLite does not take it for a header";
  Place place = place_make();
  AUTO_FREE char *path = db_path(&place);
  AUTO_BUF Buf kept = {0};
  assert_ok(fs_replace_file(path, bytes(text, sizeof text), 0600));
  Catalog *catalog = place_catalog(&place);
  AUTO_FREE char *aside = catalog_moved_aside(catalog);
  assert_non_null(aside);
  catalog_free(catalog);
  assert_ok(fs_read_file(aside, 1000, &kept));
  assert_true(bytes_equal(buf_bytes(&kept), bytes(text, sizeof text)));
  assert_true(strstr(aside, "/catalog.db.corrupt-2") != NULL);
  assert_fresh(&place);
  assert_int_equal(files_like(place.dir, "catalog.db.corrupt"), 1);
  place_discard(&place);
}

static void test_empty_file_is_a_new_catalog(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = db_path(&place);
  assert_ok(fs_replace_file(path, bytes(NULL, 0), 0644));
  assert_fresh(&place);
  assert_int_equal(files_like(place.dir, "catalog.db.corrupt"), 0);
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0600);
  place_discard(&place);
}

static void test_missing_tables_are_damage(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = db_path(&place);
  catalog_free(place_catalog(&place));
  sql_on(path, "DROP TABLE packs");
  assert_fresh(&place);
  assert_int_equal(files_like(place.dir, "catalog.db.corrupt"), 1);
  place_discard(&place);
}

/* Everything behind the first page becomes noise: the file opens, and its tables do not read. */
static void spoil_pages(const char *path) {
  uint8_t noise[4096];
  AUTO_FD int fd = -1;
  struct stat st;
  memset(noise, 0xa5, sizeof noise);
  assert_ok(fs_open(path, O_WRONLY, 0, &fd));
  assert_int_equal(fstat(fd, &st), 0);
  assert_true(st.st_size > (off_t)sizeof noise);
  for (uint64_t at = sizeof noise; at < (uint64_t)st.st_size; at += sizeof noise)
    assert_ok(fs_write_at(fd, path, noise, sizeof noise, at));
}

static void test_damage_found_in_use(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = db_path(&place);
  Catalog *catalog = place_catalog(&place);
  for (int i = 0; i < 50; i++) assert_ok(record_job(catalog, sys_real(), "a"));
  catalog_free(catalog);
  spoil_pages(path);
  catalog = place_catalog(&place);
  JobList list;
  Error *err = catalog_job_list(catalog, NULL, &list);
  assert_true(err_is(err, ERR_CORRUPT));
  assert_non_null(strstr(err_hint_text(err), "catalog.db.corrupt-"));
  err_free(err);
  assert_int_equal(count_jobs(catalog), 0);
  assert_ok(record_job(catalog, sys_real(), "a"));
  assert_int_equal(count_jobs(catalog), 1);
  catalog_free(catalog);
  place_discard(&place);
}

static void test_the_end_of_a_job_survives_damage(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = db_path(&place);
  Catalog *catalog = place_catalog(&place);
  JobStart start;
  job_start_init(sys_real(), "backup", &start);
  start.source = "a";
  assert_ok(catalog_job_begin(catalog, &start));
  catalog_free(catalog);
  spoil_pages(path);
  catalog = place_catalog(&place);
  assert_err(catalog_job_end(catalog, &start, &(JobOutcome){.result = JOB_OK}), ERR_CORRUPT);
  Job job;
  assert_ok(catalog_job_get(catalog, start.id, &job));
  assert_int_equal(job.result, JOB_OK);
  assert_string_equal(job.source, "a");
  job_free(&job);
  catalog_free(catalog);
  place_discard(&place);
}

/* Any byte may be wrong: nothing crashes, and the second attempt works unless the file now claims to be another's. */
static void test_any_damage_is_survived(void **unused UNUSED) {
  enum { ROUNDS = 150 };
  uint64_t seed = 42;
  Place place = place_make();
  AUTO_FREE char *path = db_path(&place);
  AUTO_BUF Buf good = {0};
  Uuid repo = uuid_of(1);
  Catalog *catalog = place_catalog(&place);
  for (uint8_t i = 0; i < 60; i++) {
    Uuid pack = uuid_of(i);
    assert_ok(record_job(catalog, sys_real(), "a"));
    assert_ok(catalog_pack_verified(catalog, &repo, &pack, 2, i, i));
  }
  catalog_free(catalog);
  assert_ok(fs_read_file(path, MIB, &good));
  for (int round = 0; round < ROUNDS; round++) {
    AUTO_FREE uint8_t *bad = (uint8_t *)mem_dup(good.data, good.len);
    size_t len = round % 5 ? good.len : test_random(&seed) % good.len;
    for (int i = 0; i < 1 + round % 8 && len > 0; i++) {
      size_t at = round % 2 ? test_random(&seed) % len : test_random(&seed) % (round % 4 ? 4096 : 100) % len;
      bad[at] = (uint8_t)test_random(&seed);
    }
    assert_ok(fs_replace_file(path, bytes(bad, len), 0600));
    Error *err = catalog_open(sys_real(), place.state, &catalog);
    if (!err) {
      SourceStatusList status = {0};
      Coverage coverage;
      err_ignore(catalog_status(catalog, NULL, 0, &status));
      source_status_list_free(&status);
      err_ignore(catalog_coverage(catalog, &repo, 2, 0, &coverage));
      err_ignore(record_job(catalog, sys_real(), "a"));
      /* Each part of the file can be found bad once. */
      for (int i = 0; (err = record_job(catalog, sys_real(), "a")) && i < 3; i++) err_free(err);
      if (err) fail_msg("round %d: %s", round, err_text(err));
      catalog_free(catalog);
    } else if (!err_is(err, ERR_REFUSED) && !err_is(err, ERR_UNSUPPORTED)) {
      fail_msg("round %d: %s", round, err_text(err));
    }
    err_free(err);
  }
  place_discard(&place);
}

/* ---- several at once --------------------------------------------------------------------------------------------- */

enum { PROCESSES = 6, JOBS_EACH = 15 };

static int record_many(const Place *place, unsigned number) {
  Catalog *catalog;
  Uuid repo = uuid_of(1);
  Error *err = catalog_open(sys_real(), place->state, &catalog);
  if (err) return child_report(err);
  for (unsigned i = 0; i < JOBS_EACH && !err; i++) {
    Uuid pack = uuid_of((uint8_t)(number * JOBS_EACH + i));
    err = record_job(catalog, sys_real(), "a");
    if (!err) err = catalog_pack_verified(catalog, &repo, &pack, 2, 5, 1);
  }
  if (!err) err = catalog_flush(catalog);
  catalog_free(catalog);
  return child_report(err);
}

static void assert_all_recorded(const Place *place) {
  pid_t pids[PROCESSES];
  for (unsigned i = 0; i < PROCESSES; i++) pids[i] = child_start(record_many, place, i);
  for (unsigned i = 0; i < PROCESSES; i++) assert_int_equal(child_wait(pids[i]), 0);
  Catalog *catalog = place_catalog(place);
  Uuid repo = uuid_of(1);
  Coverage coverage;
  assert_int_equal(count_jobs(catalog), PROCESSES * JOBS_EACH);
  assert_ok(catalog_coverage(catalog, &repo, 2, 5, &coverage));
  assert_int_equal(coverage.verified_packs, PROCESSES * JOBS_EACH);
  catalog_free(catalog);
}

static void test_processes_make_it_together(void **unused UNUSED) {
  Place place = place_make();
  assert_all_recorded(&place);
  place_discard(&place);
}

static void test_processes_migrate_it_together(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = db_path(&place);
  sql_on(path, VERSION_1);
  sql_on(path, "DELETE FROM jobs");
  assert_all_recorded(&place);
  place_discard(&place);
}

static void test_processes_find_damage_together(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = db_path(&place);
  static const uint8_t noise[8192] = {1, 2, 3};
  assert_ok(fs_replace_file(path, bytes(noise, sizeof noise), 0600));
  assert_all_recorded(&place);
  assert_int_equal(files_like(place.dir, "catalog.db.corrupt"), 1);
  place_discard(&place);
}

/* One connection replaces the file; the other follows it, and neither touches the other's log. */
static void test_replaced_file_is_followed(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = db_path(&place);
  AUTO_FREE char *aside = fs_join(place.dir, "away");
  Catalog *first = place_catalog(&place);
  assert_ok(record_job(first, sys_real(), "a"));
  assert_int_equal(rename(path, aside), 0);
  AUTO_FREE char *wal = mem_printf("%s-wal", path);
  AUTO_FREE char *shm = mem_printf("%s-shm", path);
  assert_int_equal(unlink(wal), 0);
  assert_int_equal(unlink(shm), 0);
  Catalog *second = place_catalog(&place);
  assert_ok(record_job(second, sys_real(), "b"));
  assert_ok(record_job(first, sys_real(), "c"));
  assert_int_equal(count_jobs(first), 2);
  catalog_free(first);
  assert_ok(record_job(second, sys_real(), "d"));
  assert_int_equal(count_jobs(second), 3);
  catalog_free(second);
  place_discard(&place);
}

static int record_until_killed(const Place *place, unsigned number UNUSED) {
  Catalog *catalog;
  if (child_report(catalog_open(sys_real(), place->state, &catalog)) != 0) return 1;
  for (;;)
    if (child_report(record_job(catalog, sys_real(), "killed")) != 0) return 2;
}

static void test_killed_writers_leave_it_whole(void **unused UNUSED) {
  Place place = place_make();
  for (unsigned i = 0; i < 5; i++) {
    pid_t pid = child_start(record_until_killed, &place, i);
    Catalog *catalog = place_catalog(&place);
    while (count_jobs(catalog) < (i + 1) * 5) assert_ok(record_job(catalog, sys_real(), "mine"));
    catalog_free(catalog);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(child_wait(pid), -SIGKILL);
  }
  Catalog *catalog = place_catalog(&place);
  assert_null(catalog_moved_aside(catalog));
  assert_ok(record_job(catalog, sys_real(), "mine"));
  catalog_free(catalog);
  AUTO_FREE char *path = db_path(&place);
  sqlite3 *db;
  sqlite3_stmt *stmt;
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
  assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "ok");
  sqlite3_finalize(stmt);
  sqlite3_close(db);
  place_discard(&place);
}

static void test_a_held_file_is_temporary(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = db_path(&place);
  Catalog *catalog = place_catalog(&place);
  sqlite3 *other;
  catalog_set_lock_wait(catalog, 10);
  assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
  assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
  assert_err(record_job(catalog, sys_real(), "a"), ERR_TEMPORARY);
  assert_int_equal(count_jobs(catalog), 0); /* readers go on */
  assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_close(other), SQLITE_OK);
  assert_ok(record_job(catalog, sys_real(), "a"));
  catalog_free(catalog);
  place_discard(&place);
}

typedef struct ThreadWork {
  Catalog *catalog;
  Sys *sys;
  uint8_t number;
  Error *err;
} ThreadWork;

static void run_thread(void *arg) {
  ThreadWork *work = (ThreadWork *)arg;
  Uuid repo = uuid_of(1);
  uint64_t when;
  for (uint8_t i = 0; i < 20 && !work->err; i++) {
    Uuid pack = uuid_of((uint8_t)(work->number * 20 + i));
    work->err = record_job(work->catalog, work->sys, "a");
    if (!work->err) work->err = catalog_pack_verified(work->catalog, &repo, &pack, 3, 9, 1);
    if (!work->err) work->err = catalog_last_verified(work->catalog, &repo, &pack, 3, &when);
    if (!work->err && when != 9) work->err = err_new(ERR_INTERNAL, "the record is not there");
  }
}

static void use_from_threads(Sys *sys) {
  enum { THREADS = 4 };
  Place place = place_make();
  Thread *threads[THREADS];
  ThreadWork work[THREADS];
  Catalog *catalog;
  assert_ok(catalog_open(sys, place.state, &catalog));
  for (uint8_t i = 0; i < THREADS; i++) {
    work[i] = (ThreadWork){.catalog = catalog, .sys = sys, .number = i};
    assert_ok(thread_start(sys, "catalog", run_thread, &work[i], &threads[i]));
  }
  for (int i = 0; i < THREADS; i++) {
    thread_join(threads[i]);
    assert_ok(work[i].err);
  }
  assert_int_equal(count_jobs(catalog), THREADS * 20);
  catalog_free(catalog);
  place_discard(&place);
}

static void test_threads(void **unused UNUSED) { use_from_threads(sys_real()); }

static void test_threads_under_the_simulation(void **unused UNUSED) {
  for (uint64_t seed = 0; seed < 3; seed++) {
    Sys *sys = sim_new(seed, 2);
    use_from_threads(sys);
    sim_free(sys);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_files_are_private),
      cmocka_unit_test(test_records_stay),
      cmocka_unit_test(test_older_version_is_migrated),
      cmocka_unit_test(test_a_file_of_others_is_left_alone),
      cmocka_unit_test(test_directory_in_the_way),
      cmocka_unit_test(test_directory_that_cannot_be_written),
      cmocka_unit_test(test_damaged_file_is_moved_aside),
      cmocka_unit_test(test_empty_file_is_a_new_catalog),
      cmocka_unit_test(test_missing_tables_are_damage),
      cmocka_unit_test(test_damage_found_in_use),
      cmocka_unit_test(test_the_end_of_a_job_survives_damage),
      cmocka_unit_test(test_any_damage_is_survived),
      cmocka_unit_test(test_processes_make_it_together),
      cmocka_unit_test(test_processes_migrate_it_together),
      cmocka_unit_test(test_processes_find_damage_together),
      cmocka_unit_test(test_replaced_file_is_followed),
      cmocka_unit_test(test_killed_writers_leave_it_whole),
      cmocka_unit_test(test_a_held_file_is_temporary),
      cmocka_unit_test(test_threads),
      cmocka_unit_test(test_threads_under_the_simulation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
