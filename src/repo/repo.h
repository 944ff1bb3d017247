/* repo.h: an open repository: a store, its keys, and the small objects (slots, keyring, series, sessions, snapshots
 * live in their own modules and take a Repo).
 *
 * A Repo is thread-safe after it is opened. Keys are read-only but for the data key cache.
 */
#ifndef HF_REPO_REPO_H
#define HF_REPO_REPO_H

#include "base/map.h"
#include "base/str.h"
#include "repo/object.h"
#include "repo/slot.h"
#include "store/store.h"

typedef struct Repo {
  Sys *sys;
  Store *store; /* owned */
  Keys *keys;
  char *cache_dir; /* private directory for what can be fetched again: <cache>/<repository>; owned */
  bool read_only;  /* a feature allows reading only */
  uint64_t created_ns;
  Uuid slot; /* the one that opened it */
  Mutex data_keys_lock;
  Map *data_keys; /* data key id -> secret memory */
} Repo;

/* Something that may unlock: tried against every slot of its kind. Secrets are borrowed. */
typedef struct Unlock {
  SlotKind kind;
  Bytes secret;
} Unlock;

typedef struct RepoInit {
  const Unlock *unlocks; /* one slot each, at least one */
  size_t unlocks_len;
  const char *label; /* of these slots; NULL: "made by init" */
  bool recovery;     /* also a recovery slot */
} RepoInit;

/* Makes a new repository in an empty store and takes the store. ERR_EXISTS when one is there, ERR_NOT_EMPTY when
 * something else is. Order: keys, keyring, holdfast.json last; an interrupted init leaves no repository and can be
 * repeated. recovery_code is set when init->recovery. On failure the store is freed too. */
Error *repo_init(Sys *sys, Store *take_store, const RepoInit *init, const char *cache_dir,
                 char recovery_code[RECOVERY_CODE_LEN], Repo **out, Cancel *cancel) NODISCARD;
/* ERR_NO_REPOSITORY, ERR_WRONG_KEY, ERR_UNSUPPORTED, ERR_CORRUPT. Takes the store, also on failure. */
Error *repo_open(Sys *sys, Store *take_store, const Unlock *unlocks, size_t unlocks_len, const char *cache_dir,
                 Repo **out, Cancel *cancel) NODISCARD;
void repo_free(Repo *take);
/* ERR_REFUSED when this program may only read it. */
Error *repo_check_writable(const Repo *repo) NODISCARD;

/* ---- slots and epochs ---- */
typedef Error *SlotVisit(void *ctx, const Slot *slot);
Error *repo_slots(Repo *repo, SlotVisit *visit, void *ctx, Cancel *cancel) NODISCARD;
Error *repo_slot_add(Repo *repo, SlotKind kind, Bytes secret, const char *label, Slot *out, Cancel *cancel) NODISCARD;
/* Removes the slot and starts a new epoch that only the others receive. ERR_REFUSED for the last slot. */
Error *repo_slot_remove(Repo *repo, const Uuid *slot, Cancel *cancel) NODISCARD;
/* A new epoch: everything written from now on is under new class keys. */
Error *repo_epoch_new(Repo *repo, Cancel *cancel) NODISCARD;
/* ERR_REFUSED when an epoch began that this process does not know: it can neither use it nor give it on. */
Error *repo_check_epoch(Repo *repo, Cancel *cancel) NODISCARD;

/* ---- data keys ---- */
enum { DATA_KEY_ID_LEN = 16 }; /* u32 epoch, 12 random bytes */
/* A new data key, durable in the keyring when this returns. */
Error *repo_data_key_new(Repo *repo, uint8_t id[DATA_KEY_ID_LEN], uint8_t key[KEY_LEN], Cancel *cancel) NODISCARD;
/* Fetched once, then cached. ERR_CORRUPT when the keyring does not have it. */
Error *repo_data_key(Repo *repo, const uint8_t id[DATA_KEY_ID_LEN], uint8_t key[KEY_LEN], Cancel *cancel) NODISCARD;

/* ---- small objects ---- */
/* Seals and puts. */
Error *repo_put_object(Repo *repo, ObjectType type, const Uuid *series, const char *name, Bytes body,
                       Cancel *cancel) NODISCARD;
Error *repo_get_object(Repo *repo, ObjectType type, const char *name, Buf *body, ObjectHeader *header,
                       Cancel *cancel) NODISCARD;
/* All keys under a prefix, ascending. Owned list. */
Error *repo_list_keys(Repo *repo, const char *prefix, StrList *out, Cancel *cancel) NODISCARD;

#endif
