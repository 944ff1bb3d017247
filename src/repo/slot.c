#include "repo/slot.h"

#include <ctype.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "codec/blake3.h"
#include "codec/secret.h"
#include "repo/json.h"
#include "repo/uuid.h"

static const char *const kind_names[] = {
    [SLOT_PASSPHRASE] = "passphrase", [SLOT_KEY_FILE] = "key-file", [SLOT_RECOVERY] = "recovery"};

const char *slot_kind_name(SlotKind kind) { return kind_names[kind]; }

/* The key pair a secret stands for in this slot. */
static Error *slot_keypair(const Slot *slot, Bytes secret, uint8_t public_key[BOX_PUBLIC_LEN],
                           uint8_t secret_key[BOX_SECRET_LEN]) {
  uint8_t stretched[KEY_LEN], seed[KEY_LEN];
  if (slot->kind == SLOT_PASSPHRASE) {
    TRY(kdf_argon2id(secret, slot->salt, slot->argon2, stretched));
  } else {
    kdf_hkdf_bytes(secret, bytes(slot->salt, sizeof slot->salt), "holdfast/secret", stretched);
  }
  kdf_hkdf(stretched, bytes(slot->salt, sizeof slot->salt), "holdfast/slot", bytes(slot->id.b, sizeof slot->id.b),
           seed);
  box_keypair(seed, public_key, secret_key);
  secret_wipe(stretched, sizeof stretched);
  secret_wipe(seed, sizeof seed);
  return NULL;
}

static json_t *slot_json(const Slot *slot) {
  json_t *doc = json_object();
  char id[UUID_TEXT_LEN];
  json_set_str(doc, "slot", uuid_text(&slot->id, id));
  json_set_str(doc, "repository", uuid_text(&slot->repo, id));
  json_set_str(doc, "kind", kind_names[slot->kind]);
  json_set_str(doc, "label", slot->label);
  json_set_u64(doc, "created_ns", slot->created_ns);
  json_set_u64(doc, "argon2_memory_kib", slot->argon2.memory_kib);
  json_set_u64(doc, "argon2_passes", slot->argon2.passes);
  json_set_hex(doc, "salt", slot->salt, sizeof slot->salt);
  json_set_hex(doc, "public_key", slot->public_key, sizeof slot->public_key);
  json_set_hex(doc, "sealed_root", slot->sealed_root, sizeof slot->sealed_root);
  return doc;
}

static void slot_mac(const Slot *slot, const Keys *keys, uint8_t out[32]) {
  AUTO_JSON json_t *doc = slot_json(slot);
  AUTO_BUF Buf text = {0};
  json_dump_sorted(doc, &text);
  blake3_keyed(keys->mac, text.data, text.len, out);
}

/* Printable, so that it comes back from JSON as it was, and cut between characters. */
static void slot_set_label(Slot *slot, const char *label) {
  AUTO_FREE char *text = str_printable(bytes_str(label ? label : ""));
  size_t len = strlen(text);
  if (len > SLOT_LABEL_MAX) {
    len = SLOT_LABEL_MAX;
    while (len && ((uint8_t)text[len] & 0xc0) == 0x80) len--;
  }
  memcpy(slot->label, text, len);
  slot->label[len] = 0;
}

Error *slot_create(Sys *sys, const Keys *keys, SlotKind kind, Bytes secret, const char *label, Slot *out) {
  if (secret.len == 0) return err_new(ERR_USAGE, "the %s is empty", kind_names[kind]);
  if (kind == SLOT_KEY_FILE && secret.len < KEY_FILE_MIN)
    return err_hint(
        err_new(ERR_USAGE, "the key file holds %zu bytes, at least %d are needed", secret.len, KEY_FILE_MIN),
        "a key file is not stretched: make one with `head -c 32 /dev/urandom > FILE`");
  *out = (Slot){.id = uuid_new(sys), .repo = keys->repo, .kind = kind, .created_ns = sys_now_ns(sys)};
  if (kind == SLOT_PASSPHRASE) out->argon2 = ARGON2_DEFAULT;
  slot_set_label(out, label);
  sys_random(sys, out->salt, sizeof out->salt);
  uint8_t secret_key[BOX_SECRET_LEN];
  TRY(slot_keypair(out, secret, out->public_key, secret_key));
  secret_wipe(secret_key, sizeof secret_key);
  box_seal(out->public_key, bytes(keys->root, KEY_LEN), out->sealed_root);
  slot_mac(out, keys, out->mac);
  return NULL;
}

