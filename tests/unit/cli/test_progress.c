#include <signal.h>
#include <string.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "cli/progress.h"
#include "cli/signals.h"

#include "testing.h"

static void test_rate_follows_the_last_seconds(void **state UNUSED) {
  ProgressRate rate = {0};
  assert_int_equal(progress_rate(&rate, 0, 0), 0);
  assert_int_equal(progress_rate(&rate, NS_PER_SECOND, 100), 100);
  uint64_t last = 0;
  for (uint64_t i = 2; i < 40; i++) last = progress_rate(&rate, i * NS_PER_SECOND, 100 + (i - 1) * 1000);
  assert_int_equal(last, 1000);                                     /* the slow start is forgotten */
  assert_int_equal(progress_rate(&rate, 40 * NS_PER_SECOND, 5), 0); /* began anew */
  assert_int_equal(progress_rate(&rate, 41 * NS_PER_SECOND, 15), 10);
}

static void test_line(void **state UNUSED) {
  ProgressShot shot = {.phase = "reading",
                       .total_bytes = 4 * GIB,
                       .done_bytes = GIB,
                       .new_bytes = GIB / 10,
                       .stored_bytes = 7,
                       .files_total = 12,
                       .files_done = 3,
                       .bytes_per_second = 512 * MIB};
  AUTO_FREE char *line = progress_line(&shot);
  assert_string_equal(line, "reading: 1.0 GiB of 4.0 GiB (25 %), 512.0 MiB/s, 6.0 s left, 91 % known, 3 of 12 files");
  ProgressShot unknown = {.done_bytes = 5 * MIB};
  AUTO_FREE char *plain = progress_line(&unknown);
  assert_string_equal(plain, "working: 5.0 MiB");
}

static void test_bar_fits_the_terminal(void **state UNUSED) {
  ProgressShot shot = {.phase = "reading", .total_bytes = 100, .done_bytes = 50, .bytes_per_second = 1};
  for (size_t columns = 0; columns < 120; columns++) {
    AUTO_FREE char *bar = progress_bar(&shot, columns);
    assert_true(strlen(bar) < columns || columns < 2);
  }
  AUTO_FREE char *bar = progress_bar(&shot, 200);
  assert_non_null(strstr(bar, "[==========>         ] 50 %"));
  shot.done_bytes = 300; /* the source grew */
  AUTO_FREE char *full = progress_bar(&shot, 200);
  assert_non_null(strstr(full, "[====================] 100 %"));
}

static void test_an_estimate_says_so(void **state UNUSED) {
  ProgressShot shot = {.phase = "reading", .total_bytes = 4 * GIB, .done_bytes = GIB, .total_estimated = true};
  progress_mend(&shot);
  AUTO_FREE char *line = progress_line(&shot);
  assert_string_equal(line, "reading: 1.0 GiB of ~4.0 GiB (~25 %)");
  AUTO_FREE char *bar = progress_bar(&shot, 200);
  assert_non_null(strstr(bar, "] ~25 % 1.0 GiB of ~4.0 GiB"));
  json_t *doc = progress_json(&shot);
  assert_true(json_is_true(json_object_get(doc, "total_estimated")));
  json_decref(doc);
  shot.bytes_per_second = 100 * MIB;
  AUTO_FREE char *narrow = progress_bar(&shot, 80);
  assert_non_null(strstr(narrow, "100.0 MiB/s, 30.0 s left"));
  shot.done_bytes = 5 * GIB; /* the source grew */
  progress_mend(&shot);
  AUTO_FREE char *more = progress_line(&shot);
  assert_string_equal(more, "reading: 5.0 GiB, 100.0 MiB/s");
}

static void test_json(void **state UNUSED) {
  ProgressShot shot = {.phase = "reading", .done_bytes = 5, .elapsed_ns = 1500000000};
  json_t *doc = progress_json(&shot);
  assert_string_equal(json_string_value(json_object_get(doc, "type")), "progress");
  assert_int_equal(json_integer_value(json_object_get(doc, "done_bytes")), 5);
  assert_true(json_is_null(json_object_get(doc, "total_bytes")));
  assert_true(json_real_value(json_object_get(doc, "elapsed_seconds")) == 1.5);
  json_decref(doc);
}

/* SIGUSR1 yields one line, whatever the style; stopping joins the thread and leaves no bar. */
static void test_view_answers_a_signal(void **state UNUSED) {
  char *notes = NULL;
  size_t len = 0;
  FILE *file = open_memstream(&notes, &len);
  Output *out = output_new(&(OutputOptions){.data = stdout, .notes = file, .verbosity = VERBOSITY_QUIET});
  Progress progress = {0};
  progress_phase(&progress, "reading", true);
  progress_add(&progress.done_bytes, 3 * MIB);
  signals_install();
  ProgressView *view = NULL;
  assert_ok(progress_view_start(sys_real(), out, &progress, PROGRESS_SILENT, &view));
  assert_int_equal(raise(SIGUSR1), 0);
  progress_view_stop(view);
  output_free(out);
  fclose(file);
  assert_int_equal(strncmp(notes, "reading: 3.0 MiB", 16), 0);
  assert_int_equal(strcspn(notes, "\n") + 1, len);
  free(notes);
  assert_false(signals_take_state_request());
}

static void test_first_signal_cancels(void **state UNUSED) {
  signals_install();
  assert_false(cancel_is_set(signals_cancel()));
  assert_int_equal(raise(SIGINT), 0);
  assert_true(cancel_is_set(signals_cancel()));
  assert_int_equal(cancel_reason(signals_cancel()), SIGINT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rate_follows_the_last_seconds), cmocka_unit_test(test_line),
      cmocka_unit_test(test_bar_fits_the_terminal),         cmocka_unit_test(test_json),
      cmocka_unit_test(test_an_estimate_says_so),           cmocka_unit_test(test_view_answers_a_signal),
      cmocka_unit_test(test_first_signal_cancels),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
