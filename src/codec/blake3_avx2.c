/* Eight inputs at once in 256-bit registers; four where fewer are left. */
#include "codec/blake3_impl.h"

#ifdef __x86_64__
#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define INLINE TARGET static inline __attribute__((always_inline))

/* ---- 8 lanes ---- */

typedef uint32_t Vec_8 __attribute__((vector_size(32)));

INLINE Vec_8 splat_8(uint32_t x) { return (Vec_8)_mm256_set1_epi32((int)x); }
INLINE Vec_8 iota_8(void) { return (Vec_8){0, 1, 2, 3, 4, 5, 6, 7}; }
/* Rotations by whole bytes are one shuffle. */
INLINE Vec_8 rot16_8(Vec_8 x) {
  return (Vec_8)_mm256_shuffle_epi8((__m256i)x, _mm256_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
                                                                 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
}
INLINE Vec_8 rot8_8(Vec_8 x) {
  return (Vec_8)_mm256_shuffle_epi8((__m256i)x, _mm256_setr_epi8(1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12,
                                                                 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12));
}
INLINE Vec_8 rot12_8(Vec_8 x) { return x >> 12 | x << 20; }
INLINE Vec_8 rot7_8(Vec_8 x) { return x >> 7 | x << 25; }
INLINE Vec_8 gather4_8(const uint8_t *p, size_t stride) {
  __m256i low = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p));
  return (Vec_8)_mm256_inserti128_si256(low, _mm_loadu_si128((const __m128i *)(p + stride)), 1);
}
INLINE void scatter4_8(Vec_8 x, uint32_t *out) {
  _mm_storeu_si128((__m128i *)out, _mm256_castsi256_si128((__m256i)x));
  _mm_storeu_si128((__m128i *)(out + 32), _mm256_extracti128_si256((__m256i)x, 1));
}
INLINE Vec_8 low32_8(Vec_8 a, Vec_8 b) { return (Vec_8)_mm256_unpacklo_epi32((__m256i)a, (__m256i)b); }
INLINE Vec_8 high32_8(Vec_8 a, Vec_8 b) { return (Vec_8)_mm256_unpackhi_epi32((__m256i)a, (__m256i)b); }
INLINE Vec_8 low64_8(Vec_8 a, Vec_8 b) { return (Vec_8)_mm256_unpacklo_epi64((__m256i)a, (__m256i)b); }
INLINE Vec_8 high64_8(Vec_8 a, Vec_8 b) { return (Vec_8)_mm256_unpackhi_epi64((__m256i)a, (__m256i)b); }

#define LANES 8
#define LANES_TARGET TARGET
#define LANES_NAME(x) x##_8
#include "codec/blake3_lanes.h"

/* ---- 4 lanes ---- */

typedef uint32_t Vec_4 __attribute__((vector_size(16)));

INLINE Vec_4 splat_4(uint32_t x) { return (Vec_4)_mm_set1_epi32((int)x); }
INLINE Vec_4 iota_4(void) { return (Vec_4){0, 1, 2, 3}; }
INLINE Vec_4 rot16_4(Vec_4 x) {
  return (Vec_4)_mm_shuffle_epi8((__m128i)x, _mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
}
INLINE Vec_4 rot8_4(Vec_4 x) {
  return (Vec_4)_mm_shuffle_epi8((__m128i)x, _mm_setr_epi8(1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12));
}
INLINE Vec_4 rot12_4(Vec_4 x) { return x >> 12 | x << 20; }
INLINE Vec_4 rot7_4(Vec_4 x) { return x >> 7 | x << 25; }
INLINE Vec_4 gather4_4(const uint8_t *p, size_t stride) {
  (void)stride;
  return (Vec_4)_mm_loadu_si128((const __m128i *)p);
}
INLINE void scatter4_4(Vec_4 x, uint32_t *out) { _mm_storeu_si128((__m128i *)out, (__m128i)x); }
INLINE Vec_4 low32_4(Vec_4 a, Vec_4 b) { return (Vec_4)_mm_unpacklo_epi32((__m128i)a, (__m128i)b); }
INLINE Vec_4 high32_4(Vec_4 a, Vec_4 b) { return (Vec_4)_mm_unpackhi_epi32((__m128i)a, (__m128i)b); }
INLINE Vec_4 low64_4(Vec_4 a, Vec_4 b) { return (Vec_4)_mm_unpacklo_epi64((__m128i)a, (__m128i)b); }
INLINE Vec_4 high64_4(Vec_4 a, Vec_4 b) { return (Vec_4)_mm_unpackhi_epi64((__m128i)a, (__m128i)b); }

#define LANES 4
#define LANES_TARGET TARGET
#define LANES_NAME(x) x##_4
#include "codec/blake3_lanes.h"

/* ---- the kernel ---- */

static void avx2_chunks(const uint8_t *data, size_t count, const uint32_t key[8], uint64_t counter, uint32_t flags,
                        uint32_t (*out)[8]) {
  for (; count >= 8; count -= 8, data += 8 * BLAKE3_CHUNK_SIZE, counter += 8, out += 8)
    chunks_8(data, key, counter, flags, out);
  blake3_rest_chunks(chunks_4, data, count, key, counter, flags, out);
}

static void avx2_parents(uint32_t (*in)[8], size_t count, const uint32_t key[8], uint32_t flags, uint32_t (*out)[8]) {
  for (; count >= 8; count -= 8, in += 16, out += 8) parents_8(in, key, flags, out);
  blake3_rest_parents(parents_4, in, count, key, flags, out);
}

const Blake3Kernel BLAKE3_AVX2 = {.name = "avx2", .chunks = avx2_chunks, .parents = avx2_parents};
#endif
