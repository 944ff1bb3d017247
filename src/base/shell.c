#include "base/shell.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

enum { PROGRAM_MAX = 64 };

static bool ends_word(char c) { return c == '\0' || strchr(" \t\r\n;&|<>()", c) != NULL; }

/* Where the word ends; NULL when it holds a command of its own, or a quote that does not end. */
static const char *word_end(const char *at) {
  char quote = 0;
  for (; quote || !ends_word(*at); at++) {
    if (*at == '\0' || *at == '`' || str_starts(at, "$(") || str_starts(at, "${")) {
      if (*at && quote == '\'') continue; /* means nothing there */
      return NULL;
    }
    if (*at == '\\' && quote != '\'') {
      if (*++at == '\0') return NULL;
    } else if (*at == quote) {
      quote = 0;
    } else if (!quote && (*at == '\'' || *at == '"')) {
      quote = *at;
    }
  }
  return at;
}

/* "NAME=…": a variable for the program that follows. */
static bool is_assignment(const char *word) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
  size_t len = strspn(word, letters);
  return len > 0 && (word[0] < '0' || word[0] > '9') && word[len] == '=';
}

static bool is_plain(const char *word, size_t len) {
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+/";
  return strspn(word, allowed) >= len;
}

char *shell_program(const char *line) {
  for (const char *at = line;;) {
    at += strspn(at, " \t\r\n");
    const char *end = word_end(at);
    if (!end || end == at) break;
    if (is_assignment(at)) {
      at = end;
      continue;
    }
    if (!is_plain(at, (size_t)(end - at))) break;
    const char *name = end;
    while (name > at && name[-1] != '/') name--;
    size_t len = (size_t)(end - name);
    if (len == 0 || len > PROGRAM_MAX) break;
    return mem_strndup(name, len);
  }
  return mem_strdup("sh");
}

char *shell_quote(const char *text) {
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+/:@,%";
  if (*text && text[strspn(text, allowed)] == '\0') return mem_strdup(text);
  AUTO_BUF Buf out = {0};
  buf_put_u8(&out, '\'');
  for (const char *at = text; *at;) {
    size_t run = strcspn(at, "'");
    buf_add(&out, at, run);
    at += run;
    if (*at++ != '\'') break;
    buf_add_str(&out, "'\\''");
  }
  buf_put_u8(&out, '\'');
  return buf_steal_str(&out);
}
