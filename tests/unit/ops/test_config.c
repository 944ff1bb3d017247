#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/timefmt.h"
#include "ops/config.h"
#include "sys/fs.h"

#include "testing.h"

static const char documented[] =
    "profile: production            # development | staging | production\n"
    "catalog: sqlite:///var/lib/holdfast/catalog.db\n"
    "server: { listen: 127.0.0.1:8710, tls: { cert: /etc/holdfast/cert.pem, key: /etc/holdfast/key.pem } }\n"
    "limits: { memory: 256MiB, cpus: 2, jobs: 2, read: 200MiB/s, upload: 50MiB/s, nice: 10, timeout: 6h }\n"
    "log: { level: info, format: text, file: /var/log/holdfast.log }\n"
    "compression: zstd:1\n"
    "verify: { after_backup: quick, after_restore: standard, coverage: 30d }\n"
    "maintenance: { prune: \"daily 03:00\", verify: \"weekly Sun 04:00\", copy: hourly }\n"
    "monitoring: { interval: 10s }\n"
    "keys: { rotate: 90d }\n"
    "repositories:\n"
    "  - { name: local,   url: file:///srv/holdfast, key: { file: /etc/holdfast/key } }\n"
    "  - { name: offsite, url: s3://acme/prod, region: eu-west-1, object_lock: 30d, key: { kms: aws:alias/holdfast } "
    "}\n"
    "retention:\n"
    "  - { name: gfs, keep_last: 3, keep_hourly: 24, keep_daily: 7, keep_weekly: 4, keep_monthly: 12, keep_yearly: 3,\n"
    "      pitr: 14d, for: [{ source: \"*\", repository: \"*\" }] }\n"
    "sources:\n"
    "  - { name: shop, type: postgresql, dsn: \"host=db1 user=holdfast\", mode: physical, log: stream, rpo: 1m, rto: "
    "30m,\n"
    "      hooks: { before_backup: { command: /usr/local/bin/quiesce, timeout: 10s } } }\n"
    "  - { name: crm, type: mysql, dsn: \"mysql://holdfast@db2\", databases: [\"*\"], log: stream, rpo: 5m }\n"
    "  - { name: app, type: sqlite, paths: [\"/srv/app/*.db\"], log: stream, rpo: 2s }\n"
    "  - { name: etc, type: files, paths: [/etc/acme], exclude: [\"**/*.tmp\"] }\n"
    "schedules:\n"
    "  - { source: shop, at: \"daily 02:30\", kind: full, repositories: [local, offsite], drill: weekly, retries: 3 }\n"
    "  - { source: shop, at: \"hourly\", kind: incremental, repositories: [local] }\n"
    "  - { source: etc,  at: \"cron 0 */6 * * *\", repositories: [local] }\n"
    "alerts:\n"
    "  - { name: ops, type: email, to: [ops@example.com], smtp: { url: \"smtp://mail:587\", password: { env: SMTP } } "
    "}\n"
    "routes:\n"
    "  - { match: { severity: [warning, critical] }, on: [failure, success, resolved], to: [ops], repeat: 4h,\n"
    "      escalate_after: 3 }\n";

static void test_documented_file(void **state UNUSED) {
  Config *config;
  assert_ok(config_parse(bytes_str(documented), "holdfast.yaml", &config));
  const ConfigFile *file = config_main(config);
  assert_int_equal(file->profile, PROFILE_PRODUCTION);
  assert_int_equal(file->limits->memory_bytes, 256 * MIB);
  assert_int_equal(file->limits->read_bytes_per_second, 200 * MIB);
  assert_int_equal(file->limits->timeout_ns, 6 * 3600 * NS_PER_SECOND);
  assert_int_equal(file->limits->nice, 10);
  assert_int_equal(file->verify->coverage_ns, 30 * 86400 * NS_PER_SECOND);
  assert_int_equal(config_source_count(config), 4);
  const ConfigSource *app = config_source_find(config, "app");
  assert_string_equal(app->paths[0], "/srv/app/*.db");
  assert_int_equal(app->rpo_ns, 2 * NS_PER_SECOND);
  assert_string_equal(app->origin, "holdfast.yaml");
  const ConfigSource *shop = config_source_at(config, 0);
  assert_int_equal(shop->hooks->before_backup->timeout_ns, 10 * NS_PER_SECOND);
  assert_null(shop->hooks->after_restore);
  assert_null(config_source_find(config, "nothing"));
  const ConfigRepository *local = config_repository_find(config, "local");
  SecretSource key = config_key_source(local->key);
  assert_string_equal(key.file, "/etc/holdfast/key");
  assert_null(local->passphrase);
  assert_int_equal(config_repository_at(config, 1)->object_lock_ns, 30 * 86400 * NS_PER_SECOND);
  assert_int_equal(file->retention[0].keep_monthly, 12);
  assert_string_equal(file->retention[0].targets[0].source, "*");
  assert_int_equal(file->schedules[0].kind, KIND_FULL);
  assert_int_equal(file->schedules_count, 3);
  assert_string_equal(file->alerts[0].smtp->password->env, "SMTP");
  assert_int_equal(file->routes[0].on_count, 3);
  assert_int_equal(config_log_level(config), LOG_INFO);
  assert_int_equal(config_check_after_backup(config), CONFIG_CHECK_QUICK);
  assert_int_equal(config_compression(config, app).codec, CODEC_ZSTD);
  config_free(config);
}

