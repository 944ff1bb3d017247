/* The compression function word by word (specification, section 2.2), and the kernel that uses nothing else. */
#include "codec/blake3_impl.h"

static inline uint32_t rotate_right(uint32_t x, unsigned n) { return (x >> n) | (x << (32 - n)); }

#define MIX(a, b, c, d, x, y)             \
  do {                                    \
    v[a] += v[b] + (x);                   \
    v[d] = rotate_right(v[d] ^ v[a], 16); \
    v[c] += v[d];                         \
    v[b] = rotate_right(v[b] ^ v[c], 12); \
    v[a] += v[b] + (y);                   \
    v[d] = rotate_right(v[d] ^ v[a], 8);  \
    v[c] += v[d];                         \
    v[b] = rotate_right(v[b] ^ v[c], 7);  \
  } while (0);

#define ROUND(a, b, c, d, e, f, g, h, i, j, k, l, n, o, p, q) \
  MIX(0, 4, 8, 12, m[a], m[b])                                \
  MIX(1, 5, 9, 13, m[c], m[d])                                \
  MIX(2, 6, 10, 14, m[e], m[f])                               \
  MIX(3, 7, 11, 15, m[g], m[h])                               \
  MIX(0, 5, 10, 15, m[i], m[j])                               \
  MIX(1, 6, 11, 12, m[k], m[l])                               \
  MIX(2, 7, 8, 13, m[n], m[o])                                \
  MIX(3, 4, 9, 14, m[p], m[q])

void blake3_compress(const uint32_t cv[8], const uint8_t block[BLAKE3_BLOCK_LEN], uint32_t block_len, uint64_t counter,
                     uint32_t flags, uint32_t out[16]) {
  uint32_t m[16];
  memcpy(m, block, sizeof(m)); /* little-endian, as base/buf.h asserts */
  uint32_t v[16] = {cv[0],
                    cv[1],
                    cv[2],
                    cv[3],
                    cv[4],
                    cv[5],
                    cv[6],
                    cv[7],
                    BLAKE3_IV[0],
                    BLAKE3_IV[1],
                    BLAKE3_IV[2],
                    BLAKE3_IV[3],
                    (uint32_t)counter,
                    (uint32_t)(counter >> 32),
                    block_len,
                    flags};
  BLAKE3_ROUNDS(ROUND)
  for (size_t i = 0; i < 8; i++) {
    uint32_t old = cv[i];
    out[i] = v[i] ^ v[i + 8];
    out[i + 8] = v[i + 8] ^ old;
  }
}

static void portable_chunks(const uint8_t *data, size_t count, const uint32_t key[8], uint64_t counter, uint32_t flags,
                            uint32_t (*out)[8]) {
  for (size_t i = 0; i < count; i++) {
    uint32_t state[16];
    memcpy(state, key, 32);
    for (size_t block = 0; block < BLAKE3_CHUNK_BLOCKS; block++) {
      uint32_t ends =
          (block == 0 ? BLAKE3_CHUNK_START : 0u) | (block == BLAKE3_CHUNK_BLOCKS - 1 ? BLAKE3_CHUNK_END : 0u);
      blake3_compress(state, data, BLAKE3_BLOCK_LEN, counter + i, flags | ends, state);
      data += BLAKE3_BLOCK_LEN;
    }
    memcpy(out[i], state, 32);
  }
}

static void portable_parents(uint32_t (*in)[8], size_t count, const uint32_t key[8], uint32_t flags,
                             uint32_t (*out)[8]) {
  for (size_t i = 0; i < count; i++) {
    uint32_t state[16];
    uint8_t block[BLAKE3_BLOCK_LEN];
    memcpy(block, in[2 * i], sizeof(block));
    blake3_compress(key, block, BLAKE3_BLOCK_LEN, 0, flags | BLAKE3_PARENT, state);
    memcpy(out[i], state, 32);
  }
}

const Blake3Kernel BLAKE3_PORTABLE = {.name = "portable", .chunks = portable_chunks, .parents = portable_parents};

void blake3_rest_chunks(Blake3FourChunks *four, const uint8_t *data, size_t count, const uint32_t key[8],
                        uint64_t counter, uint32_t flags, uint32_t (*out)[8]) {
  for (; count >= 4; count -= 4, data += (size_t)4 * BLAKE3_CHUNK_SIZE, counter += 4, out += 4)
    four(data, key, counter, flags, out);
  if (count == 0) return;
  uint8_t padded[4 * BLAKE3_CHUNK_SIZE] = {0};
  uint32_t cvs[4][8];
  memcpy(padded, data, count * BLAKE3_CHUNK_SIZE);
  four(padded, key, counter, flags, cvs);
  memcpy(out, cvs, count * sizeof(cvs[0]));
}

void blake3_rest_parents(Blake3FourParents *four, uint32_t (*in)[8], size_t count, const uint32_t key[8],
                         uint32_t flags, uint32_t (*out)[8]) {
  for (; count >= 4; count -= 4, in += 8, out += 4) four(in, key, flags, out);
  if (count == 0) return;
  uint32_t padded[8][8] = {{0}};
  uint32_t cvs[4][8];
  memcpy(padded, in, 2 * count * sizeof(padded[0]));
  four(padded, key, flags, cvs);
  memcpy(out, cvs, count * sizeof(cvs[0]));
}
