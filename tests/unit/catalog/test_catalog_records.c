/* What is in the catalog: jobs, the ledger, status. The file itself: test_catalog.c. */
#include <signal.h>
#include <sqlite3.h>

#include "catalog_testing.h"

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static JobStart job_of(const char *kind, const char *source, uint64_t start_ns) {
  JobStart job;
  job_start_init(sys_real(), kind, &job);
  job.source = source;
  job.repository = "local";
  job.start_ns = start_ns;
  return job;
}

static void test_a_job_from_start_to_end(void **unused UNUSED) {
  Place place = place_make();
  Catalog *catalog = place_catalog(&place);
  JobStart start;
  Job job;
  Uuid repo = uuid_of(1), snapshot = uuid_of(2);
  uint64_t before = sys_now_ns(sys_real());
  job_start_init(sys_real(), "backup", &start);
  assert_int_equal(strlen(start.id), 12);
  assert_true(start.start_ns >= before);
  start.source = "etc";
  start.command = "holdfast backup files:/etc";
  assert_ok(catalog_job_begin(catalog, &start));
  assert_ok(catalog_job_get(catalog, start.id, &job));
  assert_int_equal(job.result, JOB_RUNNING);
  assert_int_equal(job.pid, getpid());
  assert_null(job.repository);
  assert_int_equal(job.end_ns, 0);
  job_free(&job);

  JobOutcome outcome = {.result = JOB_PARTIAL,
                        .exit_code = 3,
                        .error = "reading /etc/x: permission denied",
                        .repository = "offsite",
                        .repository_id = &repo,
                        .snapshot = &snapshot,
                        .read_bytes = 5,
                        .new_bytes = 4,
                        .stored_bytes = 3,
                        .files = UINT64_MAX,
                        .duration_ns = 7,
                        .summary_json = "{\"type\":\"summary\"}"};
  assert_ok(catalog_job_end(catalog, &start, &outcome));
  assert_ok(catalog_job_get(catalog, start.id, &job));
  assert_string_equal(job.id, start.id);
  assert_string_equal(job.kind, "backup");
  assert_string_equal(job.source, "etc");
  assert_string_equal(job.repository, "offsite");
  assert_string_equal(job.command, start.command);
  assert_int_equal(job.start_ns, start.start_ns);
  assert_int_equal(job.result, JOB_PARTIAL);
  assert_true(job.end_ns >= job.start_ns);
  assert_int_equal(job.exit_code, 3);
  assert_string_equal(job.error, outcome.error);
  assert_string_equal(job.repository_id, "ab010000000000000000000000000000");
  assert_string_equal(job.snapshot, "ab020000000000000000000000000000");
  assert_int_equal(job.read_bytes, 5);
  assert_int_equal(job.new_bytes, 4);
  assert_int_equal(job.stored_bytes, 3);
  assert_int_equal(job.files, INT64_MAX);
  assert_int_equal(job.duration_ns, 7);
  assert_string_equal(job.summary_json, outcome.summary_json);
  job_free(&job);
  catalog_free(catalog);
  place_discard(&place);
}

static void test_an_end_without_a_start(void **unused UNUSED) {
  Place place = place_make();
  Catalog *catalog = place_catalog(&place);
  JobStart start = job_of("restore", "etc", 1000);
  Job job;
  assert_ok(catalog_job_end(catalog, &start, &(JobOutcome){.result = JOB_FAILED, .exit_code = 1, .error = "no"}));
  assert_ok(catalog_job_get(catalog, start.id, &job));
  assert_int_equal(job.result, JOB_FAILED);
  assert_string_equal(job.repository, "local");
  assert_int_equal(job.start_ns, 1000);
  assert_int_equal(job.duration_ns, job.end_ns - 1000);
  assert_null(job.snapshot);
  job_free(&job);
  assert_err(catalog_job_begin(catalog, &start), ERR_EXISTS);
  catalog_free(catalog);
  place_discard(&place);
}

