/* Commands as sources: output, exit status, restoring into files and commands. */
#include "files_testing.h"

static MemoryTree *tree;
static EngineFacts facts;
static size_t warnings;

static Engine *open_command(const char *command, const char *restore_command) {
  SourceSpec spec = {.type = "command", .restore_command = restore_command};
  if (command) strlist_add(&spec.paths, command);
  Engine *engine;
  assert_ok(command_engine_open(sys_real(), &spec, &engine));
  strlist_free(&spec.paths);
  return engine;
}

static void forget(void) {
  memory_tree_free(tree);
  tree = NULL;
  engine_facts_free(&facts);
}

static Error *run(const char *command, Cancel *cancel) {
  forget();
  Engine *engine = open_command(command, NULL);
  MemorySink *sink = memory_sink_new(sys_real(), NULL);
  memory_sink_buffer_size(sink, 128 * KIB);
  BackupPlan plan = {.started_ns = 1234567890};
  Error *err = engine->ops->backup(engine, &plan, memory_sink(sink), &facts, cancel);
  warnings = memory_sink_notices(sink, NOTICE_WARNING, NULL);
  tree = memory_sink_finish(sink);
  engine->ops->free(engine);
  return err;
}

static Error *bring_back(const char *restore_command, RestorePlan plan, Cancel *cancel) {
  Engine *engine = open_command(NULL, restore_command);
  MemorySource *source = memory_source_new(sys_real(), tree, facts.json, 2, 1);
  Error *err = engine->ops->restore(engine, &plan, memory_source(source), cancel);
  warnings = memory_source_notices(source, NOTICE_WARNING, NULL);
  memory_source_free(source);
  engine->ops->free(engine);
  return err;
}

static void test_output_is_stored(void **state) {
  (void)state;
  assert_ok(run("echo one; printf two", NULL));
  assert_int_equal(tree->len, 1);
  const MemoryNode *node = memory_tree_get(tree, "stdout");
  assert_int_equal(node->entry->size, 7);
  assert_memory_equal(node->data, "one\ntwo", 7);
  assert_int_equal(node->entry->mtime_ns, 1234567890);
  assert_non_null(strstr(facts.json, "\"bytes\":7"));
  assert_non_null(strstr(facts.json, "\"exit_status\":0"));
}

/* More than a pipe and several buffers hold, ending on no boundary, and exactly on one. */
static void test_big_outputs(void **state) {
  (void)state;
  assert_ok(run("head -c 1000003 /dev/zero | tr '\\0' x", NULL));
  const MemoryNode *node = memory_tree_get(tree, "stdout");
  assert_int_equal(node->entry->size, 1000003);
  for (size_t i = 0; i < 1000003; i++) assert_int_equal(node->data[i], 'x');
  assert_ok(run("head -c 262144 /dev/zero", NULL));
  assert_int_equal(memory_tree_get(tree, "stdout")->entry->size, 262144);
}

static void test_exit_status_decides(void **state) {
  (void)state;
  Error *err = run("echo half; echo reason >&2; exit 3", NULL);
  assert_true(err_is(err, ERR_UNREACHABLE));
  assert_non_null(strstr(err_text(err), "reason"));
  err_free(err);
  assert_int_equal(tree->len, 0);
  assert_null(facts.json);
  assert_err(run("no-such-program-anywhere", NULL), ERR_UNREACHABLE);
  assert_err(run("kill -9 $$", NULL), ERR_UNREACHABLE);
}

/* A daemon that inherited the output would keep it open for ever. What is still of the command is waited for. */
static void test_left_behind(void **state) {
  (void)state;
  Error *err = run("echo data; setsid sleep 30 & exit 0", NULL);
  assert_true(err_is(err, ERR_UNREACHABLE));
  assert_non_null(strstr(err_text(err), "holds its output open"));
  err_free(err);
  assert_int_equal(tree->len, 0);
  err = run("echo data; setsid sleep 30 & exit 7", NULL);
  assert_true(err_is(err, ERR_UNREACHABLE));
  assert_non_null(strstr(err_text(err), "exit status 7"));
  err_free(err);
  assert_ok(run("(sleep 4; echo late) & echo early", NULL));
  const MemoryNode *node = memory_tree_get(tree, "stdout");
  assert_int_equal(node->entry->size, 11);
  assert_memory_equal(node->data, "early\nlate\n", 11);
}

