#include "base/mem.h"
#include "base/str.h"
#include "base/timefmt.h"

#include "testing.h"

static void hex_round_trip(void **state) {
  (void)state;
  char text[9];
  uint8_t back[4];
  hex_encode("\x00\xff\x1a\xb2", 4, text);
  assert_string_equal(text, "00ff1ab2");
  assert_true(hex_decode("00FF1aB2", back, 4));
  assert_memory_equal(back, "\x00\xff\x1a\xb2", 4);
  assert_false(hex_decode("00ff1ab", back, 4));
  assert_false(hex_decode("00ff1ab22", back, 4));
  assert_false(hex_decode("00ff1abg", back, 4));
  assert_false(hex_decode("", back, 4));
}

static void sizes_are_parsed(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint64_t bytes;
  } good[] = {
      {"0", 0},
      {"12", 12},
      {"12B", 12},
      {"64KiB", 64 * KIB},
      {"1.5MiB", 3 * MIB / 2},
      {"2GB", 2000000000},
      {"1G", GIB},
      {"3T", 3 * 1024 * GIB},
      {"0.5k", 512},
      {"10mb", 10000000},
      {"18446744073709551615", UINT64_MAX},
      {"0.000001TB", 1000000},
  };
  for (size_t i = 0; i < NELEMS(good); i++) {
    uint64_t out = 1;
    assert_ok(str_parse_size(good[i].text, &out));
    assert_true(out == good[i].bytes);
  }
  static const char *const bad[] = {"",
                                    "K",
                                    "-1",
                                    "+1",
                                    " 1",
                                    "1 ",
                                    "1 KiB",
                                    "1.K",
                                    "1.5",
                                    "1.5B",
                                    ".5K",
                                    "1KiBx",
                                    "0x10",
                                    "1.1.1K",
                                    "1e3",
                                    "18446744073709551616",
                                    "17179869185G",
                                    "99999999999999999999999999",
                                    "1.0000001K",
                                    "20000000T"};
  for (size_t i = 0; i < NELEMS(bad); i++) {
    uint64_t out = 77;
    assert_err(str_parse_size(bad[i], &out), ERR_USAGE);
    assert_true(out == 77);
  }
}

static void durations_are_parsed(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint64_t seconds;
  } good[] = {{"90", 90}, {"15s", 15}, {"10m", 600}, {"2h", 7200}, {"7d", 604800}, {"2w", 1209600}, {"5000ms", 5}};
  for (size_t i = 0; i < NELEMS(good); i++) {
    uint64_t out = 1;
    assert_ok(str_parse_duration(good[i].text, &out));
    assert_true(out == good[i].seconds * NS_PER_SECOND);
  }
  static const char *const bad[] = {"", "s", "1M", "1 s", "-1s", "1.5h", "1h30m", "1y", "99999999999w"};
  for (size_t i = 0; i < NELEMS(bad); i++) {
    uint64_t out;
    assert_err(str_parse_duration(bad[i], &out), ERR_USAGE);
  }
}

static void numbers_are_parsed(void **state) {
  (void)state;
  uint64_t out = 1;
  assert_ok(str_parse_u64("007", 7, &out));
  assert_int_equal(out, 7);
  assert_ok(str_parse_u64("18446744073709551615", UINT64_MAX, &out));
  assert_true(out == UINT64_MAX);
  assert_err(str_parse_u64("8", 7, &out), ERR_USAGE);
  assert_err(str_parse_u64("", 7, &out), ERR_USAGE);
  assert_err(str_parse_u64("-1", 7, &out), ERR_USAGE);
  assert_err(str_parse_u64("1x", 7, &out), ERR_USAGE);
  assert_err(str_parse_u64("18446744073709551616", UINT64_MAX, &out), ERR_USAGE);
}

static void assert_size(uint64_t size, const char *text) {
  char out[16];
  assert_string_equal(str_size(size, out), text);
}

static void assert_duration(uint64_t ms, const char *text) {
  char out[16];
  assert_string_equal(str_duration(ms * 1000000, out), text);
}

static void quantities_are_shown(void **state) {
  (void)state;
  assert_size(0, "0 B");
  assert_size(1023, "1023 B");
  assert_size(1024, "1.0 KiB");
  assert_size(1536, "1.5 KiB");
  assert_size(MIB - 1, "1.0 MiB");
  assert_size(GIB + GIB / 2, "1.5 GiB");
  assert_size(UINT64_MAX, "16.0 EiB");
  assert_duration(0, "0.0 s");
  assert_duration(3249, "3.2 s");
  assert_duration(59999, "59.9 s");
  assert_duration(60000, "1m 00s");
  assert_duration(245000, "4m 05s");
  assert_duration(3600000, "1h 00m");
  assert_duration(7860000, "2h 11m");
  char out[16];
  assert_true(strlen(str_duration(UINT64_MAX, out)) < sizeof out);
}

static void assert_printable(const char *name, const char *shown) {
  AUTO_FREE char *got = str_printable(bytes_str(name));
  assert_string_equal(got, shown);
}

static void names_are_made_printable(void **state) {
  (void)state;
  assert_printable("", "");
  assert_printable("plain name.txt", "plain name.txt");
  assert_printable("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
  assert_printable("a\nb\t\x1b[31m\x7f", "a\\x0ab\\x09\\x1b[31m\\x7f");
  assert_printable("\xff\xfe", "\\xff\\xfe");
  assert_printable("\xc3", "\\xc3");                            /* cut short */
  assert_printable("\xc0\xaf", "\\xc0\\xaf");                   /* overlong */
  assert_printable("\xed\xa0\x80", "\\xed\\xa0\\x80");          /* surrogate */
  assert_printable("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* above the last character */
  assert_printable("\xc2\x9b", "\\xc2\\x9b");                   /* C1 control */
  assert_printable("\xe2\x80\xae", "\\xe2\\x80\\xae");          /* right-to-left override */
  AUTO_FREE char *nul = str_printable(bytes("a\0b", 3));
  assert_string_equal(nul, "a\\x00b");
}

static void affixes(void **state) {
  (void)state;
  assert_true(str_starts("sqlite:x", "sqlite:"));
  assert_false(str_starts("sq", "sqlite:"));
  assert_true(str_ends("a.db-wal", "-wal"));
  assert_false(str_ends("wal", "-wal"));
  assert_true(str_ends("x", ""));
}

static void lists_grow(void **state) {
  (void)state;
  AUTO_STRLIST StrList list = {0};
  for (int i = 0; i < 100; i++) {
    AUTO_FREE char *text = mem_printf("item %d", i);
    strlist_add(&list, text);
  }
  assert_int_equal(list.len, 100);
  assert_string_equal(list.items[0], "item 0");
  assert_string_equal(list.items[99], "item 99");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hex_round_trip),
      cmocka_unit_test(sizes_are_parsed),
      cmocka_unit_test(durations_are_parsed),
      cmocka_unit_test(numbers_are_parsed),
      cmocka_unit_test(quantities_are_shown),
      cmocka_unit_test(names_are_made_printable),
      cmocka_unit_test(affixes),
      cmocka_unit_test(lists_grow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