/* Exactly this text is the error, "reading the configuration: " before it; "…" at the end stands for anything. */
static void refused(const char *yaml, const char *expected) {
  Config *config = NULL;
  Error *err = config_parse(bytes_str(yaml), "f", &config);
  if (!err) fail_msg("accepted: %s", yaml);
  AUTO_FREE char *text = mem_printf("reading the configuration: %s", expected);
  static const char more[] = "…";
  size_t len = strlen(text);
  if (str_ends(text, more))
    assert_int_equal(strncmp(err_text(err), text, len - strlen(more)), 0);
  else
    assert_string_equal(err_text(err), text);
  assert_int_equal(err_code(err), ERR_USAGE);
  err_free(err);
}

static void test_unknown_keys(void **state UNUSED) {
  refused("\nlimts: {}\n", "f:2: limts: there is no such key; did you mean \"limits\"?");
  refused("limits:\n  cpus: 1\n  memroy: 1\n", "f:3: limits.memroy: there is no such key; did you mean \"memory\"?");
  refused("sources:\n- name: a\n  type: files\n  paths: [/a]\n  zzzzzz: 1\n",
          "f:5: sources[0].zzzzzz: there is no such key");
  refused("verify:\n  \"a\\nb\": 1\n", "f:2: verify.a\\x0ab: there is no such key");
}

static void test_wrong_types(void **state UNUSED) {
  refused("[a]\n", "f:1: : keys and values are expected, here is a list");
  refused("limits: 5\n", "f:1: limits: keys and values are expected, here is a value");
  refused("limits:\n", "f:1: limits: keys and values are expected, here is nothing");
  refused("limits: { cpus: two }\n", "f:1: limits.cpus: \"two\" is not a whole number of 0 or more");
  refused("limits: { cpus: 010 }\n", "f:1: limits.cpus: \"010\" is not a whole number of 0 or more");
  refused("limits: { cpus: -1 }\n", "f:1: limits.cpus: \"-1\" is not a whole number of 0 or more");
  refused("limits: { cpus: 4294967296 }\n", "f:1: limits.cpus: \"4294967296\" is not a whole number of 0 or more");
  refused("limits: { nice: 20 }\n", "f:1: limits.nice: a number from -20 to 19 is expected");
  refused("compression: [zstd]\n", "f:1: compression: a single value is expected, here is a list");
  refused("profile: prod\n",
          "f:1: profile: \"prod\" is none of development, staging, production; did you mean "
          "\"production\"?");
  refused("sources:\n- { name: a, type: files, paths: /a }\n",
          "f:2: sources[0].paths: a list is expected, here is a value: write [a, b]");
  refused("sources:\n- { name: a, type: files, paths: [/a], one_file_system: off }\n",
          "f:2: sources[0].one_file_system: true or false is expected");
  refused("sources:\n- { name: a, paths: [/a] }\n", "f:2: sources[0].type: is missing");
  refused("catalog: ''\n", "f:1: catalog: the value is missing");
}

