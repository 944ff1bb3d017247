/* blake3_impl.h: what the tree code in blake3.c and the compression kernels agree on. Private to the blake3*.c files.
 *
 * A kernel hashes many independent inputs that lie one after the other: whole chunks (leaves), or pairs of chaining
 * values (parents). The tree code never needs anything else in bulk; single blocks go through blake3_compress.
 */
#ifndef HF_CODEC_BLAKE3_IMPL_H
#define HF_CODEC_BLAKE3_IMPL_H

#include "base/base.h"

enum { BLAKE3_BLOCK_LEN = 64, BLAKE3_CHUNK_BLOCKS = 16, BLAKE3_CHUNK_SIZE = BLAKE3_BLOCK_LEN * BLAKE3_CHUNK_BLOCKS };

/* Domain flags (specification, table 3). */
enum {
  BLAKE3_CHUNK_START = 1 << 0,
  BLAKE3_CHUNK_END = 1 << 1,
  BLAKE3_PARENT = 1 << 2,
  BLAKE3_ROOT = 1 << 3,
  BLAKE3_KEYED_HASH = 1 << 4,
  BLAKE3_DERIVE_KEY_CONTEXT = 1 << 5,
  BLAKE3_DERIVE_KEY_MATERIAL = 1 << 6,
};

/* In the header, so that a kernel sees constants. */
static const uint32_t BLAKE3_IV[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/* The permutation of message words, applied 0 … 6 times: row r is the order in which round r takes them. Spelled as a
 * macro list so that kernels get literal indices and keep all words in registers. */
#define BLAKE3_ROUNDS(R)                                  \
  R(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) \
  R(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8) \
  R(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1) \
  R(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6) \
  R(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4) \
  R(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7) \
  R(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13)

/* One backend. `chunks` writes the chaining values of `count` whole chunks, the first having number `counter`;
 * `parents` those of `count` parent nodes, whose children are in[2i] and in[2i+1]; out may be the start of in. Both
 * without the ROOT flag. `flags` holds the mode's flags only. */
typedef struct Blake3Kernel {
  const char *name;
  void (*chunks)(const uint8_t *data, size_t count, const uint32_t key[8], uint64_t counter, uint32_t flags,
                 uint32_t (*out)[8]);
  void (*parents)(uint32_t (*in)[8], size_t count, const uint32_t key[8], uint32_t flags, uint32_t (*out)[8]);
} Blake3Kernel;

extern const Blake3Kernel BLAKE3_PORTABLE;
#ifdef __x86_64__
extern const Blake3Kernel BLAKE3_AVX2;
extern const Blake3Kernel BLAKE3_AVX512;
#endif

/* For kernels whose narrowest width is four lanes: what is left over (fewer than eight), the last lanes idle. */
typedef void Blake3FourChunks(const uint8_t *data, const uint32_t key[8], uint64_t counter, uint32_t flags,
                              uint32_t (*out)[8]);
typedef void Blake3FourParents(uint32_t (*in)[8], const uint32_t key[8], uint32_t flags, uint32_t (*out)[8]);
void blake3_rest_chunks(Blake3FourChunks *four, const uint8_t *data, size_t count, const uint32_t key[8],
                        uint64_t counter, uint32_t flags, uint32_t (*out)[8]);
void blake3_rest_parents(Blake3FourParents *four, uint32_t (*in)[8], size_t count, const uint32_t key[8],
                         uint32_t flags, uint32_t (*out)[8]);

/* The compression function: all 16 output words of one block. cv may be the start of out. */
void blake3_compress(const uint32_t cv[8], const uint8_t block[BLAKE3_BLOCK_LEN], uint32_t block_len, uint64_t counter,
                     uint32_t flags, uint32_t out[16]);

#endif