static void test_long_text_is_cut_between_characters(void **unused UNUSED) {
  Place place = place_make();
  Catalog *catalog = place_catalog(&place);
  JobStart start = job_of("backup", "a", 1);
  AUTO_FREE char *summary = (char *)mem_alloc(70000);
  AUTO_FREE char *error = (char *)mem_alloc(10002);
  memset(summary, '1', 69999);
  error[0] = 'x'; /* makes the limit fall into a two-byte character */
  for (size_t i = 1; i < 10001; i += 2) memcpy(error + i, "\xc3\xa4", 2);
  JobOutcome outcome = {.result = JOB_FAILED, .error = error, .summary_json = summary};
  assert_ok(catalog_job_end(catalog, &start, &outcome));
  Job job;
  assert_ok(catalog_job_get(catalog, start.id, &job));
  assert_int_equal(strlen(job.error), 8191);
  assert_memory_equal(job.error, error, 8191);
  assert_null(job.summary_json);
  job_free(&job);
  catalog_free(catalog);
  place_discard(&place);
}

static size_t listed(Catalog *catalog, JobQuery query, char out_sources[8]) {
  JobList list;
  assert_ok(catalog_job_list(catalog, &query, &list));
  size_t len = list.len;
  for (size_t i = 0; i < 7 && i < len; i++) out_sources[i] = list.items[i].source[0];
  out_sources[len < 7 ? len : 7] = '\0';
  job_list_free(&list);
  return len;
}

static void test_list_filters_newest_first(void **unused UNUSED) {
  Place place = place_make();
  Catalog *catalog = place_catalog(&place);
  static const struct {
    const char *kind, *source;
    uint64_t start_ns;
  } jobs[] = {
      {"backup", "a", 30}, {"backup", "b", 10}, {"restore", "c", 20}, {"restore", "a2", 40}, {"backup", "d", 40}};
  for (size_t i = 0; i < NELEMS(jobs); i++) {
    JobStart start = job_of(jobs[i].kind, jobs[i].source, jobs[i].start_ns);
    assert_ok(catalog_job_begin(catalog, &start));
  }
  char sources[8];
  assert_int_equal(listed(catalog, (JobQuery){0}, sources), 5);
  assert_string_equal(sources, "daacb"); /* of one moment: the later recorded first */
  listed(catalog, (JobQuery){.kind = "backup"}, sources);
  assert_string_equal(sources, "dab");
  listed(catalog, (JobQuery){.since_ns = 30}, sources);
  assert_string_equal(sources, "daa");
  listed(catalog, (JobQuery){.limit = 2}, sources);
  assert_string_equal(sources, "da");
  assert_int_equal(listed(catalog, (JobQuery){.source = "a"}, sources), 1);
  assert_int_equal(listed(catalog, (JobQuery){.source = "a", .kind = "restore"}, sources), 0);
  catalog_free(catalog);
  place_discard(&place);
}

static void test_get_by_the_start_of_an_id(void **unused UNUSED) {
  Place place = place_make();
  Catalog *catalog = place_catalog(&place);
  static const char *const ids[] = {"abc000000000", "abc111111111", "def000000000"};
  Job job;
  for (size_t i = 0; i < NELEMS(ids); i++) {
    JobStart start = job_of("backup", ids[i], 1);
    memcpy(start.id, ids[i], JOB_ID_LEN);
    assert_ok(catalog_job_begin(catalog, &start));
  }
  assert_ok(catalog_job_get(catalog, "d", &job));
  assert_string_equal(job.id, ids[2]);
  job_free(&job);
  assert_ok(catalog_job_get(catalog, "abc1", &job));
  assert_string_equal(job.id, ids[1]);
  job_free(&job);
  assert_err(catalog_job_get(catalog, "abc", &job), ERR_USAGE);
  assert_err(catalog_job_get(catalog, "abd", &job), ERR_NOT_FOUND);
  assert_err(catalog_job_get(catalog, "", &job), ERR_USAGE);
  assert_err(catalog_job_get(catalog, "a*", &job), ERR_USAGE);
  assert_err(catalog_job_get(catalog, "abc0000000000", &job), ERR_USAGE);
  catalog_free(catalog);
  place_discard(&place);
}

