/* suggest.h: "did you mean …?" for a mistyped word: offer every candidate, read the best. */
#ifndef HF_BASE_SUGGEST_H
#define HF_BASE_SUGGEST_H

#include "base/base.h"

typedef struct Suggestion { /* zero-initialise */
  const char *best;         /* borrowed from the candidates; NULL: none is near */
  size_t distance;
} Suggestion;

/* Near is within a third of the longer word in edits (swaps of neighbours are one), or being its start. */
void suggest(Suggestion *s, Bytes word, const char *candidate);

#endif
