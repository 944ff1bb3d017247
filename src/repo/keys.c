#include "repo/keys.h"

#include "codec/blake3.h"
#include "codec/secret.h"

Keys *keys_new(const Uuid *repo, const uint8_t root[KEY_LEN]) {
  Keys *keys = (Keys *)secret_alloc(sizeof *keys);
  keys->repo = *repo;
  memcpy(keys->root, root, KEY_LEN);
  Bytes salt = bytes(repo->b, sizeof repo->b);
  kdf_hkdf(root, salt, "holdfast/mac", bytes(NULL, 0), keys->mac);
  kdf_hkdf(root, salt, "holdfast/chunker", bytes(NULL, 0), keys->chunker);
  kdf_hkdf(root, salt, "holdfast/split", bytes(NULL, 0), keys->split);
  for (unsigned type = 1; type <= FRAME_TYPE_MAX; type++) {
    const uint8_t label = (uint8_t)type;
    kdf_hkdf(root, salt, "holdfast/id", bytes(&label, 1), keys->id[type]);
  }
  return keys;
}

void keys_free(Keys *take) { secret_free(take); }

Error *keys_class(const Keys *keys, uint32_t epoch, KeyClass cls, const Uuid *series, uint8_t out[KEY_LEN]) {
  static const char *const names[] = {
      [KEY_CLASS_INDEX] = "holdfast/class/index",   [KEY_CLASS_SESSION] = "holdfast/class/session",
      [KEY_CLASS_SERIES] = "holdfast/class/series", [KEY_CLASS_SNAPSHOT] = "holdfast/class/snapshot",
      [KEY_CLASS_META] = "holdfast/class/metadata",
  };
  if (epoch >= keys->epochs) return err_new(ERR_CORRUPT, "key epoch %u is unknown", epoch);
  Bytes context = series ? bytes(series->b, sizeof series->b) : bytes(NULL, 0);
  kdf_hkdf(keys->epoch_secret[epoch], bytes(keys->repo.b, sizeof keys->repo.b), names[cls], context, out);
  return NULL;
}

Error *keys_epoch_box(const Keys *keys, uint32_t epoch, uint8_t public_key[BOX_PUBLIC_LEN],
                      uint8_t secret_key[BOX_SECRET_LEN]) {
  if (epoch >= keys->epochs) return err_new(ERR_CORRUPT, "key epoch %u is unknown", epoch);
  uint8_t seed[KEY_LEN];
  kdf_hkdf(keys->epoch_secret[epoch], bytes(keys->repo.b, sizeof keys->repo.b), "holdfast/box", bytes(NULL, 0), seed);
  box_keypair(seed, public_key, secret_key);
  secret_wipe(seed, sizeof seed);
  return NULL;
}

void keys_object(const uint8_t base[KEY_LEN], const uint8_t salt[32], ObjectType type, uint8_t out[KEY_LEN]) {
  uint8_t type_byte = (uint8_t)type;
  kdf_hkdf(base, bytes(salt, 32), "holdfast/object", bytes(&type_byte, 1), out);
}

FrameId keys_frame_id(const Keys *keys, FrameType type, Bytes raw) {
  FrameId id;
  blake3_keyed(keys->id[type], raw.data, raw.len, id.b);
  return id;
}
