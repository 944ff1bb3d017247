#include "base/mem.h"
#include "base/shell.h"

#include "testing.h"

static void the_program_is_named(void **state) {
  (void)state;
  static const struct {
    const char *line, *program;
  } cases[] = {
      {"pg_dumpall", "pg_dumpall"},
      {"  /usr/lib/postgresql/15/bin/pg_dump -U me --password=secret", "pg_dump"},
      {"PGPASSWORD=secret pg_dump shop", "pg_dump"},
      {"A='two words' B=\"a \\\" b\" C=x\\ y mysqldump", "mysqldump"},
      {"A='$(x)`' dump", "dump"},
      {"redis-cli\t--rdb -", "redis-cli"},
      {"dump|gzip", "dump"},
      {"dump;rm x", "dump"},
      {"\ndump", "dump"},
      {"./dump.sh", "dump.sh"},
  };
  for (size_t i = 0; i < NELEMS(cases); i++) {
    AUTO_FREE char *program = shell_program(cases[i].line);
    assert_string_equal(program, cases[i].program);
  }
}

/* What could show a secret is not shown at all. */
static void doubt_is_a_shell(void **state) {
  (void)state;
  static const char *const lines[] = {"",
                                      "   ",
                                      "PGPASSWORD=secret",
                                      "PGPASSWORD=$(cat secret file) pg_dump",
                                      "PGPASSWORD=`cat secret` pg_dump",
                                      "PGPASSWORD=\"$(cat secret)\" pg_dump",
                                      "PGPASSWORD=${X:-se cret} pg_dump",
                                      "PGPASSWORD='secret pg_dump",
                                      "PGPASSWORD=\"secret pg_dump",
                                      "PGPASSWORD=secret\\",
                                      "'secret dump'",
                                      "http://user:secret@host/",
                                      "(dump)",
                                      "<secret dump",
                                      "bin/",
                                      "s\xc3\xa9",
                                      "A[1]=secret dump",
                                      "A+=secret dump"};
  for (size_t i = 0; i < NELEMS(lines); i++) {
    AUTO_FREE char *program = shell_program(lines[i]);
    assert_string_equal(program, "sh");
  }
}

static void words_are_quoted(void **state) {
  (void)state;
  static const struct {
    const char *text, *word;
  } cases[] = {{"app@3f9c", "app@3f9c"},
               {"/srv/a b", "'/srv/a b'"},
               {"", "''"},
               {"it's", "'it'\\''s'"},
               {"$x", "'$x'"},
               {"a*", "'a*'"}};
  for (size_t i = 0; i < NELEMS(cases); i++) {
    AUTO_FREE char *word = shell_quote(cases[i].text);
    assert_string_equal(word, cases[i].word);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_program_is_named),
      cmocka_unit_test(doubt_is_a_shell),
      cmocka_unit_test(words_are_quoted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
