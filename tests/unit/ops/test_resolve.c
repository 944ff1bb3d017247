#include <string.h>

#include "ops/resolve.h"

#include "testing.h"

static Config *sample(void) {
  static const char yaml[] =
      "repositories:\n"
      "- { name: local, url: 'file:///srv/holdfast' }\n"
      "- { name: far, url: 's3://bucket/x' }\n"
      "sources:\n"
      "- { name: etc, type: files, paths: [/etc, /opt/etc], exclude: ['*.tmp'], preset: configuration,\n"
      "    one_file_system: true }\n"
      "- { name: dump, type: command, command: 'pg_dumpall -h x', restore_command: 'psql -X' }\n";
  Config *config;
  assert_ok(config_parse(bytes_str(yaml), "f", &config));
  return config;
}

static void test_configured_sources(void **state UNUSED) {
  Config *config = sample();
  ResolvedSource s;
  assert_ok(resolve_source(config, "host", "etc", &s));
  assert_string_equal(s.name, "etc");
  assert_string_equal(s.address, "files:/etc,…");
  assert_int_equal(s.spec.paths.len, 2);
  assert_string_equal(s.spec.paths.items[1], "/opt/etc");
  assert_string_equal(s.spec.exclude.items[0], "*.tmp");
  assert_string_equal(s.spec.preset, "configuration");
  assert_true(s.spec.one_file_system);
  assert_false(s.spec.recover_copy);
  assert_ptr_equal(s.configured, config_source_find(config, "etc"));
  resolved_source_free(&s);
  assert_ok(resolve_source(config, "host", "dump", &s));
  assert_string_equal(s.address, "command:pg_dumpall");
  assert_int_equal(s.spec.paths.len, 1);
  assert_string_equal(s.spec.paths.items[0], "pg_dumpall -h x");
  assert_string_equal(s.spec.restore_command, "psql -X");
  resolved_source_free(&s);
  config_free(config);
}

static void test_addresses_of_sources(void **state UNUSED) {
  Config *config = sample();
  ResolvedSource s;
  assert_ok(resolve_source(config, "db1", "sqlite:/srv//app.db", &s));
  assert_string_equal(s.name, "db1:sqlite:/srv/app.db");
  assert_string_equal(s.address, "sqlite:/srv/app.db");
  assert_string_equal(s.spec.type, "sqlite");
  assert_string_equal(s.spec.paths.items[0], "/srv/app.db");
  assert_null(s.configured);
  resolved_source_free(&s);
  Error *err = resolve_source(config, "db1", "dmup", &s);
  assert_int_equal(err_code(err), ERR_USAGE);
  assert_string_equal(err_hint_text(err), "did you mean dump?");
  err_free(err);
  config_free(config);
}

static void test_repositories(void **state UNUSED) {
  Config *config = sample();
  ResolvedRepository r;
  assert_ok(resolve_repository(config, "local", &r));
  assert_string_equal(r.path, "/srv/holdfast");
  assert_string_equal(r.configured->name, "local");
  resolved_repository_free(&r);
  assert_ok(resolve_repository(config, "/backup", &r));
  assert_string_equal(r.path, "/backup");
  assert_null(r.configured);
  resolved_repository_free(&r);
  assert_err(resolve_repository(config, "far", &r), ERR_UNSUPPORTED);
  config_free(config);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_configured_sources),
      cmocka_unit_test(test_addresses_of_sources),
      cmocka_unit_test(test_repositories),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