/* ---- jobs whose process is gone ---------------------------------------------------------------------------------- */

static int begin_and_leave(const Place *place, unsigned stay) {
  Catalog *catalog;
  JobStart start = job_of("backup", "a", 1000);
  Error *err = catalog_open(sys_real(), place->state, &catalog);
  if (!err) err = catalog_job_begin(catalog, &start);
  if (err) return child_report(err);
  while (stay) pause();
  return 0;
}

static JobResult only_result(Catalog *catalog) {
  JobList list;
  assert_ok(catalog_job_list(catalog, NULL, &list));
  assert_int_equal(list.len, 1);
  JobResult result = list.items[0].result;
  job_list_free(&list);
  return result;
}

static size_t number_of_jobs(Catalog *catalog) {
  JobList list;
  assert_ok(catalog_job_list(catalog, NULL, &list));
  size_t len = list.len;
  job_list_free(&list);
  return len;
}

static void test_a_job_dies_with_its_process(void **unused UNUSED) {
  Place place = place_make();
  pid_t pid = child_start(begin_and_leave, &place, 1);
  Catalog *catalog = place_catalog(&place);
  while (number_of_jobs(catalog) == 0) usleep(1000);
  assert_int_equal(only_result(catalog), JOB_RUNNING);
  SourceStatusList status;
  assert_ok(catalog_status(catalog, NULL, 0, &status));
  assert_int_equal(status.items[0].last_result, JOB_RUNNING);
  assert_int_equal(status.items[0].jobs, 0);
  source_status_list_free(&status);

  assert_int_equal(kill(pid, SIGKILL), 0);
  siginfo_t info;
  assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
  assert_int_equal(only_result(catalog), JOB_DIED); /* not waited for yet: a zombie does no work */
  assert_int_equal(child_wait(pid), -SIGKILL);
  assert_int_equal(only_result(catalog), JOB_DIED);
  assert_ok(catalog_status(catalog, NULL, 0, &status));
  assert_int_equal(status.items[0].last_result, JOB_DIED);
  assert_int_equal(status.items[0].jobs, 1);
  assert_int_equal(status.items[0].succeeded, 0);
  source_status_list_free(&status);
  catalog_free(catalog);
  place_discard(&place);
}

static void test_a_reused_process_number_is_no_job(void **unused UNUSED) {
  static const char *const marks[] = {
      "substr(process, 1, 37) || '12345'",            /* began at another moment */
      "'00000000-0000-0000-0000-000000000000/12345'", /* before the machine started last */
      "''",                                           /* /proc said nothing then: the number has to do */
  };
  static const JobResult expected[] = {JOB_DIED, JOB_DIED, JOB_RUNNING};
  for (size_t i = 0; i < NELEMS(marks); i++) {
    Place place = place_make();
    Catalog *catalog = place_catalog(&place);
    AUTO_FREE char *path = fs_join(place.dir, "catalog.db");
    AUTO_FREE char *sql = mem_printf("UPDATE jobs SET process = %s", marks[i]);
    JobStart start = job_of("backup", "a", 1);
    assert_ok(catalog_job_begin(catalog, &start));
    assert_int_equal(only_result(catalog), JOB_RUNNING);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(only_result(catalog), expected[i]);
    catalog_free(catalog);
    place_discard(&place);
  }
}

/* ---- the ledger -------------------------------------------------------------------------------------------------- */

static uint64_t last_of(Catalog *catalog, uint8_t repo_number, uint8_t pack_number, unsigned level) {
  Uuid repo = uuid_of(repo_number), pack = uuid_of(pack_number);
  uint64_t when;
  assert_ok(catalog_last_verified(catalog, &repo, &pack, level, &when));
  return when;
}

static void verified(Catalog *catalog, uint8_t repo_number, uint8_t pack_number, unsigned level, uint64_t when) {
  Uuid repo = uuid_of(repo_number), pack = uuid_of(pack_number);
  assert_ok(catalog_pack_verified(catalog, &repo, &pack, level, when, 100));
}

