#include "repo/packer.h"

#include "base/mem.h"
#include "codec/aead.h"
#include "codec/blake3.h"
#include "codec/secret.h"
#include "repo/uuid.h"

typedef struct Part {
  uint8_t *data;
  size_t len;
  unsigned pending; /* frames placed here and not sealed yet */
  bool closed;      /* no more frames */
  struct Part *next;
} Part;

typedef struct OpenPack {
  Uuid id;
  char name[PACK_NAME_LEN];
  ObjectHeader header;
  uint8_t key[KEY_LEN], footer_key[KEY_LEN];
  uint64_t size; /* placed so far */
  PackFrame *frames;
  size_t frames_len, frames_cap;
  Part *head, *tail; /* parts not yet written, in order */
  bool sealed;       /* no more frames will come */
  bool busy;         /* a writer thread has it */
  StorePut *put;
  Blake3 stripe; /* of the stripe begun */
  size_t stripe_len;
  Buf stripes;
  struct OpenPack *next;
} OpenPack;

struct Packer {
  Repo *repo;
  PackerOptions options;
  Cancel *cancel;
  Mutex lock;
  Cond work;   /* a part is ready, a pack is sealed, or stopping */
  Cond room;   /* a part is free, or failed */
  Cond idle;   /* a pack is durable, or failed */
  Part *parts; /* all of them */
  Part *free_parts;
  OpenPack *packs; /* oldest first */
  OpenPack *open;
  Error *failed;
  bool stopping;
  uint64_t stored_bytes;
  Mutex done_lock; /* done() one at a time */
  Thread **threads;
  unsigned threads_len;
};

struct Sealer {
  Aead *aead;
  Uuid pack;
};

Sealer *sealer_new(void) {
  Sealer *sealer = NEW(Sealer);
  sealer->aead = aead_new();
  return sealer;
}

void sealer_free(Sealer *take) {
  if (!take) return;
  aead_free(take->aead);
  free(take);
}

/* ---- packs and parts: all with the lock held
 * ------------------------------------------------------------------------- */

static void pack_free(OpenPack *pack) {
  store_put_abort(pack->put);
  secret_wipe(pack->key, sizeof pack->key);
  secret_wipe(pack->footer_key, sizeof pack->footer_key);
  buf_free(&pack->stripes);
  free(pack->frames);
  free(pack);
}

static OpenPack *pack_start(Packer *p) {
  const PackerOptions *o = &p->options;
  OpenPack *pack = NEW(OpenPack);
  pack->id = uuid_new(p->repo->sys);
  pack_name(&pack->id, pack->name);
  pack->header =
      (ObjectHeader){.type = OBJECT_PACK, .epoch = o->epoch, .repo = p->repo->keys->repo, .series = o->series};
  if (o->kind == PACK_KEY_DATA) memcpy(pack->header.ref, o->ref, sizeof pack->header.ref);
  sys_random(p->repo->sys, pack->header.salt, sizeof pack->header.salt);
  keys_object(o->base_key, pack->header.salt, OBJECT_PACK, pack->key);
  pack_footer_key(o->meta_key, pack->header.salt, pack->footer_key);
  blake3_init(&pack->stripe);
  OpenPack **last = &p->packs;
  while (*last) last = &(*last)->next;
  *last = pack;
  return pack;
}

static void part_close(Packer *p, Part *part) {
  part->closed = true;
  if (part->pending == 0) cond_signal(&p->work);
}

static void pack_seal(Packer *p, OpenPack *pack) {
  pack->sealed = true;
  if (pack->tail && !pack->tail->closed) part_close(p, pack->tail);
  if (p->open == pack) p->open = NULL;
  cond_broadcast(&p->work);
}

