/* The hash of a position is a sum over the 64 bytes before it (each shift moves a byte's value one bit further, out
 * after 64), so a boundary depends on its neighbourhood only and two streams that differ meet again after the
 * difference. The scan starts 64 bytes before `min` to have a full window at the first place that may be a boundary.
 *
 * The masks are the top bits, which all 64 bytes of the window have touched.
 */
#include "codec/chunker.h"

#include "codec/blake3.h"

enum { WINDOW = 64, NORMALISATION = 2 };

void chunker_init_sizes(Chunker *c, const uint8_t key[32], size_t min, size_t avg, size_t max) {
  CHECK(min >= WINDOW && min <= avg && avg <= max);
  CHECK((avg & (avg - 1)) == 0 && avg <= ((size_t)1 << 40));
  static const char purpose[] = "holdfast/chunker/gear";
  Blake3 h;
  blake3_init_keyed(&h, key);
  blake3_update(&h, purpose, sizeof(purpose) - 1);
  uint8_t table[sizeof(c->gear)];
  blake3_final_xof(&h, table, sizeof(table));
  memcpy(c->gear, table, sizeof(table));
  int bits = __builtin_ctzll(avg);
  c->mask_small = ~UINT64_C(0) << (64 - (bits + NORMALISATION));
  c->mask_large = ~UINT64_C(0) << (64 - (bits - NORMALISATION));
  c->min = min;
  c->avg = avg;
  c->max = max;
}

void chunker_init(Chunker *c, const uint8_t key[32]) { chunker_init_sizes(c, key, 64 * KIB, 256 * KIB, MIB); }

/* The first position in [from, to) after whose byte the hash has no bit of `mask`; `to` when there is none. *hash
 * comes in for the bytes before `from` and goes out for the bytes before `to`. */
static size_t scan(const uint64_t gear[256], uint64_t mask, const uint8_t *data, size_t from, size_t to,
                   uint64_t *hash) {
  uint64_t h = *hash;
  size_t i = from;
  for (; i + 4 <= to; i += 4) {
    /* Written so that only one shift and one addition wait for the previous four bytes: the sums of table values come
     * first, the old hash joins them shifted by one to four. */
    uint64_t sum1 = gear[data[i]];
    uint64_t sum2 = (sum1 << 1) + gear[data[i + 1]];
    uint64_t sum3 = (sum2 << 1) + gear[data[i + 2]];
    uint64_t sum4 = (sum3 << 1) + gear[data[i + 3]];
    if (__builtin_expect(((sum1 + (h << 1)) & mask) == 0, 0)) return i;
    if (__builtin_expect(((sum2 + (h << 2)) & mask) == 0, 0)) return i + 1;
    if (__builtin_expect(((sum3 + (h << 3)) & mask) == 0, 0)) return i + 2;
    h = sum4 + (h << 4);
    if (__builtin_expect((h & mask) == 0, 0)) return i + 3;
  }
  for (; i < to; i++) {
    h = (h << 1) + gear[data[i]];
    if ((h & mask) == 0) return i;
  }
  *hash = h;
  return to;
}

size_t chunker_cut(const Chunker *c, const uint8_t *data, size_t len) {
  CHECK(len > 0);
  if (len <= c->min) return len;
  size_t end = len < c->max ? len : c->max;
  size_t middle = end < c->avg ? end : c->avg;
  uint64_t hash = 0;
  for (size_t i = c->min - WINDOW; i < c->min; i++) hash = (hash << 1) + c->gear[data[i]];
  /* A boundary lies behind the byte that completes its hash, so the shortest chunk that ends by content is min + 1. */
  size_t at = scan(c->gear, c->mask_small, data, c->min, middle, &hash);
  if (at < middle) return at + 1;
  at = scan(c->gear, c->mask_large, data, middle, end, &hash);
  return at < end ? at + 1 : end;
}
