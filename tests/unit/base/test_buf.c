#include "base/buf.h"
#include "base/mem.h"

#include "testing.h"

static void fields_round_trip(void **state) {
  (void)state;
  AUTO_BUF Buf buf = {0};
  buf_put_u8(&buf, 0xab);
  buf_put_u16(&buf, 0x1234);
  buf_put_u32(&buf, 0xdeadbeef);
  buf_put_u64(&buf, UINT64_C(0x0102030405060708));
  buf_put_bytes(&buf, bytes_str("hello"));
  assert_memory_equal(buf.data, "\xab\x34\x12\xef\xbe\xad\xde\x08\x07\x06\x05\x04\x03\x02\x01\x05hello", buf.len);
  Cursor c = cursor(buf_bytes(&buf));
  assert_int_equal(cursor_u8(&c), 0xab);
  assert_int_equal(cursor_u16(&c), 0x1234);
  assert_int_equal(cursor_u32(&c), 0xdeadbeef);
  assert_true(cursor_u64(&c) == UINT64_C(0x0102030405060708));
  assert_true(bytes_equal(cursor_bytes(&c, 5), bytes_str("hello")));
  assert_ok(cursor_end(&c, "x"));
}

static void varints_round_trip(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (int i = 0; i < 5000; i++) {
    uint64_t v = test_random(&seed) >> (i % 64);
    if (i < 64) v = UINT64_C(1) << i;
    if (i >= 64 && i < 128) v = (UINT64_C(1) << (i - 64)) - 1;
    if (i == 128) v = UINT64_MAX;
    AUTO_BUF Buf buf = {0};
    buf_put_var(&buf, v);
    buf_put_svar(&buf, (int64_t)v);
    Cursor c = cursor(buf_bytes(&buf));
    assert_true(cursor_var(&c) == v);
    assert_true(cursor_svar(&c) == (int64_t)v);
    assert_ok(cursor_end(&c, "varint"));
  }
}

static void small_signed_values_are_short(void **state) {
  (void)state;
  static const int64_t values[] = {0, -1, 1, 63, -64};
  for (size_t i = 0; i < NELEMS(values); i++) {
    AUTO_BUF Buf buf = {0};
    buf_put_svar(&buf, values[i]);
    assert_int_equal(buf.len, 1);
  }
  AUTO_BUF Buf extreme = {0};
  buf_put_svar(&extreme, INT64_MIN);
  buf_put_svar(&extreme, INT64_MAX);
  Cursor c = cursor(buf_bytes(&extreme));
  assert_true(cursor_svar(&c) == INT64_MIN);
  assert_true(cursor_svar(&c) == INT64_MAX);
}

static void malformed_varints_fail(void **state) {
  (void)state;
  static const Bytes cases[] = {
      {(const uint8_t *)"", 0},
      {(const uint8_t *)"\x80", 1},                                      /* unfinished */
      {(const uint8_t *)"\x80\x00", 2},                                  /* 0 in two bytes */
      {(const uint8_t *)"\xff\x80\x00", 3},                              /* 127 in three */
      {(const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10}, /* 65 bits */
      {(const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11},
      {(const uint8_t *)"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11},
  };
  for (size_t i = 0; i < NELEMS(cases); i++) {
    Cursor c = cursor(cases[i]);
    assert_true(cursor_var(&c) == 0);
    assert_true(c.failed);
    assert_err(cursor_end(&c, "x"), ERR_CORRUPT);
  }
  Cursor largest = cursor(bytes("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10));
  assert_true(cursor_var(&largest) == UINT64_MAX);
  assert_false(largest.failed);
}

static void reading_beyond_the_end_fails_for_good(void **state) {
  (void)state;
  Cursor c = cursor(bytes("\x01\x02\x03", 3));
  assert_int_equal(cursor_u32(&c), 0);
  assert_true(c.failed);
  assert_int_equal(cursor_left(&c), 0);
  assert_int_equal(cursor_u8(&c), 0); /* the bytes are there, but the structure is already broken */
  uint8_t out[4] = {1, 1, 1, 1};
  cursor_copy(&c, out, sizeof out);
  assert_memory_equal(out, "\0\0\0\0", 4);
  assert_err(cursor_end(&c, "x"), ERR_CORRUPT);
  Cursor huge = cursor(bytes("abc", 3));
  assert_int_equal(cursor_take(&huge, SIZE_MAX).len, 0);
  assert_true(huge.failed);
}

static void limits_are_kept(void **state) {
  (void)state;
  AUTO_BUF Buf buf = {0};
  buf_put_var(&buf, 1000);
  Cursor in = cursor(buf_bytes(&buf)), over = in;
  assert_int_equal(cursor_var_max(&in, 1000), 1000);
  assert_ok(cursor_end(&in, "x"));
  assert_int_equal(cursor_var_max(&over, 999), 0);
  assert_true(over.failed);
  Cursor text = cursor(bytes("\x05hello", 6));
  assert_int_equal(cursor_bytes(&text, 4).len, 0);
  assert_true(text.failed);
  Cursor lies = cursor(bytes("\x06hello", 6));
  assert_int_equal(cursor_bytes(&lies, 100).len, 0);
  assert_true(lies.failed);
}

static void leftovers_are_an_error(void **state) {
  (void)state;
  Cursor c = cursor(bytes("abc", 3));
  cursor_u8(&c);
  AUTO_ERR Error *err = cursor_end(&c, "index");
  assert_non_null(err);
  assert_string_equal(err_text(err), "index: 2 bytes left over");
  Cursor empty = cursor((Bytes){0});
  assert_ok(cursor_end(&empty, "x"));
}

static void text_grows(void **state) {
  (void)state;
  Buf buf = {0};
  for (int i = 0; i < 1000; i++) buf_printf(&buf, "%d,", i);
  buf_add_str(&buf, "end");
  buf_add(&buf, NULL, 0);
  size_t len = buf.len;
  AUTO_FREE char *text = buf_steal_str(&buf);
  assert_null(buf.data);
  assert_int_equal(buf.len, 0);
  assert_int_equal(strlen(text), len);
  assert_memory_equal(text, "0,1,2,", 6);
  assert_string_equal(text + len - 7, "999,end");
}

static void bytes_are_ordered(void **state) {
  (void)state;
  assert_true(bytes_compare(bytes_str("a"), bytes_str("ab")) < 0);
  assert_true(bytes_compare(bytes_str("b"), bytes_str("ab")) > 0);
  assert_true(bytes_compare((Bytes){0}, bytes_str("")) == 0);
  assert_true(bytes_compare(bytes_str("\x7f"), bytes_str("\x80")) < 0);
  assert_true(bytes_equal((Bytes){0}, bytes("x", 0)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fields_round_trip),
      cmocka_unit_test(varints_round_trip),
      cmocka_unit_test(small_signed_values_are_short),
      cmocka_unit_test(malformed_varints_fail),
      cmocka_unit_test(reading_beyond_the_end_fails_for_good),
      cmocka_unit_test(limits_are_kept),
      cmocka_unit_test(leftovers_are_an_error),
      cmocka_unit_test(text_grows),
      cmocka_unit_test(bytes_are_ordered),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
