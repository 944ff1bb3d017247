#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/app.h"
#include "cli/exit_code.h"
#include "sys/fs.h"

#include "testing.h"

typedef struct Run {
  int exit_code;
  char *data, *notes;
} Run;

static void run_free(Run *run) {
  free(run->data);
  free(run->notes);
}
#define AUTO_RUN __attribute__((cleanup(run_free)))

static const char *no_env(void *ctx UNUSED, const char *name UNUSED) { return NULL; }

static Run run(const char *const *argv) {
  Run result = {0};
  size_t data_len, notes_len;
  FILE *data = open_memstream(&result.data, &data_len), *notes = open_memstream(&result.notes, &notes_len);
  int argc = 0;
  while (argv[argc]) argc++;
  static const char passphrase[] = "hunter2-passphrase";
  AppIo io = {.data = data,
              .notes = notes,
              .env = no_env,
              .passphrase = (uint8_t *)(uintptr_t)passphrase,
              .passphrase_len = sizeof passphrase - 1};
  result.exit_code = app_run(&io, argc, argv);
  fclose(data);
  fclose(notes);
  return result;
}
#define RUN(...) run((const char *const[]){"holdfast", __VA_ARGS__, NULL})

static char dir[] = "/tmp/holdfast-test-app-XXXXXX";

static int make_dir(void **state UNUSED) { return mkdtemp(dir) ? 0 : -1; }
static int remove_dir(void **state UNUSED) {
  err_free(fs_remove_tree(dir));
  return 0;
}

static char *write_file(const char *name, const char *text) {
  char *path = fs_join(dir, name);
  assert_ok(fs_replace_file(path, bytes_str(text), 0600));
  return path;
}

static void test_version(void **state UNUSED) {
  AUTO_RUN Run short_one = RUN("--version");
  assert_int_equal(short_one.exit_code, 0);
  assert_int_equal(strncmp(short_one.data, "holdfast 0.", 11), 0);
  assert_null(strstr(short_one.data, "SQLite"));
  AUTO_RUN Run long_one = RUN("--version", "--verbose");
  assert_non_null(strstr(long_one.data, "SQLite 3."));
  assert_non_null(strstr(long_one.data, "zstd 1."));
  AUTO_RUN Run json = RUN("--version", "--json");
  json_t *doc = json_loads(json.data, 0, NULL);
  assert_string_equal(json_string_value(json_object_get(doc, "type")), "version");
  json_decref(doc);
}

static void test_help_names_every_command(void **state UNUSED) {
  AUTO_RUN Run program = RUN("--help");
  assert_int_equal(program.exit_code, 0);
  assert_string_equal(program.notes, "");
  for (size_t i = 0; i < command_count(); i++) {
    const CommandSpec *c = command_at(i);
    if (!command_group(c)) assert_non_null(strstr(program.data, c->name));
  }
  AUTO_RUN Run group = RUN("key", "--help");
  assert_non_null(strstr(group.data, "  rotate "));
  AUTO_RUN Run command = RUN("restore", "--help");
  assert_non_null(strstr(command.data, "Usage: holdfast restore [OPTION]… SRC[@WHEN]\n"));
  assert_non_null(strstr(command.data, "--in-place"));
  assert_non_null(strstr(command.data, "\n  14  the target is not empty\n"));
}

static void test_help_fits_its_width(void **state UNUSED) {
  for (size_t i = 0; i < command_count(); i++) {
    const CommandSpec *c = command_at(i);
    const CommandSpec *group = command_group(c);
    const char *argv[] = {"holdfast", group ? group->name : c->name, group ? command_last_word(c) : "--help", "--help",
                          NULL};
    AUTO_RUN Run help = run(argv);
    assert_int_equal(help.exit_code, 0);
    const char *examples = strstr(help.data, "\nExamples:\n");
    for (const char *line = help.data; *line; line += strcspn(line, "\n") + 1) {
      if (examples && line > examples) break; /* commands are not broken */
      /* Bytes: a little more than columns where there are dots of ellipsis. */
      if (strcspn(line, "\n") > 104) fail_msg("%s: too wide: %.*s", c->name, (int)strcspn(line, "\n"), line);
    }
  }
}