static void pack_add_part(Packer *p, OpenPack *pack) {
  Part *part = p->free_parts;
  p->free_parts = part->next;
  part->len = 0;
  part->pending = 0;
  part->closed = false;
  part->next = NULL;
  if (pack->tail)
    pack->tail->next = part;
  else
    pack->head = part;
  pack->tail = part;
  if (pack->size == 0) {
    object_header_encode(&pack->header, part->data);
    part->len = OBJECT_HEADER_LEN;
    pack->size = OBJECT_HEADER_LEN;
  }
}

/* The open pack with room for `need` bytes in its last part. */
static Error *find_room(Packer *p, size_t need, OpenPack **out) {
  CHECK(need + OBJECT_HEADER_LEN <= p->options.part_size);
  for (;;) {
    if (p->failed) return err_copy(p->failed);
    TRY(cancel_check(p->cancel));
    OpenPack *pack = p->open;
    if (pack && pack->tail && !pack->tail->closed) {
      if (p->options.part_size - pack->tail->len >= need) {
        *out = pack;
        return NULL;
      }
      part_close(p, pack->tail);
    }
    if (!p->free_parts) {
      cond_wait_until(&p->room, &p->lock, sys_mono_ns(p->repo->sys) + 50 * UINT64_C(1000000));
      continue;
    }
    if (!pack) pack = p->open = pack_start(p);
    if (!pack->tail || pack->tail->closed) pack_add_part(p, pack);
  }
}

static PackFrame *pack_add_frame(OpenPack *pack) {
  if (pack->frames_len == pack->frames_cap) {
    pack->frames_cap = pack->frames_cap ? pack->frames_cap * 2 : 256;
    pack->frames = (PackFrame *)mem_resize(pack->frames, pack->frames_cap, sizeof *pack->frames);
  }
  return &pack->frames[pack->frames_len++];
}

Error *packer_put(Packer *p, Sealer *sealer, FrameType type, const FrameId *id, Codec codec, uint32_t raw,
                  Bytes payload) {
  CHECK(payload.len <= raw && raw <= FRAME_RAW_MAX);
  uint32_t stored = (uint32_t)payload.len + AEAD_TAG_LEN;
  mutex_lock(&p->lock);
  OpenPack *pack = NULL;
  Error *err = find_room(p, stored, &pack);
  if (err) {
    mutex_unlock(&p->lock);
    return err;
  }
  Part *part = pack->tail;
  uint8_t *place = part->data + part->len;
  uint32_t number = (uint32_t)pack->frames_len;
  *pack_add_frame(pack) = (PackFrame){.id = *id,
                                      .offset = (uint32_t)pack->size,
                                      .stored = stored,
                                      .raw = raw,
                                      .number = number,
                                      .type = (uint8_t)type,
                                      .codec = (uint8_t)codec};
  part->len += stored;
  part->pending++;
  pack->size += stored;
  if (pack->size >= p->options.target_size || pack->frames_len == PACK_FRAMES_MAX) pack_seal(p, pack);
  if (!uuid_equal(&sealer->pack, &pack->id)) {
    aead_set_key(sealer->aead, pack->key);
    sealer->pack = pack->id;
  }
  mutex_unlock(&p->lock);

  uint8_t aad[FRAME_AAD_LEN];
  frame_aad(&p->repo->keys->repo, type, codec, raw, id, aad);
  aead_seal(sealer->aead, number, bytes(aad, sizeof aad), payload.data, payload.len, place);

  mutex_lock(&p->lock);
  if (--part->pending == 0 && part->closed) cond_signal(&p->work);
  mutex_unlock(&p->lock);
  return NULL;
}

/* ---- writing: the pack is busy, the lock is not held
 * ---------------------------------------------------------------------- */

static void stripe_end(OpenPack *pack) {
  uint8_t hash[32];
  blake3_final(&pack->stripe, hash);
  buf_add(&pack->stripes, hash, PACK_STRIPE_HASH);
  blake3_init(&pack->stripe);
  pack->stripe_len = 0;
}

