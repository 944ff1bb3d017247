/* str.h: text in and out: hex, base32, numbers with units, safe quoting of names that may be any bytes, globs. */
#ifndef HF_BASE_STR_H
#define HF_BASE_STR_H

#include "base/buf.h"

/* `out` has room for 2*len+1. */
void hex_encode(const void *data, size_t len, char *out);
/* Exactly 2*len hex digits, either case; false otherwise. */
bool hex_decode(const char *text, void *out, size_t len);

/* Names come from disks and may be anything: printable ASCII and valid UTF-8 pass, the rest becomes \xNN. Owned. */
char *str_printable(Bytes name);

/* "12", "64KiB", "1.5MiB", "2GB", "1G" -> bytes. ERR_USAGE otherwise. A bare K, M, G, T is the power of 1024. */
Error *str_parse_size(const char *text, uint64_t *out) NODISCARD;
/* "90", "15s", "10m", "2h", "7d", "2w" -> nanoseconds (a bare number is seconds). */
Error *str_parse_duration(const char *text, uint64_t *out_ns) NODISCARD;
/* Decimal, no sign, no blanks, whole text, at most max. */
Error *str_parse_u64(const char *text, uint64_t max, uint64_t *out) NODISCARD;

/* "1.4 GiB", "12.3 MiB"; written to out (>= 16 bytes), which is returned. */
char *str_size(uint64_t bytes, char out[16]);
/* "3.2 s", "4m 05s", "2h 11m". */
char *str_duration(uint64_t ns, char out[16]);

bool str_starts(const char *text, const char *prefix);
bool str_ends(const char *text, const char *suffix);

/* Shell-like glob over a path of any bytes: `*` and `?` do not cross '/', `**` does, [a-z], [!a-z], \x escapes. */
bool glob_match(Bytes pattern, Bytes path);

/* A list of owned strings. */
typedef struct StrList {
  char **items;
  size_t len;
} StrList;
void strlist_add(StrList *list, const char *text);
void strlist_free(StrList *list);
#define AUTO_STRLIST __attribute__((cleanup(strlist_free)))

#endif
