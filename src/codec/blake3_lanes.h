/* blake3_lanes.h: BLAKE3 over several inputs at once, one input a lane; included once per vector width by the SIMD
 * kernels (it has no include guard on purpose), which define before it
 *
 *   LANES            inputs at once: 4, 8 or 16
 *   LANES_TARGET     the function attribute that allows the instructions
 *   LANES_NAME(x)    the name of x for this width
 *
 * and for the vector type LANES_NAME(Vec) of LANES 32-bit words: splat (one word to all lanes), iota (0, 1, 2, …),
 * rot16, rot12, rot8, rot7, gather4 (the 16 bytes at p + i * stride of the lanes i = 0, 4, 8, 12, in this order),
 * scatter4 (the reverse), and low32, high32, low64, high64 (the unpack instructions, which work on 16-byte parts).
 *
 * It defines LANES_NAME(chunks) and LANES_NAME(parents) for exactly LANES inputs.
 */

#ifdef __clang__
/* Clang checks every use of an element of the state: with UBSan these files would take minutes to compile. */
#pragma clang attribute push(__attribute__((no_sanitize("alignment", "null", "object-size", "pointer-overflow"))), \
                             apply_to = function)
#endif

#define LANES_INLINE LANES_TARGET static inline __attribute__((always_inline))
#define LVEC LANES_NAME(Vec)

/* Four rows of one word each from four groups of lanes become four words of LANES lanes, and back. */
LANES_INLINE void LANES_NAME(transpose4)(LVEC r[4]) {
  LVEC a = LANES_NAME(low32)(r[0], r[1]);
  LVEC b = LANES_NAME(high32)(r[0], r[1]);
  LVEC c = LANES_NAME(low32)(r[2], r[3]);
  LVEC d = LANES_NAME(high32)(r[2], r[3]);
  r[0] = LANES_NAME(low64)(a, c);
  r[1] = LANES_NAME(high64)(a, c);
  r[2] = LANES_NAME(low64)(b, d);
  r[3] = LANES_NAME(high64)(b, d);
}

/* The message words of one block of every lane. */
LANES_INLINE void LANES_NAME(load)(const uint8_t *data, size_t stride, LVEC m[16]) {
#pragma GCC unroll 4
  for (size_t quad = 0; quad < 4; quad++) {
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) m[4 * quad + i] = LANES_NAME(gather4)(data + i * stride + 16 * quad, 4 * stride);
    LANES_NAME(transpose4)(m + 4 * quad);
  }
}

LANES_INLINE void LANES_NAME(store)(LVEC h[8], uint32_t (*out)[8]) {
  LANES_NAME(transpose4)(h);
  LANES_NAME(transpose4)(h + 4);
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; i++) {
    LANES_NAME(scatter4)(h[i], out[i]);
    LANES_NAME(scatter4)(h[4 + i], out[i] + 4);
  }
}

/* A quarter of the state in all four columns (or diagonals) at once: long chains, so the four are interleaved. */
#define LANES_ADD_MESSAGE(w, x, y, z) \
  v[0] += m[w];                       \
  v[1] += m[x];                       \
  v[2] += m[y];                       \
  v[3] += m[z];

#define LANES_HALF_MIX(b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, rot_d, rot_b) \
  v[0] += v[b0];                                                                     \
  v[1] += v[b1];                                                                     \
  v[2] += v[b2];                                                                     \
  v[3] += v[b3];                                                                     \
  v[d0] = LANES_NAME(rot_d)(v[d0] ^ v[0]);                                           \
  v[d1] = LANES_NAME(rot_d)(v[d1] ^ v[1]);                                           \
  v[d2] = LANES_NAME(rot_d)(v[d2] ^ v[2]);                                           \
  v[d3] = LANES_NAME(rot_d)(v[d3] ^ v[3]);                                           \
  v[c0] += v[d0];                                                                    \
  v[c1] += v[d1];                                                                    \
  v[c2] += v[d2];                                                                    \
  v[c3] += v[d3];                                                                    \
  v[b0] = LANES_NAME(rot_b)(v[b0] ^ v[c0]);                                          \
  v[b1] = LANES_NAME(rot_b)(v[b1] ^ v[c1]);                                          \
  v[b2] = LANES_NAME(rot_b)(v[b2] ^ v[c2]);                                          \
  v[b3] = LANES_NAME(rot_b)(v[b3] ^ v[c3]);

