/* Globs are run as a small nondeterministic automaton: all positions of the pattern that the path so far can be at are
 * followed together. Time is the product of both lengths whatever the pattern; a backtracking matcher would be
 * exponential on patterns such as a*a*a*a*b. */
#include "base/mem.h"
#include "base/str.h"

typedef enum TokenType {
  TOKEN_BYTE,
  TOKEN_ANY,    /* ? */
  TOKEN_CLASS,  /* [...] */
  TOKEN_INSIDE, /* follows TOKEN_DIRS: in the middle of a component it passes over */
  TOKEN_STAR,
  TOKEN_CROSS, /* `**`: any bytes */
  TOKEN_DIRS,  /* `**` and '/' where a component begins: any number of whole components, none included */
} TokenType;

typedef struct Token {
  TokenType type;
  uint8_t byte;
  bool negated;
  Bytes set; /* TOKEN_CLASS: between the brackets, escapes still inside */
} Token;

/* A set of positions in the pattern: bit i is set when the path so far can be at token i. */
typedef uint64_t Word;
enum { WORD_BITS = 64 };

static uint8_t class_byte(Bytes set, size_t *pos) {
  if (set.data[*pos] == '\\' && *pos + 1 < set.len) ++*pos;
  return set.data[(*pos)++];
}

static bool class_matches(const Token *token, uint8_t c) {
  bool found = false;
  for (size_t i = 0; i < token->set.len && !found;) {
    uint8_t low = class_byte(token->set, &i), high = low;
    if (i + 1 < token->set.len && token->set.data[i] == '-') {
      i++;
      high = class_byte(token->set, &i);
    }
    found = c >= low && c <= high;
  }
  return c != '/' && found != token->negated;
}

/* Reads "[...]" at pattern[at]; returns its length, or 0 when the bracket is never closed. */
static size_t read_class(Bytes pattern, size_t at, Token *out) {
  size_t i = at + 1;
  bool negated = i < pattern.len && (pattern.data[i] == '!' || pattern.data[i] == '^');
  if (negated) i++;
  size_t start = i;
  for (; i < pattern.len; i++) {
    if (pattern.data[i] == ']' && i > start) {
      *out = (Token){.type = TOKEN_CLASS, .negated = negated, .set = bytes(pattern.data + start, i - start)};
      return i + 1 - at;
    }
    if (pattern.data[i] == '\\') i++;
  }
  return 0;
}

static size_t read_stars(Bytes pattern, size_t at, Token *out) {
  size_t end = at;
  while (end < pattern.len && pattern.data[end] == '*') end++;
  bool begins_component = at == 0 || pattern.data[at - 1] == '/';
  *out = (Token){.type = end - at == 1 ? TOKEN_STAR : TOKEN_CROSS};
  if (out->type == TOKEN_CROSS && begins_component && end < pattern.len && pattern.data[end] == '/') {
    out->type = TOKEN_DIRS;
    end++;
  }
  return end - at;
}

/* Reads the token at pattern[at]; returns its length in the pattern. */
static size_t read_token(Bytes pattern, size_t at, Token *out) {
  uint8_t c = pattern.data[at];
  if (c == '*') return read_stars(pattern, at, out);
  if (c == '?') {
    *out = (Token){.type = TOKEN_ANY};
    return 1;
  }
  if (c == '[') {
    size_t len = read_class(pattern, at, out);
    if (len) return len;
  }
  bool escaped = c == '\\' && at + 1 < pattern.len;
  *out = (Token){.type = TOKEN_BYTE, .byte = escaped ? pattern.data[at + 1] : c};
  return escaped ? 2 : 1;
}

/* Stars may match nothing: whoever reaches one has reached the token after it too. */
static void reach(const Token *tokens, size_t count, Word *set, size_t i) {
  for (;;) {
    set[i / WORD_BITS] |= (Word)1 << i % WORD_BITS;
    if (i == count || tokens[i].type < TOKEN_STAR) return;
    i += tokens[i].type == TOKEN_DIRS ? 2 : 1;
  }
}

/* The path is at token i and goes on with c. */
static void step(const Token *tokens, size_t count, size_t i, uint8_t c, Word *to) {
  const Token *t = &tokens[i];
  switch (t->type) {
    case TOKEN_BYTE:
      if (c == t->byte) reach(tokens, count, to, i + 1);
      break;
    case TOKEN_ANY:
      if (c != '/') reach(tokens, count, to, i + 1);
      break;
    case TOKEN_CLASS:
      if (class_matches(t, c)) reach(tokens, count, to, i + 1);
      break;
    case TOKEN_STAR:
      if (c != '/') reach(tokens, count, to, i);
      break;
    case TOKEN_CROSS: reach(tokens, count, to, i); break;
    case TOKEN_DIRS: reach(tokens, count, to, c == '/' ? i : i + 1); break;
    case TOKEN_INSIDE: reach(tokens, count, to, c == '/' ? i - 1 : i); break;
  }
}

static bool run(const Token *tokens, size_t count, Word *now, Word *next, Bytes path) {
  size_t words = count / WORD_BITS + 1;
  memset(now, 0, words * sizeof *now);
  reach(tokens, count, now, 0);
  for (size_t at = 0; at < path.len; at++) {
    memset(next, 0, words * sizeof *next);
    for (size_t w = 0; w < words; w++) {
      for (Word left = now[w]; left; left &= left - 1) {
        size_t i = w * WORD_BITS + (size_t)__builtin_ctzll(left);
        if (i < count) step(tokens, count, i, path.data[at], next);
      }
    }
    Word *swap = now;
    now = next;
    next = swap;
  }
  return now[count / WORD_BITS] >> count % WORD_BITS & 1;
}

/* Most patterns begin or end with plain text, and most paths differ in it. Takes the plain text off both ends of both;
 * false when it differs. */
static bool trim_plain(const Token **tokens, size_t *count, Bytes *path) {
  while (*count && (*tokens)->type == TOKEN_BYTE) {
    if (path->len == 0 || *path->data != (*tokens)->byte) return false;
    *path = bytes(path->data + 1, path->len - 1);
    ++*tokens;
    --*count;
  }
  while (*count && (*tokens)[*count - 1].type == TOKEN_BYTE) {
    if (path->len == 0 || path->data[path->len - 1] != (*tokens)[*count - 1].byte) return false;
    path->len--;
    --*count;
  }
  return true;
}

bool glob_match(Bytes pattern, Bytes path) {
  enum { SMALL = 63, SMALL_WORDS = SMALL / WORD_BITS + 1 };
  Token small_tokens[SMALL];
  Word small_sets[2 * SMALL_WORDS];
  bool small = pattern.len <= SMALL;
  size_t words = pattern.len / WORD_BITS + 1;
  Token *all = small ? small_tokens : NEW_ARRAY(Token, pattern.len);
  Word *sets = small ? small_sets : NEW_ARRAY(Word, 2 * words);
  size_t count = 0;
  for (size_t at = 0; at < pattern.len;) {
    at += read_token(pattern, at, &all[count++]);
    if (all[count - 1].type == TOKEN_DIRS) all[count++] = (Token){.type = TOKEN_INSIDE};
  }
  const Token *tokens = all;
  bool matched = trim_plain(&tokens, &count, &path) && run(tokens, count, sets, sets + words, path);
  if (!small) {
    free(all);
    free(sets);
  }
  return matched;
}
