/* OpenSSL 3 looks ciphers up by name on every use unless told once; fetching, and the key schedule, are paid once per
 * key here, and a frame costs a change of the nonce only. Sealing and opening have a context each because a context
 * that changes its direction is set up again. */
#include "codec/aead.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/buf.h"
#include "base/mem.h"

enum { NONCE_LEN = 12 };

struct Aead {
  EVP_CIPHER *cipher;
  EVP_CIPHER_CTX *seal;
  EVP_CIPHER_CTX *open;
};

Aead *aead_new(void) {
  Aead *a = NEW(Aead);
  a->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
  a->seal = EVP_CIPHER_CTX_new();
  a->open = EVP_CIPHER_CTX_new();
  CHECK(a->cipher && a->seal && a->open);
  CHECK(EVP_EncryptInit_ex2(a->seal, a->cipher, NULL, NULL, NULL) == 1);
  CHECK(EVP_DecryptInit_ex2(a->open, a->cipher, NULL, NULL, NULL) == 1);
  return a;
}

void aead_free(Aead *take) {
  if (!take) return;
  EVP_CIPHER_CTX_free(take->seal); /* wipes the key schedule */
  EVP_CIPHER_CTX_free(take->open);
  EVP_CIPHER_free(take->cipher);
  free(take);
}

void aead_set_key(Aead *a, const uint8_t key[AEAD_KEY_LEN]) {
  CHECK(EVP_EncryptInit_ex2(a->seal, NULL, key, NULL, NULL) == 1);
  CHECK(EVP_DecryptInit_ex2(a->open, NULL, key, NULL, NULL) == 1);
}

static void nonce_of(uint64_t number, uint8_t out[NONCE_LEN]) {
  store_u64(out, number);
  store_u32(out + 8, 0);
}

/* One EVP call takes an int; frames are far below that, so more is a bug of ours. */
static int int_len(size_t len) {
  CHECK(len <= INT_MAX);
  return (int)len;
}

void aead_seal(Aead *a, uint64_t number, Bytes aad, const uint8_t *in, size_t len, uint8_t *out) {
  uint8_t nonce[NONCE_LEN];
  int done = 0;
  nonce_of(number, nonce);
  CHECK(EVP_EncryptInit_ex2(a->seal, NULL, NULL, nonce, NULL) == 1);
  if (aad.len > 0) CHECK(EVP_EncryptUpdate(a->seal, NULL, &done, aad.data, int_len(aad.len)) == 1);
  if (len > 0) CHECK(EVP_EncryptUpdate(a->seal, out, &done, in, int_len(len)) == 1 && (size_t)done == len);
  CHECK(EVP_EncryptFinal_ex(a->seal, out + len, &done) == 1 && done == 0);
  CHECK(EVP_CIPHER_CTX_ctrl(a->seal, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN, out + len) == 1);
}

Error *aead_open(Aead *a, uint64_t number, Bytes aad, Bytes sealed, uint8_t *out) {
  if (sealed.len < AEAD_TAG_LEN) return err_new(ERR_CORRUPT, "decrypting: shorter than its authentication tag");
  size_t len = sealed.len - AEAD_TAG_LEN;
  uint8_t nonce[NONCE_LEN];
  uint8_t tag[AEAD_TAG_LEN];
  int done = 0;
  nonce_of(number, nonce);
  memcpy(tag, sealed.data + len, sizeof(tag));
  CHECK(EVP_DecryptInit_ex2(a->open, NULL, NULL, nonce, NULL) == 1);
  if (aad.len > 0) CHECK(EVP_DecryptUpdate(a->open, NULL, &done, aad.data, int_len(aad.len)) == 1);
  if (len > 0) CHECK(EVP_DecryptUpdate(a->open, out, &done, sealed.data, int_len(len)) == 1 && (size_t)done == len);
  CHECK(EVP_CIPHER_CTX_ctrl(a->open, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN, tag) == 1);
  uint8_t none[1]; /* out may have no byte at all behind len */
  if (EVP_DecryptFinal_ex(a->open, none, &done) != 1) {
    if (len > 0) OPENSSL_cleanse(out, len);
    return err_new(ERR_CORRUPT, "decrypting: the authentication tag does not match");
  }
  return NULL;
}