static void test_values_with_a_form(void **state UNUSED) {
  refused("keys: { rotate: soon }\n", "f:1: keys.rotate: \"soon\" is not a duration…");
  refused("maintenance:\n  copy: hourly\n  prune: daily 24:00\n",
          "f:3: maintenance.prune: \"24:00\" is not a time of day like 02:30");
  refused("server: { listen: localhost }\n",
          "f:1: server.listen: an address and a port are expected, like 127.0.0.1:8710");
  refused("sources:\n- { name: a b, type: files, paths: [/a] }\n",
          "f:2: sources[0].name: a name has letters, digits, '.', '_' and '-', begins with a letter or digit, and is "
          "at most 64 long");
  refused("sources:\n- name: a\n  type: files\n  paths:\n  - /a\n  - b\n",
          "f:6: sources[0].paths[1]: the path must begin with /");
  refused("sources:\n- { name: a, type: sqlit, paths: [/a] }\n",
          "f:2: sources[0].type: \"sqlit\" is none of sqlite, files, command, postgresql, mysql; did you mean "
          "\"sqlite\"?");
  refused("sources:\n- { name: a, type: sqlite }\n", "f:2: sources[0].paths: a source of type sqlite needs it");
}

static void test_secrets_do_not_stand_in_the_file(void **state UNUSED) {
  const char *inline_secrets[] = {
      "repositories:\n- { name: a, url: /a, key: hunter2 }\n",
      "repositories:\n- { name: a, url: /a, passphrase: hunter2 }\n",
      "repositories:\n- { name: a, url: 's3://user:hunter2@host/b' }\n",
      "repositories:\n- { name: a, url: /a, password: hunter2 }\n",
      "sources:\n- { name: a, type: mysql, dsn: 'mysql://u:hunter2@db' }\n",
      "sources:\n- { name: a, type: postgresql, dsn: 'host=x password=hunter2' }\n",
      "sources:\n- { name: a, type: postgresql, dsn: 'host=x', password: hunter2 }\n",
      "alerts:\n- { name: a, type: slack, url: 'https://hooks.example.com/hunter2' }\n",
  };
  for (size_t i = 0; i < NELEMS(inline_secrets); i++) {
    Config *config = NULL;
    Error *err = config_parse(bytes_str(inline_secrets[i]), "f", &config);
    if (!err) fail_msg("accepted: %s", inline_secrets[i]);
    assert_int_equal(err_code(err), ERR_USAGE);
    assert_null(strstr(err_text(err), "hunter2"));
    assert_non_null(strstr(err_text(err), "f:2: "));
    if (i != 3) assert_non_null(strstr(err_text(err), "does not stand in this file"));
    err_free(err);
  }
  refused("repositories:\n- { name: a, url: /a, key: { file: /k, env: K } }\n",
          "f:2: repositories[0].key: exactly one place is expected: file, env or command");
  refused("repositories:\n- { name: a, url: /a, key: {} }\n",
          "f:2: repositories[0].key: exactly one place is expected: file, env or command");
}

static void test_names_point_somewhere(void **state UNUSED) {
  refused("sources:\n- { name: app, type: files, paths: [/a] }\nschedules:\n- { source: apq, at: hourly }\n",
          "f:4: schedules[0].source: there is no \"apq\" among the sources; did you mean \"app\"?");
  refused("sources:\n- { name: a, type: files, paths: [/a] }\n- { name: a, type: files, paths: [/a] }\n",
          "f:3: sources[1].name: \"a\" is there already, in f:2");
  refused("routes:\n- to: [ops]\n", "f:2: routes[0].to: there is no \"ops\" among the alerts");
  refused("retention:\n- { name: a, for: [{ source: '*' }] }\n- { name: b, for: [{ repository: '*' }] }\n",
          "f:3: retention[1].for: source \"*\" in repository \"*\" has a policy already");
  refused("retention:\n- { name: a, for: [{ repository: far }] }\n",
          "f:2: retention[0].repository: there is no \"far\" among the repositories");
}

static void test_all_mistakes_at_once_in_order(void **state UNUSED) {
  refused("sources:\n- { name: a, type: sqlite, paths: [/x], exclude: ['*.tmp'] }\n",
          "f:2: sources[0].exclude: it is for sources of type files");
  refused("sources:\n- { name: a, type: command, command: x, paths: [/x] }\n",
          "f:2: sources[0].paths: it is for sources of type sqlite and files");
  refused("limits: { memory: 32MiB }\n", "f:1: limits.memory: it must be 64.0 MiB at least");
  refused("log: { level: loud }\nlimits: { memory: x }\nzzz: 1\n",
          "f:1: log.level: \"loud\" is none of debug, info, warn, error\n"
          "f:2: limits.memory: \"x\" is not a size…");
}