static void test_input_left_behind(void **state) {
  (void)state;
  char *scratch = scratch_new();
  assert_ok(run("head -c 3000000 /dev/zero", NULL));
  assert_ok(bring_back("exec 3<&0; setsid sleep 30 <&3 & exit 0", (RestorePlan){.target = scratch}, NULL));
  assert_int_equal(warnings, 1);
  assert_err(bring_back("exec 3<&0; setsid sleep 30 <&3 & exit 5", (RestorePlan){.target = scratch}, NULL), ERR_IO);
  scratch_free(scratch);
}

static void test_silence(void **state) {
  (void)state;
  assert_ok(run("true", NULL));
  assert_int_equal(warnings, 1);
  assert_int_equal(memory_tree_get(tree, "stdout")->entry->size, 0);
  char *scratch = scratch_new();
  AUTO_FREE char *target = at(scratch, "out");
  assert_ok(bring_back(NULL, (RestorePlan){.target = target}, NULL));
  AUTO_FREE char *text = get_text(scratch, "out");
  assert_string_equal(text, "");
  scratch_free(scratch);
}

static void test_secrets_stay_here(void **state) {
  (void)state;
  setenv("HOLDFAST_PASSPHRASE", "xyzzy", 1);
  assert_ok(run("env", NULL));
  const MemoryNode *node = memory_tree_get(tree, "stdout");
  assert_null(memmem(node->data, node->entry->size, "xyzzy", 5));
  assert_null(strstr(facts.json, "xyzzy"));
  unsetenv("HOLDFAST_PASSPHRASE");
}

static void set_cancel(void *arg) {
  usleep(100000);
  cancel_set((Cancel *)arg, 2);
}

static void test_cancelled(void **state) {
  (void)state;
  Cancel cancel = {0};
  Thread *thread;
  assert_ok(thread_start(sys_real(), "canceller", set_cancel, &cancel, &thread));
  assert_err(run("echo started; exec sleep 600", &cancel), ERR_CANCELLED);
  thread_join(thread);
  assert_int_equal(tree->len, 0);
}

static void test_into_a_file(void **state) {
  (void)state;
  char *scratch = scratch_new();
  AUTO_FREE char *target = at(scratch, "new/dump");
  assert_ok(run("seq 1 100000", NULL));
  assert_ok(bring_back(NULL, (RestorePlan){.target = target}, NULL));
  AUTO_FREE char *text = get_text(scratch, "new/dump");
  assert_int_equal(strlen(text), 588895);
  assert_err(bring_back(NULL, (RestorePlan){.target = target}, NULL), ERR_NOT_EMPTY);
  assert_err(bring_back(NULL, (RestorePlan){.target = scratch, .overwrite = true}, NULL), ERR_NOT_EMPTY);
  assert_ok(bring_back(NULL, (RestorePlan){.target = target, .overwrite = true}, NULL));
  DrillTarget drill = {.path = target, .facts_json = facts.json};
  CheckReport report = {0};
  Engine *engine = open_command(NULL, NULL);
  assert_ok(engine->ops->check(engine, &drill, CHECK_COMPREHENSIVE, &report, NULL));
  assert_int_equal(report.len, 2);
  assert_int_equal(check_report_passed(&report), 2);
  check_report_free(&report);
  text[0] = '9';
  put(scratch, "new/dump", text);
  assert_ok(engine->ops->check(engine, &drill, CHECK_COMPREHENSIVE, &report, NULL));
  assert_int_equal(check_report_passed(&report), 1);
  check_report_free(&report);
  drill.facts_json = "{}";
  assert_err(engine->ops->check(engine, &drill, CHECK_QUICK, &report, NULL), ERR_CORRUPT);
  engine->ops->free(engine);
  scratch_free(scratch);
}

