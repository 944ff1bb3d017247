#include "repo/frames.h"

#include "base/mem.h"
#include "codec/aead.h"
#include "codec/secret.h"

struct FrameDecoder {
  Repo *repo;
  Aead *aead;
  Decompressor *decompressor;
  PackKey key; /* whose key the cipher has; kind 0: none yet */
  bool damage;
};

FrameDecoder *frame_decoder_new(Repo *repo) {
  FrameDecoder *d = NEW(FrameDecoder);
  d->repo = repo;
  d->aead = aead_new();
  d->decompressor = decompressor_new();
  return d;
}

void frame_decoder_free(FrameDecoder *take) {
  if (!take) return;
  aead_free(take->aead);
  decompressor_free(take->decompressor);
  free(take);
}

/* The base key that a PackKey names: a data key from the keyring, or the series' metadata key. */
static Error *base_key(Repo *repo, const PackKey *key, uint8_t out[KEY_LEN], Cancel *cancel) {
  if (key->kind == PACK_KEY_DATA) return repo_data_key(repo, key->ref, out, cancel);
  Uuid series;
  memcpy(series.b, key->ref, sizeof series.b);
  return keys_class(repo->keys, key->epoch, KEY_CLASS_META, &series, out);
}

static Error *decoder_use_key(FrameDecoder *d, const PackKey *key, Cancel *cancel) {
  if (d->key.kind == key->kind && d->key.epoch == key->epoch && memcmp(d->key.ref, key->ref, sizeof key->ref) == 0 &&
      memcmp(d->key.salt, key->salt, sizeof key->salt) == 0)
    return NULL;
  uint8_t base[KEY_LEN], object[KEY_LEN];
  TRY(base_key(d->repo, key, base, cancel));
  keys_object(base, key->salt, OBJECT_PACK, object);
  aead_set_key(d->aead, object);
  d->key = *key;
  secret_wipe(base, sizeof base);
  secret_wipe(object, sizeof object);
  return NULL;
}

static Error *decode(FrameDecoder *d, const FrameLoc *loc, const FrameId *id, uint8_t *sealed, uint8_t *out) {
  uint8_t aad[FRAME_AAD_LEN];
  frame_aad(&d->repo->keys->repo, loc->type, loc->codec, loc->raw, id, aad);
  size_t len = loc->stored - AEAD_TAG_LEN;
  if (loc->codec == CODEC_NONE && len != loc->raw) return err_new(ERR_CORRUPT, "frame: raw length is wrong");
  uint8_t *plain = loc->codec == CODEC_NONE ? out : sealed;
  TRY(aead_open(d->aead, loc->number, bytes(aad, sizeof aad), bytes(sealed, loc->stored), plain));
  if (loc->codec != CODEC_NONE) TRY(decompressor_run(d->decompressor, loc->codec, bytes(sealed, len), out, loc->raw));
  FrameId found = keys_frame_id(d->repo->keys, loc->type, bytes(out, loc->raw));
  return frame_id_equal(&found, id) ? NULL : err_new(ERR_CORRUPT, "frame: content does not match its id");
}

Error *frame_decode(FrameDecoder *d, const FrameLoc *loc, const FrameId *id, uint8_t *sealed, uint8_t *out,
                    Cancel *cancel) {
  char name[PACK_NAME_LEN];
  d->damage = false;
  Error *err = decoder_use_key(d, &loc->key, cancel);
  if (!err) {
    err = decode(d, loc, id, sealed, out);
    d->damage = err != NULL;
  }
  return err_wrap(err, "%s at byte %u", pack_name(&loc->pack, name), loc->offset);
}

bool frame_decoder_saw_damage(const FrameDecoder *d) { return d->damage; }

/* ---- single frames
 * ------------------------------------------------------------------------------------------------------- */

enum { CACHE_SLOTS = 512, CACHED_MAX = 2 * NODE_SIZE, DECODERS_MAX = 16 };

typedef struct CacheSlot {
  FrameType type;
  FrameId id;
  Buf raw;
} CacheSlot;

struct FrameReader {
  FrameSource base;
  Repo *repo;
  Index *index;
  Cancel *cancel;
  Mutex lock; /* the cache and the idle decoders */
  CacheSlot slots[CACHE_SLOTS];
  FrameDecoder *idle[DECODERS_MAX];
  size_t idle_len;
};

static FrameDecoder *take_decoder(FrameReader *r) {
  LOCKED(&r->lock);
  return r->idle_len ? r->idle[--r->idle_len] : frame_decoder_new(r->repo);
}

static void give_decoder(FrameReader *r, FrameDecoder *take) {
  LOCKED(&r->lock);
  if (r->idle_len < DECODERS_MAX)
    r->idle[r->idle_len++] = take;
  else
    frame_decoder_free(take);
}

static CacheSlot *cache_slot(FrameReader *r, const FrameId *id) { return &r->slots[load_u64(id->b) % CACHE_SLOTS]; }

static bool cache_get(FrameReader *r, FrameType type, const FrameId *id, Buf *out) {
  LOCKED(&r->lock);
  const CacheSlot *slot = cache_slot(r, id);
  if (slot->type != type || !frame_id_equal(&slot->id, id)) return false;
  buf_clear(out);
  buf_add(out, slot->raw.data, slot->raw.len);
  return true;
}

static void cache_put(FrameReader *r, FrameType type, const FrameId *id, Bytes raw) {
  if (type == FRAME_DATA || raw.len > CACHED_MAX) return;
  LOCKED(&r->lock);
  CacheSlot *slot = cache_slot(r, id);
  slot->type = type;
  slot->id = *id;
  buf_clear(&slot->raw);
  buf_add(&slot->raw, raw.data, raw.len);
}

