/* data_text.h: seeded text that looks like what people and programs keep in databases: names, addresses, sentences with
 * a Zipf distribution of words, JSON events. It compresses like the real thing: about 3:1 as pages with zstd -1.
 *
 * A Rng is the whole state; the same seed gives the same text on every machine.
 */
#ifndef HF_BENCH_DATA_TEXT_H
#define HF_BENCH_DATA_TEXT_H

#include <stddef.h>
#include <stdint.h>

typedef struct Rng {
  uint64_t state;
} Rng;

uint64_t rng_next(Rng *rng);
uint64_t rng_below(Rng *rng, uint64_t limit); /* 0 .. limit - 1; limit > 0 */

/* The words, built once before any text is made. */
typedef struct Words Words;
Words *words_new(void);
void words_free(Words *take);

/* A piece of text being written: what does not fit is cut off. Always terminated. */
typedef struct Text {
  char *data;
  size_t cap, len;
} Text;

void text_add(Text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_sentences(Text *t, const Words *words, Rng *rng, unsigned count);
void text_hex(Text *t, Rng *rng, unsigned digits);
/* A JSON object: an event of an application, 150 to 500 bytes. */
void text_json_event(Text *t, const Words *words, Rng *rng, uint64_t number, const char *kind);

const char *data_first_name(Rng *rng);
const char *data_last_name(Rng *rng);
const char *data_street(Rng *rng);
const char *data_city(Rng *rng);
const char *data_country(Rng *rng);
const char *data_event_kind(Rng *rng);
const char *data_order_status(Rng *rng);

#endif
