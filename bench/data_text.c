#include "data_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOCABULARY = 12000, WORD_MAX = 16, TABLE = 1 << 16 };

struct Words {
  char word[VOCABULARY][WORD_MAX];
  uint8_t len[VOCABULARY];
  uint16_t zipf[TABLE]; /* a uniform 16-bit number picks a word by its frequency */
};

static const char *const COMMON[] = {
    "the",      "of",       "and",    "to",       "a",        "in",       "is",       "for",     "that",
    "with",     "was",      "on",     "not",      "be",       "by",       "from",     "or",      "have",
    "an",       "this",     "which",  "are",      "as",       "at",       "were",     "it",      "customer",
    "order",    "has",      "been",   "please",   "delivery", "after",    "before",   "when",    "but",
    "will",     "can",      "no",     "more",     "number",   "account",  "address",  "payment", "invoice",
    "received", "sent",     "still",  "waiting",  "call",     "back",     "week",     "day",     "month",
    "new",      "old",      "second", "first",    "last",     "next",     "return",   "refund",  "damaged",
    "box",      "item",     "stock",  "price",    "changed",  "request",  "support",  "ticket",  "closed",
    "opened",   "agreed",   "terms",  "contract", "renewal",  "discount", "approved", "manager", "asked",
    "about",    "question", "answer", "shipping", "carrier",  "tracking", "missing",  "found",   "warehouse",
    "morning",  "evening",  "office", "building", "floor",    "door",     "code",     "phone",   "mail",
    "letter",
};

static const char *const FIRST[] = {
    "Anna",   "Ben",    "Carla",  "David",   "Elif",   "Frank",  "Greta",   "Hassan", "Ines",   "Jonas",
    "Katrin", "Luca",   "Maria",  "Nikolai", "Olga",   "Paul",   "Quentin", "Rosa",   "Samir",  "Tanja",
    "Umut",   "Vera",   "Wanda",  "Xaver",   "Yasmin", "Zoran",  "Alice",   "Bruno",  "Chiara", "Diego",
    "Emma",   "Felix",  "Hannah", "Igor",    "Julia",  "Kenji",  "Lena",    "Mateo",  "Nora",   "Oscar",
    "Petra",  "Rafael", "Sofia",  "Thomas",  "Ulrike", "Viktor", "William", "Ximena", "Yuki",   "Zeynep",
};

static const char *const LAST[] = {
    "Andersson", "Becker",  "Costa",   "Dubois",  "Eriksen", "Fischer",    "Garcia",  "Hoffmann", "Ivanova",   "Jansen",
    "Kowalski",  "Lehmann", "Moretti", "Novak",   "Okafor",  "Petersen",   "Quinn",   "Rossi",    "Schneider", "Tanaka",
    "Ueda",      "Varga",   "Weber",   "Xu",      "Yilmaz",  "Zimmermann", "Almeida", "Bauer",    "Castro",    "Diaz",
    "Fernandez", "Gruber",  "Horvath", "Ibrahim", "Johnson", "Keller",     "Larsen",  "Martin",   "Nilsson",   "Olsen",
    "Pereira",   "Richter", "Silva",   "Toth",    "Urban",   "Vogel",      "Wagner",  "Young",    "Zhang",     "Murphy",
};

static const char *const STREET[] = {"Main Street",  "Station Road",  "Church Lane",   "Park Avenue",   "Mill Road",
                                     "High Street",  "Victoria Road", "Garden Street", "Forest Way",    "River Road",
                                     "School Lane",  "Castle Street", "Market Square", "Bridge Street", "Lindenallee",
                                     "Hauptstrasse", "Rue du Port",   "Via Roma",      "Calle Mayor",   "Ringweg"};

static const char *const CITY[] = {"Amsterdam", "Berlin",    "Copenhagen", "Dublin", "Edinburgh", "Florence", "Geneva",
                                   "Hamburg",   "Istanbul",  "Krakow",     "Lisbon", "Madrid",    "Naples",   "Oslo",
                                   "Prague",    "Rotterdam", "Sofia",      "Turin",  "Utrecht",   "Vienna",   "Warsaw",
                                   "Zurich",    "Bremen",    "Lyon",       "Porto",  "Gdansk",    "Bergen",   "Ghent"};

static const char *const COUNTRY[] = {"NL", "DE", "DK", "IE", "GB", "IT", "CH",
                                      "TR", "PL", "PT", "ES", "NO", "CZ", "FR"};

static const char *const KIND[] = {"page.view",          "cart.add",       "cart.remove",  "order.created",
                                   "payment.authorised", "login.success",  "login.failed", "search.query",
                                   "profile.update",     "mail.delivered", "stock.change", "shipment.update"};

static const char *const STATUS[] = {"new", "paid", "packed", "shipped", "delivered", "returned", "cancelled"};

static const char *const AGENT[] = {
    "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/124.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15", "okhttp/4.12.0",
    "shop-app/3.8.1 (Android 14)"};

#define PICK(rng, list) ((list)[rng_below((rng), sizeof(list) / sizeof((list)[0]))])

