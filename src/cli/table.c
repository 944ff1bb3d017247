#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "cli/output.h"

typedef struct Column {
  const char *heading;
  Align align;
} Column;

struct Table {
  Column *columns;
  size_t columns_len;
  StrList cells; /* escaped */
};

Table *table_new(size_t columns) {
  CHECK(columns > 0);
  Table *table = NEW(Table);
  table->columns = NEW_ARRAY(Column, columns);
  table->columns_len = columns;
  return table;
}

void table_free(Table *take) {
  if (!take) return;
  strlist_free(&take->cells);
  free(take->columns);
  free(take);
}

void table_column(Table *table, size_t column, const char *heading, Align align) {
  CHECK(column < table->columns_len);
  table->columns[column] = (Column){.heading = heading, .align = align};
}

void table_cell_bytes(Table *table, Bytes text) {
  AUTO_FREE char *shown = str_printable(text);
  strlist_add(&table->cells, shown);
}

void table_cell(Table *table, const char *text) { table_cell_bytes(table, bytes_str(text ? text : "")); }

void table_cellf(Table *table, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  AUTO_FREE char *text = mem_vprintf(fmt, args);
  va_end(args);
  table_cell(table, text);
}

/* ---- widths --------------------------------------------------------------------------------------------------------
 */

/* The next character; bytes that are not UTF-8 count as one each. */
static uint32_t next_character(const unsigned char **at) {
  const unsigned char *p = *at;
  size_t more = p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : p[0] < 0xf8 ? 3 : 0;
  uint32_t c = more == 0 ? p[0] : p[0] & (0x3fU >> more);
  for (size_t i = 1; i <= more; i++) {
    if ((p[i] & 0xc0) != 0x80) {
      *at = p + 1;
      return p[0];
    }
    c = c << 6 | (p[i] & 0x3fU);
  }
  *at = p + 1 + more;
  return c;
}

typedef struct Range {
  uint32_t first, last;
} Range;

static bool in_ranges(uint32_t c, const Range *ranges, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (c >= ranges[i].first && c <= ranges[i].last) return true;
  return false;
}

size_t text_width(const char *text) {
  static const Range none[] = {{0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x610, 0x61a},
                               {0x64b, 0x65f},   {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200f},
                               {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}};
  static const Range wide[] = {{0x1100, 0x115f},   {0x2e80, 0xa4cf},   {0xac00, 0xd7a3},  {0xf900, 0xfaff},
                               {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},  {0x1f300, 0x1f64f},
                               {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};
  size_t width = 0;
  const unsigned char *at = (const unsigned char *)text;
  while (*at) {
    uint32_t c = next_character(&at);
    if (in_ranges(c, none, NELEMS(none))) continue;
    width += in_ranges(c, wide, NELEMS(wide)) ? 2 : 1;
  }
  return width;
}

static void add_blanks(Buf *buf, size_t count) {
  if (count > 0) memset(buf_grow(buf, count), ' ', count);
}

static void add_row(Buf *buf, const Table *table, const char *const *cells, const size_t *widths) {
  size_t owed = 0; /* blanks are written only before something: no line ends in them */
  for (size_t i = 0; i < table->columns_len; i++) {
    const char *cell = cells[i] ? cells[i] : "";
    size_t gap = widths[i] - text_width(cell);
    bool right = table->columns[i].align == ALIGN_RIGHT;
    if (*cell) {
      add_blanks(buf, owed + (right ? gap : 0));
      buf_add_str(buf, cell);
      owed = 2 + (right ? 0 : gap);
    } else {
      owed += 2 + gap;
    }
  }
  buf_add_str(buf, "\n");
}

void output_table(Output *out, const Table *table) {
  size_t n = table->columns_len;
  CHECK(n > 0);
  AUTO_FREE size_t *widths = NEW_ARRAY(size_t, n);
  AUTO_FREE const char **row = NEW_ARRAY(const char *, n);
  bool headings = false;
  for (size_t i = 0; i < n; i++) {
    row[i] = table->columns[i].heading;
    if (!row[i]) continue;
    headings = true;
    widths[i] = text_width(row[i]);
  }
  for (size_t i = 0; i < table->cells.len; i++) {
    size_t width = text_width(table->cells.items[i]);
    if (width > widths[i % n]) widths[i % n] = width;
  }
  AUTO_BUF Buf buf = {0};
  if (headings) add_row(&buf, table, row, widths);
  for (size_t i = 0; i < table->cells.len; i += n) {
    for (size_t k = 0; k < n; k++) row[k] = i + k < table->cells.len ? table->cells.items[i + k] : NULL;
    add_row(&buf, table, row, widths);
  }
  output_bytes(out, buf_bytes(&buf));
}
