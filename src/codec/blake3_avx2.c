/* Eight inputs at once in 256-bit registers; four where fewer are left. */
#include "codec/blake3_impl.h"

#ifdef __x86_64__
#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define INLINE TARGET static inline __attribute__((always_inline))
#include "codec/blake3_registers.h"

/* ---- 8 lanes ---- */

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

#define LANES 8
#define LANES_TARGET TARGET
#define LANES_NAME(x) x##_8
#include "codec/blake3_lanes.h"

/* ---- 4 lanes ---- */

INLINE Vec_4 rot16_4(Vec_4 x) {
  return (Vec_4)_mm_shuffle_epi8((__m128i)x, _mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
}
INLINE Vec_4 rot8_4(Vec_4 x) {
  return (Vec_4)_mm_shuffle_epi8((__m128i)x, _mm_setr_epi8(1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12));
}
INLINE Vec_4 rot12_4(Vec_4 x) { return x >> 12 | x << 20; }
INLINE Vec_4 rot7_4(Vec_4 x) { return x >> 7 | x << 25; }

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
