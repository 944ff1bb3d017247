#include "repo/repo.h"

#include <stdio.h>

#include "base/mem.h"
#include "codec/secret.h"
#include "repo/marker.h"
#include "repo/repo_impl.h"
#include "repo/uuid.h"
#include "sys/fs.h"

/* ---- opening -------------------------------------------------------------------------------------------------------
 */

static Repo *repo_make(Sys *sys, Store *take_store, Keys *take_keys, const char *cache_dir) {
  Repo *repo = NEW(Repo);
  repo->sys = sys;
  repo->store = take_store;
  repo->keys = take_keys;
  char id[UUID_TEXT_LEN];
  repo->cache_dir = cache_dir ? fs_join(cache_dir, uuid_text(&take_keys->repo, id)) : NULL;
  repo->data_keys = map_new();
  mutex_init(&repo->data_keys_lock, sys);
  return repo;
}

void repo_free(Repo *take) {
  if (!take) return;
  size_t pos = 0;
  Bytes key;
  void *value;
  while (map_next(take->data_keys, &pos, &key, &value)) secret_free(value);
  map_free(take->data_keys);
  mutex_free(&take->data_keys_lock);
  keys_free(take->keys);
  store_free(take->store);
  free(take->cache_dir);
  free(take);
}

Error *repo_check_writable(const Repo *repo) {
  if (!repo->read_only) return NULL;
  return err_hint(err_new(ERR_REFUSED, "the repository uses a feature that this program can only read"),
                  "use a newer holdfast to write to it");
}

static Error *keep_key(void *ctx, const char *key, const StoreStat *stat UNUSED) {
  strlist_add((StrList *)ctx, key);
  return NULL;
}

Error *repo_list_keys(Repo *repo, const char *prefix, StrList *out, Cancel *cancel) {
  return err_wrap(store_list(repo->store, prefix, keep_key, out, cancel), "listing %s", prefix);
}

static Error *note_key(void *ctx, const char *key UNUSED, const StoreStat *stat UNUSED) {
  *(bool *)ctx = true;
  return NULL;
}

/* The mount point of a disk that is away, another directory, or a repository that lost the one file that says so. */
static Error *no_marker(Store *store, Cancel *cancel) {
  bool snapshots = false;
  TRY(store_list(store, "snapshots/", note_key, &snapshots, cancel));
  if (snapshots)
    return err_hint(
        err_new(ERR_CORRUPT, "%s: holdfast.json is missing, the rest of a repository is there", store->name),
        "put it back from a copy of the repository: it never changes, and nothing else is lost");
  return err_hint(err_new(ERR_NO_REPOSITORY, "%s holds no holdfast repository", store->name),
                  "is its disk mounted, and the address right? A new one is made by `holdfast init --repo %s`",
                  store->name);
}

static Error *get_marker(Store *store, Marker *out, Cancel *cancel) {
  AUTO_BUF Buf text = {0};
  Error *err = store_get_all(store, MARKER_KEY, MARKER_SIZE_MAX, &text, cancel);
  if (err_is(err, ERR_NOT_FOUND)) {
    err_free(err);
    return no_marker(store, cancel);
  }
  TRY(err);
  err = err_wrap(marker_parse(buf_bytes(&text), out), "opening %s", store->name);
  if (err_is(err, ERR_CORRUPT))
    err = err_hint(err,
                   "put holdfast.json back from a copy of the repository: it never changes, and nothing else is lost");
  return err;
}

typedef struct UnlockTry {
  Sys *sys;
  Store *store;
  const Marker *marker;
  const Unlock *unlocks;
  size_t unlocks_len;
  Keys *keys; /* set once a slot opened */
  Uuid slot;
  unsigned slots, broken;
  Cancel *cancel;
} UnlockTry;

