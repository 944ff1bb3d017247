#include "repo/pack.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "codec/aead.h"
#include "codec/blake3.h"
#include "repo/uuid.h"

static const uint8_t trailer_magic[4] = {'H', 'F', 'P', 'T'};

char *pack_name(const Uuid *id, char out[PACK_NAME_LEN]) {
  char text[UUID_TEXT_LEN];
  uuid_text(id, text);
  snprintf(out, PACK_NAME_LEN, "packs/%.2s/%s", text, text);
  return out;
}

bool pack_name_parse(const char *name, Uuid *out) {
  if (strlen(name) != PACK_NAME_LEN - 1 || strncmp(name, "packs/", 6) != 0 || name[8] != '/') return false;
  return strncmp(name + 6, name + 9, 2) == 0 && uuid_parse(name + 9, out);
}

void pack_key_encode(const PackKey *key, Buf *out) {
  buf_put_u8(out, key->kind);
  buf_put_u8(out, 0);
  buf_put_u16(out, 0);
  buf_put_u32(out, key->epoch);
  buf_add(out, key->ref, sizeof key->ref);
  buf_add(out, key->salt, sizeof key->salt);
}

Error *pack_key_decode(Cursor *c, PackKey *out) {
  out->kind = cursor_u8(c);
  uint8_t zero = cursor_u8(c);
  uint16_t zero2 = cursor_u16(c);
  out->epoch = cursor_u32(c);
  cursor_copy(c, out->ref, sizeof out->ref);
  cursor_copy(c, out->salt, sizeof out->salt);
  bool known = out->kind == PACK_KEY_DATA || out->kind == PACK_KEY_META;
  if (c->failed || !known || zero || zero2 || out->epoch >= EPOCHS_MAX)
    return err_new(ERR_CORRUPT, "pack key: malformed");
  return NULL;
}

void pack_footer_encode(const PackFooter *footer, Buf *out) {
  buf_reserve(out, 8 + footer->keys_len * PACK_KEY_LEN + footer->frames_len * PACK_FRAME_LEN);
  buf_put_u32(out, (uint32_t)footer->keys_len);
  for (size_t i = 0; i < footer->keys_len; i++) pack_key_encode(&footer->keys[i], out);
  buf_put_u32(out, (uint32_t)footer->frames_len);
  for (size_t i = 0; i < footer->frames_len; i++) {
    const PackFrame *f = &footer->frames[i];
    buf_add(out, f->id.b, sizeof f->id.b);
    buf_put_u32(out, f->offset);
    buf_put_u32(out, f->stored);
    buf_put_u32(out, f->raw);
    buf_put_u32(out, f->number);
    buf_put_u16(out, f->key);
    buf_put_u8(out, f->type);
    buf_put_u8(out, f->codec);
  }
}

void pack_footer_free(PackFooter *footer) {
  free(footer->keys);
  free(footer->frames);
  *footer = (PackFooter){0};
}

static bool frame_valid(const PackFrame *f, size_t keys_len, uint64_t *at, uint64_t footer_offset) {
  if (f->offset < *at || f->stored < AEAD_TAG_LEN || f->stored > (uint32_t)FRAME_RAW_MAX + AEAD_TAG_LEN) return false;
  if (f->raw == 0 || f->raw > FRAME_RAW_MAX || f->stored - AEAD_TAG_LEN > f->raw) return false;
  if (f->key >= keys_len || f->type == 0 || f->type > FRAME_TYPE_MAX || f->codec >= CODEC_COUNT) return false;
  *at = (uint64_t)f->offset + f->stored;
  return *at <= footer_offset;
}

static Error *footer_decode_frames(Cursor *c, uint64_t footer_offset, PackFooter *out) {
  uint64_t at = OBJECT_HEADER_LEN;
  for (size_t i = 0; i < out->frames_len; i++) {
    PackFrame *f = &out->frames[i];
    cursor_copy(c, f->id.b, sizeof f->id.b);
    f->offset = cursor_u32(c);
    f->stored = cursor_u32(c);
    f->raw = cursor_u32(c);
    f->number = cursor_u32(c);
    f->key = cursor_u16(c);
    f->type = cursor_u8(c);
    f->codec = cursor_u8(c);
    if (c->failed || !frame_valid(f, out->keys_len, &at, footer_offset))
      return err_new(ERR_CORRUPT, "pack footer: frame %zu is malformed", i);
  }
  return cursor_end(c, "pack footer");
}

