#include <stdlib.h>
#include <time.h>

#include "base/timefmt.h"

#include "testing.h"

/* 2026-11-20T09:30:00Z */
#define MOMENT (UINT64_C(1795167000) * NS_PER_SECOND)

static void use_zone(const char *zone) {
  setenv("TZ", zone, 1);
  tzset();
}

static void assert_parses(const char *text, uint64_t expected) {
  uint64_t out = 0;
  Error *err = time_parse(text, MOMENT, &out);
  if (err) fail_msg("%s: %s", text, err_text(err));
  if (out != expected) fail_msg("%s: %llu", text, (unsigned long long)out);
}

static void formats(void **state) {
  (void)state;
  char out[36];
  use_zone("CET-1CEST,M3.5.0,M10.5.0/3");
  assert_string_equal(time_format_utc(MOMENT, out), "2026-11-20T09:30:00Z");
  assert_string_equal(time_format_utc(MOMENT + 120000000, out), "2026-11-20T09:30:00.12Z");
  assert_string_equal(time_format_utc(MOMENT + 1, out), "2026-11-20T09:30:00.000000001Z");
  assert_string_equal(time_format_utc(0, out), "1970-01-01T00:00:00Z");
  assert_string_equal(time_format_utc(UINT64_MAX, out), "2554-07-21T23:34:33.709551615Z");
  assert_string_equal(time_format_local(MOMENT, out), "2026-11-20 10:30:00");
  assert_string_equal(time_format_key(MOMENT + 123456789, out), "20261120T093000.123456789Z");
  assert_int_equal(time_zone_minutes(MOMENT), 60);
  assert_int_equal(time_zone_minutes(MOMENT - 150 * 86400 * NS_PER_SECOND), 120);
}

static void keys_round_trip_and_sort(void **state) {
  (void)state;
  uint64_t seed = 9;
  for (int i = 0; i < 2000; i++) {
    uint64_t a = test_random(&seed) >> 1, b = test_random(&seed) >> 1, back;
    char text_a[36], text_b[36];
    assert_true(time_parse_key(time_format_key(a, text_a), &back));
    assert_true(back == a);
    time_format_key(b, text_b);
    assert_int_equal(strcmp(text_a, text_b) < 0, a < b);
  }
  static const char *const bad[] = {"",
                                    "20261120T093000.123456789",
                                    "20261120T093000.12345678Z",
                                    "20261120T093000Z",
                                    "20261320T093000.123456789Z",
                                    "20260229T093000.123456789Z",
                                    "20261120 093000.123456789Z",
                                    "20261120T093060.123456789Z",
                                    "20261120T093000.123456789Zx",
                                    "19691231T235959.000000000Z"};
  for (size_t i = 0; i < NELEMS(bad); i++) {
    uint64_t out;
    if (time_parse_key(bad[i], &out)) fail_msg("%s is accepted", bad[i]);
  }
}

static void utc_round_trip(void **state) {
  (void)state;
  uint64_t seed = 10;
  for (int i = 0; i < 2000; i++) {
    char text[36];
    uint64_t a = test_random(&seed) >> 1;
    assert_parses(time_format_utc(a, text), a);
  }
}

static void rfc_3339(void **state) {
  (void)state;
  use_zone("America/New_York");
  assert_parses("2026-11-20T09:30:00Z", MOMENT);
  assert_parses("2026-11-20t09:30:00z", MOMENT);
  assert_parses("2026-11-20 10:30:00+01:00", MOMENT);
  assert_parses("2026-11-20T04:00:00-05:30", MOMENT);
  assert_parses("2026-11-20T09:30:00.5Z", MOMENT + NS_PER_SECOND / 2);
  assert_parses("2026-11-20T09:29:60Z", MOMENT);
  assert_parses("2024-02-29T00:00:00Z", UINT64_C(1709164800) * NS_PER_SECOND);
  assert_parses("1970-01-01T00:00:00Z", 0);
}

static void local_time(void **state) {
  (void)state;
  /* Rules written out, so that the test needs no zone files: New York's. */
  use_zone("EST5EDT,M3.2.0,M11.1.0");
  assert_parses("2026-11-20 04:30:00", MOMENT);
  assert_parses("2026-11-20T04:30", MOMENT);
  assert_parses("2026-11-20", MOMENT - (4 * 3600 + 1800) * NS_PER_SECOND);
  /* 01:30 on 1 November comes twice; the earlier is the one in summer time, 05:30 UTC. */
  assert_parses("2026-11-01 01:30", UINT64_C(1793511000) * NS_PER_SECOND);
  assert_parses("2026-11-01 00:59", UINT64_C(1793509140) * NS_PER_SECOND);
  assert_parses("2026-11-01 02:00", UINT64_C(1793516400) * NS_PER_SECOND);
  /* 02:30 on 8 March does not come at all. */
  uint64_t out;
  assert_err(time_parse("2026-03-08 02:30", MOMENT, &out), ERR_USAGE);
  assert_parses("2026-03-08 03:00", UINT64_C(1772953200) * NS_PER_SECOND);
}

static void relative_time(void **state) {
  (void)state;
  assert_parses("-15m", MOMENT - 900 * NS_PER_SECOND);
  assert_parses("-2h", MOMENT - 7200 * NS_PER_SECOND);
  assert_parses("-3d", MOMENT - 3 * 86400 * NS_PER_SECOND);
  uint64_t out;
  assert_err(time_parse("-2m", 60 * NS_PER_SECOND, &out), ERR_USAGE);
}

static void nonsense_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "-",
                                    "now",
                                    "2026",
                                    "2026-11",
                                    "2026-13-01",
                                    "2026-00-01",
                                    "2026-02-29",
                                    "2026-11-31",
                                    "2026-11-20T",
                                    "2026-11-20T24:00:00Z",
                                    "2026-11-20T09:60:00Z",
                                    "2026-11-20T09:30:61Z",
                                    "2026-11-20T09:30:00.Z",
                                    "2026-11-20T09:30:00.1234567890Z",
                                    "2026-11-20T09:30Z",
                                    "2026-11-20T09:30:00+0100",
                                    "2026-11-20T09:30:00+24:00",
                                    "2026-11-20T09:30:00Zx",
                                    "2026-11-20T09:30:00 ",
                                    " 2026-11-20",
                                    "26-11-20",
                                    "1969-12-31T23:59:59Z",
                                    "9999-01-01T00:00:00Z",
                                    "1970-01-01T00:00:00+01:00",
                                    "-1x"};
  for (size_t i = 0; i < NELEMS(bad); i++) {
    uint64_t out = 5;
    assert_err(time_parse(bad[i], MOMENT, &out), ERR_USAGE);
    assert_true(out == 5);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(formats),
      cmocka_unit_test(keys_round_trip_and_sort),
      cmocka_unit_test(utc_round_trip),
      cmocka_unit_test(rfc_3339),
      cmocka_unit_test(local_time),
      cmocka_unit_test(relative_time),
      cmocka_unit_test(nonsense_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
