/* grant.h: who may read which epochs: the body of keyring/<epoch>/grant (a new epoch, given to every slot by one
 * object, so that it begins for all or for none) and of keyring/<epoch>/slots/<slot> (a slot added later).
 *
 *   u32 count, then for each slot: uuid 16, u32 len, len bytes (slot.h: the epochs' secrets sealed to the slot)
 *   mac 32: keyed BLAKE3 under the mac key over the object's name, a zero byte and all of the above
 *
 * The code is for those who cannot open the boxes: verification finds damage in everybody's.
 */
#ifndef HF_REPO_GRANT_H
#define HF_REPO_GRANT_H

#include "repo/slot.h"

enum { GRANT_MAC_LEN = 32 };

void grant_encode(const Keys *keys, const char *name, const Slot *slots, size_t slots_len, Buf *out);
/* Pure: checks the form. *sealed (borrowed) is empty when the slot has no part in it. */
Error *grant_find(Bytes body, const Uuid *slot, Bytes *sealed) NODISCARD;
/* ERR_CORRUPT: not as it was written, or under another name. */
Error *grant_verify(const Keys *keys, const char *name, Bytes body) NODISCARD;

#endif
