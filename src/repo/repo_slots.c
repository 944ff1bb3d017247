/* Slots and epochs. A new epoch is one object, keyring/<epoch>/grant, put only if absent: it begins for every slot at
 * once or not at all, and of two that begin at the same time one wins. A slot added later is given the newest epoch by
 * an object of its own. Where adding and beginning meet, each looks again after it has written, so that at least one
 * sees the other. */
#include <stdio.h>

#include "base/mem.h"
#include "codec/secret.h"
#include "repo/grant.h"
#include "repo/names.h"
#include "repo/repo_impl.h"
#include "repo/uuid.h"

enum { GRANT_MAX = 64 * 1024 * 1024 };

static void grant_name(uint32_t epoch, char out[96]) { snprintf(out, 96, "keyring/%08u/grant", epoch); }

static void slot_grant_name(uint32_t epoch, const Uuid *slot, char out[96]) {
  char id[UUID_TEXT_LEN];
  snprintf(out, 96, "keyring/%08u/slots/%s", epoch, uuid_text(slot, id));
}

static void slot_name(const Uuid *slot, char out[96]) {
  char id[UUID_TEXT_LEN];
  snprintf(out, 96, "keys/%s", uuid_text(slot, id));
}

/* ---- opening
 * ------------------------------------------------------------------------------------------------------------ */

/* The objects of the keyring that may name the slot, oldest first. */
typedef struct GrantList {
  const char *slot_text;
  StrList names;
} GrantList;

static Error *keep_grant(void *ctx, const char *key, const StoreStat *stat UNUSED) {
  GrantList *list = (GrantList *)ctx;
  const char *last = strrchr(key, '/') + 1;
  if (!name_is_object(key)) return NULL;
  if (strcmp(last, "grant") == 0 || (strstr(key, "/slots/") && strcmp(last, list->slot_text) == 0))
    strlist_add(&list->names, key);
  return NULL;
}

static Error *open_grant(Store *store, const char *name, const Slot *slot, const uint8_t secret_key[BOX_SECRET_LEN],
                         Keys *keys, bool *found, Cancel *cancel) {
  AUTO_BUF Buf body = {0};
  TRY(err_wrap(store_get_all(store, name, GRANT_MAX, &body, cancel), "reading %s", name));
  TRY(grant_verify(keys, name, buf_bytes(&body)));
  Bytes sealed;
  TRY(err_wrap(grant_find(buf_bytes(&body), &slot->id, &sealed), "%s", name));
  *found = sealed.len > 0;
  return *found ? err_wrap(slot_open_epochs(slot, secret_key, sealed, keys), "%s", name) : NULL;
}

Error *repo_open_epochs(Store *store, const Slot *slot, const uint8_t secret_key[BOX_SECRET_LEN], Keys *keys,
                        Cancel *cancel) {
  char id[UUID_TEXT_LEN];
  GrantList list = {.slot_text = uuid_text(&slot->id, id)};
  Error *err = store_list(store, "keyring/", keep_grant, &list, cancel);
  bool found = false;
  for (size_t i = list.names.len; i-- > 0 && !found && !err;)
    err = open_grant(store, list.names.items[i], slot, secret_key, keys, &found, cancel);
  strlist_free(&list.names);
  if (!err && !found) err = err_new(ERR_CORRUPT, "keyring: nothing there for key slot %s", id);
  return err;
}

Error *repo_slot_granted(Repo *repo, const Uuid *slot, bool *granted, Cancel *cancel) {
  char id[UUID_TEXT_LEN];
  GrantList list = {.slot_text = uuid_text(slot, id)};
  Error *err = store_list(repo->store, "keyring/", keep_grant, &list, cancel);
  *granted = false;
  for (size_t i = list.names.len; i-- > 0 && !*granted && !err;) {
    AUTO_BUF Buf body = {0};
    Bytes sealed = {0};
    err = store_get_all(repo->store, list.names.items[i], GRANT_MAX, &body, cancel);
    AUTO_ERR Error *broken = err ? NULL : grant_verify(repo->keys, list.names.items[i], buf_bytes(&body));
    if (!err && !broken) err = grant_find(buf_bytes(&body), slot, &sealed);
    *granted = sealed.len > 0;
  }
  strlist_free(&list.names);
  return err;
}

/* ---- slots
 * -------------------------------------------------------------------------------------------------------------- */

Error *repo_slots(Repo *repo, SlotVisit *visit, void *ctx, Cancel *cancel) {
  AUTO_STRLIST StrList keys = {0};
  TRY(repo_list_keys(repo, "keys/", &keys, cancel));
  for (size_t i = 0; i < keys.len; i++) {
    AUTO_BUF Buf text = {0};
    Slot slot;
    if (!name_is_object(keys.items[i])) continue; /* somebody's note */
    TRY(store_get_all(repo->store, keys.items[i], SLOT_SIZE_MAX, &text, cancel));
    TRY(err_wrap(slot_parse(buf_bytes(&text), &slot), "%s", keys.items[i]));
    if (!uuid_equal(&slot.repo, &repo->keys->repo)) continue; /* left by an interrupted init */
    TRY(slot_verify(&slot, repo->keys));
    TRY(visit(ctx, &slot));
  }
  return NULL;
}