static Error *unlock_with(UnlockTry *t, const Slot *slot, Bytes secret) {
  uint8_t root[KEY_LEN], secret_key[BOX_SECRET_LEN];
  bool opened;
  TRY(slot_unlock(slot, secret, root, secret_key, &opened));
  if (!opened) return NULL;
  Keys *keys = keys_new(&t->marker->repo, root);
  Error *err = slot_verify(slot, keys);
  if (!err) err = repo_open_epochs(t->store, slot, secret_key, keys, t->cancel);
  secret_wipe(root, sizeof root);
  secret_wipe(secret_key, sizeof secret_key);
  if (err) {
    keys_free(keys);
    return err;
  }
  t->keys = keys;
  t->slot = slot->id;
  return NULL;
}

static Error *try_slot(UnlockTry *t, const char *key) {
  Uuid named;
  if (!uuid_parse(key + strlen("keys/"), &named)) return NULL; /* somebody's note */
  AUTO_BUF Buf text = {0};
  TRY(store_get_all(t->store, key, SLOT_SIZE_MAX, &text, t->cancel));
  Slot slot;
  TRY(slot_parse(buf_bytes(&text), &slot));
  if (!uuid_equal(&slot.repo, &t->marker->repo)) return NULL; /* left by an interrupted init */
  for (size_t i = 0; i < t->unlocks_len && !t->keys; i++)
    if (t->unlocks[i].kind == slot.kind) TRY(unlock_with(t, &slot, t->unlocks[i].secret));
  return NULL;
}

/* Tries every slot; a broken slot does not keep the others from being tried, but is what is reported if none opens. */
static Error *unlock_any(UnlockTry *t) {
  AUTO_STRLIST StrList keys = {0};
  TRY(store_list(t->store, "keys/", keep_key, &keys, t->cancel));
  if (keys.len > SLOTS_MAX) return err_new(ERR_LIMIT, "keys/: %zu key slots are too many", keys.len);
  Error *broken = NULL;
  for (size_t i = 0; i < keys.len && !t->keys; i++) {
    Error *err = err_wrap(try_slot(t, keys.items[i]), "%s", keys.items[i]);
    if (err_is(err, ERR_CANCELLED)) return err_first(err, broken);
    broken = err_first(broken, err);
  }
  if (t->keys) {
    err_free(broken);
    return NULL;
  }
  if (broken) return broken;
  if (keys.len == 0) return err_new(ERR_CORRUPT, "keys/: the repository has no key slot");
  return err_hint(
      err_new(ERR_WRONG_KEY, "none of the %zu key slots of %s opens with what was given", keys.len, t->store->name),
      "give the right --key-file or --passphrase-file; the recovery code opens it too: `holdfast key recover`");
}

Error *repo_open(Sys *sys, Store *take_store, const Unlock *unlocks, size_t unlocks_len, const char *cache_dir,
                 Repo **out, Cancel *cancel) {
  Marker marker = {0};
  Error *err = get_marker(take_store, &marker, cancel);
  if (err) {
    store_free(take_store);
    return err;
  }
  UnlockTry t = {.sys = sys,
                 .store = take_store,
                 .marker = &marker,
                 .unlocks = unlocks,
                 .unlocks_len = unlocks_len,
                 .cancel = cancel};
  err = unlock_any(&t);
  if (!err) err = marker_verify(&marker, t.keys);
  if (err) {
    keys_free(t.keys);
    store_free(take_store);
  } else {
    Repo *repo = repo_make(sys, take_store, t.keys, cache_dir);
    repo->read_only = marker.read_only;
    repo->created_ns = marker.created_ns;
    repo->slot = t.slot;
    *out = repo;
  }
  marker_free(&marker);
  return err;
}

/* ---- making one
 * ------------------------------------------------------------------------------------------------------ */

static Error *refuse_foreign(void *ctx, const char *key, const StoreStat *stat UNUSED) {
  const char *name = (const char *)ctx;
  if (strcmp(key, MARKER_KEY) == 0)
    return err_hint(err_new(ERR_EXISTS, "%s already holds a holdfast repository", name),
                    "use it, or choose another place");
  if (str_starts(key, "keys/") || str_starts(key, "keyring/") || str_starts(key, "probe-"))
    return NULL; /* an interrupted init */
  return err_hint(err_new(ERR_NOT_EMPTY, "%s is not empty: it holds %s", name, key),
                  "give a new or an empty directory");
}

