#include "ops/calendar.h"

#include "testing.h"

static void test_what_people_write(void **state UNUSED) {
  const char *good[] = {"hourly",
                        "daily",
                        "daily 02:30",
                        "daily 2:30",
                        "weekly",
                        "weekly Sun",
                        "weekly sun 04:00",
                        "monthly",
                        "monthly 31",
                        "monthly 1 03:00",
                        "every 15m",
                        "cron 0 */6 * * *",
                        "cron 5,10-20/2 1 1 jan-mar mon",
                        "cron 59 23 31 12 7",
                        " daily  02:30 "};
  for (size_t i = 0; i < NELEMS(good); i++) assert_ok(calendar_check(good[i]));
}

static void test_what_is_wrong(void **state UNUSED) {
  const char *bad[] = {"",
                       "sometimes",
                       "hourly 5",
                       "daily 24:00",
                       "daily 02:60",
                       "daily 02:3",
                       "daily 0230",
                       "daily 02:30 x",
                       "weekly Sunday",
                       "weekly 04:00",
                       "monthly 0",
                       "monthly 32",
                       "every",
                       "every 0s",
                       "every soon",
                       "cron * * * *",
                       "cron * * * * * *",
                       "cron 60 * * * *",
                       "cron * 24 * * *",
                       "cron * * 0 * *",
                       "cron * * * 13 *",
                       "cron * * * * 8",
                       "cron */0 * * * *",
                       "cron 1, * * * *",
                       "cron 1- * * * *",
                       "cron -1 * * * *",
                       "cron / * * * *"};
  for (size_t i = 0; i < NELEMS(bad); i++) {
    Error *err = calendar_check(bad[i]);
    if (!err) fail_msg("accepted: %s", bad[i]);
    assert_int_equal(err_code(err), ERR_USAGE);
    err_free(err);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_people_write), cmocka_unit_test(test_what_is_wrong)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
