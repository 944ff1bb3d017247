#include "repo/grant.h"

#include "codec/blake3.h"
#include "codec/secret.h"

static void grant_mac(const Keys *keys, const char *name, Bytes content, uint8_t out[GRANT_MAC_LEN]) {
  Blake3 h;
  blake3_init_keyed(&h, keys->mac);
  blake3_update(&h, name, strlen(name) + 1);
  blake3_update(&h, content.data, content.len);
  blake3_final(&h, out);
}

void grant_encode(const Keys *keys, const char *name, const Slot *slots, size_t slots_len, Buf *out) {
  CHECK(slots_len <= SLOTS_MAX);
  buf_put_u32(out, (uint32_t)slots_len);
  for (size_t i = 0; i < slots_len; i++) {
    AUTO_BUF Buf sealed = {0};
    slot_seal_epochs(&slots[i], keys, &sealed);
    buf_add(out, slots[i].id.b, sizeof slots[i].id.b);
    buf_put_u32(out, (uint32_t)sealed.len);
    buf_add(out, sealed.data, sealed.len);
  }
  uint8_t mac[GRANT_MAC_LEN];
  grant_mac(keys, name, buf_bytes(out), mac);
  buf_add(out, mac, sizeof mac);
}

Error *grant_find(Bytes body, const Uuid *slot, Bytes *sealed) {
  Cursor c = cursor(body);
  *sealed = bytes(NULL, 0);
  uint32_t count = cursor_u32(&c);
  if (c.failed || count > SLOTS_MAX) return err_new(ERR_CORRUPT, "epoch grant: malformed");
  for (uint32_t i = 0; i < count; i++) {
    Uuid id;
    cursor_copy(&c, id.b, sizeof id.b);
    Bytes box = cursor_take(&c, cursor_u32(&c));
    if (c.failed) return err_new(ERR_CORRUPT, "epoch grant: slot %u is malformed", i);
    if (uuid_equal(&id, slot)) *sealed = box;
  }
  cursor_take(&c, GRANT_MAC_LEN);
  return cursor_end(&c, "epoch grant");
}

Error *grant_verify(const Keys *keys, const char *name, Bytes body) {
  if (body.len < GRANT_MAC_LEN) return err_new(ERR_CORRUPT, "%s: too short", name);
  uint8_t mac[GRANT_MAC_LEN];
  Bytes content = bytes(body.data, body.len - GRANT_MAC_LEN);
  grant_mac(keys, name, content, mac);
  if (secret_equal(mac, body.data + content.len, sizeof mac)) return NULL;
  return err_new(ERR_CORRUPT, "%s: not as it was written: its authentication code is wrong", name);
}