Error *pack_footer_decode(Bytes in, uint64_t footer_offset, PackFooter *out) {
  Cursor c = cursor(in);
  PackFooter footer = {0};
  Error *err = NULL;
  footer.keys_len = cursor_u32(&c);
  if (c.failed || footer.keys_len > PACK_KEYS_MAX || footer.keys_len * PACK_KEY_LEN > cursor_left(&c))
    return err_new(ERR_CORRUPT, "pack footer: key table is malformed");
  footer.keys = NEW_ARRAY(PackKey, footer.keys_len);
  for (size_t i = 0; i < footer.keys_len && !err; i++) err = pack_key_decode(&c, &footer.keys[i]);
  if (!err) {
    footer.frames_len = cursor_u32(&c);
    if (c.failed || footer.frames_len > PACK_FRAMES_MAX || footer.frames_len * PACK_FRAME_LEN != cursor_left(&c))
      err = err_new(ERR_CORRUPT, "pack footer: frame table is malformed");
  }
  if (!err) {
    footer.frames = NEW_ARRAY(PackFrame, footer.frames_len);
    err = footer_decode_frames(&c, footer_offset, &footer);
  }
  if (err) {
    pack_footer_free(&footer);
    return err;
  }
  *out = footer;
  return NULL;
}

static void trailer_hash(const uint8_t head[32], Bytes stripes, uint8_t out[32]) {
  Blake3 h;
  blake3_init(&h);
  blake3_update(&h, stripes.data, stripes.len);
  blake3_update(&h, head, 32);
  blake3_final(&h, out);
}

void pack_trailer_encode(const PackTrailer *trailer, Bytes stripes, uint8_t out[PACK_TRAILER_LEN]) {
  memset(out, 0, PACK_TRAILER_LEN);
  memcpy(out, trailer_magic, 4);
  out[4] = FORMAT_VERSION;
  store_u64(out + 8, trailer->footer_offset);
  store_u32(out + 16, trailer->footer_len);
  store_u32(out + 20, trailer->stripes_len);
  store_u32(out + 24, PACK_STRIPE);
  trailer_hash(out, stripes, out + 32);
}

Error *pack_trailer_decode(const uint8_t tail[PACK_TRAILER_LEN], uint64_t pack_size, PackTrailer *out) {
  static const uint8_t zeros[4];
  if (memcmp(tail, trailer_magic, 4) != 0) return err_new(ERR_CORRUPT, "pack trailer: not there, the pack is torn");
  if (tail[4] != FORMAT_VERSION) return err_new(ERR_UNSUPPORTED, "pack trailer: version %u", tail[4]);
  PackTrailer t = {
      .footer_offset = load_u64(tail + 8), .footer_len = load_u32(tail + 16), .stripes_len = load_u32(tail + 20)};
  bool reserved = memcmp(tail + 5, zeros, 3) != 0 || memcmp(tail + 28, zeros, 4) != 0;
  if (reserved || load_u32(tail + 24) != PACK_STRIPE || pack_size > PACK_SIZE_MAX ||
      t.footer_offset < OBJECT_HEADER_LEN || t.footer_len < AEAD_TAG_LEN || t.footer_offset > pack_size ||
      t.footer_offset + t.footer_len + t.stripes_len + PACK_TRAILER_LEN != pack_size)
    return err_new(ERR_CORRUPT, "pack trailer: malformed");
  uint64_t stripes = (t.footer_offset + t.footer_len + PACK_STRIPE - 1) / PACK_STRIPE;
  if (t.stripes_len != stripes * PACK_STRIPE_HASH) return err_new(ERR_CORRUPT, "pack trailer: malformed stripe table");
  *out = t;
  return NULL;
}

Error *pack_stripes_verify(const uint8_t tail[PACK_TRAILER_LEN], Bytes stripes) {
  uint8_t hash[32];
  trailer_hash(tail, stripes, hash);
  return memcmp(hash, tail + 32, 32) == 0 ? NULL : err_new(ERR_CORRUPT, "stripe table: checksum mismatch");
}

void pack_footer_key(const uint8_t meta_key[KEY_LEN], const uint8_t salt[32], uint8_t out[KEY_LEN]) {
  kdf_hkdf(meta_key, bytes(salt, 32), "holdfast/footer", bytes(NULL, 0), out);
}

void frame_aad(const Uuid *repo, FrameType type, Codec codec, uint32_t raw, const FrameId *id,
               uint8_t out[FRAME_AAD_LEN]) {
  memcpy(out, repo->b, 16);
  out[16] = (uint8_t)type;
  out[17] = (uint8_t)codec;
  store_u32(out + 18, raw);
  memcpy(out + 22, id->b, 32);
}