static void stripes_add(OpenPack *pack, Bytes data) {
  while (data.len) {
    if (pack->stripe_len == 0 && data.len >= PACK_STRIPE) {
      uint8_t hash[32];
      blake3_hash(data.data, PACK_STRIPE, hash);
      buf_add(&pack->stripes, hash, PACK_STRIPE_HASH);
      data = bytes(data.data + PACK_STRIPE, data.len - PACK_STRIPE);
      continue;
    }
    size_t n = PACK_STRIPE - pack->stripe_len;
    if (n > data.len) n = data.len;
    blake3_update(&pack->stripe, data.data, n);
    pack->stripe_len += n;
    if (pack->stripe_len == PACK_STRIPE) stripe_end(pack);
    data = bytes(data.data + n, data.len - n);
  }
}

static Error *write_bytes(Packer *p, OpenPack *pack, Bytes data, bool striped) {
  if (!pack->put) TRY(store_put_begin(p->repo->store, pack->name, PUT_NEW, &pack->put, p->cancel));
  if (striped) stripes_add(pack, data);
  return store_put_write(pack->put, data, p->cancel);
}

static Error *write_end(Packer *p, OpenPack *pack) {
  PackKey key = {.kind = (uint8_t)p->options.kind, .epoch = p->options.epoch};
  memcpy(key.ref, p->options.ref, sizeof key.ref);
  memcpy(key.salt, pack->header.salt, sizeof key.salt);
  PackFooter footer = {.keys = &key, .keys_len = 1, .frames = pack->frames, .frames_len = pack->frames_len};
  AUTO_BUF Buf plain = {0}, tail = {0}, aad = {0};
  pack_footer_encode(&footer, &plain);

  uint8_t header[OBJECT_HEADER_LEN];
  object_header_encode(&pack->header, header);
  buf_add(&aad, header, sizeof header);
  buf_add_str(&aad, pack->name);
  Aead *aead = aead_new();
  aead_set_key(aead, pack->footer_key);
  aead_seal(aead, 0, buf_bytes(&aad), plain.data, plain.len, buf_grow(&tail, plain.len + AEAD_TAG_LEN));
  aead_free(aead);
  PackTrailer trailer = {.footer_offset = pack->size, .footer_len = (uint32_t)tail.len};
  TRY(write_bytes(p, pack, buf_bytes(&tail), true));
  if (pack->stripe_len) stripe_end(pack);
  trailer.stripes_len = (uint32_t)pack->stripes.len;
  uint8_t end[PACK_TRAILER_LEN];
  pack_trailer_encode(&trailer, buf_bytes(&pack->stripes), end);
  TRY(write_bytes(p, pack, buf_bytes(&pack->stripes), false));
  TRY(write_bytes(p, pack, bytes(end, sizeof end), false));
  TRY(store_put_commit(STEAL(pack->put), p->cancel));

  uint64_t size = trailer.footer_offset + trailer.footer_len + trailer.stripes_len + PACK_TRAILER_LEN;
  PackDone done = {.id = pack->id, .size = size, .key = key, .frames = pack->frames, .frames_len = pack->frames_len};
  LOCKED(&p->done_lock);
  p->stored_bytes += size;
  return p->options.done(p->options.ctx, &done);
}

/* ---- writer threads
 * --------------------------------------------------------------------------------------------------------- */

static OpenPack *find_work(Packer *p) {
  for (OpenPack *pack = p->packs; pack; pack = pack->next) {
    if (pack->busy) continue;
    Part *head = pack->head;
    if (head ? head->closed && head->pending == 0 : pack->sealed) return pack;
  }
  return NULL;
}

static void remove_pack(Packer *p, OpenPack *pack) {
  OpenPack **at = &p->packs;
  while (*at != pack) at = &(*at)->next;
  *at = pack->next;
  pack_free(pack);
  cond_broadcast(&p->idle);
}

