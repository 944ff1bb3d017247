/* keys.h: the key hierarchy of a repository, in guarded memory.
 *
 *   root key (random, wrapped by every slot)
 *     ├─ mac key            holdfast.json and slots
 *     ├─ id keys            one a frame type: ids are keyed BLAKE3
 *     ├─ chunker, split     where content and trees are cut
 *   epoch secret (random, one an epoch, sealed to every slot that may read)
 *     ├─ class keys         index, session, series, snapshot, metadata (metadata and snapshots: per series)
 *     └─ box                data keys are sealed to its public half
 *   data key (random, one a session that writes content)
 *
 * None of these encrypts anything itself: every object has a key of its own, HKDF(class or data key, 256-bit random
 * salt).
 */
#ifndef HF_REPO_KEYS_H
#define HF_REPO_KEYS_H

#include "codec/kdf.h"
#include "repo/format.h"

typedef enum KeyClass {
  KEY_CLASS_INDEX,
  KEY_CLASS_SESSION,
  KEY_CLASS_SERIES,
  KEY_CLASS_SNAPSHOT,
  KEY_CLASS_META,
} KeyClass;

typedef struct Keys { /* lives in secret memory: keys_new, keys_free */
  Uuid repo;
  uint8_t root[KEY_LEN];
  uint8_t mac[KEY_LEN];
  uint8_t id[FRAME_TYPE_MAX + 1][KEY_LEN];
  uint8_t chunker[KEY_LEN];
  uint8_t split[KEY_LEN];
  uint32_t epochs; /* >= 1 once unlocked; the newest is epochs - 1 */
  uint8_t epoch_secret[EPOCHS_MAX][KEY_LEN];
} Keys;

Keys *keys_new(const Uuid *repo, const uint8_t root[KEY_LEN]);
void keys_free(Keys *take);

/* series NULL: the class has no series. ERR_CORRUPT for an epoch we do not have. */
Error *keys_class(const Keys *keys, uint32_t epoch, KeyClass cls, const Uuid *series, uint8_t out[KEY_LEN]) NODISCARD;
Error *keys_epoch_box(const Keys *keys, uint32_t epoch, uint8_t public_key[BOX_PUBLIC_LEN],
                      uint8_t secret_key[BOX_SECRET_LEN]) NODISCARD;
/* The key of one object: `base` is a class or data key. */
void keys_object(const uint8_t base[KEY_LEN], const uint8_t salt[32], ObjectType type, uint8_t out[KEY_LEN]);
FrameId keys_frame_id(const Keys *keys, FrameType type, Bytes raw);

#endif
