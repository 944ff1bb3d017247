/* Sixteen inputs at once in 512-bit registers: the 16 words of state and the 16 of message fill the register file
 * exactly, and a rotation is one instruction. Eight and four (AVX-512VL) where fewer are left. */
#include "codec/blake3_impl.h"

#ifdef __x86_64__
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512vl,avx2")))
#define INLINE TARGET static inline __attribute__((always_inline))
#include "codec/blake3_registers.h"

/* ---- 16 lanes ---- */

typedef uint32_t Vec_16 __attribute__((vector_size(64)));

INLINE Vec_16 splat_16(uint32_t x) { return (Vec_16)_mm512_set1_epi32((int)x); }
INLINE Vec_16 iota_16(void) { return (Vec_16){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }
INLINE Vec_16 rot16_16(Vec_16 x) { return (Vec_16)_mm512_ror_epi32((__m512i)x, 16); }
INLINE Vec_16 rot12_16(Vec_16 x) { return (Vec_16)_mm512_ror_epi32((__m512i)x, 12); }
INLINE Vec_16 rot8_16(Vec_16 x) { return (Vec_16)_mm512_ror_epi32((__m512i)x, 8); }
INLINE Vec_16 rot7_16(Vec_16 x) { return (Vec_16)_mm512_ror_epi32((__m512i)x, 7); }
INLINE Vec_16 gather4_16(const uint8_t *p, size_t stride) {
  __m512i x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
  x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(p + stride)), 1);
  x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(p + 2 * stride)), 2);
  return (Vec_16)_mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(p + 3 * stride)), 3);
}
INLINE void scatter4_16(Vec_16 x, uint32_t *out) {
  _mm_storeu_si128((__m128i *)out, _mm512_castsi512_si128((__m512i)x));
  _mm_storeu_si128((__m128i *)(out + 32), _mm512_extracti32x4_epi32((__m512i)x, 1));
  _mm_storeu_si128((__m128i *)(out + 64), _mm512_extracti32x4_epi32((__m512i)x, 2));
  _mm_storeu_si128((__m128i *)(out + 96), _mm512_extracti32x4_epi32((__m512i)x, 3));
}
INLINE Vec_16 low32_16(Vec_16 a, Vec_16 b) { return (Vec_16)_mm512_unpacklo_epi32((__m512i)a, (__m512i)b); }
INLINE Vec_16 high32_16(Vec_16 a, Vec_16 b) { return (Vec_16)_mm512_unpackhi_epi32((__m512i)a, (__m512i)b); }
INLINE Vec_16 low64_16(Vec_16 a, Vec_16 b) { return (Vec_16)_mm512_unpacklo_epi64((__m512i)a, (__m512i)b); }
INLINE Vec_16 high64_16(Vec_16 a, Vec_16 b) { return (Vec_16)_mm512_unpackhi_epi64((__m512i)a, (__m512i)b); }

#define LANES 16
#define LANES_TARGET TARGET
#define LANES_NAME(x) x##_16
#include "codec/blake3_lanes.h"

/* ---- 8 lanes ---- */

INLINE Vec_8 rot16_8(Vec_8 x) { return (Vec_8)_mm256_ror_epi32((__m256i)x, 16); }
INLINE Vec_8 rot12_8(Vec_8 x) { return (Vec_8)_mm256_ror_epi32((__m256i)x, 12); }
INLINE Vec_8 rot8_8(Vec_8 x) { return (Vec_8)_mm256_ror_epi32((__m256i)x, 8); }
INLINE Vec_8 rot7_8(Vec_8 x) { return (Vec_8)_mm256_ror_epi32((__m256i)x, 7); }

#define LANES 8
#define LANES_TARGET TARGET
#define LANES_NAME(x) x##_8
#include "codec/blake3_lanes.h"

/* ---- 4 lanes ---- */

INLINE Vec_4 rot16_4(Vec_4 x) { return (Vec_4)_mm_ror_epi32((__m128i)x, 16); }
INLINE Vec_4 rot12_4(Vec_4 x) { return (Vec_4)_mm_ror_epi32((__m128i)x, 12); }
INLINE Vec_4 rot8_4(Vec_4 x) { return (Vec_4)_mm_ror_epi32((__m128i)x, 8); }
INLINE Vec_4 rot7_4(Vec_4 x) { return (Vec_4)_mm_ror_epi32((__m128i)x, 7); }

#define LANES 4
#define LANES_TARGET TARGET
#define LANES_NAME(x) x##_4
#include "codec/blake3_lanes.h"

/* ---- the kernel ---- */

static void avx512_chunks(const uint8_t *data, size_t count, const uint32_t key[8], uint64_t counter, uint32_t flags,
                          uint32_t (*out)[8]) {
  for (; count >= 16; count -= 16, data += 16 * BLAKE3_CHUNK_SIZE, counter += 16, out += 16)
    chunks_16(data, key, counter, flags, out);
  for (; count >= 8; count -= 8, data += 8 * BLAKE3_CHUNK_SIZE, counter += 8, out += 8)
    chunks_8(data, key, counter, flags, out);
  blake3_rest_chunks(chunks_4, data, count, key, counter, flags, out);
}

static void avx512_parents(uint32_t (*in)[8], size_t count, const uint32_t key[8], uint32_t flags, uint32_t (*out)[8]) {
  for (; count >= 16; count -= 16, in += 32, out += 16) parents_16(in, key, flags, out);
  for (; count >= 8; count -= 8, in += 16, out += 8) parents_8(in, key, flags, out);
  blake3_rest_parents(parents_4, in, count, key, flags, out);
}

const Blake3Kernel BLAKE3_AVX512 = {.name = "avx512", .chunks = avx512_chunks, .parents = avx512_parents};
#endif
