#include <string.h>

#include "base/mem.h"
#include "cli/output.h"

#include "testing.h"

typedef struct Streams {
  char *data, *notes;
  size_t data_len, notes_len;
  FILE *data_file, *notes_file;
  Output *out;
} Streams;

static Streams *open_streams(bool json, Verbosity verbosity) {
  Streams *s = NEW(Streams);
  s->data_file = open_memstream(&s->data, &s->data_len);
  s->notes_file = open_memstream(&s->notes, &s->notes_len);
  s->out =
      output_new(&(OutputOptions){.data = s->data_file, .notes = s->notes_file, .json = json, .verbosity = verbosity});
  return s;
}

static void finish(Streams *s) {
  assert_ok(output_finish(s->out));
  fflush(s->notes_file);
}

static void close_streams(Streams *s) {
  output_free(s->out);
  fclose(s->data_file);
  fclose(s->notes_file);
  free(s->data);
  free(s->notes);
  free(s);
}

static void test_table_is_aligned(void **state UNUSED) {
  Streams *s = open_streams(false, VERBOSITY_NORMAL);
  Table *table = table_new(3);
  table_column(table, 0, "NAME", ALIGN_LEFT);
  table_column(table, 1, "SIZE", ALIGN_RIGHT);
  table_column(table, 2, "NOTE", ALIGN_LEFT);
  table_cell(table, "größe");
  table_cellf(table, "%d", 7);
  table_cell(table, NULL);
  table_cell(table, "日本");
  table_cell(table, "12345");
  table_cell(table, "x");
  output_table(s->out, table);
  table_free(table);
  finish(s);
  assert_string_equal(s->data,
                      "NAME    SIZE  NOTE\n"
                      "größe      7\n"
                      "日本   12345  x\n");
  assert_int_equal(s->notes_len, 0);
  close_streams(s);
}

static void test_names_of_any_bytes_are_harmless(void **state UNUSED) {
  Streams *s = open_streams(false, VERBOSITY_NORMAL);
  Table *table = table_new(1);
  table_cell_bytes(table, bytes("a\x1b[2J\nb\xff", 8));
  output_table(s->out, table);
  table_free(table);
  json_t *names = json_array();
  json_array_append_new(names, output_json_name(bytes("\xff\n", 2)));
  output_json(s->out, names);
  finish(s);
  assert_string_equal(s->data, "a\\x1b[2J\\x0ab\\xff\n[\"\\\\xff\\\\x0a\"]\n");
  close_streams(s);
}

static void test_widths(void **state UNUSED) {
  assert_int_equal(text_width(""), 0);
  assert_int_equal(text_width("abc"), 3);
  assert_int_equal(text_width("é"), 1);
  assert_int_equal(text_width("e\xcc\x81"), 1); /* a combining accent */
  assert_int_equal(text_width("漢"), 2);
  assert_int_equal(text_width("\xff\xff"), 2);
  assert_int_equal(text_width("\xe6"), 1); /* cut short */
}

static void test_error_as_text(void **state UNUSED) {
  Streams *s = open_streams(false, VERBOSITY_QUIET);
  Error *err = err_hint(err_new(ERR_CORRUPT, "reading a: bad\nsecond\x1b line"), "try %s", "b");
  output_error(s->out, err, 13);
  err_free(err);
  finish(s);
  assert_string_equal(s->notes, "holdfast: reading a: bad\n  second\\x1b line\nhint: try b\n");
  assert_int_equal(s->data_len, 0);
  close_streams(s);
}

static void test_error_as_json(void **state UNUSED) {
  Streams *s = open_streams(true, VERBOSITY_NORMAL);
  Error *err = err_new(ERR_WRONG_KEY, "opening \"/x\":\nno");
  output_error(s->out, err, 12);
  err_free(err);
  finish(s);
  json_t *doc = json_loads(s->notes, 0, NULL);
  assert_non_null(doc);
  assert_string_equal(json_string_value(json_object_get(doc, "type")), "error");
  assert_int_equal(json_integer_value(json_object_get(doc, "v")), 1);
  assert_string_equal(json_string_value(json_object_get(doc, "code")), "wrong_key");
  assert_string_equal(json_string_value(json_object_get(doc, "message")), "opening \"/x\":\nno");
  assert_true(json_is_null(json_object_get(doc, "hint")));
  assert_int_equal(json_integer_value(json_object_get(doc, "exit")), 12);
  json_decref(doc);
  close_streams(s);
}

static void test_verbosity(void **state UNUSED) {
  Streams *s = open_streams(false, VERBOSITY_NORMAL);
  output_note(s->out, VERBOSITY_NORMAL, "one %d", 1);
  output_note(s->out, VERBOSITY_VERBOSE, "two");
  output_warning(s->out, "three");
  finish(s);
  assert_string_equal(s->notes, "one 1\nholdfast: warning: three\n");
  close_streams(s);
  s = open_streams(false, VERBOSITY_QUIET);
  output_note(s->out, VERBOSITY_NORMAL, "one");
  output_warning(s->out, "three");
  finish(s);
  assert_int_equal(s->notes_len, 0);
  close_streams(s);
}

static void test_bar_gives_way_to_lines(void **state UNUSED) {
  Streams *s = open_streams(false, VERBOSITY_NORMAL);
  output_bar(s->out, "[= ]");
  output_note(s->out, VERBOSITY_NORMAL, "hello");
  output_bar(s->out, "[==]");
  output_bar(s->out, NULL);
  output_bar(s->out, "[=>]");
  output_text(s->out, "data\n"); /* the same screen */
  fflush(s->notes_file);
  assert_string_equal(s->notes, "[= ]\r\033[Khello\n[==]\r\033[K[=>]\r\033[K");
  finish(s);
  assert_string_equal(s->data, "data\n");
  close_streams(s);
}

static void test_lost_data_is_an_error(void **state UNUSED) {
  FILE *full = fopen("/dev/full", "w");
  assert_non_null(full);
  Output *out = output_new(&(OutputOptions){.data = full, .notes = stderr});
  output_text(out, "some text\n");
  assert_err(output_finish(out), ERR_NO_SPACE);
  output_free(out);
  fclose(full);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table_is_aligned),
      cmocka_unit_test(test_names_of_any_bytes_are_harmless),
      cmocka_unit_test(test_widths),
      cmocka_unit_test(test_error_as_text),
      cmocka_unit_test(test_error_as_json),
      cmocka_unit_test(test_verbosity),
      cmocka_unit_test(test_bar_gives_way_to_lines),
      cmocka_unit_test(test_lost_data_is_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
