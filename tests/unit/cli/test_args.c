#include <string.h>

#include "cli/args.h"

#include "testing.h"

#define PARSE(...) parse((const char *const[]){"holdfast", __VA_ARGS__, NULL}, NULL)

static int count(const char *const *argv) {
  int n = 0;
  while (argv[n]) n++;
  return n;
}

static const char *fake_env(void *ctx, const char *name) {
  for (const char *const *pair = (const char *const *)ctx; *pair; pair += 2)
    if (strcmp(pair[0], name) == 0) return pair[1];
  return NULL;
}

static Args *parse(const char *const *argv, const char *const *env) {
  Args *args = NULL;
  assert_ok(args_parse(count(argv), argv, env ? fake_env : NULL, (void *)(uintptr_t)env, &args));
  return args;
}

/* The command line must be refused with exactly these words. */
static void refused(const char *text, const char *hint, const char *const *argv) {
  Args *args = NULL;
  Error *err = args_parse(count(argv), argv, NULL, NULL, &args);
  assert_non_null(err);
  assert_int_equal(err_code(err), ERR_USAGE);
  assert_string_equal(err_text(err), text);
  if (hint) assert_string_equal(err_hint_text(err), hint);
  err_free(err);
}
#define REFUSED(text, hint, ...) refused(text, hint, (const char *const[]){"holdfast", __VA_ARGS__, NULL})

static void test_forms_of_values(void **state UNUSED) {
  Args *args = PARSE("backup", "--repo=/a", "sqlite:/x", "--repo", "/b", "-r/c", "-r", "/d", "-r=/e", "files:/y");
  assert_string_equal(args_command(args)->name, "backup");
  const StrList *repos = args_list(args, OPT_REPO);
  assert_int_equal(repos->len, 5);
  const char *expected[] = {"/a", "/b", "/c", "/d", "/e"};
  for (size_t i = 0; i < 5; i++) assert_string_equal(repos->items[i], expected[i]);
  assert_int_equal(args_operand_count(args), 2);
  assert_string_equal(args_operand(args, 0), "sqlite:/x");
  assert_string_equal(args_operand(args, 1), "files:/y");
  assert_null(args_operand(args, 2));
  args_free(args);
}

static void test_flags_cluster(void **state UNUSED) {
  Args *args = PARSE("-vv", "ls", "-lR");
  assert_int_equal(args_times(args, OPT_VERBOSE), 2);
  assert_true(args_given(args, OPT_LONG));
  assert_true(args_given(args, OPT_RECURSIVE));
  assert_false(args_given(args, OPT_QUIET));
  args_free(args);
}

static void test_options_before_the_command(void **state UNUSED) {
  Args *args = PARSE("--repo", "/a", "--json", "key", "add", "--slot-name", "x");
  assert_string_equal(args_command(args)->name, "key add");
  assert_string_equal(args_text(args, OPT_REPO), "/a");
  assert_true(args_given(args, OPT_JSON));
  assert_int_equal(args_operand_count(args), 0);
  args_free(args);
}

static void test_dashes_end_options(void **state UNUSED) {
  Args *args = PARSE("find", "--", "--json", "-x");
  assert_string_equal(args_operand(args, 0), "--json");
  assert_string_equal(args_operand(args, 1), "-x");
  assert_false(args_given(args, OPT_JSON));
  args_free(args);
}

static void test_a_dash_is_an_operand_or_value(void **state UNUSED) {
  Args *args = PARSE("export", "3f9c", "--format", "tar", "--to", "-");
  assert_string_equal(args_text(args, OPT_TO_FILE), "-");
  assert_int_equal(args_number(args, OPT_FORMAT, 99), 2);
  args_free(args);
}

static void test_typed_values(void **state UNUSED) {
  Args *args = PARSE("verify", "--coverage", "30d", "--memory", "64MiB", "--limit-read", "2MiB/s", "--limit-upload",
                     "1K", "--cpus", "3");
  assert_int_equal(args_number(args, OPT_COVERAGE, 0), UINT64_C(30) * 86400 * 1000000000);
  assert_int_equal(args_number(args, OPT_MEMORY, 0), 64 * MIB);
  assert_int_equal(args_number(args, OPT_LIMIT_READ, 0), 2 * MIB);
  assert_int_equal(args_number(args, OPT_LIMIT_UPLOAD, 0), 1024);
  assert_int_equal(args_number(args, OPT_CPUS, 0), 3);
  assert_int_equal(args_number(args, OPT_LEVEL, 7), 7);
  args_free(args);
}