static Error *init_slot(Repo *repo, SlotKind kind, Bytes secret, const char *label, Slot *out, Cancel *cancel) {
  TRY(slot_create(repo->sys, repo->keys, kind, secret, label, out));
  return repo_put_slot(repo, out, cancel);
}

static Error *init_slots(Repo *repo, const RepoInit *init, char recovery_code[RECOVERY_CODE_LEN], Cancel *cancel) {
  Slot slot;
  const char *label = init->label ? init->label : "made by init";
  for (size_t i = 0; i < init->unlocks_len; i++)
    TRY(repo_slot_add(repo, init->unlocks[i].kind, init->unlocks[i].secret, label, &slot, cancel));
  if (init->unlocks_len) repo->slot = slot.id;
  if (!init->recovery) return NULL;
  recovery_code_new(repo->sys, recovery_code);
  return init_slot(repo, SLOT_RECOVERY, bytes_str(recovery_code), "recovery code", &slot, cancel);
}

Error *repo_init(Sys *sys, Store *take_store, const RepoInit *init, const char *cache_dir,
                 char recovery_code[RECOVERY_CODE_LEN], Repo **out, Cancel *cancel) {
  Error *err = store_list(take_store, "", refuse_foreign, take_store->name, cancel);
  if (!err) err = store_probe(take_store, sys, cancel);
  if (err) {
    store_free(take_store);
    return err;
  }
  uint8_t root[KEY_LEN];
  sys_random(sys, root, sizeof root);
  Uuid id = uuid_new(sys);
  Keys *keys = keys_new(&id, root);
  secret_wipe(root, sizeof root);
  sys_random(sys, keys->epoch_secret[0], KEY_LEN);
  keys->epochs = 1;

  Repo *repo = repo_make(sys, take_store, keys, cache_dir);
  repo->created_ns = sys_now_ns(sys);
  err = init_slots(repo, init, recovery_code, cancel);
  if (!err) {
    AUTO_BUF Buf text = {0};
    marker_create(keys, repo->created_ns, &text);
    err = store_put(take_store, MARKER_KEY, buf_bytes(&text), PUT_NEW, cancel);
  }
  if (err) {
    repo_free(repo);
    return err_wrap(err, "making the repository");
  }
  *out = repo;
  return NULL;
}

/* ---- data keys
 * ---------------------------------------------------------------------------------------------------------- */

static void data_key_name(const uint8_t id[DATA_KEY_ID_LEN], char out[96]) {
  char text[2 * DATA_KEY_ID_LEN + 1];
  hex_encode(id, DATA_KEY_ID_LEN, text);
  snprintf(out, 96, "keyring/%08u/data/%s", load_u32(id), text);
}

static void data_key_cache(Repo *repo, const uint8_t id[DATA_KEY_ID_LEN], const uint8_t key[KEY_LEN]) {
  LOCKED(&repo->data_keys_lock);
  if (map_get(repo->data_keys, bytes(id, DATA_KEY_ID_LEN))) return;
  void *copy = secret_alloc(KEY_LEN);
  memcpy(copy, key, KEY_LEN);
  map_set(repo->data_keys, bytes(id, DATA_KEY_ID_LEN), copy);
}

/* What is sealed: repository, key id, key. */
enum { SEALED_DATA_KEY = 16 + DATA_KEY_ID_LEN + KEY_LEN };