static void check_ledger(Catalog *catalog) {
  assert_int_equal(last_of(catalog, 1, 1, 2), 20);
  assert_int_equal(last_of(catalog, 1, 1, 3), 10);
  assert_int_equal(last_of(catalog, 1, 1, 0), 30);
  assert_int_equal(last_of(catalog, 2, 1, 2), 5);
  assert_int_equal(last_of(catalog, 2, 1, 3), 0);
  assert_int_equal(last_of(catalog, 3, 1, 2), 0);
  assert_int_equal(last_of(catalog, 1, 2, 2), 0);
}

static void test_last_verified(void **unused UNUSED) {
  Place place = place_make();
  Catalog *catalog = place_catalog(&place);
  verified(catalog, 1, 1, 3, 10);
  verified(catalog, 1, 1, 2, 20);
  verified(catalog, 1, 1, 0, 30);
  verified(catalog, 2, 1, 2, 5);
  check_ledger(catalog); /* not written yet */
  assert_ok(catalog_flush(catalog));
  check_ledger(catalog);
  verified(catalog, 1, 1, 3, 8); /* older than what is known */
  assert_ok(catalog_flush(catalog));
  check_ledger(catalog);
  catalog_free(catalog);
  catalog = place_catalog(&place);
  check_ledger(catalog);
  catalog_free(catalog);
  place_discard(&place);
}

static void test_many_packs_are_written_at_the_end(void **unused UNUSED) {
  enum { PACKS = 1000 };
  Place place = place_make();
  Catalog *catalog = place_catalog(&place);
  Uuid repo = uuid_of(1);
  Coverage coverage;
  for (unsigned i = 0; i < PACKS; i++) {
    Uuid pack = {.b = {(uint8_t)i, (uint8_t)(i >> 8)}};
    assert_ok(catalog_pack_verified(catalog, &repo, &pack, 2, 10 + i, 7));
  }
  catalog_free(catalog);
  catalog = place_catalog(&place);
  assert_ok(catalog_coverage(catalog, &repo, 2, 10 + PACKS / 2, &coverage));
  assert_int_equal(coverage.known_packs, PACKS);
  assert_int_equal(coverage.known_bytes, PACKS * 7);
  assert_int_equal(coverage.verified_packs, PACKS / 2);
  assert_int_equal(coverage.verified_bytes, PACKS / 2 * 7);
  catalog_free(catalog);
  place_discard(&place);
}

static void test_coverage_counts_a_pack_once(void **unused UNUSED) {
  Place place = place_make();
  Catalog *catalog = place_catalog(&place);
  Uuid repo = uuid_of(1), gone = uuid_of(4);
  Coverage coverage;
  verified(catalog, 1, 1, 2, 50);
  verified(catalog, 1, 1, 3, 50);
  verified(catalog, 1, 2, 2, 10);
  verified(catalog, 1, 3, 0, 60);
  verified(catalog, 1, 4, 3, 60);
  verified(catalog, 2, 5, 3, 60);
  assert_ok(catalog_pack_removed(catalog, &repo, &gone));
  assert_ok(catalog_coverage(catalog, &repo, 2, 40, &coverage));
  assert_int_equal(coverage.known_packs, 3);
  assert_int_equal(coverage.known_bytes, 300);
  assert_int_equal(coverage.verified_packs, 1);
  assert_int_equal(coverage.verified_bytes, 100);
  assert_int_equal(last_of(catalog, 1, 4, 2), 0);
  Uuid unknown = uuid_of(9);
  assert_ok(catalog_coverage(catalog, &unknown, 2, 0, &coverage));
  assert_int_equal(coverage.known_packs, 0);
  assert_int_equal(coverage.verified_bytes, 0);
  catalog_free(catalog);
  place_discard(&place);
}

