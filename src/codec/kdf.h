/* kdf.h: keys from keys and from passphrases, and boxes that only the holder of a private key opens. */
#ifndef HF_CODEC_KDF_H
#define HF_CODEC_KDF_H

#include "base/error.h"

enum { KEY_LEN = 32, BOX_PUBLIC_LEN = 32, BOX_SECRET_LEN = 32, BOX_OVERHEAD = 48 };

/* HKDF-SHA256 (RFC 5869): salt may be empty. `info` is text such as "holdfast/pack" followed by `context`. */
void kdf_hkdf(const uint8_t key[KEY_LEN], Bytes salt, const char *info, Bytes context, uint8_t out[KEY_LEN]);
/* The same from a key of any length (a key file). */
void kdf_hkdf_bytes(Bytes key, Bytes salt, const char *info, uint8_t out[KEY_LEN]);

typedef struct Argon2Params {
  uint32_t memory_kib; /* 8 … 1 GiB in KiB */
  uint32_t passes;     /* 1 … 64 */
} Argon2Params;
extern const Argon2Params ARGON2_DEFAULT; /* 64 MiB, 3 passes */

/* Argon2id v1.3, one lane (libsodium). ERR_LIMIT outside the ranges, ERR_IO when memory is short. */
Error *kdf_argon2id(Bytes passphrase, const uint8_t salt[16], Argon2Params params, uint8_t out[KEY_LEN]) NODISCARD;

/* X25519 sealed boxes (libsodium crypto_box_seal). */
void box_keypair(const uint8_t seed[KEY_LEN], uint8_t public_key[BOX_PUBLIC_LEN], uint8_t secret_key[BOX_SECRET_LEN]);
void box_seal(const uint8_t public_key[BOX_PUBLIC_LEN], Bytes message, uint8_t *out /* len + BOX_OVERHEAD */);
/* ERR_CORRUPT when it was not sealed to this key. out holds sealed.len - BOX_OVERHEAD. */
Error *box_open(const uint8_t public_key[BOX_PUBLIC_LEN], const uint8_t secret_key[BOX_SECRET_LEN], Bytes sealed,
                uint8_t *out) NODISCARD;

#endif
