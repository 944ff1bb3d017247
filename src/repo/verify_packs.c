#include "base/mem.h"
#include "codec/aead.h"
#include "codec/blake3.h"
#include "repo/frames.h"
#include "repo/verify_impl.h"

enum { READ_SIZE = 8 * 1024 * 1024 };

typedef struct PackJob {
  Uuid id;
  uint64_t size;
  uint64_t last_ns;
} PackJob;

typedef struct PackWork {
  Verify *v;
  Index *index;
  PackJob *jobs;
  size_t len, cap, next;
  Error *fatal;
} PackWork;

typedef struct PackWorker {
  PackWork *work;
  FrameDecoder *decoder;
  uint8_t *buffer; /* READ_SIZE + FRAME_RAW_MAX */
  uint8_t *raw;
} PackWorker;

/* ---- level 2
 * ---------------------------------------------------------------------------------------------------------------- */

static Error *read_stripes(PackWorker *w, const char *name, uint64_t size, Buf *stripes, uint64_t *covered) {
  Verify *v = w->work->v;
  uint8_t tail[PACK_TRAILER_LEN];
  if (size < OBJECT_HEADER_LEN + PACK_TRAILER_LEN) return err_new(ERR_CORRUPT, "too short for a pack");
  TRY(store_get(v->repo->store, name, size - sizeof tail, sizeof tail, tail, v->cancel));
  PackTrailer trailer;
  TRY(pack_trailer_decode(tail, size, &trailer));
  *covered = trailer.footer_offset + trailer.footer_len;
  TRY(store_get(v->repo->store, name, *covered, trailer.stripes_len, buf_grow(stripes, trailer.stripes_len),
                v->cancel));
  return pack_stripes_verify(tail, buf_bytes(stripes));
}

static Error *check_stripes(PackWorker *w, const char *name, uint64_t size) {
  Verify *v = w->work->v;
  AUTO_BUF Buf stripes = {0};
  uint64_t covered = 0, at = 0;
  TRY(read_stripes(w, name, size, &stripes, &covered));
  while (at < covered) {
    size_t n = covered - at < READ_SIZE ? (size_t)(covered - at) : READ_SIZE;
    TRY(cancel_check(v->cancel));
    TRY(store_get(v->repo->store, name, at, n, w->buffer, v->cancel));
    for (size_t i = 0; i < n; i += PACK_STRIPE) {
      uint8_t hash[32];
      size_t len = n - i < PACK_STRIPE ? n - i : PACK_STRIPE;
      blake3_hash(w->buffer + i, len, hash);
      if (memcmp(hash, stripes.data + (at + i) / PACK_STRIPE * PACK_STRIPE_HASH, PACK_STRIPE_HASH) != 0)
        return err_new(ERR_CORRUPT, "checksum mismatch in the 64 KiB at byte %llu", (unsigned long long)(at + i));
    }
    at += n;
    progress_add(v->options->progress ? &v->options->progress->done_bytes : NULL, n);
  }
  return NULL;
}

/* ---- level 3
 * ---------------------------------------------------------------------------------------------------------------- */

static void frame_loc_of(const PackFooter *footer, const PackFrame *f, const Uuid *pack, uint64_t size, FrameLoc *out) {
  *out = (FrameLoc){.pack = *pack,
                    .pack_size = size,
                    .offset = f->offset,
                    .stored = f->stored,
                    .raw = f->raw,
                    .number = f->number,
                    .type = (FrameType)f->type,
                    .codec = (Codec)f->codec,
                    .key = footer->keys[f->key]};
}

/* The index must say the same as the footer, or a restore would look in the wrong place. */
static Error *check_index(PackWorker *w, const FrameLoc *loc, const FrameId *id) {
  FrameLoc found;
  if (!index_find(w->work->index, loc->type, id, &found))
    return err_new(ERR_CORRUPT, "frame at byte %u: not in the index", loc->offset);
  if (!uuid_equal(&found.pack, &loc->pack)) return NULL; /* stored twice: the other copy is checked with its own pack */
  bool same = found.offset == loc->offset && found.stored == loc->stored && found.raw == loc->raw &&
              found.number == loc->number && found.codec == loc->codec;
  return same ? NULL : err_new(ERR_CORRUPT, "frame at byte %u: index and footer disagree", loc->offset);
}

/* Frames [at, …) that fit one read; returns how many through *done. */
static Error *check_frames(PackWorker *w, const PackFooter *footer, size_t at, const Uuid *pack, uint64_t size,
                           const char *name, size_t *done) {
  Verify *v = w->work->v;
  const PackFrame *frames = footer->frames;
  uint64_t start = frames[at].offset, end = start;
  size_t n = 0;
  while (at + n < footer->frames_len &&
         (n == 0 || frames[at + n].offset + (uint64_t)frames[at + n].stored - start <= READ_SIZE)) {
    end = frames[at + n].offset + (uint64_t)frames[at + n].stored;
    n++;
  }
  TRY(cancel_check(v->cancel));
  TRY(store_get(v->repo->store, name, start, end - start, w->buffer, v->cancel));
  for (size_t i = at; i < at + n; i++) {
    FrameLoc loc;
    frame_loc_of(footer, &frames[i], pack, size, &loc);
    TRY(frame_decode(w->decoder, &loc, &frames[i].id, w->buffer + (frames[i].offset - start), w->raw, v->cancel));
    TRY(check_index(w, &loc, &frames[i].id));
  }
  progress_add(v->options->progress ? &v->options->progress->done_bytes : NULL, end - start);
  *done = n;
  return NULL;
}

