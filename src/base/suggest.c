#include "base/suggest.h"

enum { SUGGEST_WORD_MAX = 40 };

/* Edit distance with swaps of neighbours; both words at most SUGGEST_WORD_MAX long. */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len) {
  size_t rows[3][SUGGEST_WORD_MAX + 1];
  size_t *before = rows[0], *last = rows[1], *row = rows[2];
  for (size_t j = 0; j <= b_len; j++) last[j] = j;
  for (size_t i = 1; i <= a_len; i++) {
    row[0] = i;
    for (size_t j = 1; j <= b_len; j++) {
      size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
      if (last[j] + 1 < best) best = last[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped && before[j - 2] + 1 < best) best = before[j - 2] + 1;
      row[j] = best;
    }
    size_t *oldest = before;
    before = last;
    last = row;
    row = oldest;
  }
  return last[b_len];
}

void suggest(Suggestion *s, Bytes typed, const char *candidate) {
  const char *word = (const char *)typed.data;
  size_t len = typed.len;
  size_t candidate_len = strlen(candidate);
  if (len == 0 || len > SUGGEST_WORD_MAX || candidate_len > SUGGEST_WORD_MAX) return;
  size_t distance = edit_distance(word, len, candidate, candidate_len);
  /* The start of a longer word ("incr") is a likely abbreviation. */
  if (len >= 3 && len < candidate_len && memcmp(word, candidate, len) == 0) distance = 1;
  size_t longer = len > candidate_len ? len : candidate_len;
  if (distance * 3 > longer + 1) return;
  if (!s->best || distance < s->distance) *s = (Suggestion){.best = candidate, .distance = distance};
}
