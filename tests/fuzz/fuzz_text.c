/* Text that people and repositories hand us: moments, sizes, durations, globs, paths, names. Beyond not crashing, what
 * is accepted must survive the way back to text. */
#include <stdlib.h>

#include "base/entry.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/timefmt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_times(const char *text) {
  uint64_t ns, back;
  char shown[36];
  AUTO_ERR Error *err = time_parse(text, UINT64_C(1795167000) * NS_PER_SECOND, &ns);
  if (!err) {
    AUTO_ERR Error *second = time_parse(time_format_utc(ns, shown), 0, &back);
    CHECK(!second && back == ns);
    time_format_local(ns, shown);
  }
  if (time_parse_key(text, &ns)) CHECK(strcmp(time_format_key(ns, shown), text) == 0);
}

static void check_numbers(const char *text) {
  uint64_t value;
  char shown[16];
  AUTO_ERR Error *size_err = str_parse_size(text, &value);
  if (!size_err) str_size(value, shown);
  AUTO_ERR Error *duration_err = str_parse_duration(text, &value);
  if (!duration_err) str_duration(value, shown);
  AUTO_ERR Error *number_err = str_parse_u64(text, 1000, &value);
  if (!number_err) CHECK(value <= 1000);
}

static void check_paths(Bytes path) {
  AUTO_FREE char *shown = str_printable(path);
  for (const char *p = shown; *p; p++) CHECK((uint8_t)*p >= 0x20 && *p != 0x7f);
  if (!entry_path_valid(path)) return;
  CHECK(entry_path_compare(path, path) == 0);
  CHECK(entry_path_within(path, (Bytes){0}) && entry_path_within(path, path));
  AUTO_BUF Buf below = {0};
  buf_add(&below, path.data, path.len);
  buf_add_str(&below, path.len ? "/x" : "x");
  CHECK(entry_path_compare(path, buf_bytes(&below)) < 0);
  CHECK(entry_path_within(buf_bytes(&below), path));
}

/* The input is a pattern, a NUL and a path. */
static void check_glob(Bytes input) {
  if (input.len == 0) return;
  const uint8_t *split = (const uint8_t *)memchr(input.data, '\0', input.len);
  if (!split) return;
  Bytes pattern = bytes(input.data, (size_t)(split - input.data));
  Bytes path = bytes(split + 1, input.len - pattern.len - 1);
  glob_match(pattern, path);
  CHECK(glob_match(bytes_str("**"), path));
  /* With every byte escaped, a path matches itself and nothing longer. */
  AUTO_BUF Buf escaped = {0};
  for (size_t i = 0; i < path.len; i++) {
    buf_put_u8(&escaped, '\\');
    buf_put_u8(&escaped, path.data[i]);
  }
  CHECK(glob_match(buf_bytes(&escaped), path));
  buf_add_str(&escaped, "x");
  CHECK(!glob_match(buf_bytes(&escaped), path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > 4096) return 0;
  AUTO_FREE char *text = mem_strndup(size ? (const char *)data : "", size);
  check_times(text);
  check_numbers(text);
  check_paths(bytes(data, size));
  check_glob(bytes(data, size));
  return 0;
}