static void test_optional_value_is_attached_or_absent(void **state UNUSED) {
  Args *args = PARSE("backup", "--verify", "files:/etc");
  assert_true(args_given(args, OPT_VERIFY_AFTER));
  assert_null(args_text(args, OPT_VERIFY_AFTER));
  assert_int_equal(args_number(args, OPT_VERIFY_AFTER, 1), 1);
  assert_string_equal(args_operand(args, 0), "files:/etc");
  args_free(args);
  args = PARSE("backup", "--verify=comprehensive", "files:/etc");
  assert_int_equal(args_number(args, OPT_VERIFY_AFTER, 0), 2);
  args_free(args);
}

static void test_the_last_single_value_counts(void **state UNUSED) {
  Args *args = PARSE("backup", "files:/x", "--name=a", "--name=b");
  assert_string_equal(args_text(args, OPT_NAME), "b");
  assert_int_equal(args_list(args, OPT_NAME)->len, 1);
  args_free(args);
}

static void test_environment_fills_in(void **state UNUSED) {
  const char *const env[] = {"HOLDFAST_REPO", "/env", "HOLDFAST_KEY_FILE", "", "HOLDFAST_STATE_DIR", "/s", NULL};
  Args *args = parse((const char *const[]){"holdfast", "ls", NULL}, env);
  assert_string_equal(args_text(args, OPT_REPO), "/env");
  assert_string_equal(args_text(args, OPT_STATE_DIR), "/s");
  assert_false(args_given(args, OPT_KEY_FILE)); /* empty is not set */
  args_free(args);
  args = parse((const char *const[]){"holdfast", "ls", "--repo", "/cli", NULL}, env);
  assert_int_equal(args_list(args, OPT_REPO)->len, 1);
  assert_string_equal(args_text(args, OPT_REPO), "/cli");
  args_free(args);
}

static void test_same_word_means_what_the_command_says(void **state UNUSED) {
  Args *args = PARSE("restore", "app", "--to", "/t");
  assert_string_equal(args_text(args, OPT_TO), "/t");
  assert_false(args_given(args, OPT_TO_FILE));
  args_free(args);
}

static void test_other_programs_words(void **state UNUSED) {
  Args *args = PARSE("restore", "app", "--target", "/t", "--dry-run", "--password-file=/p");
  assert_string_equal(args_text(args, OPT_TO), "/t");
  assert_true(args_given(args, OPT_PLAN));
  assert_string_equal(args_text(args, OPT_PASSPHRASE_FILE), "/p");
  args_free(args);
  REFUSED("snapshots: there is no such command", "here it is `holdfast ls`", "snapshots");
}

static void test_unknown_words_get_suggestions(void **state UNUSED) {
  REFUSED("bakcup: there is no such command", "did you mean `holdfast backup`?", "bakcup");
  REFUSED("key rn: there is no such command", "did you mean `holdfast key rm`?", "key", "rn");
  REFUSED("qqqqqq: there is no such command", "`holdfast --help` lists what there is", "qqqqqq");
  REFUSED("key add: there is no such command", NULL, "key add"); /* one word */
  REFUSED("--incremetal: there is no such option", "did you mean --incremental?", "backup", "--incremetal");
  REFUSED("--zzz: there is no such option", "`holdfast backup --help` lists the options", "backup", "--zzz");
  REFUSED("-z: there is no such option", NULL, "ls", "-z");
  REFUSED("--exclude: not an option of `ls`", "it belongs to: backup, source add", "ls", "--exclude", "x");
  REFUSED("--format: \"tat\" is none of sql, db, tar", "did you mean \"tar\"?", "export", "x", "--format", "tat");
  REFUSED("SHELL: \"tcsh\" is none of bash, zsh, fish", NULL, "completion", "tcsh");
}

static void test_what_is_missing_or_too_much(void **state UNUSED) {
  REFUSED("key: a word is missing", "`holdfast key --help` lists what there is", "key");
  REFUSED("backup: SRC is missing", NULL, "backup");
  REFUSED("diff: B is missing", "B: the other snapshot", "diff", "a");
  REFUSED("info: \"b\" is one operand too many", NULL, "info", "a", "b");
  REFUSED("export: --format is missing", NULL, "export", "x", "--to", "y");
  REFUSED("--repo: a value is missing", NULL, "ls", "--repo");
  REFUSED("-r: a value is missing", NULL, "ls", "-r");
  REFUSED("--json: takes no value", NULL, "ls", "--json=yes");
  REFUSED("--name: the value is empty", NULL, "backup", "x", "--name=");
  REFUSED("--level: \"4\" is not a whole number from 0 to 3", NULL, "verify", "--level", "4");
  REFUSED("--cpus: \"0\" is not a whole number from 1 to 1024", NULL, "ls", "--cpus=0");
  REFUSED("--cpus: \"-1\" is not a whole number from 1 to 1024", NULL, "ls", "--cpus", "-1");
}

