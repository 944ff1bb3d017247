#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/timefmt.h"

void hex_encode(const void *data, size_t len, char *out) {
  static const char digits[] = "0123456789abcdef";
  const uint8_t *in = (const uint8_t *)data;
  for (size_t i = 0; i < len; i++) {
    out[2 * i] = digits[in[i] >> 4];
    out[2 * i + 1] = digits[in[i] & 15];
  }
  out[2 * len] = '\0';
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool hex_decode(const char *text, void *out, size_t len) {
  if (strnlen(text, 2 * len + 1) != 2 * len) return false;
  for (size_t i = 0; i < 2 * len; i++) {
    if (hex_value(text[i]) < 0) return false;
  }
  uint8_t *to = (uint8_t *)out;
  for (size_t i = 0; i < len; i++) to[i] = (uint8_t)(hex_value(text[2 * i]) * 16 + hex_value(text[2 * i + 1]));
  return true;
}

/* Decodes one UTF-8 sequence of at least two bytes; 0 when it is malformed, overlong, a surrogate or above U+10FFFF. */
static size_t utf8_decode(const uint8_t *at, size_t left, uint32_t *out) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  size_t len = at[0] >= 0xf8 ? 0 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : at[0] >= 0xc0 ? 2 : 0;
  if (len == 0 || len > left) return 0;
  uint32_t code = at[0] & (0x7fu >> len);
  for (size_t i = 1; i < len; i++) {
    if ((at[i] & 0xc0) != 0x80) return 0;
    code = code << 6 | (at[i] & 0x3fu);
  }
  if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return 0;
  *out = code;
  return len;
}

/* Valid characters that could still move the cursor or reorder a terminal's line: C1 controls, line and paragraph
 * separators, bidirectional overrides and isolates. */