static Error *check_content(PackWorker *w, const Uuid *pack, uint64_t size, const char *name) {
  Verify *v = w->work->v;
  PackFooter footer;
  TRY(pack_read_footer(v->repo, pack, size, &footer, v->cancel));
  Error *err = NULL;
  for (size_t at = 0, n; at < footer.frames_len && !err; at += err ? 0 : n)
    err = check_frames(w, &footer, at, pack, size, name, &n);
  if (!err) {
    LOCKED(&v->lock);
    v->stats->frames += footer.frames_len;
  }
  pack_footer_free(&footer);
  return err;
}

/* ---- all packs
 * ----------------------------------------------------------------------------------------------------------------- */

static bool next_pack(PackWork *work, PackJob *out) {
  LOCKED(&work->v->lock);
  if (work->fatal || work->next == work->len) return false;
  *out = work->jobs[work->next++];
  return true;
}

static void run_pack(PackWorker *w, const PackJob *job) {
  Verify *v = w->work->v;
  char name[PACK_NAME_LEN];
  pack_name(&job->id, name);
  /* Level 3 includes level 2, so that what only healing needs (stripe tables) is known good as well. */
  Error *err = check_stripes(w, name, job->size);
  if (!err && v->options->level >= 3) err = check_content(w, &job->id, job->size, name);
  bool good = err == NULL;
  err = verify_report(v, name, err);
  LOCKED(&v->lock);
  v->stats->packs++;
  v->stats->bytes += job->size;
  if (good && v->hooks->pack_verified) v->hooks->pack_verified(v->hooks->ctx, &job->id, job->size, v->options->level);
  if (w->work->fatal)
    err_free(err);
  else
    w->work->fatal = err;
}

static void worker_run(void *arg) {
  PackWork *work = (PackWork *)arg;
  PackWorker w = {.work = work, .decoder = frame_decoder_new(work->v->repo)};
  w.buffer = (uint8_t *)mem_pages(READ_SIZE + FRAME_RAW_MAX + AEAD_TAG_LEN);
  w.raw = (uint8_t *)mem_pages(FRAME_RAW_MAX);
  PackJob job;
  while (next_pack(work, &job)) run_pack(&w, &job);
  mem_free_pages(w.buffer, READ_SIZE + FRAME_RAW_MAX + AEAD_TAG_LEN);
  mem_free_pages(w.raw, FRAME_RAW_MAX);
  frame_decoder_free(w.decoder);
}

static Error *collect_pack(void *ctx, const IndexPack *pack) {
  PackWork *work = (PackWork *)ctx;
  const VerifyOptions *o = work->v->options;
  if (!pack->present) return NULL;
  const VerifyHooks *hooks = work->v->hooks;
  uint64_t last = hooks->last_verified ? hooks->last_verified(hooks->ctx, &pack->id, o->level) : 0;
  if (o->older_than_ns && last >= o->older_than_ns) {
    work->v->stats->packs_skipped++;
    return NULL;
  }
  if (work->len == work->cap) {
    work->cap = work->cap ? work->cap * 2 : 256;
    work->jobs = (PackJob *)mem_resize(work->jobs, work->cap, sizeof *work->jobs);
  }
  work->jobs[work->len++] = (PackJob){.id = pack->id, .size = pack->size, .last_ns = last};
  return NULL;
}

static int job_order(const void *a, const void *b) {
  const PackJob *x = (const PackJob *)a, *y = (const PackJob *)b;
  if (x->last_ns != y->last_ns) return x->last_ns < y->last_ns ? -1 : 1;
  return memcmp(x->id.b, y->id.b, sizeof x->id.b);
}

/* Keeps the packs that fit the byte budget, at least one. */
static void apply_budget(PackWork *work) {
  uint64_t total = 0, max = work->v->options->max_bytes;
  size_t n = 0;
  for (; n < work->len; n++) {
    if (max && n && total + work->jobs[n].size > max) break;
    total += work->jobs[n].size;
  }
  work->v->stats->packs_skipped += work->len - n;
  work->len = n;
  if (work->v->options->progress) {
    uint64_t times = work->v->options->level >= 3 ? 2 : 1;
    progress_add(&work->v->options->progress->total_bytes, total * times);
  }
}

Error *verify_packs(Verify *v, Index *index) {
  PackWork work = {.v = v, .index = index};
  Error *err = index_visit_packs(index, collect_pack, &work);
  if (work.len) qsort(work.jobs, work.len, sizeof *work.jobs, job_order);
  apply_budget(&work);
  unsigned workers = v->options->workers ? v->options->workers : sys_cpus(v->repo->sys);
  AUTO_FREE Thread **threads = NEW_ARRAY(Thread *, workers);
  unsigned started = 0;
  while (started < workers && !err) {
    err = thread_start(v->repo->sys, "verify", worker_run, &work, &threads[started]);
    if (!err) started++;
  }
  for (unsigned i = 0; i < started; i++) thread_join(threads[i]);
  free(work.jobs);
  return err_first(err, work.fatal);
}