#define LANES_ROUND(a, b, c, d, e, f, g, h, i, j, k, l, n, o, p, q)      \
  LANES_ADD_MESSAGE(a, c, e, g)                                          \
  LANES_HALF_MIX(4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, rot16, rot12) \
  LANES_ADD_MESSAGE(b, d, f, h)                                          \
  LANES_HALF_MIX(4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, rot8, rot7)   \
  LANES_ADD_MESSAGE(i, k, n, p)                                          \
  LANES_HALF_MIX(5, 6, 7, 4, 10, 11, 8, 9, 15, 12, 13, 14, rot16, rot12) \
  LANES_ADD_MESSAGE(j, l, o, q)                                          \
  LANES_HALF_MIX(5, 6, 7, 4, 10, 11, 8, 9, 15, 12, 13, 14, rot8, rot7)

LANES_INLINE void LANES_NAME(compress)(LVEC cv[8], const LVEC m[16], LVEC counter_low, LVEC counter_high,
                                       uint32_t flags) {
  LVEC v[16];
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; i++) v[i] = cv[i];
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; i++) v[8 + i] = LANES_NAME(splat)(BLAKE3_IV[i]);
  v[12] = counter_low;
  v[13] = counter_high;
  v[14] = LANES_NAME(splat)(BLAKE3_BLOCK_LEN);
  v[15] = LANES_NAME(splat)(flags);
  BLAKE3_ROUNDS(LANES_ROUND)
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; i++) cv[i] = v[i] ^ v[i + 8];
}

LANES_INLINE void LANES_NAME(splat_key)(const uint32_t key[8], LVEC cv[8]) {
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; i++) cv[i] = LANES_NAME(splat)(key[i]);
}

LANES_TARGET static void LANES_NAME(chunks)(const uint8_t *data, const uint32_t key[8], uint64_t counter,
                                            uint32_t flags, uint32_t (*out)[8]) {
  LVEC cv[8];
  LVEC m[16];
  LANES_NAME(splat_key)(key, cv);
  /* Batches start at multiples of their lanes, so the low half does not overflow inside one. */
  LVEC low = LANES_NAME(iota)() + LANES_NAME(splat)((uint32_t)counter);
  LVEC high = LANES_NAME(splat)((uint32_t)(counter >> 32));
  for (size_t block = 0; block < BLAKE3_CHUNK_BLOCKS; block++) {
    uint32_t ends = (block == 0 ? BLAKE3_CHUNK_START : 0u) | (block == BLAKE3_CHUNK_BLOCKS - 1 ? BLAKE3_CHUNK_END : 0u);
    LANES_NAME(load)(data + block * BLAKE3_BLOCK_LEN, (size_t)BLAKE3_BLOCK_LEN * BLAKE3_CHUNK_BLOCKS, m);
    LANES_NAME(compress)(cv, m, low, high, flags | ends);
  }
  LANES_NAME(store)(cv, out);
}

LANES_TARGET static void LANES_NAME(parents)(uint32_t (*in)[8], const uint32_t key[8], uint32_t flags,
                                             uint32_t (*out)[8]) {
  LVEC cv[8];
  LVEC m[16];
  LVEC zero = LANES_NAME(splat)(0);
  LANES_NAME(splat_key)(key, cv);
  LANES_NAME(load)((const uint8_t *)in, BLAKE3_BLOCK_LEN, m);
  LANES_NAME(compress)(cv, m, zero, zero, flags | BLAKE3_PARENT);
  LANES_NAME(store)(cv, out);
}

#undef LANES
#undef LANES_TARGET
#undef LANES_NAME
#undef LANES_INLINE
#undef LVEC
#undef LANES_ADD_MESSAGE
#undef LANES_HALF_MIX
#undef LANES_ROUND

#ifdef __clang__
#pragma clang attribute pop
#endif