static void test_into_a_command(void **state) {
  (void)state;
  char *scratch = scratch_new();
  AUTO_FREE char *into = mem_printf("cat > %s/copy", scratch);
  assert_ok(run("seq 1 100000", NULL));
  assert_ok(bring_back(into, (RestorePlan){.target = scratch}, NULL));
  AUTO_FREE char *text = get_text(scratch, "copy");
  assert_int_equal(strlen(text), 588895);
  assert_err(bring_back("cat > /dev/null; exit 4", (RestorePlan){.target = scratch}, NULL), ERR_IO);
  /* One that stops reading neither ends us nor, when it ends well, the restore. */
  assert_ok(bring_back("exec true", (RestorePlan){.target = scratch}, NULL));
  assert_int_equal(warnings, 1);
  assert_err(bring_back("exit 1", (RestorePlan){.target = scratch}, NULL), ERR_IO);
  Cancel cancel = {0};
  Thread *thread;
  assert_ok(thread_start(sys_real(), "canceller", set_cancel, &cancel, &thread));
  assert_err(bring_back("exec sleep 600", (RestorePlan){.target = scratch}, &cancel), ERR_CANCELLED);
  thread_join(thread);
  scratch_free(scratch);
}

/* One that has no chosen name is the same source only with the same command line. */
static char *identity(const char *line, bool named) {
  SourceSpec spec = {.type = "command", .named = named};
  Engine *engine;
  ServerInfo info;
  strlist_add(&spec.paths, line);
  assert_ok(command_engine_open(sys_real(), &spec, &engine));
  assert_ok(engine->ops->probe(engine, &info, NULL));
  char *text = mem_strdup(info.identity);
  server_info_free(&info);
  engine->ops->free(engine);
  strlist_free(&spec.paths);
  return text;
}

static void test_identity(void **state) {
  (void)state;
  AUTO_FREE char *a = identity("echo --password=xyzzy", false);
  AUTO_FREE char *again = identity("echo --password=xyzzy", false);
  AUTO_FREE char *b = identity("echo --password=other", false);
  AUTO_FREE char *named = identity("echo --password=xyzzy", true);
  assert_string_equal(a, again);
  assert_string_not_equal(a, b);
  assert_string_not_equal(a, "");
  assert_string_equal(named, "");
  assert_null(strstr(a, "xyzzy"));
}

static void test_arguments_are_not_recorded(void **state) {
  (void)state;
  assert_ok(run("X=plugh printf -- --password=xyzzy", NULL));
  assert_non_null(strstr(facts.json, "\"command\":\"printf\""));
  assert_null(strstr(facts.json, "plugh"));
  assert_null(strstr(facts.json, "password"));
}

static void test_bad_specs(void **state) {
  (void)state;
  Engine *engine;
  SourceSpec spec = {.type = "command"};
  strlist_add(&spec.paths, "");
  assert_err(command_engine_open(sys_real(), &spec, &engine), ERR_USAGE);
  strlist_add(&spec.paths, "two");
  assert_err(command_engine_open(sys_real(), &spec, &engine), ERR_USAGE);
  strlist_free(&spec.paths);
  assert_err(run(NULL, NULL), ERR_USAGE);
}

static int tear_down(void **state) {
  (void)state;
  forget();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_output_is_stored),
      cmocka_unit_test(test_big_outputs),
      cmocka_unit_test(test_exit_status_decides),
      cmocka_unit_test(test_left_behind),
      cmocka_unit_test(test_input_left_behind),
      cmocka_unit_test(test_silence),
      cmocka_unit_test(test_secrets_stay_here),
      cmocka_unit_test(test_cancelled),
      cmocka_unit_test(test_into_a_file),
      cmocka_unit_test(test_into_a_command),
      cmocka_unit_test(test_bad_specs),
      cmocka_unit_test(test_identity),
      cmocka_unit_test(test_arguments_are_not_recorded),
  };
  return cmocka_run_group_tests(tests, NULL, tear_down);
}