static Error *put_slot_grant(Repo *repo, const Slot *slot, Cancel *cancel) {
  char name[96];
  slot_grant_name(repo->keys->epochs - 1, &slot->id, name);
  AUTO_BUF Buf body = {0};
  grant_encode(repo->keys, name, slot, 1, &body);
  return store_put(repo->store, name, buf_bytes(&body), PUT_NEW, cancel);
}

Error *repo_put_slot(Repo *repo, const Slot *slot, Cancel *cancel) {
  TRY(put_slot_grant(repo, slot, cancel));
  char name[96];
  slot_name(&slot->id, name);
  AUTO_BUF Buf text = {0};
  slot_encode(slot, &text);
  return store_put(repo->store, name, buf_bytes(&text), PUT_NEW, cancel);
}

Error *repo_check_epoch(Repo *repo, Cancel *cancel) {
  char name[96];
  grant_name(repo->keys->epochs, name);
  StoreStat stat;
  Error *err = store_stat(repo->store, name, &stat, cancel);
  if (err_is(err, ERR_NOT_FOUND)) {
    err_free(err);
    return NULL;
  }
  TRY(err);
  return err_hint(err_new(ERR_REFUSED, "another process has begun key epoch %u", repo->keys->epochs),
                  "run the command again");
}

Error *repo_slot_add(Repo *repo, SlotKind kind, Bytes secret, const char *label, Slot *out, Cancel *cancel) {
  TRY(repo_check_writable(repo));
  TRY(repo_check_epoch(repo, cancel));
  TRY(slot_create(repo->sys, repo->keys, kind, secret, label, out));
  TRY(repo_put_slot(repo, out, cancel));
  Error *err = repo_check_epoch(repo, cancel);
  if (!err) return NULL;
  char name[96];
  slot_name(&out->id, name);
  return err_first(err, store_remove(repo->store, name, NULL));
}

/* ---- epochs
 * ------------------------------------------------------------------------------------------------------------- */

typedef struct SlotSet {
  const Uuid *without;
  Slot *slots;
  size_t len, cap;
} SlotSet;

static Error *collect_slot(void *ctx, const Slot *slot) {
  SlotSet *set = (SlotSet *)ctx;
  if (set->without && uuid_equal(set->without, &slot->id)) return NULL;
  if (set->len == SLOTS_MAX) return err_new(ERR_LIMIT, "keys/: more than %d key slots", SLOTS_MAX);
  if (set->len == set->cap) {
    set->cap = set->cap ? set->cap * 2 : 8;
    set->slots = (Slot *)mem_resize(set->slots, set->cap, sizeof *set->slots);
  }
  set->slots[set->len++] = *slot;
  return NULL;
}

static bool set_has(const SlotSet *set, const Uuid *slot) {
  for (size_t i = 0; i < set->len; i++)
    if (uuid_equal(&set->slots[i].id, slot)) return true;
  return false;
}

/* Slots that were added while the epoch began. */
static Error *grant_late(Repo *repo, const SlotSet *granted, Cancel *cancel) {
  SlotSet now = {.without = granted->without};
  Error *err = repo_slots(repo, collect_slot, &now, cancel);
  for (size_t i = 0; i < now.len && !err; i++)
    if (!set_has(granted, &now.slots[i].id)) err = put_slot_grant(repo, &now.slots[i], cancel);
  free(now.slots);
  return err;
}

/* The keys hold the new epoch only once everybody has it. */
static Error *put_grant(Repo *repo, const SlotSet *set, Cancel *cancel) {
  Keys *keys = repo->keys;
  char name[96];
  grant_name(keys->epochs, name);
  sys_random(repo->sys, keys->epoch_secret[keys->epochs], KEY_LEN);
  keys->epochs++;
  AUTO_BUF Buf body = {0};
  grant_encode(keys, name, set->slots, set->len, &body);
  Error *err = store_put(repo->store, name, buf_bytes(&body), PUT_NEW, cancel);
  if (!err) return NULL;
  keys->epochs--;
  secret_wipe(keys->epoch_secret[keys->epochs], KEY_LEN);
  if (!err_is(err, ERR_EXISTS)) return err;
  return err_hint(err_recode(err, ERR_REFUSED), "another process has begun this epoch: run the command again");
}

static Error *epoch_start(Repo *repo, const Uuid *without, Cancel *cancel) {
  TRY(repo_check_writable(repo));
  if (repo->keys->epochs == EPOCHS_MAX)
    return err_new(ERR_LIMIT, "the repository has %u key epochs, the most there can be", repo->keys->epochs);
  SlotSet set = {.without = without};
  Error *err = repo_slots(repo, collect_slot, &set, cancel);
  if (!err && set.len == 0)
    err = err_hint(err_new(ERR_REFUSED, "this is the last key slot: without it nobody could open the repository"),
                   "add another first: `holdfast key add`");
  if (!err) err = err_wrap(put_grant(repo, &set, cancel), "starting key epoch %u", repo->keys->epochs);
  if (!err) err = grant_late(repo, &set, cancel);
  free(set.slots);
  return err;
}

Error *repo_epoch_new(Repo *repo, Cancel *cancel) { return epoch_start(repo, NULL, cancel); }

Error *repo_slot_remove(Repo *repo, const Uuid *slot, Cancel *cancel) {
  char name[96];
  slot_name(slot, name);
  StoreStat stat;
  TRY(store_stat(repo->store, name, &stat, cancel));
  TRY(epoch_start(repo, slot, cancel));
  return store_remove(repo->store, name, cancel);
}
