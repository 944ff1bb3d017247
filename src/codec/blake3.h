/* blake3.h: BLAKE3 from its specification (2021-11-02), plain, keyed and derive-key, with the subtree chaining values
 * that page fingerprints are made of. AVX-512, AVX2 or portable code is chosen once at run time.
 *
 * All functions are pure and thread-safe.
 */
#ifndef HF_CODEC_BLAKE3_H
#define HF_CODEC_BLAKE3_H

#include "base/base.h"

enum { BLAKE3_KEY_LEN = 32, BLAKE3_OUT_LEN = 32, BLAKE3_CHUNK_LEN = 1024 };

/* The whole input at once: the fast way. */
void blake3_hash(const void *data, size_t len, uint8_t out[BLAKE3_OUT_LEN]);
void blake3_keyed(const uint8_t key[BLAKE3_KEY_LEN], const void *data, size_t len, uint8_t out[BLAKE3_OUT_LEN]);
void blake3_derive_key(const char *context, const void *material, size_t len, uint8_t out[BLAKE3_OUT_LEN]);

/* One pass: the keyed hash of `data` (0 < len <= 256 KiB) and the chaining value of every aligned subtree of 4 KiB (4
 * chunks; the last may be shorter), computed as inner nodes, without the ROOT flag, even when it is the only one.
 * `fingerprints` receives the first 8 bytes of each, ceil(len / 4096) of them. */
void blake3_keyed_pages(const uint8_t key[BLAKE3_KEY_LEN], const void *data, size_t len, uint8_t out[BLAKE3_OUT_LEN],
                        uint64_t *fingerprints);

/* In pieces, for streams. Values, no allocation. */
typedef struct Blake3 {
  uint32_t key[8];
  uint32_t flags;
  uint8_t chunk[BLAKE3_CHUNK_LEN];
  size_t chunk_len;
  uint64_t chunks;
  uint32_t stack[54][8];
  size_t stack_len;
} Blake3;

void blake3_init(Blake3 *h);
void blake3_init_keyed(Blake3 *h, const uint8_t key[BLAKE3_KEY_LEN]);
void blake3_init_derive_key(Blake3 *h, const char *context);
void blake3_update(Blake3 *h, const void *data, size_t len);
void blake3_final(const Blake3 *h, uint8_t out[BLAKE3_OUT_LEN]);
void blake3_final_xof(const Blake3 *h, uint8_t *out, size_t out_len);

/* "avx512", "avx2" or "portable". */
const char *blake3_backend(void);
/* For tests and the benchmark: forces a backend for the process; false when the processor lacks it. NULL: automatic.
 * Not thread-safe. */
bool blake3_force_backend(const char *name);

#endif
