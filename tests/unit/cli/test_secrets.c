#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/args.h"
#include "cli/secrets.h"
#include "codec/secret.h"
#include "sys/fs.h"

#include "testing.h"

static char dir[] = "/tmp/holdfast-test-secrets-XXXXXX";

static int make_dir(void **state UNUSED) {
  secret_init();
  return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state UNUSED) {
  err_free(fs_remove_tree(dir));
  return 0;
}

static char *write_file(const char *name, const char *text, mode_t mode) {
  char *path = fs_join(dir, name);
  assert_ok(fs_replace_file(path, bytes_str(text), mode));
  return path;
}

typedef struct Setup {
  char *notes;
  size_t notes_len;
  FILE *notes_file;
  Args *args;
  CliContext ctx;
} Setup;

static void set_up(Setup *s, const char *const *argv, const char *passphrase) {
  int argc = 0;
  while (argv[argc]) argc++;
  assert_ok(args_parse(argc, argv, NULL, NULL, &s->args));
  s->notes_file = open_memstream(&s->notes, &s->notes_len);
  s->ctx = (CliContext){
      .sys = sys_real(),
      .args = s->args,
      .output =
          output_new(&(OutputOptions){.data = s->notes_file, .notes = s->notes_file, .verbosity = VERBOSITY_NORMAL}),
      .passphrase = (uint8_t *)(uintptr_t)passphrase,
      .passphrase_len = passphrase ? strlen(passphrase) : 0,
  };
}

static void tear_down(Setup *s) {
  output_free(s->ctx.output);
  fclose(s->notes_file);
  free(s->notes);
  args_free(s->args);
}

static void expect(const CliSecret *secret, CliSecretKind kind, const char *text) {
  assert_int_equal(secret->kind, kind);
  assert_int_equal(secret->len, strlen(text));
  assert_memory_equal(secret->data, text, secret->len);
}

static void test_everything_at_hand_is_tried(void **state UNUSED) {
  AUTO_FREE char *key = write_file("key", "key\n", 0600);
  AUTO_FREE char *passphrase = write_file("passphrase", "from file\n", 0644);
  AUTO_FREE char *yaml = mem_printf(
      "repositories:\n"
      "- { name: a, url: /a, key: { file: %s }, passphrase: { command: 'echo said' } }\n"
      "- { name: b, url: /b, key: { kms: 'aws:x' } }\n",
      key);
  Config *config;
  assert_ok(config_parse(bytes_str(yaml), "f", &config));
  Setup s;
  set_up(&s, (const char *const[]){"holdfast", "ls", "--key-file", key, "--passphrase-file", passphrase, NULL},
         "from environment");
  AUTO_SECRETS CliSecrets secrets;
  assert_ok(secrets_collect(&s.ctx, config_repository_find(config, "a"), false, &secrets));
  assert_int_equal(secrets.len, 5);
  expect(&secrets.list[0], CLI_SECRET_KEY_FILE, "key\n");
  expect(&secrets.list[1], CLI_SECRET_PASSPHRASE, "from file");
  expect(&secrets.list[2], CLI_SECRET_PASSPHRASE, "from environment");
  expect(&secrets.list[3], CLI_SECRET_PASSPHRASE, "said");
  expect(&secrets.list[4], CLI_SECRET_KEY_FILE, "key\n");
  CliSecrets none;
  assert_err(secrets_collect(&s.ctx, config_repository_find(config, "b"), false, &none), ERR_UNSUPPORTED);
  fflush(s.notes_file);
  assert_non_null(strstr(s.notes, "passphrase can be read by others"));
  assert_null(strstr(s.notes, "from file"));
  tear_down(&s);
  config_free(config);
}

static void test_a_missing_file_is_named(void **state UNUSED) {
  Setup s;
  set_up(&s, (const char *const[]){"holdfast", "ls", "--key-file", "/nowhere/key", NULL}, NULL);
  CliSecrets secrets;
  Error *err = secrets_collect(&s.ctx, NULL, false, &secrets);
  assert_int_equal(err_code(err), ERR_NOT_FOUND);
  assert_int_equal(strncmp(err_text(err), "--key-file: reading a secret from file /nowhere/key: ", 52), 0);
  err_free(err);
  tear_down(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_everything_at_hand_is_tried),
      cmocka_unit_test(test_a_missing_file_is_named),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
