/* aead.h: AES-256-GCM (NIST SP 800-38D) over OpenSSL, one context per thread and key. Nonce = the 96-bit little-endian
 * number of the frame in its object; the key is one object's own, so a pair never repeats. */
#ifndef HF_CODEC_AEAD_H
#define HF_CODEC_AEAD_H

#include "base/error.h"

enum { AEAD_KEY_LEN = 32, AEAD_TAG_LEN = 16 };

typedef struct Aead Aead;

Aead *aead_new(void);
void aead_free(Aead *take); /* wipes the key schedule */
void aead_set_key(Aead *a, const uint8_t key[AEAD_KEY_LEN]);
/* out holds len + 16 bytes: ciphertext, tag. in may equal out. */
void aead_seal(Aead *a, uint64_t number, Bytes aad, const uint8_t *in, size_t len, uint8_t *out);
/* sealed is ciphertext and tag (len >= 16); out holds len - 16, may equal sealed.data. ERR_CORRUPT when it was not
 * sealed like this; out is then wiped. */
Error *aead_open(Aead *a, uint64_t number, Bytes aad, Bytes sealed, uint8_t *out) NODISCARD;

#endif