void slot_encode(const Slot *slot, Buf *out) {
  AUTO_JSON json_t *doc = slot_json(slot);
  json_set_hex(doc, "mac", slot->mac, sizeof slot->mac);
  json_dump_sorted(doc, out);
  buf_put_u8(out, '\n');
}

Error *slot_parse(Bytes text, Slot *out) {
  AUTO_JSON json_t *doc = NULL;
  TRY(json_parse_object(text, "key slot", &doc));
  JsonReader r = {.object = doc, .what = "key slot"};
  Slot slot = {.id = json_get_uuid(&r, "slot"), .repo = json_get_uuid(&r, "repository")};
  const char *kind = json_get_str(&r, "kind", 32);
  snprintf(slot.label, sizeof slot.label, "%s", json_get_str(&r, "label", SLOT_LABEL_MAX));
  slot.created_ns = json_get_u64(&r, "created_ns", INT64_MAX);
  slot.argon2.memory_kib = (uint32_t)json_get_u64(&r, "argon2_memory_kib", 1024 * 1024);
  slot.argon2.passes = (uint32_t)json_get_u64(&r, "argon2_passes", 64);
  json_get_hex(&r, "salt", slot.salt, sizeof slot.salt);
  json_get_hex(&r, "public_key", slot.public_key, sizeof slot.public_key);
  json_get_hex(&r, "sealed_root", slot.sealed_root, sizeof slot.sealed_root);
  json_get_hex(&r, "mac", slot.mac, sizeof slot.mac);
  TRY(json_reader_end(&r));
  TRY(json_check_form(text, doc, "key slot"));
  for (size_t k = 0; k < NELEMS(kind_names); k++) {
    if (strcmp(kind, kind_names[k]) != 0) continue;
    slot.kind = (SlotKind)k;
    *out = slot;
    return NULL;
  }
  return err_new(ERR_UNSUPPORTED, "key slot: kind \"%s\" is not known to this program", kind);
}

Error *slot_unlock(const Slot *slot, Bytes secret, uint8_t root[KEY_LEN], uint8_t secret_key[BOX_SECRET_LEN],
                   bool *opened) {
  uint8_t public_key[BOX_PUBLIC_LEN];
  TRY(slot_keypair(slot, secret, public_key, secret_key));
  *opened = secret_equal(public_key, slot->public_key, sizeof public_key);
  if (!*opened) return NULL;
  return err_wrap(box_open(public_key, secret_key, bytes(slot->sealed_root, sizeof slot->sealed_root), root),
                  "key slot: opening the root key");
}

Error *slot_verify(const Slot *slot, const Keys *keys) {
  uint8_t mac[32];
  slot_mac(slot, keys, mac);
  if (secret_equal(mac, slot->mac, sizeof mac)) return NULL;
  char id[UUID_TEXT_LEN];
  return err_new(ERR_CORRUPT, "keys/%s: not as it was written: its authentication code is wrong",
                 uuid_text(&slot->id, id));
}

void slot_seal_epochs(const Slot *slot, const Keys *keys, Buf *out) {
  size_t len = (size_t)keys->epochs * KEY_LEN;
  uint8_t *plain = (uint8_t *)secret_alloc(16 + len);
  memcpy(plain, keys->repo.b, 16);
  memcpy(plain + 16, keys->epoch_secret, len);
  box_seal(slot->public_key, bytes(plain, 16 + len), buf_grow(out, 16 + len + BOX_OVERHEAD));
  secret_free(plain);
}

