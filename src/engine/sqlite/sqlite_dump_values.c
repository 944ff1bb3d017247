/* Values as SQL that gives them back bit by bit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "engine/sqlite/sqlite_dump.h"

/* ---- numbers -------------------------------------------------------------------------------------------------------
 */

/* To the bit: 0.0 and -0.0 are two numbers here. */
static bool is_same(double a, double b) {
  uint64_t x, y;
  memcpy(&x, &a, sizeof x);
  memcpy(&y, &b, sizeof y);
  return x == y;
}

/* Both by the C library's rules, which later versions of SQLite keep, and by this SQLite's, which differ in the last
 * place at times. */
static bool reads_back(sqlite3_stmt *cast, const char *text, double value) {
  double back = strtod(text, NULL);
  if (!is_same(back, value)) return false;
  (void)sqlite3_bind_text(cast, 1, text, -1, SQLITE_STATIC);
  back = sqlite3_step(cast) == SQLITE_ROW ? sqlite3_column_double(cast, 0) : 0;
  (void)sqlite3_reset(cast);
  (void)sqlite3_clear_bindings(cast);
  return is_same(back, value);
}

/* m * 2^e, every step of which is exact: m is whole and below 2^53, and so is each power of two. */
static void add_exact(double value, Buf *out) {
  int exponent;
  double mantissa = ldexp(frexp(fabs(value), &exponent), 53);
  exponent -= 53;
  buf_printf(out, "(%s%.1f", value < 0 ? "-" : "", mantissa);
  for (; exponent >= 30; exponent -= 30) buf_add_str(out, "*1073741824.0");
  for (; exponent > 0; exponent--) buf_add_str(out, "*2.0");
  for (; exponent <= -30; exponent += 30) buf_add_str(out, "/1073741824.0");
  for (; exponent < 0; exponent++) buf_add_str(out, "/2.0");
  buf_add_str(out, ")");
}

void sqlite_dump_real(sqlite3_stmt *cast, double value, Buf *out) {
  if (isnan(value)) {
    buf_add_str(out, "NULL");
    return;
  }
  if (isinf(value)) {
    buf_add_str(out, value < 0 ? "-9e999" : "9e999");
    return;
  }
  for (int digits = 15; digits <= 17; digits++) {
    char text[40];
    int len = snprintf(text, sizeof text, "%.*g", digits, value);
    /* Without a point it would be an integer. */
    if (!strpbrk(text, ".e")) (void)snprintf(text + len, sizeof text - (size_t)len, ".0");
    if (!reads_back(cast, text, value)) continue;
    buf_add_str(out, text);
    return;
  }
  add_exact(value, out);
}

/* ---- text ----------------------------------------------------------------------------------------------------------
 */

static bool holds(Bytes text, const char *needle) {
  return text.len > 0 && memmem(text.data, text.len, needle, strlen(needle)) != NULL;
}

/* "{n}" that does not occur. It ends and begins differently, so that no other occurrence can arise where it is put. */
static void find_mark(Bytes text, unsigned *io_number, char out[16]) {
  do {
    (void)snprintf(out, 16, "{%u}", (*io_number)++);
  } while (holds(text, out));
}

static void add_quoted(Bytes text, const char *nul_mark, const char *return_mark, Buf *out) {
  buf_add_str(out, "'");
  size_t start = 0;
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = text.data[i];
    const char *instead = c == '\'' ? "''" : c == '\0' ? nul_mark : c == '\r' ? return_mark : NULL;
    if (!instead) continue;
    buf_add(out, text.data + start, i - start);
    buf_add_str(out, instead);
    start = i + 1;
  }
  if (text.len > start) buf_add(out, text.data + start, text.len - start);
  buf_add_str(out, "'");
}

void sqlite_dump_text(Bytes text, Buf *out) {
  /* A NUL ends a line for readers written in C, and the shell drops a carriage return at the end of a line. */
  bool nul = text.len && memchr(text.data, '\0', text.len), cr = text.len && memchr(text.data, '\r', text.len);
  char nul_mark[16] = "", return_mark[16] = "";
  unsigned number = 0;
  if (nul) find_mark(text, &number, nul_mark);
  if (cr) find_mark(text, &number, return_mark);
  if (cr) buf_add_str(out, "replace(");
  if (nul) buf_add_str(out, "replace(");
  add_quoted(text, nul_mark, return_mark, out);
  if (nul) buf_printf(out, ",'%s',char(0))", nul_mark);
  if (cr) buf_printf(out, ",'%s',char(13))", return_mark);
}
