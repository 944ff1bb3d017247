#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "ops/address.h"

#include "testing.h"

#define NOW (UINT64_C(1763632200) * NS_PER_SECOND)

static void test_addresses(void **state UNUSED) {
  static const struct {
    const char *text, *type, *rest, *shown;
  } cases[] = {
      {"sqlite:/srv/app.db", "sqlite", "/srv/app.db", "sqlite:/srv/app.db"},
      {"sqlite:///srv//x/../app.db", "sqlite", "/srv/app.db", "sqlite:/srv/app.db"},
      {"files:/etc/", "files", "/etc", "files:/etc"},
      {"files:/", "files", "/", "files:/"},
      {"sqlite:/srv/app/*.db", "sqlite", "/srv/app/*.db", "sqlite:/srv/app/*.db"},
      {"command:P=x /bin/pg_dumpall -h x", "command", "P=x /bin/pg_dumpall -h x", "command:pg_dumpall"},
      {"postgresql://user@host/", "postgresql", "//user@host/", "postgresql://user@host/"},
      {"shop", NULL, "shop", "shop"},
      {"db1:sqlite:/srv/app.db", NULL, "db1:sqlite:/srv/app.db", "db1:sqlite:/srv/app.db"},
      {"my source, 2", NULL, "my source, 2", "my source, 2"},
  };
  for (size_t i = 0; i < NELEMS(cases); i++) {
    AUTO_ADDRESS SourceAddress a = {0};
    assert_ok(source_address_parse(cases[i].text, &a));
    if (cases[i].type)
      assert_string_equal(a.type, cases[i].type);
    else
      assert_null(a.type);
    assert_string_equal(a.rest, cases[i].rest);
    AUTO_FREE char *shown = source_address_text(&a);
    assert_string_equal(shown, cases[i].shown);
  }
}

static void test_relative_paths_become_absolute(void **state UNUSED) {
  assert_int_equal(chdir("/usr"), 0);
  assert_int_equal(setenv("HOME", "/home/x", 1), 0);
  static const struct {
    const char *text, *rest;
  } cases[] = {{"files:./share", "/usr/share"}, {"sqlite:x.db", "/usr/x.db"}, {"files:.", "/usr"},
               {"files:../etc", "/etc"},        {"files:~/a", "/home/x/a"},   {"files:~", "/usr/~"}};
  for (size_t i = 0; i < NELEMS(cases); i++) {
    AUTO_ADDRESS SourceAddress a = {0};
    assert_ok(source_address_parse(cases[i].text, &a));
    assert_string_equal(a.rest, cases[i].rest);
  }
}

static void test_default_name_has_the_host(void **state UNUSED) {
  AUTO_ADDRESS SourceAddress address = {0}, named = {0};
  assert_ok(source_address_parse("sqlite:/srv/app.db", &address));
  assert_ok(source_address_parse("shop", &named));
  AUTO_FREE char *a = source_address_name("db1", &address);
  AUTO_FREE char *b = source_address_name("db1", &named);
  assert_string_equal(a, "db1:sqlite:/srv/app.db");
  assert_string_equal(b, "shop");
  AUTO_ADDRESS SourceAddress command = {0};
  assert_ok(source_address_parse("command:dump --password=secret", &command));
  AUTO_FREE char *c = source_address_name("db1", &command);
  assert_string_equal(c, "db1:command:dump");
}

static void test_bad_addresses(void **state UNUSED) {
  const char *bad[] = {"", "sqlite:", "command:  ", "/srv/app.db", "./x", "../x", ".", "~/x", "sqlit:/x", "http://x"};
  for (size_t i = 0; i < NELEMS(bad); i++) {
    AUTO_ADDRESS SourceAddress a = {0};
    assert_err(source_address_parse(bad[i], &a), ERR_USAGE);
  }
  SourceAddress a;
  Error *err = source_address_parse("sqlit:/x", &a);
  assert_string_equal(err_hint_text(err), "did you mean sqlite:?");
  err_free(err);
  err = source_address_parse("/srv/x", &a);
  assert_string_equal(err_hint_text(err), "write files:/srv/x for files, sqlite:/srv/x for a database");
  err_free(err);
}

