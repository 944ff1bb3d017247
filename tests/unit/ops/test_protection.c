#include <stdlib.h>

#include "base/timefmt.h"
#include "ops/calendar.h"
#include "ops/protection.h"

#include "testing.h"

#define HOURS(n) ((uint64_t)(n)*3600 * NS_PER_SECOND)
static const uint64_t NOW = UINT64_C(1800000000) * NS_PER_SECOND;

static Config *config_of(const char *text) {
  Config *config = NULL;
  assert_ok(config_parse(bytes_str(text), "test.yaml", &config));
  return config;
}

static SourceStatus status_of(char *source, char *repository, uint64_t age_hours) {
  return (SourceStatus){.source = source,
                        .repository = repository,
                        .last_attempt_ns = NOW - HOURS(age_hours),
                        .last_result = JOB_OK,
                        .last_success_ns = NOW - HOURS(age_hours),
                        .last_snapshot_ns = NOW - HOURS(age_hours)};
}

static void check(const Config *config, SourceStatus *items, size_t len, const char *source, ProtectionState expected) {
  SourceStatusList statuses = {.items = items, .len = len};
  ProtectionList list;
  protection_judge(config, &statuses, NOW, &list);
  bool found = false;
  for (size_t i = 0; i < list.len; i++) {
    if (strcmp(list.items[i].source, source) != 0) continue;
    found = true;
    if (list.items[i].state != expected)
      fail_msg("%s is %s (%s), expected %s", source, protection_state_name(list.items[i].state), list.items[i].why,
               protection_state_name(expected));
  }
  assert_true(found);
  protection_list_free(&list);
}

static void test_without_a_schedule_a_day_and_two_hours(void **state) {
  (void)state;
  Config *config = config_of("{}");
  char source[] = "app", r1[] = "local", r2[] = "old";
  SourceStatus items[] = {status_of(source, r1, 25), status_of(source, r2, 900)};
  check(config, items, 2, "app", PROTECTED); /* the newest of any repository counts */
  items[0] = status_of(source, r1, 27);
  check(config, items, 2, "app", PROTECTION_OVERDUE);
  items[0] = status_of(source, r1, 1);
  items[0].last_result = JOB_FAILED;
  items[0].last_attempt_ns = NOW;
  check(config, items, 1, "app", PROTECTION_FAILING);
  items[0].last_success_ns = items[0].last_snapshot_ns = 0;
  check(config, items, 1, "app", PROTECTION_NEVER);
  items[0] = status_of(source, r1, 1);
  items[0].last_result = JOB_PARTIAL;
  check(config, items, 1, "app", PROTECTION_FAILING);
  config_free(config);
}

static void test_what_the_configuration_asks(void **state) {
  (void)state;
  static const char text[] =
      "repositories:\n"
      "  - { name: local, url: /backup }\n"
      "  - { name: offsite, url: /mnt/offsite }\n"
      "sources:\n"
      "  - { name: app, type: sqlite, paths: [/srv/app.db], rpo: 2h }\n"
      "  - { name: etc, type: files, paths: [/etc] }\n"
      "  - { name: both, type: files, paths: [/srv], repositories: [local, offsite] }\n"
      "schedules:\n"
      "  - { source: etc, at: weekly Sun 04:00 }\n";
  Config *config = config_of(text);
  char app[] = "app", etc[] = "etc", both[] = "both", local[] = "local", offsite[] = "offsite";
  check(config, NULL, 0, "app", PROTECTION_NEVER);
  SourceStatus items[] = {status_of(app, local, 3), status_of(etc, local, 160), status_of(both, local, 1)};
  check(config, items, 3, "app", PROTECTION_OVERDUE);
  check(config, items, 3, "etc", PROTECTED);
  check(config, items, 3, "both", PROTECTION_NEVER); /* not in offsite */
  items[0] = status_of(both, offsite, 30);
  check(config, items, 3, "both", PROTECTION_OVERDUE);
  items[0] = status_of(both, offsite, 20);
  items[1] = status_of(etc, local, 200);
  check(config, items, 3, "both", PROTECTED);
  check(config, items, 3, "etc", PROTECTION_OVERDUE);
  config_free(config);
}

static void check_gap(const char *text, uint64_t minutes) {
  uint64_t found = calendar_longest_gap_ns(text) / NS_PER_SECOND / 60;
  if (found != minutes)
    fail_msg("%s: %llu minutes, expected %llu", text, (unsigned long long)found, (unsigned long long)minutes);
}

static void test_longest_gaps(void **state) {
  (void)state;
  const uint64_t day = 24 * 60;
  check_gap("hourly", 60);
  check_gap("daily 02:30", day);
  check_gap("weekly", 7 * day);
  check_gap("monthly 1 03:00", 31 * day);
  check_gap("every 15m", 15);
  check_gap("cron * * * * *", 1);
  check_gap("cron 0 */6 * * *", 6 * 60);
  check_gap("cron 30 2 * * *", day);
  check_gap("cron 0 9-17 * * mon-fri", 2 * day + 16 * 60); /* Friday 17:00 to Monday 9:00 */
  check_gap("cron 0 0 1 * *", 31 * day);
  check_gap("cron 0 0 1,15 * *", 17 * day);
  check_gap("cron 0 0 * jan *", 336 * day); /* from 31 January to 1 January, in a leap year */
  check_gap("cron 0 0 31 feb *", 0);
  check_gap("cron 0 0 13 * fri", 7 * day); /* either is enough */
  check_gap("now and then", 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_without_a_schedule_a_day_and_two_hours),
      cmocka_unit_test(test_what_the_configuration_asks),
      cmocka_unit_test(test_longest_gaps),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
