#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "ops/tar.h"

#include "testing.h"

enum { BLOCK = 512 };

static Error *collect(void *ctx, Bytes part) {
  buf_add((Buf *)ctx, part.data, part.len);
  return NULL;
}

static Entry file_entry(const char *path, uint64_t size) {
  return (Entry){.path = bytes_str(path), .type = ENTRY_FILE, .mode = 0644, .size = size, .mtime_ns = 1000000000};
}

/* One entry without its content. Owned by the caller. */
static Buf headers_of(const Entry *entry) {
  Buf out = {0};
  TarWriter *tar = tar_new(collect, &out);
  assert_ok(tar_begin(tar, entry));
  tar_free(tar);
  return out;
}

static uint64_t octal(const uint8_t *field, size_t width) {
  char text[16] = "";
  memcpy(text, field, width);
  return strtoull(text, NULL, 8);
}

static void assert_checksum(const uint8_t *header) {
  uint64_t sum = 0;
  for (size_t i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? ' ' : header[i];
  assert_int_equal(octal(header + 148, 8), sum);
}

/* The value of a pax record, checked record by record; NULL when there is none. Owned. */
static char *pax_value(const Buf *out, const char *key) {
  const uint8_t *header = out->data;
  if (header[156] != 'x') return NULL;
  assert_checksum(header);
  size_t len = octal(header + 124, 12), at = 0;
  const char *body = (const char *)header + BLOCK;
  assert_true(out->len >= BLOCK + len);
  char *found = NULL;
  while (at < len) {
    char *end;
    size_t total = strtoull(body + at, &end, 10);
    assert_true(total > 0 && at + total <= len && *end == ' ');
    assert_int_equal(body[at + total - 1], '\n');
    const char *name = end + 1, *equals = strchr(name, '=');
    if ((size_t)(equals - name) == strlen(key) && strncmp(name, key, strlen(key)) == 0) {
      free(found);
      found = mem_strndup(equals + 1, (size_t)(body + at + total - 1 - (equals + 1)));
    }
    at += total;
  }
  assert_int_equal(at, len);
  return found;
}

static void assert_pax(const Buf *out, const char *key, const char *expected) {
  char *value = pax_value(out, key);
  if (!expected) {
    assert_null(value);
    return;
  }
  assert_non_null(value);
  assert_string_equal(value, expected);
  free(value);
}

static void test_a_plain_file_needs_no_pax_record(void **state) {
  (void)state;
  Buf out = {0};
  TarWriter *tar = tar_new(collect, &out);
  Entry entry = file_entry("dir/name", 3);
  assert_ok(tar_begin(tar, &entry));
  assert_ok(tar_data(tar, bytes_str("abc")));
  assert_ok(tar_end(tar));
  assert_ok(tar_finish(tar));
  tar_free(tar);
  assert_int_equal(out.len, 20 * BLOCK);
  assert_string_equal((const char *)out.data, "dir/name");
  assert_int_equal(out.data[156], '0');
  assert_int_equal(octal(out.data + 100, 8), 0644);
  assert_int_equal(octal(out.data + 124, 12), 3);
  assert_int_equal(octal(out.data + 136, 12), 1);
  assert_memory_equal(out.data + 257,
                      "ustar\0"
                      "00",
                      8);
  assert_memory_equal(out.data + BLOCK, "abc\0", 4);
  assert_checksum(out.data);
  buf_free(&out);
}

/* Where a record's own length gets another digit. */
static void test_records_count_themselves(void **state) {
  (void)state;
  for (size_t len = 101; len < 130; len++) {
    AUTO_FREE char *path = (char *)mem_alloc(len + 1);
    memset(path, 'p', len);
    Entry entry = file_entry(path, 0);
    Buf out = headers_of(&entry);
    assert_pax(&out, "path", path);
    buf_free(&out);
  }
  for (size_t len = 980; len < 1000; len++) {
    AUTO_FREE char *path = (char *)mem_alloc(len + 1);
    memset(path, 'p', len);
    Entry entry = file_entry(path, 0);
    Buf out = headers_of(&entry);
    assert_pax(&out, "path", path);
    buf_free(&out);
  }
}

static void test_numbers_beyond_the_header(void **state) {
  (void)state;
  Entry entry = file_entry("big", UINT64_C(8) * 1024 * 1024 * 1024);
  entry.uid = 3000000;
  Buf out = headers_of(&entry);
  assert_pax(&out, "size", "8589934592");
  assert_pax(&out, "uid", "3000000");
  assert_pax(&out, "gid", NULL);
  buf_free(&out);
  entry = file_entry("less", UINT64_C(8) * 1024 * 1024 * 1024 - 1);
  out = headers_of(&entry);
  assert_int_equal(out.len, BLOCK);
  assert_int_equal(octal(out.data + 124, 12), entry.size);
  buf_free(&out);
}

static void check_time(int64_t ns, const char *expected) {
  Entry entry = file_entry("t", 0);
  entry.mtime_ns = ns;
  Buf out = headers_of(&entry);
  assert_pax(&out, "mtime", expected);
  buf_free(&out);
}

static void test_times(void **state) {
  (void)state;
  check_time(1700000000000000000, NULL);
  check_time(1700000000123456789, "1700000000.123456789");
  check_time(1, "0.000000001");
  check_time(-500000000, "-0.500000000");
  check_time(-3000000000, "-3");
  check_time(INT64_MIN, "-9223372036.854775808");
}

static void test_links_attributes_and_devices(void **state) {
  (void)state;
  const Xattr attributes[] = {{bytes_str("user.note"), bytes("a\nb\0c", 5)}};
  Entry entry = {.path = bytes_str("l"),
                 .type = ENTRY_SYMLINK,
                 .mode = 0777,
                 .target = bytes_str("gr\xc3\xbcn"),
                 .xattrs = attributes,
                 .xattrs_len = 1};
  Buf out = headers_of(&entry);
  assert_pax(&out, "linkpath", "gr\xc3\xbcn");
  assert_pax(&out, "SCHILY.xattr.user.note", "a\nb"); /* up to the NUL, as text; its length counts all of it */
  buf_free(&out);
  entry = (Entry){.path = bytes_str("null"), .type = ENTRY_CHAR, .rdev = 0x103};
  out = headers_of(&entry);
  assert_int_equal(octal(out.data + 329, 8), 1);
  assert_int_equal(octal(out.data + 337, 8), 3);
  assert_int_equal(out.data[156], '3');
  buf_free(&out);
  entry = (Entry){.type = ENTRY_DIR};
  out = headers_of(&entry);
  assert_string_equal((const char *)out.data, "./");
  buf_free(&out);
}

static void test_names_that_are_no_text_are_taken_as_they_are(void **state) {
  (void)state;
  Entry entry = file_entry("caf\xe9", 0);
  Buf out = headers_of(&entry);
  assert_int_equal(out.len, BLOCK);
  assert_string_equal((const char *)out.data, "caf\xe9");
  buf_free(&out);
}

static void test_content_must_be_what_was_said(void **state) {
  (void)state;
  Buf out = {0};
  TarWriter *tar = tar_new(collect, &out);
  Entry entry = file_entry("f", 3);
  assert_ok(tar_begin(tar, &entry));
  assert_err(tar_data(tar, bytes_str("abcd")), ERR_CORRUPT);
  assert_ok(tar_data(tar, bytes_str("ab")));
  assert_err(tar_end(tar), ERR_CORRUPT);
  Entry pipe = {.path = bytes_str("s"), .type = ENTRY_SOCKET};
  size_t before = out.len;
  assert_err(tar_begin(tar, &pipe), ERR_UNSUPPORTED);
  assert_int_equal(out.len, before);
  tar_free(tar);
  buf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_plain_file_needs_no_pax_record),
      cmocka_unit_test(test_records_count_themselves),
      cmocka_unit_test(test_numbers_beyond_the_header),
      cmocka_unit_test(test_times),
      cmocka_unit_test(test_links_attributes_and_devices),
      cmocka_unit_test(test_names_that_are_no_text_are_taken_as_they_are),
      cmocka_unit_test(test_content_must_be_what_was_said),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