static void test_moments(void **state UNUSED) {
  When when;
  assert_ok(when_parse("latest", NOW, &when));
  assert_int_equal(when.kind, WHEN_LATEST);
  assert_ok(when_parse("3F9C21", NOW, &when));
  assert_int_equal(when.kind, WHEN_SNAPSHOT);
  assert_string_equal(when.snapshot, "3f9c21");
  assert_ok(when_parse("-2h", NOW, &when));
  assert_int_equal(when.kind, WHEN_TIME);
  assert_int_equal(when.time_ns, NOW - 7200 * NS_PER_SECOND);
  assert_ok(when_parse("2026-11-20T09:30:00Z", NOW, &when));
  assert_int_equal(when.kind, WHEN_TIME);
  const char *bad[] = {
      "", "3f9", "yesterdayish", "3f9g", "-", "@", "00000000000000000000000000000000000000000000000000000000000000000"};
  for (size_t i = 0; i < NELEMS(bad); i++) assert_err(when_parse(bad[i], NOW, &when), ERR_USAGE);
}

static void test_split_at_the_last_moment(void **state UNUSED) {
  static const struct {
    const char *text, *src, *suspect;
    bool said;
    WhenKind kind;
  } cases[] = {
      {"app", "app", NULL, false, WHEN_LATEST},
      {"app@latest", "app", NULL, true, WHEN_LATEST},
      {"app@-2h", "app", NULL, true, WHEN_TIME},
      {"files:/srv/a@b", "files:/srv/a@b", "b", false, WHEN_LATEST},
      {"files:/srv/a@b@3f9c", "files:/srv/a@b", NULL, true, WHEN_SNAPSHOT},
      {"postgresql://user@host/", "postgresql://user@host/", "host/", false, WHEN_LATEST},
      {"app@2026-11-20 09:30", "app", NULL, true, WHEN_TIME},
      {"app@", "app@", "", false, WHEN_LATEST},
  };
  for (size_t i = 0; i < NELEMS(cases); i++) {
    char *src, *suspect;
    When when;
    assert_ok(source_when_split(cases[i].text, NOW, &src, &when, &suspect));
    assert_string_equal(src, cases[i].src);
    assert_int_equal(when.said, cases[i].said);
    assert_int_equal(when.kind, cases[i].kind);
    if (cases[i].suspect)
      assert_string_equal(suspect, cases[i].suspect);
    else
      assert_null(suspect);
    free(src);
    free(suspect);
  }
  char *src;
  When when;
  assert_err(source_when_split("@latest", NOW, &src, &when, NULL), ERR_USAGE);
}

static void test_repositories(void **state UNUSED) {
  assert_int_equal(chdir("/usr"), 0);
  static const struct {
    const char *text, *path;
  } cases[] = {{"/backup", "/backup"},
               {"backup/here", "/usr/backup/here"},
               {"./a:b", "/usr/a:b"},
               {"file:///srv/x%20y", "/srv/x y"},
               {"file://localhost/srv", "/srv"},
               {"file:/srv/./z", "/srv/z"}};
  for (size_t i = 0; i < NELEMS(cases); i++) {
    char *path;
    assert_ok(repository_path(cases[i].text, &path));
    assert_string_equal(path, cases[i].path);
    free(path);
  }
  char *path;
  assert_err(repository_path("s3://bucket/x", &path), ERR_UNSUPPORTED);
  assert_err(repository_path("file://host/x", &path), ERR_USAGE);
  assert_err(repository_path("file:///a%zz", &path), ERR_USAGE);
  assert_err(repository_path("file:///a%00", &path), ERR_USAGE);
  assert_err(repository_path("file:///a%2", &path), ERR_USAGE);
  assert_err(repository_path("", &path), ERR_USAGE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_addresses),
      cmocka_unit_test(test_relative_paths_become_absolute),
      cmocka_unit_test(test_default_name_has_the_host),
      cmocka_unit_test(test_bad_addresses),
      cmocka_unit_test(test_moments),
      cmocka_unit_test(test_split_at_the_last_moment),
      cmocka_unit_test(test_repositories),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