Error *repo_data_key_new(Repo *repo, uint8_t id[DATA_KEY_ID_LEN], uint8_t key[KEY_LEN], Cancel *cancel) {
  TRY(repo_check_writable(repo));
  uint32_t epoch = repo->keys->epochs - 1;
  store_u32(id, epoch);
  sys_random(repo->sys, id + 4, DATA_KEY_ID_LEN - 4);
  sys_random(repo->sys, key, KEY_LEN);
  uint8_t public_key[BOX_PUBLIC_LEN], secret_key[BOX_SECRET_LEN], plain[SEALED_DATA_KEY];
  TRY(keys_epoch_box(repo->keys, epoch, public_key, secret_key));
  memcpy(plain, repo->keys->repo.b, 16);
  memcpy(plain + 16, id, DATA_KEY_ID_LEN);
  memcpy(plain + 16 + DATA_KEY_ID_LEN, key, KEY_LEN);
  uint8_t sealed[SEALED_DATA_KEY + BOX_OVERHEAD];
  box_seal(public_key, bytes(plain, sizeof plain), sealed);
  secret_wipe(plain, sizeof plain);
  secret_wipe(secret_key, sizeof secret_key);
  char name[96];
  data_key_name(id, name);
  TRY(store_put(repo->store, name, bytes(sealed, sizeof sealed), PUT_NEW, cancel));
  data_key_cache(repo, id, key);
  return NULL;
}

Error *repo_data_key_fetch(Repo *repo, const uint8_t id[DATA_KEY_ID_LEN], uint8_t key[KEY_LEN], Cancel *cancel) {
  char name[96];
  data_key_name(id, name);
  uint8_t sealed[SEALED_DATA_KEY + BOX_OVERHEAD], plain[SEALED_DATA_KEY];
  uint8_t public_key[BOX_PUBLIC_LEN], secret_key[BOX_SECRET_LEN];
  TRY(keys_epoch_box(repo->keys, load_u32(id), public_key, secret_key));
  StoreStat stat;
  Error *err = store_stat(repo->store, name, &stat, cancel);
  if (!err && stat.size_bytes != sizeof sealed) err = err_new(ERR_CORRUPT, "%s: wrong size", name);
  if (!err) err = store_get(repo->store, name, 0, sizeof sealed, sealed, cancel);
  if (err_is(err, ERR_NOT_FOUND)) err = err_wrap(err_recode(err, ERR_CORRUPT), "%s", name);
  if (!err) err = err_wrap(box_open(public_key, secret_key, bytes(sealed, sizeof sealed), plain), "%s", name);
  secret_wipe(secret_key, sizeof secret_key);
  TRY(err);
  bool right = memcmp(plain, repo->keys->repo.b, 16) == 0 && memcmp(plain + 16, id, DATA_KEY_ID_LEN) == 0;
  if (right) memcpy(key, plain + 16 + DATA_KEY_ID_LEN, KEY_LEN);
  secret_wipe(plain, sizeof plain);
  return right ? NULL : err_new(ERR_CORRUPT, "%s: holds another key than its name says", name);
}

Error *repo_data_key(Repo *repo, const uint8_t id[DATA_KEY_ID_LEN], uint8_t key[KEY_LEN], Cancel *cancel) {
  {
    LOCKED(&repo->data_keys_lock);
    const void *known = map_get(repo->data_keys, bytes(id, DATA_KEY_ID_LEN));
    if (known) {
      memcpy(key, known, KEY_LEN);
      return NULL;
    }
  }
  TRY(repo_data_key_fetch(repo, id, key, cancel));
  data_key_cache(repo, id, key);
  return NULL;
}

/* ---- small objects
 * -------------------------------------------------------------------------------------------------------- */

Error *repo_put_object(Repo *repo, ObjectType type, const Uuid *series, const char *name, Bytes body, Cancel *cancel) {
  TRY(repo_check_writable(repo));
  AUTO_BUF Buf sealed = {0};
  TRY(object_seal(repo->sys, repo->keys, type, series, name, body, &sealed));
  return err_wrap(store_put(repo->store, name, buf_bytes(&sealed), PUT_NEW, cancel), "writing %s", name);
}

Error *repo_get_object(Repo *repo, ObjectType type, const char *name, Buf *body, ObjectHeader *header, Cancel *cancel) {
  AUTO_BUF Buf sealed = {0};
  TRY(err_wrap(store_get_all(repo->store, name, (uint64_t)OBJECT_BODY_MAX + 4096, &sealed, cancel), "reading %s",
               name));
  return object_open(repo->keys, type, name, buf_bytes(&sealed), body, header);
}