static void test_completions_know_every_command_and_option(void **state UNUSED) {
  AUTO_RUN Run bash = RUN("completion", "bash");
  AUTO_RUN Run zsh = RUN("completion", "zsh");
  AUTO_RUN Run fish = RUN("completion", "fish");
  for (size_t i = 0; i < command_count(); i++) {
    AUTO_FREE char *branch = mem_printf("    '%s') ", command_at(i)->name);
    AUTO_FREE char *word = mem_printf(" -a %s -d ", command_last_word(command_at(i)));
    assert_non_null(strstr(bash.data, branch));
    assert_non_null(strstr(zsh.data, branch));
    assert_non_null(strstr(fish.data, word));
  }
  for (OptionId id = OPT_END + 1; id < OPT_COUNT; id++) {
    AUTO_FREE char *dashed = mem_printf("--%s", option_spec(id)->name);
    AUTO_FREE char *plain = mem_printf(" -l %s ", option_spec(id)->name);
    assert_non_null(strstr(bash.data, dashed));
    assert_non_null(strstr(zsh.data, dashed));
    assert_non_null(strstr(fish.data, plain));
  }
}

/* bash is everywhere: the script must do what it says. */
static void test_bash_completion_works(void **state UNUSED) {
  AUTO_RUN Run script = RUN("completion", "bash");
  AUTO_FREE char *path = write_file("completion.bash", script.data);
  AUTO_FREE char *command = mem_printf(
      "bash -c 'set -u; . %s; compopt() { :; }; COMP_WORDS=(holdfast --repo /x key r); COMP_CWORD=4; _holdfast; "
      "echo \"${COMPREPLY[*]}\"; COMP_WORDS=(holdfast backup --verify = st); COMP_CWORD=4; _holdfast; "
      "echo \"${COMPREPLY[*]}\"' 2>&1",
      path);
  FILE *pipe = popen(command, "r");
  assert_non_null(pipe);
  char text[256] = "";
  size_t len = fread(text, 1, sizeof text - 1, pipe);
  text[len] = '\0';
  assert_int_equal(pclose(pipe), 0);
  assert_string_equal(text, "rm rotate recover\nstandard\n");
}

static void test_man_pages(void **state UNUSED) {
  AUTO_RUN Run program = RUN("man");
  assert_int_equal(strncmp(program.data, ".TH \"holdfast\" 1", 16), 0);
  for (size_t i = 0; i < command_count(); i++) {
    const CommandSpec *c = command_at(i);
    AUTO_FREE char *entry = mem_printf(".B \"%s\"\n", c->name);
    if (!c->group) assert_non_null(strstr(program.data, entry));
    const CommandSpec *group = command_group(c);
    const char *argv[] = {"holdfast", "man", group ? group->name : c->name, group ? command_last_word(c) : NULL, NULL};
    AUTO_RUN Run page = run(argv);
    assert_int_equal(page.exit_code, 0);
    assert_non_null(strstr(page.data, "\n.SH SYNOPSIS\n"));
    /* No text became a request: every line that starts with a dot is one of these. */
    for (const char *line = page.data; *line; line += strcspn(line, "\n") + 1)
      if (*line == '.') {
        static const char *const known[] = {".TH ", ".SH ", ".SS ", ".TP", ".B ", ".BR ", ".I ", ".PP", ".nf", ".fi"};
        bool ok = false;
        for (size_t k = 0; k < NELEMS(known); k++) ok |= strncmp(line, known[k], strlen(known[k])) == 0;
        if (!ok) fail_msg("%s: %.20s", c->name, line);
      }
  }
  AUTO_RUN Run unknown = RUN("man", "nothing");
  assert_int_equal(unknown.exit_code, EXIT_USAGE);
}

static void test_usage_errors(void **state UNUSED) {
  AUTO_RUN Run none = run((const char *const[]){"holdfast", NULL});
  assert_int_equal(none.exit_code, EXIT_USAGE);
  assert_string_equal(none.data, "");
  AUTO_RUN Run json = RUN("bakup", "--json");
  assert_int_equal(json.exit_code, EXIT_USAGE);
  json_t *doc = json_loads(json.notes, 0, NULL);
  assert_string_equal(json_string_value(json_object_get(doc, "code")), "usage");
  assert_int_equal(json_integer_value(json_object_get(doc, "exit")), 2);
  json_decref(doc);
}

static void test_config_check(void **state UNUSED) {
  AUTO_FREE char *good = write_file("good.yaml", "sources:\n  - { name: etc, type: files, paths: [/etc] }\n");
  AUTO_FREE char *bad = write_file("bad.yaml", "limits:\n  memroy: 1GiB\n");
  AUTO_RUN Run passed = RUN("--state-dir", dir, "config", "check", good);
  assert_int_equal(passed.exit_code, 0);
  assert_non_null(strstr(passed.data, "good (1 source, 0 repositories)\n"));
  AUTO_RUN Run failed = RUN("--state-dir", dir, "config", "check", "--config", bad);
  assert_int_equal(failed.exit_code, EXIT_USAGE);
  AUTO_FREE char *expected = mem_printf(
      "holdfast: reading the configuration: %s:2: limits.memroy: there is no such key; did you mean \"memory\"?\n",
      bad);
  assert_string_equal(failed.notes, expected);
  AUTO_RUN Run absent = RUN("--state-dir", dir, "config", "check", "/nowhere/at/all.yaml");
  assert_int_equal(absent.exit_code, EXIT_ERROR);
}