static void test_hostile_files(void **state UNUSED) {
  refused("a: &x [1]\nb: *x\n", "f:1: anchors (&), aliases (*) and tags (!) are not allowed here");
  refused("catalog: !!binary aGk=\n", "f:1: anchors (&), aliases (*) and tags (!) are not allowed here");
  refused("catalog: a\ncatalog: b\n", "f:2: \"catalog\" is there already, in line 1");
  refused("catalog: a\n---\ncatalog: b\n", "f:2: a second document in one file");
  refused("? [a]\n: b\n", "f:1: a key must be a plain word");
  refused("catalog: \"a\\0b\"\n", "f:1: a NUL character");
  AUTO_BUF Buf deep = {0};
  for (int i = 0; i < 100000; i++) buf_add_str(&deep, "[");
  Config *config = NULL;
  assert_err(config_parse(buf_bytes(&deep), "f", &config), ERR_USAGE);
  AUTO_BUF Buf many = {0};
  buf_add_str(&many, "sources: [");
  for (int i = 0; i < 200000; i++) buf_add_str(&many, "a,");
  buf_add_str(&many, "a]\n");
  assert_err(config_parse(buf_bytes(&many), "f", &config), ERR_USAGE);
  AUTO_BUF Buf large = {0};
  while (large.len <= MIB) buf_add_str(&large, "# nothing but a comment, again and again\n");
  assert_err(config_parse(buf_bytes(&large), "f", &config), ERR_USAGE);
  assert_err(config_parse(bytes("catalog: \xff\xfe\n", 12), "f", &config), ERR_USAGE);
}

static void test_broken_yaml_names_the_line(void **state UNUSED) {
  Config *config = NULL;
  Error *err = config_parse(bytes_str("log: { level: info }\nlimits: { cpus: 1\nverify: {}\n"), "f", &config);
  assert_non_null(err);
  assert_non_null(strstr(err_text(err), "f:3: "));
  err_free(err);
}

static void test_nothing_is_a_configuration(void **state UNUSED) {
  const char *texts[] = {"", "# a comment\n", "---\n", "{}\n"};
  for (size_t i = 0; i < NELEMS(texts); i++) {
    Config *config;
    assert_ok(config_parse(bytes_str(texts[i]), "f", &config));
    assert_int_equal(config_source_count(config), 0);
    assert_null(config_main(config)->limits);
    config_free(config);
  }
  Config *config;
  assert_ok(config_load(NULL, NULL, &config));
  assert_null(config_path(config));
  assert_int_equal(config_log_level(config), LOG_INFO);
  assert_int_equal(config_compression(config, NULL).level, 1);
  assert_int_equal(config_check_after_backup(config), CONFIG_CHECK_NONE);
  config_free(config);
}

static void test_words_for_yes_and_no(void **state UNUSED) {
  static const struct {
    const char *word;
    bool value;
  } words[] = {{"true", true}, {"yes", true}, {"false", false}, {"no", false}};
  for (size_t i = 0; i < NELEMS(words); i++) {
    AUTO_FREE char *yaml =
        mem_printf("sources:\n- { name: a, type: files, paths: [/a], one_file_system: %s }\n", words[i].word);
    Config *config;
    assert_ok(config_parse(bytes_str(yaml), "f", &config));
    assert_int_equal(config_source_at(config, 0)->one_file_system, words[i].value);
    config_free(config);
  }
}

/* What is shown reads back as the same. */
static void test_show_is_a_configuration(void **state UNUSED) {
  Config *config, *again;
  assert_ok(config_parse(bytes_str(documented), "f", &config));
  AUTO_BUF Buf shown = {0}, shown_again = {0};
  config_show(config, &shown);
  assert_ok(config_parse(buf_bytes(&shown), "f", &again));
  config_show(again, &shown_again);
  assert_true(bytes_equal(buf_bytes(&shown), buf_bytes(&shown_again)));
  json_t *doc = config_show_json(config);
  json_t *settings = json_object_get(json_array_get(json_object_get(doc, "files"), 0), "settings");
  assert_int_equal(json_integer_value(json_object_get(json_object_get(settings, "limits"), "nice")), 10);
  json_decref(doc);
  config_free(config);
  config_free(again);
}