static void test_the_last_check_of_a_snapshot(void **unused UNUSED) {
  Place place = place_make();
  Catalog *catalog = place_catalog(&place);
  Uuid repo = uuid_of(1), other = uuid_of(2), snapshot = uuid_of(3);
  SnapshotCheck check = {.level = "quick", .passed = 3, .total = 4, .time_ns = 100};
  SnapshotCheck last;
  assert_ok(catalog_snapshot_last_check(catalog, &repo, &snapshot, &last));
  assert_int_equal(last.time_ns, 0);
  assert_ok(catalog_snapshot_checked(catalog, &repo, &snapshot, &check));
  assert_ok(catalog_snapshot_checked(catalog, &repo, &snapshot,
                                     &(SnapshotCheck){.level = "full", .passed = 9, .total = 9, .time_ns = 90}));
  assert_ok(catalog_snapshot_last_check(catalog, &repo, &snapshot, &last));
  assert_string_equal(last.level, "quick");
  assert_int_equal(last.passed, 3);
  assert_int_equal(last.total, 4);
  assert_int_equal(last.time_ns, 100);
  assert_ok(catalog_snapshot_last_check(catalog, &other, &snapshot, &last));
  assert_int_equal(last.time_ns, 0);
  assert_string_equal(last.level, "");
  memset(check.level, 'x', sizeof check.level);
  assert_err(catalog_snapshot_checked(catalog, &repo, &snapshot, &check), ERR_USAGE);
  check.level[0] = '\0';
  assert_err(catalog_snapshot_checked(catalog, &repo, &snapshot, &check), ERR_USAGE);
  catalog_free(catalog);
  place_discard(&place);
}

/* ---- status ------------------------------------------------------------------------------------------------------ */

static void finished(Catalog *catalog, const char *source, uint64_t start_ns, JobResult result, uint8_t snapshot) {
  JobStart start = job_of("backup", source, start_ns);
  Uuid id = uuid_of(snapshot), repo = uuid_of(1);
  JobOutcome outcome = {.result = result,
                        .error = result == JOB_OK ? NULL : "why",
                        .repository_id = &repo,
                        .snapshot = snapshot ? &id : NULL,
                        .stored_bytes = 10};
  assert_ok(catalog_job_end(catalog, &start, &outcome));
}

static void record_history(Catalog *catalog) {
  Uuid repo = uuid_of(1), elsewhere = uuid_of(7), first = uuid_of(11), second = uuid_of(12);
  finished(catalog, "shop", 100, JOB_OK, 11);
  finished(catalog, "shop", 200, JOB_OK, 12);
  finished(catalog, "shop", 300, JOB_PARTIAL, 13);
  finished(catalog, "shop", 400, JOB_FAILED, 0);
  finished(catalog, "crm", 150, JOB_CANCELLED, 0);
  JobStart restore = job_of("restore", "shop", 500);
  assert_ok(catalog_job_end(catalog, &restore, &(JobOutcome){.result = JOB_OK}));
  JobStart running = job_of("backup", "crm", 600);
  assert_ok(catalog_job_begin(catalog, &running));
  SnapshotCheck check = {.level = "quick", .passed = 1, .total = 1, .time_ns = 210};
  assert_ok(catalog_snapshot_checked(catalog, &repo, &second, &check));
  check = (SnapshotCheck){.level = "full", .passed = 2, .total = 3, .time_ns = 220};
  assert_ok(catalog_snapshot_checked(catalog, &repo, &first, &check));
  check.time_ns = 230; /* of the same snapshot's copy in another repository */
  assert_ok(catalog_snapshot_checked(catalog, &elsewhere, &second, &check));
}