static void test_config_show_keeps_secrets(void **state UNUSED) {
  AUTO_FREE char *file = write_file("secret.yaml",
                                    "repositories:\n"
                                    "  - { name: a, url: /a, passphrase: { command: 'vault read hunter2' } }\n"
                                    "  - { name: b, url: /b, key: { command: 'TOKEN=hunter2 fetch' } }\n"
                                    "  - { name: c, url: /c, key: { env: KEY_C } }\n");
  AUTO_RUN Run text = RUN("--state-dir", dir, "config", "show", file);
  AUTO_RUN Run json = RUN("--state-dir", dir, "config", "show", file, "--json");
  assert_int_equal(text.exit_code, 0);
  assert_int_equal(json.exit_code, 0);
  const Run *both[] = {&text, &json};
  for (size_t i = 0; i < 2; i++) {
    assert_null(strstr(both[i]->data, "hunter2"));
    assert_null(strstr(both[i]->notes, "hunter2"));
    assert_non_null(strstr(both[i]->data, "vault"));
    assert_non_null(strstr(both[i]->data, "KEY_C"));
    assert_non_null(strstr(both[i]->data, "variable HOLDFAST_PASSPHRASE"));
    assert_non_null(strstr(both[i]->data, file));
  }
}

static void test_a_command_not_built_says_so(void **state UNUSED) {
  for (size_t i = 0; i < command_count(); i++) {
    const CommandSpec *c = command_at(i);
    if (c->group || c->run || c->operands[0].metavar || c->required[0] != OPT_END || command_group(c)) continue;
    AUTO_RUN Run run_it = RUN(c->name);
    assert_int_equal(run_it.exit_code, EXIT_ERROR);
  }
}

static void test_exit_codes(void **state UNUSED) {
  static const struct {
    ErrCode code;
    int exit_code;
  } expected[] = {
      {ERR_INTERNAL, 1},      {ERR_USAGE, 2},      {ERR_IO, 1},           {ERR_NO_SPACE, 1},       {ERR_NOT_FOUND, 1},
      {ERR_EXISTS, 1},        {ERR_DENIED, 1},     {ERR_TEMPORARY, 1},    {ERR_TIMEOUT, 1},        {ERR_CORRUPT, 13},
      {ERR_LIMIT, 1},         {ERR_CANCELLED, 1},  {ERR_UNSUPPORTED, 1},  {ERR_NO_REPOSITORY, 10}, {ERR_WRONG_KEY, 12},
      {ERR_REFUSED, 11},      {ERR_NOT_EMPTY, 14}, {ERR_UNREACHABLE, 15}, {ERR_PARTIAL, 3},        {ERR_DAMAGED, 13},
      {ERR_CHECK_FAILED, 17},
  };
  assert_int_equal(NELEMS(expected), ERR_CHECK_FAILED);
  Cancel quiet = {0};
  for (size_t i = 0; i < NELEMS(expected); i++) {
    Error *err = err_new(expected[i].code, "x");
    assert_int_equal(exit_code_of(err, &quiet), expected[i].exit_code);
    err_free(err);
  }
  assert_int_equal(exit_code_of(NULL, &quiet), 0);
  Cancel stopped = {0};
  cancel_set(&stopped, 15);
  Error *err = err_new(ERR_CANCELLED, "x");
  assert_int_equal(exit_code_of(err, &stopped), 143);
  assert_int_equal(exit_code_of(err, NULL), 1);
  err_free(err);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_version),
      cmocka_unit_test(test_help_names_every_command),
      cmocka_unit_test(test_help_fits_its_width),
      cmocka_unit_test(test_completions_know_every_command_and_option),
      cmocka_unit_test(test_bash_completion_works),
      cmocka_unit_test(test_man_pages),
      cmocka_unit_test(test_usage_errors),
      cmocka_unit_test(test_config_check),
      cmocka_unit_test(test_config_show_keeps_secrets),
      cmocka_unit_test(test_a_command_not_built_says_so),
      cmocka_unit_test(test_exit_codes),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