static bool is_unsafe_to_show(uint32_t code) {
  return code < 0xa0 || code == 0x2028 || code == 0x2029 || code == 0x200e || code == 0x200f ||
         (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

char *str_printable(Bytes name) {
  Buf out = {0};
  for (size_t i = 0; i < name.len;) {
    uint8_t c = name.data[i];
    uint32_t code = 0;
    size_t len = c >= 0x80 ? utf8_decode(name.data + i, name.len - i, &code) : 0;
    if ((c >= 0x20 && c < 0x7f) || (len && !is_unsafe_to_show(code))) {
      if (!len) len = 1;
      buf_add(&out, name.data + i, len);
      i += len;
    } else {
      buf_printf(&out, "\\x%02x", c);
      i++;
    }
  }
  return buf_steal_str(&out);
}

/* Reads decimal digits; returns how many, 0 when there are none or the value does not fit. */
static size_t read_digits(const char *text, uint64_t *out) {
  uint64_t v = 0;
  size_t n = 0;
  for (; text[n] >= '0' && text[n] <= '9'; n++) {
    if (MUL_OVERFLOWS(v, UINT64_C(10), &v) || ADD_OVERFLOWS(v, (uint64_t)(text[n] - '0'), &v)) return 0;
  }
  *out = v;
  return n;
}

typedef struct Unit {
  const char *name;
  uint64_t factor;
} Unit;

static bool find_unit(const Unit *units, size_t count, const char *name, bool ignore_case, uint64_t *out) {
  for (size_t i = 0; i < count; i++) {
    int differs = ignore_case ? strcasecmp(units[i].name, name) : strcmp(units[i].name, name);
    if (differs) continue;
    *out = units[i].factor;
    return true;
  }
  return false;
}

static bool parse_size(const char *text, uint64_t *out) {
  static const Unit units[] = {
      {"", 1},
      {"B", 1},
      {"K", KIB},
      {"KiB", KIB},
      {"KB", 1000},
      {"M", MIB},
      {"MiB", MIB},
      {"MB", 1000000},
      {"G", GIB},
      {"GiB", GIB},
      {"GB", 1000000000},
      {"T", GIB * 1024},
      {"TiB", GIB * 1024},
      {"TB", UINT64_C(1000000000000)},
  };
  uint64_t whole, part = 0, scale = 1, factor;
  size_t n = read_digits(text, &whole);
  if (n == 0) return false;
  text += n;
  if (*text == '.') {
    n = read_digits(++text, &part);
    if (n == 0 || n > 6) return false; /* six digits of the largest unit still fit */
    text += n;
    while (n--) scale *= 10;
  }
  if (!find_unit(units, NELEMS(units), text, true, &factor)) return false;
  if (scale > 1 && factor == 1) return false; /* no fractions of bytes */
  uint64_t v;
  if (MUL_OVERFLOWS(whole, factor, &v) || ADD_OVERFLOWS(v, part * factor / scale, &v)) return false;
  *out = v;
  return true;
}

Error *str_parse_size(const char *text, uint64_t *out) {
  if (parse_size(text, out)) return NULL;
  AUTO_FREE char *shown = str_printable(bytes_str(text));
  return err_hint(err_new(ERR_USAGE, "\"%s\" is not a size", shown), "write a number and a unit: 64KiB, 1.5MiB, 2GB");
}

static bool parse_duration(const char *text, uint64_t *out_ns) {
  static const Unit units[] = {
      {"", NS_PER_SECOND},           {"s", NS_PER_SECOND},        {"ms", NS_PER_SECOND / 1000},
      {"m", 60 * NS_PER_SECOND},     {"h", 3600 * NS_PER_SECOND}, {"d", 86400 * NS_PER_SECOND},
      {"w", 604800 * NS_PER_SECOND},
  };
  uint64_t count, factor, v;
  size_t n = read_digits(text, &count);
  if (n == 0 || !find_unit(units, NELEMS(units), text + n, false, &factor)) return false;
  if (MUL_OVERFLOWS(count, factor, &v)) return false;
  *out_ns = v;
  return true;
}

Error *str_parse_duration(const char *text, uint64_t *out_ns) {
  if (parse_duration(text, out_ns)) return NULL;
  AUTO_FREE char *shown = str_printable(bytes_str(text));
  return err_hint(err_new(ERR_USAGE, "\"%s\" is not a duration", shown), "write a number and a unit: 90s, 10m, 2h, 7d");
}

Error *str_parse_u64(const char *text, uint64_t max, uint64_t *out) {
  uint64_t v;
  size_t n = read_digits(text, &v);
  if (n == 0 || text[n] != '\0' || v > max) {
    AUTO_FREE char *shown = str_printable(bytes_str(text));
    return err_new(ERR_USAGE, "\"%s\" is not a number from 0 to %" PRIu64, shown, max);
  }
  *out = v;
  return NULL;
}

char *str_size(uint64_t bytes, char out[16]) {
  static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) {
    snprintf(out, 16, "%u B", (unsigned)bytes);
    return out;
  }
  size_t unit = 0;
  double v = (double)bytes / 1024;
  /* 1023.95 would print as "1024.0" */
  while (v >= 1023.95 && unit + 1 < NELEMS(units)) {
    v /= 1024;
    unit++;
  }
  snprintf(out, 16, "%.1f %s", v, units[unit]);
  return out;
}

char *str_duration(uint64_t ns, char out[16]) {
  uint64_t tenths = ns / (NS_PER_SECOND / 10);
  uint64_t seconds = tenths / 10;
  uint64_t minutes = seconds / 60;
  if (minutes == 0)
    snprintf(out, 16, "%u.%u s", (unsigned)seconds, (unsigned)(tenths % 10));
  else if (minutes < 60)
    snprintf(out, 16, "%um %02us", (unsigned)minutes, (unsigned)(seconds % 60));
  else
    snprintf(out, 16, "%uh %02um", (unsigned)(minutes / 60), (unsigned)(minutes % 60));
  return out;
}

bool str_starts(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

bool str_ends(const char *text, const char *suffix) {
  size_t text_len = strlen(text), suffix_len = strlen(suffix);
  return text_len >= suffix_len && memcmp(text + text_len - suffix_len, suffix, suffix_len) == 0;
}

void strlist_add(StrList *list, const char *text) {
  /* Room doubles at powers of two, so the length alone tells when to grow. */
  if ((list->len & (list->len - 1)) == 0)
    list->items = (char **)mem_resize(list->items, list->len ? 2 * list->len : 1, sizeof *list->items);
  list->items[list->len++] = mem_strdup(text);
}

void strlist_free(StrList *list) {
  for (size_t i = 0; i < list->len; i++) free(list->items[i]);
  free(list->items);
  *list = (StrList){0};
}
