#include "repo/object.h"

#include "codec/aead.h"
#include "codec/secret.h"

static const uint8_t object_magic[4] = {'H', 'F', 'O', 'B'};

void object_header_encode(const ObjectHeader *header, uint8_t out[OBJECT_HEADER_LEN]) {
  memset(out, 0, OBJECT_HEADER_LEN);
  memcpy(out, object_magic, 4);
  out[4] = FORMAT_VERSION;
  out[5] = (uint8_t)header->type;
  store_u32(out + 8, header->epoch);
  memcpy(out + 16, header->repo.b, 16);
  memcpy(out + 32, header->series.b, 16);
  memcpy(out + 48, header->ref, 16);
  memcpy(out + 64, header->salt, 32);
}

Error *object_header_decode(Bytes in, ObjectType expect, ObjectHeader *out) {
  if (in.len < OBJECT_HEADER_LEN) return err_new(ERR_CORRUPT, "object header: %zu bytes, expected 96", in.len);
  if (memcmp(in.data, object_magic, 4) != 0) return err_new(ERR_CORRUPT, "object header: not a holdfast object");
  if (in.data[4] != FORMAT_VERSION)
    return err_hint(
        err_new(ERR_UNSUPPORTED, "object header: format version %u, this program reads %d", in.data[4], FORMAT_VERSION),
        "use the holdfast version that wrote it, or a newer one");
  if (in.data[5] != expect) return err_new(ERR_CORRUPT, "object header: type %u, expected %d", in.data[5], (int)expect);
  static const uint8_t zeros[4];
  if (memcmp(in.data + 6, zeros, 2) != 0 || memcmp(in.data + 12, zeros, 4) != 0)
    return err_new(ERR_CORRUPT, "object header: reserved bytes are not zero");
  out->type = expect;
  out->epoch = load_u32(in.data + 8);
  memcpy(out->repo.b, in.data + 16, 16);
  memcpy(out->series.b, in.data + 32, 16);
  memcpy(out->ref, in.data + 48, 16);
  memcpy(out->salt, in.data + 64, 32);
  return NULL;
}

/* Which class a small object's key comes from, and whether that key is the series' own. */
static KeyClass class_of(ObjectType type, bool *per_series) {
  *per_series = false;
  switch (type) {
    case OBJECT_SEGMENT: return KEY_CLASS_INDEX;
    case OBJECT_SERIES: return KEY_CLASS_SERIES;
    case OBJECT_SNAPSHOT:
    case OBJECT_FENCE: *per_series = true; return KEY_CLASS_SNAPSHOT;
    default: return KEY_CLASS_SESSION;
  }
}

static Error *object_key(const Keys *keys, const ObjectHeader *header, uint8_t out[KEY_LEN]) {
  bool per_series;
  KeyClass cls = class_of(header->type, &per_series);
  uint8_t base[KEY_LEN];
  TRY(keys_class(keys, header->epoch, cls, per_series ? &header->series : NULL, base));
  keys_object(base, header->salt, header->type, out);
  secret_wipe(base, sizeof base);
  return NULL;
}

static void object_aad(const uint8_t header[OBJECT_HEADER_LEN], const char *name, Buf *out) {
  buf_add(out, header, OBJECT_HEADER_LEN);
  buf_add_str(out, name);
}

Error *object_seal(Sys *sys, const Keys *keys, ObjectType type, const Uuid *series, const char *name, Bytes body,
                   Buf *out) {
  if (body.len > OBJECT_BODY_MAX) return err_new(ERR_LIMIT, "object %s: %zu bytes are too many", name, body.len);
  ObjectHeader header = {.type = type, .epoch = keys->epochs - 1, .repo = keys->repo};
  if (series) header.series = *series;
  sys_random(sys, header.salt, sizeof header.salt);
  uint8_t key[KEY_LEN];
  TRY(object_key(keys, &header, key));

  buf_clear(out);
  buf_reserve(out, OBJECT_HEADER_LEN + body.len + AEAD_TAG_LEN);
  object_header_encode(&header, buf_grow(out, OBJECT_HEADER_LEN));
  AUTO_BUF Buf aad = {0};
  object_aad(out->data, name, &aad);
  Aead *aead = aead_new();
  aead_set_key(aead, key);
  aead_seal(aead, 0, buf_bytes(&aad), body.data, body.len, buf_grow(out, body.len + AEAD_TAG_LEN));
  aead_free(aead);
  secret_wipe(key, sizeof key);
  return NULL;
}

Error *object_open(const Keys *keys, ObjectType type, const char *name, Bytes sealed, Buf *body,
                   ObjectHeader *out_header) {
  ObjectHeader header;
  Error *bad = object_header_decode(sealed, type, &header);
  /* holdfast.json said that the repository is of our version: one object of another is damage, and costs no more. */
  if (err_is(bad, ERR_UNSUPPORTED)) bad = err_recode(bad, ERR_CORRUPT);
  TRY(err_wrap(bad, "%s", name));
  if (!uuid_equal(&header.repo, &keys->repo)) return err_new(ERR_CORRUPT, "%s: belongs to another repository", name);
  if (sealed.len < OBJECT_HEADER_LEN + AEAD_TAG_LEN) return err_new(ERR_CORRUPT, "%s: too short", name);
  if (sealed.len > (size_t)OBJECT_BODY_MAX + OBJECT_HEADER_LEN + AEAD_TAG_LEN)
    return err_new(ERR_LIMIT, "%s: too large", name);
  uint8_t key[KEY_LEN];
  TRY(err_wrap(object_key(keys, &header, key), "%s", name));

  AUTO_BUF Buf aad = {0};
  object_aad(sealed.data, name, &aad);
  Bytes cipher = bytes(sealed.data + OBJECT_HEADER_LEN, sealed.len - OBJECT_HEADER_LEN);
  buf_clear(body);
  uint8_t *plain = buf_grow(body, cipher.len - AEAD_TAG_LEN);
  Aead *aead = aead_new();
  aead_set_key(aead, key);
  Error *err = aead_open(aead, 0, buf_bytes(&aad), cipher, plain);
  aead_free(aead);
  secret_wipe(key, sizeof key);
  if (err) {
    buf_clear(body);
    return err_wrap(err, "%s", name);
  }
  if (out_header) *out_header = header;
  return NULL;
}