static void test_conf_d(void **state UNUSED) {
  char dir[] = "/tmp/holdfast-test-config-XXXXXX";
  assert_non_null(mkdtemp(dir));
  AUTO_FREE char *state_dir = fs_join(dir, "state");
  AUTO_FREE char *main_path = fs_join(dir, "holdfast.yaml");
  assert_ok(fs_replace_file(main_path, bytes_str("sources:\n- { name: etc, type: files, paths: [/etc] }\n"), 0600));
  Config *config;
  assert_ok(config_load(main_path, state_dir, &config));
  char *paths[] = {(char *)(uintptr_t) "/srv/it's \"here\": #1.db"};
  ConfigSource source = {.name = (char *)(uintptr_t) "app",
                         .type = (char *)(uintptr_t) "sqlite",
                         .paths = paths,
                         .paths_count = 1,
                         .recover_copy = true};
  assert_ok(config_add_source(config, state_dir, &source));
  assert_err(config_add_source(config, state_dir, &source), ERR_EXISTS);
  ConfigKey key = {.file = (char *)(uintptr_t) "/k"};
  ConfigRepository repo = {.name = (char *)(uintptr_t) "far", .url = (char *)(uintptr_t) "/mnt/far", .key = &key};
  assert_ok(config_add_repository(config, state_dir, &repo));
  source.name = (char *)(uintptr_t) "etc";
  assert_err(config_add_source(config, state_dir, &source), ERR_EXISTS);
  source.name = (char *)(uintptr_t) "../evil";
  assert_err(config_add_source(config, state_dir, &source), ERR_USAGE);
  source.name = (char *)(uintptr_t) "relative";
  paths[0] = (char *)(uintptr_t) "x.db";
  assert_err(config_add_source(config, state_dir, &source), ERR_USAGE);
  config_free(config);

  assert_ok(config_load(main_path, state_dir, &config));
  assert_int_equal(config_source_count(config), 2);
  const ConfigSource *app = config_source_find(config, "app");
  assert_string_equal(app->paths[0], "/srv/it's \"here\": #1.db");
  assert_true(app->recover_copy);
  assert_non_null(strstr(app->origin, "/state/conf.d/app.yaml"));
  assert_string_equal(config_repository_find(config, "far")->key->file, "/k");
  assert_err(config_remove_source(config, state_dir, "etc"), ERR_REFUSED);
  assert_err(config_remove_source(config, state_dir, "none"), ERR_NOT_FOUND);
  assert_ok(config_remove_source(config, state_dir, "app"));
  assert_ok(config_remove_repository(config, state_dir, "far"));
  config_free(config);

  assert_ok(config_load(main_path, state_dir, &config));
  assert_int_equal(config_source_count(config), 1);
  assert_int_equal(config_repository_count(config), 0);
  config_free(config);

  AUTO_FREE char *extra = fs_join(state_dir, "conf.d/x.yaml");
  assert_ok(fs_replace_file(extra, bytes_str("log: { level: debug }\n"), 0600));
  assert_err(config_load(main_path, state_dir, &config), ERR_USAGE);
  assert_ok(fs_remove_tree(dir));
}

static void test_names(void **state UNUSED) {
  assert_true(config_name_valid("a"));
  assert_true(config_name_valid("App-1.db_x"));
  const char *bad[] = {"",
                       ".",
                       "..",
                       "-a",
                       "_a",
                       "a/b",
                       "a b",
                       "a:b",
                       "a@b",
                       "\xc3\xa9",
                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
  for (size_t i = 0; i < NELEMS(bad); i++) assert_false(config_name_valid(bad[i]));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_documented_file),
      cmocka_unit_test(test_unknown_keys),
      cmocka_unit_test(test_wrong_types),
      cmocka_unit_test(test_values_with_a_form),
      cmocka_unit_test(test_secrets_do_not_stand_in_the_file),
      cmocka_unit_test(test_names_point_somewhere),
      cmocka_unit_test(test_all_mistakes_at_once_in_order),
      cmocka_unit_test(test_hostile_files),
      cmocka_unit_test(test_broken_yaml_names_the_line),
      cmocka_unit_test(test_nothing_is_a_configuration),
      cmocka_unit_test(test_words_for_yes_and_no),
      cmocka_unit_test(test_show_is_a_configuration),
      cmocka_unit_test(test_conf_d),
      cmocka_unit_test(test_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