Error *slot_open_epochs(const Slot *slot, const uint8_t secret_key[BOX_SECRET_LEN], Bytes sealed, Keys *keys) {
  const char *what = "keyring: this slot's epoch secrets";
  size_t least = 16 + KEY_LEN + BOX_OVERHEAD;
  if (sealed.len < least || sealed.len > least + (size_t)(EPOCHS_MAX - 1) * KEY_LEN ||
      (sealed.len - least) % KEY_LEN != 0)
    return err_new(ERR_CORRUPT, "%s: %zu bytes is no valid length", what, sealed.len);
  size_t len = sealed.len - BOX_OVERHEAD;
  uint8_t *plain = (uint8_t *)secret_alloc(len);
  Error *err = err_wrap(box_open(slot->public_key, secret_key, sealed, plain), "%s", what);
  if (!err && memcmp(plain, keys->repo.b, 16) != 0) err = err_new(ERR_CORRUPT, "%s: of another repository", what);
  if (!err) {
    memcpy(keys->epoch_secret, plain + 16, len - 16);
    keys->epochs = (uint32_t)((len - 16) / KEY_LEN);
  }
  secret_free(plain);
  return err;
}

/* Crockford's alphabet: no I, L, O, U. */
static const char code_alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
enum { CODE_RANDOM = 20, CODE_CHECK = 5, CODE_CHARS = (CODE_RANDOM + CODE_CHECK) * 8 / 5 };

static void code_check(const uint8_t random[CODE_RANDOM], uint8_t out[CODE_CHECK]) {
  uint8_t hash[32];
  blake3_derive_key("holdfast 2026 recovery code check", random, CODE_RANDOM, hash);
  memcpy(out, hash, CODE_CHECK);
}

static void code_format(const uint8_t raw[CODE_RANDOM + CODE_CHECK], char out[RECOVERY_CODE_LEN]) {
  size_t at = 0;
  for (size_t i = 0; i < CODE_CHARS; i++) {
    if (i && i % 5 == 0) out[at++] = '-';
    unsigned value = 0;
    for (size_t bit = i * 5; bit < i * 5 + 5; bit++)
      value = value << 1 | ((unsigned)raw[bit / 8] >> (7 - bit % 8) & 1u);
    out[at++] = code_alphabet[value];
  }
  out[at] = 0;
}

void recovery_code_new(Sys *sys, char out[RECOVERY_CODE_LEN]) {
  uint8_t raw[CODE_RANDOM + CODE_CHECK];
  sys_random(sys, raw, CODE_RANDOM);
  code_check(raw, raw + CODE_RANDOM);
  code_format(raw, out);
  secret_wipe(raw, sizeof raw);
}

Error *recovery_code_normalize(const char *typed, char out[RECOVERY_CODE_LEN]) {
  uint8_t raw[CODE_RANDOM + CODE_CHECK] = {0};
  size_t n = 0;
  for (const char *c = typed; *c; c++) {
    if (*c == '-' || isspace((unsigned char)*c)) continue;
    int upper = toupper((unsigned char)*c);
    if (upper == 'O') upper = '0';
    if (upper == 'I' || upper == 'L') upper = '1';
    const char *found = strchr(code_alphabet, upper);
    if (!found || n == CODE_CHARS) return err_new(ERR_USAGE, "the recovery code has a character or a group too many");
    unsigned value = (unsigned)(found - code_alphabet);
    for (size_t bit = 0; bit < 5; bit++)
      if (value >> (4 - bit) & 1u) raw[(n * 5 + bit) / 8] |= (uint8_t)(0x80u >> ((n * 5 + bit) % 8u));
    n++;
  }
  uint8_t check[CODE_CHECK];
  code_check(raw, check);
  bool good = n == CODE_CHARS && memcmp(check, raw + CODE_RANDOM, CODE_CHECK) == 0;
  if (good) code_format(raw, out);
  secret_wipe(raw, sizeof raw);
  return good ? NULL
              : err_hint(err_new(ERR_USAGE, "the recovery code is incomplete or mistyped"),
                         "it has eight groups of five characters, as shown by `holdfast init`");
}