static void test_exclusive_options(void **state UNUSED) {
  REFUSED("--full and --differential exclude each other", NULL, "backup", "x", "--differential", "--full");
  REFUSED("--level and --coverage exclude each other", NULL, "verify", "--level=1", "--coverage=30d");
  REFUSED("--quiet and --verbose exclude each other", NULL, "ls", "-qv");
}

static void test_bytes_of_others_are_escaped(void **state UNUSED) {
  REFUSED("\\x1b[31m: there is no such command", NULL, "\x1b[31m");
  REFUSED("--a\\x07: there is no such option", NULL, "ls", "--a\x07");
}

static void test_help_asks_for_nothing_else(void **state UNUSED) {
  Args *args = PARSE("export", "--help");
  assert_true(args_given(args, OPT_HELP));
  args_free(args);
  args = PARSE("key", "-h");
  assert_string_equal(args_command(args)->name, "key");
  args_free(args);
  args = PARSE("--version");
  assert_null(args_command(args));
  args_free(args);
  assert_true(args_wants_json(3, (const char *const[]){"holdfast", "bad", "--json", NULL}));
  assert_false(args_wants_json(3, (const char *const[]){"holdfast", "--", "--json", NULL}));
}

/* The parser splits argv before it knows the command: one spelling must take a value always or never. */
static void test_table_is_consistent(void **state UNUSED) {
  for (OptionId a = OPT_END + 1; a < OPT_COUNT; a++) {
    const OptionSpec *x = option_spec(a);
    assert_non_null(x->help);
    assert_true((x->kind == VALUE_FLAG) == (x->metavar == NULL));
    assert_true((x->kind == VALUE_CHOICE) == (x->choice != NULL));
    for (OptionId b = (OptionId)(a + 1); b < OPT_COUNT; b++) {
      const OptionSpec *y = option_spec(b);
      bool same_name = strcmp(x->name, y->name) == 0 || (x->alias && strcmp(x->alias, y->name) == 0) ||
                       (y->alias && strcmp(y->alias, x->name) == 0);
      bool same_letter = x->letter && x->letter == y->letter;
      if (!same_name && !same_letter) continue;
      assert_int_equal(x->kind == VALUE_FLAG, y->kind == VALUE_FLAG);
      assert_int_equal(x->optional, y->optional);
      for (size_t c = 0; c < command_count(); c++) /* and mean one thing in each command */
        assert_false(command_has_option(command_at(c), a) && command_has_option(command_at(c), b));
    }
  }
}

static void test_every_option_belongs_to_a_command(void **state UNUSED) {
  for (OptionId id = OPT_GLOBAL_LAST + 1; id < OPT_COUNT; id++) {
    bool used = false;
    for (size_t c = 0; c < command_count(); c++) used |= command_has_option(command_at(c), id);
    if (!used) fail_msg("--%s belongs to no command", option_spec(id)->name);
  }
  for (size_t c = 0; c < command_count(); c++) {
    const CommandSpec *command = command_at(c);
    assert_true(!strchr(command->name, ' ') || command_group(command) != NULL);
    for (size_t i = 0; i < COMMAND_EXITS_MAX && command->exits[i]; i++)
      assert_non_null(exit_code_text(command->exits[i]));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_forms_of_values),
      cmocka_unit_test(test_flags_cluster),
      cmocka_unit_test(test_options_before_the_command),
      cmocka_unit_test(test_dashes_end_options),
      cmocka_unit_test(test_a_dash_is_an_operand_or_value),
      cmocka_unit_test(test_typed_values),
      cmocka_unit_test(test_optional_value_is_attached_or_absent),
      cmocka_unit_test(test_the_last_single_value_counts),
      cmocka_unit_test(test_environment_fills_in),
      cmocka_unit_test(test_same_word_means_what_the_command_says),
      cmocka_unit_test(test_other_programs_words),
      cmocka_unit_test(test_unknown_words_get_suggestions),
      cmocka_unit_test(test_what_is_missing_or_too_much),
      cmocka_unit_test(test_exclusive_options),
      cmocka_unit_test(test_bytes_of_others_are_escaped),
      cmocka_unit_test(test_help_asks_for_nothing_else),
      cmocka_unit_test(test_table_is_consistent),
      cmocka_unit_test(test_every_option_belongs_to_a_command),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