static void packer_fail(Packer *p, Error *take) {
  if (p->failed)
    err_free(take);
  else
    p->failed = take;
  cond_broadcast(&p->room);
  cond_broadcast(&p->idle);
}

/* Takes one step with a pack: writes its first part, or ends it. Called and left with the lock held. */
static void writer_step(Packer *p, OpenPack *pack) {
  pack->busy = true;
  Part *part = pack->head;
  mutex_unlock(&p->lock);
  Error *err = part ? write_bytes(p, pack, bytes(part->data, part->len), true) : write_end(p, pack);
  err = err_wrap(err, "writing %s", pack->name);
  mutex_lock(&p->lock);
  pack->busy = false;
  if (err) {
    packer_fail(p, err);
  } else if (part) {
    pack->head = part->next;
    if (!pack->head) pack->tail = NULL;
    part->next = p->free_parts;
    p->free_parts = part;
    cond_broadcast(&p->room);
  } else {
    remove_pack(p, pack);
  }
}

static void writer_run(void *arg) {
  Packer *p = (Packer *)arg;
  mutex_lock(&p->lock);
  while (!p->stopping) {
    OpenPack *pack = p->failed ? NULL : find_work(p);
    if (pack)
      writer_step(p, pack);
    else
      cond_wait(&p->work, &p->lock);
  }
  mutex_unlock(&p->lock);
}

Error *packer_new(Repo *repo, const PackerOptions *options, Cancel *cancel, Packer **out) {
  CHECK(options->parts >= 2 && options->writers >= 1);
  Packer *p = NEW(Packer);
  p->repo = repo;
  p->options = *options;
  p->cancel = cancel;
  mutex_init(&p->lock, repo->sys);
  mutex_init(&p->done_lock, repo->sys);
  cond_init(&p->work, repo->sys);
  cond_init(&p->room, repo->sys);
  cond_init(&p->idle, repo->sys);
  p->parts = NEW_ARRAY(Part, options->parts);
  for (unsigned i = 0; i < options->parts; i++) {
    p->parts[i].data = (uint8_t *)mem_pages(options->part_size);
    p->parts[i].next = p->free_parts;
    p->free_parts = &p->parts[i];
  }
  p->threads = NEW_ARRAY(Thread *, options->writers);
  for (unsigned i = 0; i < options->writers; i++) {
    Error *err = thread_start(repo->sys, "pack-writer", writer_run, p, &p->threads[i]);
    if (err) {
      packer_free(p);
      return err;
    }
    p->threads_len++;
  }
  *out = p;
  return NULL;
}

Error *packer_flush(Packer *p) {
  LOCKED(&p->lock);
  if (p->open) pack_seal(p, p->open);
  while (p->packs && !p->failed) {
    cond_wait_until(&p->idle, &p->lock, sys_mono_ns(p->repo->sys) + 50 * UINT64_C(1000000));
    TRY(cancel_check(p->cancel));
  }
  return err_copy(p->failed);
}

uint64_t packer_stored_bytes(Packer *p) {
  LOCKED(&p->done_lock);
  return p->stored_bytes;
}

void packer_free(Packer *take) {
  if (!take) return;
  mutex_lock(&take->lock);
  take->stopping = true;
  cond_broadcast(&take->work);
  mutex_unlock(&take->lock);
  for (unsigned i = 0; i < take->threads_len; i++) thread_join(take->threads[i]);
  for (OpenPack *pack = take->packs; pack;) {
    OpenPack *next = pack->next;
    pack_free(pack);
    pack = next;
  }
  for (unsigned i = 0; i < take->options.parts; i++) mem_free_pages(take->parts[i].data, take->options.part_size);
  secret_wipe(&take->options, sizeof take->options);
  free(take->parts);
  free(take->threads);
  err_free(take->failed);
  mutex_free(&take->lock);
  mutex_free(&take->done_lock);
  cond_free(&take->work);
  cond_free(&take->room);
  cond_free(&take->idle);
  free(take);
}
