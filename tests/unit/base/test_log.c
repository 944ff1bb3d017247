#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

#include "testing.h"

static int temporary_file(void) {
  char path[] = "/tmp/holdfast-log-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  unlink(path);
  return fd;
}

static char *written(int fd) {
  Buf text = {0};
  off_t size = lseek(fd, 0, SEEK_END);
  uint8_t *at = buf_grow(&text, (size_t)size);
  assert_int_equal(pread(fd, at, (size_t)size, 0), size);
  close(fd);
  return buf_steal_str(&text);
}

static void text_lines(void **state) {
  (void)state;
  int fd = temporary_file();
  Log *log = log_new(fd, LOG_INFO, LOG_TEXT);
  log_event(log, LOG_INFO, "backup.done", "all good", "job", "7", "source", "a b\n\"c\"\\", "empty", "", NULL);
  log_event(log, LOG_DEBUG, "hidden", "x", NULL);
  log_event(log, LOG_ERROR, "second", "y", "name", "\xff\x1b", NULL);
  log_free(log);
  AUTO_FREE char *text = written(fd);
  const char *first = strchr(text, ' ');
  assert_non_null(first);
  assert_memory_equal(text, "time=2", 6);
  static const char rest[] =
      " level=info event=backup.done message=\"all good\" job=7 source=\"a b\\n\\\"c\\\"\\\\\" empty=\"\"\n";
  assert_memory_equal(first, rest, sizeof rest - 1);
  assert_null(strstr(text, "hidden"));
  assert_non_null(strstr(text, "level=error event=second message=y name=\"\\\\xff\\\\x1b\"\n"));
}

static void json_lines_parse_back(void **state) {
  (void)state;
  int fd = temporary_file();
  Log *log = log_new(fd, LOG_DEBUG, LOG_JSON);
  log_event(log, LOG_WARN, "x", "tab\tline\nquote\"back\\slash caf\xc3\xa9", "key=odd", "\x01", "b", "", NULL);
  log_free(log);
  AUTO_FREE char *text = written(fd);
  json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
  assert_non_null(line);
  assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
  assert_string_equal(json_string_value(json_object_get(line, "message")), "tab\tline\nquote\"back\\slash caf\xc3\xa9");
  assert_string_equal(json_string_value(json_object_get(line, "key=odd")), "\\x01");
  assert_int_equal(json_object_size(line), 6);
  json_decref(line);
}

enum { WRITERS = 4, LINES = 500 };

static void *write_lines(void *arg) {
  for (int i = 0; i < LINES; i++) log_event((Log *)arg, LOG_INFO, "e", "m", "k", "some value", NULL);
  return NULL;
}

static void threads_do_not_mix_lines(void **state) {
  (void)state;
  int fd = temporary_file();
  Log *log = log_new(fd, LOG_INFO, LOG_JSON);
  pthread_t threads[WRITERS];
  for (int i = 0; i < WRITERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, write_lines, log), 0);
  for (int i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
  log_free(log);
  AUTO_FREE char *text = written(fd);
  int lines = 0;
  char *rest = NULL;
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
    json_t *parsed = json_loads(line, 0, NULL);
    assert_non_null(parsed);
    json_decref(parsed);
    lines++;
  }
  assert_int_equal(lines, WRITERS * LINES);
}

static void levels_parse(void **state) {
  (void)state;
  LogLevel level = LOG_ERROR;
  assert_true(log_level_parse("debug", &level));
  assert_int_equal(level, LOG_DEBUG);
  assert_true(log_level_parse("warn", &level));
  assert_int_equal(level, LOG_WARN);
  assert_false(log_level_parse("loud", &level));
  assert_false(log_level_parse("", &level));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(text_lines),
      cmocka_unit_test(json_lines_parse_back),
      cmocka_unit_test(threads_do_not_mix_lines),
      cmocka_unit_test(levels_parse),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
