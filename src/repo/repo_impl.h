/* repo_impl.h: what repo.c (opening, making, data keys) and repo_slots.c (slots and epochs) share. Private to them and
 * to verification. */
#ifndef HF_REPO_REPO_IMPL_H
#define HF_REPO_REPO_IMPL_H

#include "repo/repo.h"

/* The newest epochs that the slot was given, opened with its private key. */
Error *repo_open_epochs(Store *store, const Slot *slot, const uint8_t secret_key[BOX_SECRET_LEN], Keys *keys,
                        Cancel *cancel) NODISCARD;
/* Whether the keyring has anything for the slot that is as we wrote it. */
Error *repo_slot_granted(Repo *repo, const Uuid *slot, bool *granted, Cancel *cancel) NODISCARD;
/* Gives the newest epoch to the slot, then puts the slot itself. */
Error *repo_put_slot(Repo *repo, const Slot *slot, Cancel *cancel) NODISCARD;
/* From the keyring, never from the cache. */
Error *repo_data_key_fetch(Repo *repo, const uint8_t id[DATA_KEY_ID_LEN], uint8_t key[KEY_LEN],
                           Cancel *cancel) NODISCARD;

#endif