static void test_status_of_each_source(void **unused UNUSED) {
  Place place = place_make();
  Catalog *catalog = place_catalog(&place);
  SourceStatusList list;
  record_history(catalog);
  assert_ok(catalog_status(catalog, NULL, 0, &list));
  assert_int_equal(list.len, 2);
  const SourceStatus *crm = &list.items[0], *shop = &list.items[1];
  assert_string_equal(crm->source, "crm");
  assert_string_equal(crm->repository, "local");
  assert_int_equal(crm->last_attempt_ns, 600);
  assert_int_equal(crm->last_result, JOB_RUNNING);
  assert_int_equal(crm->last_success_ns, 0);
  assert_int_equal(crm->last_snapshot_ns, 0);
  assert_null(crm->last_snapshot);
  assert_int_equal(crm->jobs, 1);
  assert_int_equal(crm->succeeded, 0);
  assert_int_equal(crm->last_check.time_ns, 0);
  assert_null(crm->last_check_snapshot);

  assert_string_equal(shop->source, "shop");
  assert_int_equal(shop->last_attempt_ns, 400);
  assert_int_equal(shop->last_result, JOB_FAILED);
  assert_string_equal(shop->last_error, "why");
  assert_int_equal(shop->last_success_ns, 200);
  assert_int_equal(shop->last_snapshot_ns, 300);
  assert_string_equal(shop->last_snapshot, "ab0d0000000000000000000000000000");
  assert_int_equal(shop->jobs, 4);
  assert_int_equal(shop->succeeded, 2);
  assert_int_equal(shop->partial, 1);
  assert_int_equal(shop->stored_bytes, 40);
  assert_int_equal(shop->last_check.time_ns, 220);
  assert_string_equal(shop->last_check.level, "full");
  assert_int_equal(shop->last_check.passed, 2);
  assert_int_equal(shop->last_check.total, 3);
  assert_string_equal(shop->last_check_snapshot, "ab0b0000000000000000000000000000");
  source_status_list_free(&list);
  catalog_free(catalog);
  place_discard(&place);
}

static void test_status_bounds_only_the_counts(void **unused UNUSED) {
  Place place = place_make();
  Catalog *catalog = place_catalog(&place);
  SourceStatusList list;
  record_history(catalog);
  assert_ok(catalog_status(catalog, "shop", 300, &list));
  assert_int_equal(list.len, 1);
  assert_int_equal(list.items[0].jobs, 2);
  assert_int_equal(list.items[0].succeeded, 0);
  assert_int_equal(list.items[0].stored_bytes, 20);
  assert_int_equal(list.items[0].last_success_ns, 200);
  source_status_list_free(&list);
  assert_ok(catalog_status(catalog, "none", 0, &list));
  assert_int_equal(list.len, 0);
  source_status_list_free(&list);
  catalog_free(catalog);
  place_discard(&place);
}

/* ---- without a catalog ------------------------------------------------------------------------------------------- */

static void test_recording_without_a_catalog(void **unused UNUSED) {
  JobStart start = job_of("backup", "a", 1);
  Uuid id = uuid_of(1);
  uint64_t when = 9;
  assert_ok(catalog_job_begin(NULL, &start));
  assert_ok(catalog_job_end(NULL, &start, &(JobOutcome){.result = JOB_OK}));
  assert_ok(catalog_pack_verified(NULL, &id, &id, 2, 1, 1));
  assert_ok(catalog_pack_removed(NULL, &id, &id));
  assert_ok(catalog_flush(NULL));
  assert_ok(catalog_last_verified(NULL, &id, &id, 2, &when));
  assert_int_equal(when, 0);
  assert_ok(catalog_snapshot_checked(NULL, &id, &id, &(SnapshotCheck){.level = "quick", .time_ns = 1}));
  catalog_free(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_job_from_start_to_end),
      cmocka_unit_test(test_an_end_without_a_start),
      cmocka_unit_test(test_long_text_is_cut_between_characters),
      cmocka_unit_test(test_list_filters_newest_first),
      cmocka_unit_test(test_get_by_the_start_of_an_id),
      cmocka_unit_test(test_a_job_dies_with_its_process),
      cmocka_unit_test(test_a_reused_process_number_is_no_job),
      cmocka_unit_test(test_last_verified),
      cmocka_unit_test(test_many_packs_are_written_at_the_end),
      cmocka_unit_test(test_coverage_counts_a_pack_once),
      cmocka_unit_test(test_the_last_check_of_a_snapshot),
      cmocka_unit_test(test_status_of_each_source),
      cmocka_unit_test(test_status_bounds_only_the_counts),
      cmocka_unit_test(test_recording_without_a_catalog),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
