/* HKDF needs one block of output only, so it is two HMACs written out; libsodium's HMAC neither allocates nor fails. */
#include "codec/kdf.h"

#include <sodium.h>

const Argon2Params ARGON2_DEFAULT = {.memory_kib = 64 * 1024, .passes = 3};

enum { ARGON2_MIN_KIB = 8, ARGON2_MAX_KIB = 1024 * 1024, ARGON2_MAX_PASSES = 64 };
_Static_assert(crypto_auth_hmacsha256_BYTES == KEY_LEN, "one HKDF block is one key");
_Static_assert(crypto_pwhash_SALTBYTES == 16, "the salt of kdf_argon2id");
_Static_assert(crypto_box_SEALBYTES == BOX_OVERHEAD, "the overhead of a sealed box");
_Static_assert(crypto_box_PUBLICKEYBYTES == BOX_PUBLIC_LEN && crypto_box_SECRETKEYBYTES == BOX_SECRET_LEN &&
                   crypto_box_SEEDBYTES == KEY_LEN,
               "the keys of a sealed box");

/* An empty message has no address to give; libsodium's prototypes ask for one. */
static const uint8_t *address(Bytes b) {
  static const uint8_t nothing = 0;
  return b.len > 0 ? b.data : &nothing;
}

static void hkdf(Bytes key, Bytes salt, Bytes info, Bytes context, uint8_t out[KEY_LEN]) {
  static const uint8_t block_number = 1;
  crypto_auth_hmacsha256_state state;
  uint8_t prk[crypto_auth_hmacsha256_BYTES];
  crypto_auth_hmacsha256_init(&state, address(salt), salt.len); /* RFC 5869: no salt equals 32 zero bytes, as in HMAC */
  crypto_auth_hmacsha256_update(&state, address(key), key.len);
  crypto_auth_hmacsha256_final(&state, prk);
  crypto_auth_hmacsha256_init(&state, prk, sizeof(prk));
  crypto_auth_hmacsha256_update(&state, address(info), info.len);
  crypto_auth_hmacsha256_update(&state, address(context), context.len);
  crypto_auth_hmacsha256_update(&state, &block_number, 1);
  crypto_auth_hmacsha256_final(&state, out);
  sodium_memzero(prk, sizeof(prk));
  sodium_memzero(&state, sizeof(state));
}

void kdf_hkdf(const uint8_t key[KEY_LEN], Bytes salt, const char *info, Bytes context, uint8_t out[KEY_LEN]) {
  hkdf(bytes(key, KEY_LEN), salt, bytes_str(info), context, out);
}

void kdf_hkdf_bytes(Bytes key, Bytes salt, const char *info, uint8_t out[KEY_LEN]) {
  hkdf(key, salt, bytes_str(info), bytes(NULL, 0), out);
}

Error *kdf_argon2id(Bytes passphrase, const uint8_t salt[16], Argon2Params params, uint8_t out[KEY_LEN]) {
  if (params.memory_kib < ARGON2_MIN_KIB || params.memory_kib > ARGON2_MAX_KIB || params.passes < 1 ||
      params.passes > ARGON2_MAX_PASSES)
    return err_new(ERR_LIMIT, "deriving a key from the passphrase: Argon2id with %u KiB and %u passes is out of range",
                   params.memory_kib, params.passes);
  CHECK(sodium_init() >= 0);
  uint8_t key[KEY_LEN];
  int failed = crypto_pwhash(key, sizeof(key), (const char *)address(passphrase), passphrase.len, salt, params.passes,
                             (size_t)params.memory_kib * 1024, crypto_pwhash_ALG_ARGON2ID13);
  if (failed)
    return err_hint(
        err_new(ERR_IO, "deriving a key from the passphrase: no memory (%u MiB needed)", params.memory_kib / 1024),
        "raise the memory limit of this process, or use a key file, which needs none");
  memcpy(out, key, sizeof(key));
  sodium_memzero(key, sizeof(key));
  return NULL;
}

void box_keypair(const uint8_t seed[KEY_LEN], uint8_t public_key[BOX_PUBLIC_LEN], uint8_t secret_key[BOX_SECRET_LEN]) {
  CHECK(sodium_init() >= 0);
  CHECK(crypto_box_seed_keypair(public_key, secret_key, seed) == 0);
}

void box_seal(const uint8_t public_key[BOX_PUBLIC_LEN], Bytes message, uint8_t *out) {
  CHECK(sodium_init() >= 0);
  CHECK(crypto_box_seal(out, address(message), message.len, public_key) == 0);
}

Error *box_open(const uint8_t public_key[BOX_PUBLIC_LEN], const uint8_t secret_key[BOX_SECRET_LEN], Bytes sealed,
                uint8_t *out) {
  CHECK(sodium_init() >= 0);
  if (sealed.len < BOX_OVERHEAD || crypto_box_seal_open(out, sealed.data, sealed.len, public_key, secret_key) != 0)
    return err_new(ERR_CORRUPT, "opening a sealed box: it was not sealed to this key, or its bytes changed");
  return NULL;
}
