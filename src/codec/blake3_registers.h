/* blake3_registers.h: what the AVX2 and the AVX-512 kernel have in common: registers of eight and of four lanes, but
 * for the rotations, which AVX-512 has an instruction for. The kernels include it after they have defined TARGET and
 * INLINE, which say for which processor it is compiled (it has no include guard on purpose). */

/* ---- 8 lanes ---- */

typedef uint32_t Vec_8 __attribute__((vector_size(32)));

INLINE Vec_8 splat_8(uint32_t x) { return (Vec_8)_mm256_set1_epi32((int)x); }
INLINE Vec_8 iota_8(void) { return (Vec_8){0, 1, 2, 3, 4, 5, 6, 7}; }
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

/* ---- 4 lanes ---- */

typedef uint32_t Vec_4 __attribute__((vector_size(16)));

INLINE Vec_4 splat_4(uint32_t x) { return (Vec_4)_mm_set1_epi32((int)x); }
INLINE Vec_4 iota_4(void) { return (Vec_4){0, 1, 2, 3}; }
INLINE Vec_4 gather4_4(const uint8_t *p, size_t stride) {
  (void)stride;
  return (Vec_4)_mm_loadu_si128((const __m128i *)p);
}
INLINE void scatter4_4(Vec_4 x, uint32_t *out) { _mm_storeu_si128((__m128i *)out, (__m128i)x); }
INLINE Vec_4 low32_4(Vec_4 a, Vec_4 b) { return (Vec_4)_mm_unpacklo_epi32((__m128i)a, (__m128i)b); }
INLINE Vec_4 high32_4(Vec_4 a, Vec_4 b) { return (Vec_4)_mm_unpackhi_epi32((__m128i)a, (__m128i)b); }
INLINE Vec_4 low64_4(Vec_4 a, Vec_4 b) { return (Vec_4)_mm_unpacklo_epi64((__m128i)a, (__m128i)b); }
INLINE Vec_4 high64_4(Vec_4 a, Vec_4 b) { return (Vec_4)_mm_unpackhi_epi64((__m128i)a, (__m128i)b); }