uint64_t rng_next(Rng *rng) {
  uint64_t z = (rng->state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

uint64_t rng_below(Rng *rng, uint64_t limit) { return (uint64_t)(((__uint128_t)rng_next(rng) * limit) >> 64); }

static void words_make(char word[WORD_MAX], Rng *rng) {
  static const char *const onset[] = {"b", "br", "c",  "ch", "d", "f", "g",  "gr", "h",  "k", "l", "m",
                                      "n", "p",  "pr", "qu", "r", "s", "st", "t",  "tr", "v", "w", "z"};
  static const char *const vowel[] = {"a", "e", "i", "o", "u", "ai", "ea", "ou"};
  static const char *const coda[] = {"", "", "", "n", "r", "s", "t", "l", "nd", "st", "ck", "ng"};
  char made[64] = "";
  size_t len = 0;
  for (uint64_t syllables = 1 + rng_below(rng, 3); syllables > 0; syllables--)
    len +=
        (size_t)snprintf(made + len, sizeof made - len, "%s%s%s", PICK(rng, onset), PICK(rng, vowel), PICK(rng, coda));
  snprintf(word, WORD_MAX, "%.*s", WORD_MAX - 1, made);
}

Words *words_new(void) {
  Words *words = calloc(1, sizeof *words);
  if (!words) abort();
  Rng rng = {.state = 42};
  double sum = 0;
  for (size_t i = 0; i < VOCABULARY; i++) {
    if (i < sizeof COMMON / sizeof COMMON[0])
      snprintf(words->word[i], WORD_MAX, "%s", COMMON[i]);
    else
      words_make(words->word[i], &rng);
    words->len[i] = (uint8_t)strlen(words->word[i]);
    sum += 1.0 / (double)(i + 2);
  }
  size_t rank = 0;
  double below = 1.0 / 2.0 / sum;
  for (size_t i = 0; i < TABLE; i++) {
    while (rank + 1 < VOCABULARY && (double)i / TABLE >= below) {
      rank++;
      below += 1.0 / (double)(rank + 2) / sum;
    }
    words->zipf[i] = (uint16_t)rank;
  }
  return words;
}

void words_free(Words *take) { free(take); }

void text_add(Text *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int len = vsnprintf(t->data + t->len, t->cap - t->len, format, args);
  va_end(args);
  if (len > 0) t->len += (size_t)len < t->cap - t->len ? (size_t)len : t->cap - t->len - 1;
}

static void text_put(Text *t, const char *data, size_t len) {
  if (len >= t->cap - t->len) len = t->cap - t->len - 1;
  memcpy(t->data + t->len, data, len);
  t->len += len;
  t->data[t->len] = '\0';
}

void text_hex(Text *t, Rng *rng, unsigned digits) {
  uint64_t bits = 0;
  for (unsigned i = 0; i < digits; i++) {
    if (i % 16 == 0) bits = rng_next(rng);
    text_put(t, &"0123456789abcdef"[bits & 15], 1);
    bits >>= 4;
  }
}

void text_sentences(Text *t, const Words *words, Rng *rng, unsigned count) {
  for (unsigned s = 0; s < count; s++) {
    size_t start = t->len;
    uint64_t bits = 0;
    for (uint64_t n = 5 + rng_below(rng, 14), i = 0; i < n; i++) {
      if (i % 4 == 0) bits = rng_next(rng);
      size_t w = words->zipf[bits & (TABLE - 1)];
      bits >>= 16;
      if (i > 0) text_put(t, " ", 1);
      text_put(t, words->word[w], words->len[w]);
    }
    if (start < t->len && t->data[start] >= 'a') t->data[start] = (char)(t->data[start] - 'a' + 'A');
    text_put(t, s + 1 < count ? ". " : ".", s + 1 < count ? 2 : 1);
  }
}

void text_json_event(Text *t, const Words *words, Rng *rng, uint64_t number, const char *kind) {
  text_add(t, "{\"id\":%llu,\"kind\":\"%s\",\"session\":\"", (unsigned long long)number, kind);
  text_hex(t, rng, 16);
  uint64_t ip = rng_next(rng);
  text_add(t, "\",\"ip\":\"%u.%u.%u.%u\",\"agent\":\"%s\",\"duration_ms\":%u", 10 + (unsigned)(ip & 127),
           (unsigned)(ip >> 8 & 255), (unsigned)(ip >> 16 & 255), (unsigned)(ip >> 24 & 255), PICK(rng, AGENT),
           (unsigned)rng_below(rng, 20000));
  if (rng_below(rng, 2)) {
    text_add(t, ",\"items\":[");
    for (uint64_t n = 1 + rng_below(rng, 4), i = 0; i < n; i++)
      text_add(t, "%s{\"sku\":\"SKU-%05u\",\"quantity\":%u,\"price\":%u.%02u}", i ? "," : "",
               (unsigned)rng_below(rng, 20000), 1 + (unsigned)rng_below(rng, 5), (unsigned)rng_below(rng, 500),
               (unsigned)rng_below(rng, 100));
    text_add(t, "]");
  }
  if (rng_below(rng, 2)) {
    text_add(t, ",\"message\":\"");
    text_sentences(t, words, rng, 1 + (unsigned)rng_below(rng, 2));
    text_add(t, "\"");
  }
  text_add(t, ",\"ok\":%s}", rng_below(rng, 20) ? "true" : "false");
}

const char *data_first_name(Rng *rng) { return PICK(rng, FIRST); }
const char *data_last_name(Rng *rng) { return PICK(rng, LAST); }
const char *data_street(Rng *rng) { return PICK(rng, STREET); }
const char *data_city(Rng *rng) { return PICK(rng, CITY); }
const char *data_country(Rng *rng) { return PICK(rng, COUNTRY); }
const char *data_event_kind(Rng *rng) { return PICK(rng, KIND); }
const char *data_order_status(Rng *rng) { return PICK(rng, STATUS); }
