/* slot.h: the ways to unlock a repository. A slot's secret (passphrase, key file, recovery code) gives an X25519 key
 * pair; the root key is sealed to its public half in keys/<slot>, the epochs' secrets in the keyring (grant.h). A new
 * epoch can therefore be given to every slot without knowing their secrets. */
#ifndef HF_REPO_SLOT_H
#define HF_REPO_SLOT_H

#include "base/buf.h"
#include "repo/keys.h"
#include "sys/sys.h"

typedef enum SlotKind { SLOT_PASSPHRASE, SLOT_KEY_FILE, SLOT_RECOVERY } SlotKind;
enum { SLOT_LABEL_MAX = 200, SLOT_SIZE_MAX = 64 * 1024, RECOVERY_CODE_LEN = 48, KEY_FILE_MIN = 16 };

typedef struct Slot {
  Uuid id;
  Uuid repo;
  SlotKind kind;
  char label[SLOT_LABEL_MAX + 1];
  uint64_t created_ns;
  Argon2Params argon2; /* passphrases */
  uint8_t salt[32];
  uint8_t public_key[BOX_PUBLIC_LEN];
  uint8_t sealed_root[KEY_LEN + BOX_OVERHEAD];
  uint8_t mac[32];
} Slot;

const char *slot_kind_name(SlotKind kind); /* "passphrase", "key-file", "recovery" */

/* Makes a slot for `secret` that opens to keys->root. ERR_USAGE for a secret that is too short. */
Error *slot_create(Sys *sys, const Keys *keys, SlotKind kind, Bytes secret, const char *label, Slot *out) NODISCARD;
void slot_encode(const Slot *slot, Buf *out); /* JSON */
Error *slot_parse(Bytes text, Slot *out) NODISCARD;
/* *opened false: this secret is not this slot's. On success root and the slot's private key are set. */
Error *slot_unlock(const Slot *slot, Bytes secret, uint8_t root[KEY_LEN], uint8_t secret_key[BOX_SECRET_LEN],
                   bool *opened) NODISCARD;
/* ERR_CORRUPT when the slot was not made by a holder of the root key. */
Error *slot_verify(const Slot *slot, const Keys *keys) NODISCARD;

/* All epoch secrets of `keys`, sealed to the slot. */
void slot_seal_epochs(const Slot *slot, const Keys *keys, Buf *out);
Error *slot_open_epochs(const Slot *slot, const uint8_t secret_key[BOX_SECRET_LEN], Bytes sealed, Keys *keys) NODISCARD;

/* A fresh recovery code: eight groups of five characters, 160 bits and a 40-bit check. */
void recovery_code_new(Sys *sys, char out[RECOVERY_CODE_LEN]);
/* Forgives case, blanks and dashes; ERR_USAGE says that a group is mistyped. The normal form goes to out. */
Error *recovery_code_normalize(const char *typed, char out[RECOVERY_CODE_LEN]) NODISCARD;

#endif