/* *damaged: the frame is not what it should be; an error of the store says nothing about it. */
static Error *reader_fetch(FrameReader *r, const FrameLoc *loc, const FrameId *id, Buf *out, bool *damaged) {
  char name[PACK_NAME_LEN];
  AUTO_BUF Buf sealed = {0};
  *damaged = false;
  buf_grow(&sealed, loc->stored);
  TRY(store_get(r->repo->store, pack_name(&loc->pack, name), loc->offset, loc->stored, sealed.data, r->cancel));
  buf_clear(out);
  buf_grow(out, loc->raw);
  FrameDecoder *decoder = take_decoder(r);
  Error *err = frame_decode(decoder, loc, id, sealed.data, out->data, r->cancel);
  *damaged = frame_decoder_saw_damage(decoder);
  give_decoder(r, decoder);
  if (err) buf_clear(out);
  return err;
}

/* From pack to pack while copies are damaged: each round doubts one that was good until then. */
static Error *reader_fetch_any(FrameReader *r, FrameType type, const FrameId *id, FrameLoc *loc, Buf *out) {
  for (;;) {
    bool damaged;
    Error *err = reader_fetch(r, loc, id, out, &damaged);
    if (!damaged) return err;
    index_doubt(r->index, &loc->pack, err, r->cancel);
    if (!index_find_good(r->index, type, id, loc)) return err;
    err_free(err);
  }
}

static Error *reader_get(FrameSource *source, FrameType type, const FrameId *id, Buf *out) {
  FrameReader *r = (FrameReader *)source;
  if (cache_get(r, type, id, out)) return NULL;
  TRY(cancel_check(r->cancel));
  FrameLoc loc;
  bool found = index_find(r->index, type, id, &loc);
  if (!found) {
    TRY(index_salvage(r->index, r->cancel));
    found = index_find(r->index, type, id, &loc);
  }
  if (!found) {
    char text[65];
    hex_encode(id->b, sizeof id->b, text);
    return err_hint(err_new(ERR_CORRUPT, "frame %.16s…: in no pack that is present", text),
                    "run `holdfast verify` to see what else is missing");
  }
  TRY(reader_fetch_any(r, type, id, &loc, out));
  cache_put(r, type, id, buf_bytes(out));
  return NULL;
}

FrameReader *frame_reader_new(Repo *repo, Index *index, Cancel *cancel) {
  FrameReader *r = NEW(FrameReader);
  r->base.get = reader_get;
  r->repo = repo;
  r->index = index;
  r->cancel = cancel;
  mutex_init(&r->lock, repo->sys);
  return r;
}

void frame_reader_free(FrameReader *take) {
  if (!take) return;
  for (size_t i = 0; i < CACHE_SLOTS; i++) buf_free(&take->slots[i].raw);
  for (size_t i = 0; i < take->idle_len; i++) frame_decoder_free(take->idle[i]);
  mutex_free(&take->lock);
  free(take);
}

FrameSource *frame_reader_source(FrameReader *reader) { return &reader->base; }

/* ---- footers
 * -------------------------------------------------------------------------------------------------------------- */

static Error *open_footer(Repo *repo, const char *name, uint64_t size, PackFooter *out, Cancel *cancel) {
  uint8_t head[OBJECT_HEADER_LEN], tail[PACK_TRAILER_LEN];
  if (size < OBJECT_HEADER_LEN + PACK_TRAILER_LEN) return err_new(ERR_CORRUPT, "too short for a pack");
  TRY(store_get(repo->store, name, 0, sizeof head, head, cancel));
  TRY(store_get(repo->store, name, size - sizeof tail, sizeof tail, tail, cancel));
  ObjectHeader header;
  PackTrailer trailer;
  TRY(object_header_decode(bytes(head, sizeof head), OBJECT_PACK, &header));
  if (!uuid_equal(&header.repo, &repo->keys->repo)) return err_new(ERR_CORRUPT, "belongs to another repository");
  TRY(pack_trailer_decode(tail, size, &trailer));
  if (trailer.footer_len > OBJECT_BODY_MAX) return err_new(ERR_LIMIT, "footer too large");

  AUTO_BUF Buf sealed = {0}, aad = {0};
  TRY(store_get(repo->store, name, trailer.footer_offset, trailer.footer_len, buf_grow(&sealed, trailer.footer_len),
                cancel));
  buf_add(&aad, head, sizeof head);
  buf_add_str(&aad, name);
  uint8_t meta[KEY_LEN], key[KEY_LEN];
  TRY(keys_class(repo->keys, header.epoch, KEY_CLASS_META, &header.series, meta));
  pack_footer_key(meta, header.salt, key);
  Aead *aead = aead_new();
  aead_set_key(aead, key);
  Error *err = aead_open(aead, 0, buf_bytes(&aad), buf_bytes(&sealed), sealed.data);
  aead_free(aead);
  secret_wipe(meta, sizeof meta);
  secret_wipe(key, sizeof key);
  TRY(err_wrap(err, "footer"));
  return pack_footer_decode(bytes(sealed.data, sealed.len - AEAD_TAG_LEN), trailer.footer_offset, out);
}

Error *pack_read_footer(Repo *repo, const Uuid *pack, uint64_t size, PackFooter *out, Cancel *cancel) {
  char name[PACK_NAME_LEN];
  pack_name(pack, name);
  return err_wrap(open_footer(repo, name, size, out, cancel), "%s", name);
}
