#include "base/mem.h"
#include "codec/aead.h"
#include "codec/blake3.h"
#include "repo/damage.h"
#include "repo/frames.h"
#include "repo/verify_impl.h"

enum { READ_SIZE = 8 * 1024 * 1024 };

typedef struct PackJob {
  Uuid id;
  uint64_t size;
  uint64_t last_ns;
  bool doubted; /* known to be damaged before */
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
  const PackJob *job; /* at hand */
  char name[PACK_NAME_LEN];
  Buf bad_stripes;  /* one byte a stripe: 1 when it is damaged */
  uint64_t damaged; /* stripes and frames of this pack */
} PackWorker;

/* ---- what is damaged ------------------------------------------------------------------------------------------- */

/* The rest of the pack is read all the same: what it still has is not lost. A store that is away ends everything. */
static bool is_damage(const Error *err) {
  return err_is(err, ERR_CORRUPT) || err_is(err, ERR_LIMIT) || err_is(err, ERR_IO) || err_is(err, ERR_NOT_FOUND);
}

static Error *keep_first(PackWorker *w, Error *first, Error *take) {
  if (take) w->damaged++;
  return err_first(first, take);
}

/* With the lock held. The name lives as long as the verification. */
static char *lasting_name(Verify *v, const char *name) {
  size_t n = v->bad_packs.len;
  if (n == 0 || strcmp(v->bad_packs.items[n - 1], name) != 0) strlist_add(&v->bad_packs, name);
  return v->bad_packs.items[v->bad_packs.len - 1];
}

static void frame_is_bad(PackWorker *w, const FrameId *id) {
  Verify *v = w->work->v;
  LOCKED(&v->lock);
  if (map_count(v->bad_frames) >= BAD_FRAMES_MAX)
    v->bad_left_out = true;
  else
    map_set(v->bad_frames, bytes(id->b, sizeof id->b), lasting_name(v, w->name));
}

static Error *frame_of_pack_is_bad(void *ctx, const FrameId *id, const FrameLoc *loc UNUSED) {
  frame_is_bad((PackWorker *)ctx, id);
  return NULL;
}

static Error *frame_in_bad_stripe(void *ctx, const FrameId *id, const FrameLoc *loc) {
  PackWorker *w = (PackWorker *)ctx;
  for (uint64_t s = loc->offset / PACK_STRIPE; s <= ((uint64_t)loc->offset + loc->stored - 1) / PACK_STRIPE; s++)
    if (s < w->bad_stripes.len && w->bad_stripes.data[s]) {
      frame_is_bad(w, id);
      break;
    }
  return NULL;
}

/* ---- level 2
 * ---------------------------------------------------------------------------------------------------------------- */

static Error *read_stripes(PackWorker *w, Buf *stripes, uint64_t *covered) {
  Verify *v = w->work->v;
  uint64_t size = w->job->size;
  uint8_t tail[PACK_TRAILER_LEN];
  if (size < OBJECT_HEADER_LEN + PACK_TRAILER_LEN) return err_new(ERR_CORRUPT, "too short for a pack");
  TRY(store_get(v->repo->store, w->name, size - sizeof tail, sizeof tail, tail, v->cancel));
  PackTrailer trailer;
  TRY(pack_trailer_decode(tail, size, &trailer));
  *covered = trailer.footer_offset + trailer.footer_len;
  TRY(store_get(v->repo->store, w->name, *covered, trailer.stripes_len, buf_grow(stripes, trailer.stripes_len),
                v->cancel));
  return pack_stripes_verify(tail, buf_bytes(stripes));
}

/* Stripes in the n bytes at `at`, which are in the buffer. */
static Error *check_hashes(PackWorker *w, const Buf *stripes, uint64_t at, size_t n) {
  Error *first = NULL;
  for (size_t i = 0; i < n; i += PACK_STRIPE) {
    uint8_t hash[32];
    uint64_t stripe = (at + i) / PACK_STRIPE;
    size_t len = n - i < PACK_STRIPE ? n - i : PACK_STRIPE;
    blake3_hash(w->buffer + i, len, hash);
    if (memcmp(hash, stripes->data + stripe * PACK_STRIPE_HASH, PACK_STRIPE_HASH) == 0) continue;
    w->bad_stripes.data[stripe] = 1;
    first = keep_first(w, first,
                       err_new(ERR_CORRUPT, "checksum mismatch in the 64 KiB at byte %llu",
                               (unsigned long long)(stripe * PACK_STRIPE)));
  }
  return first;
}

/* A disk that cannot read all of it is asked for the parts. */
static Error *check_parts(PackWorker *w, const Buf *stripes, uint64_t at, size_t n) {
  Verify *v = w->work->v;
  Error *first = NULL;
  for (size_t i = 0; i < n; i += PACK_STRIPE) {
    size_t len = n - i < PACK_STRIPE ? n - i : PACK_STRIPE;
    Error *err = store_get(v->repo->store, w->name, at + i, len, w->buffer, v->cancel);
    if (!err)
      err = check_hashes(w, stripes, at + i, len);
    else if (is_damage(err))
      w->bad_stripes.data[(at + i) / PACK_STRIPE] = 1;
    if (err && !is_damage(err)) {
      err_free(first);
      return err;
    }
    first = keep_first(w, first, err);
  }
  return first;
}

static Error *check_stripes(PackWorker *w) {
  Verify *v = w->work->v;
  AUTO_BUF Buf stripes = {0};
  uint64_t covered = 0;
  TRY(read_stripes(w, &stripes, &covered));
  memset(buf_grow(&w->bad_stripes, (size_t)(covered / PACK_STRIPE + 1)), 0, (size_t)(covered / PACK_STRIPE + 1));
  Error *first = NULL;
  for (uint64_t at = 0; at < covered;) {
    size_t n = covered - at < READ_SIZE ? (size_t)(covered - at) : READ_SIZE;
    Error *err = cancel_check(v->cancel);
    if (!err) err = store_get(v->repo->store, w->name, at, n, w->buffer, v->cancel);
    bool read = err == NULL;
    if (read) err = check_hashes(w, &stripes, at, n);
    if (!read && is_damage(err)) {
      err_free(err);
      err = check_parts(w, &stripes, at, n);
    }
    if (err && !is_damage(err)) {
      err_free(first);
      return err;
    }
    first = err_first(first, err);
    at += n;
    progress_add(v->options->progress ? &v->options->progress->done_bytes : NULL, n);
  }
  return first;
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

static Error *check_frame(PackWorker *w, const PackFooter *footer, const PackFrame *frame, uint8_t *sealed) {
  FrameLoc loc;
  frame_loc_of(footer, frame, &w->job->id, w->job->size, &loc);
  TRY(frame_decode(w->decoder, &loc, &frame->id, sealed, w->raw, w->work->v->cancel));
  return check_index(w, &loc, &frame->id);
}

/* Frames [at, …) that fit one read; returns how many through *done. */
static Error *check_frames(PackWorker *w, const PackFooter *footer, size_t at, size_t *done) {
  Verify *v = w->work->v;
  const PackFrame *frames = footer->frames;
  uint64_t start = frames[at].offset, end = start;
  size_t n = 0;
  while (at + n < footer->frames_len &&
         (n == 0 || frames[at + n].offset + (uint64_t)frames[at + n].stored - start <= READ_SIZE)) {
    end = frames[at + n].offset + (uint64_t)frames[at + n].stored;
    n++;
  }
  *done = n;
  TRY(cancel_check(v->cancel));
  Error *unread = store_get(v->repo->store, w->name, start, end - start, w->buffer, v->cancel);
  if (unread && !is_damage(unread)) return unread;
  Error *first = NULL;
  for (size_t i = at; i < at + n && (!first || is_damage(first)); i++) {
    uint8_t *sealed = w->buffer + (frames[i].offset - start);
    Error *err =
        unread ? store_get(v->repo->store, w->name, frames[i].offset, frames[i].stored, sealed, v->cancel) : NULL;
    if (!err) err = check_frame(w, footer, &frames[i], sealed);
    if (is_damage(err)) frame_is_bad(w, &frames[i].id);
    if (err && !is_damage(err)) {
      err_free(first);
      first = err;
    } else {
      first = keep_first(w, first, err);
    }
  }
  err_free(unread);
  progress_add(v->options->progress ? &v->options->progress->done_bytes : NULL, end - start);
  return first;
}

static Error *check_content(PackWorker *w) {
  Verify *v = w->work->v;
  PackFooter footer;
  TRY(pack_read_footer(v->repo, &w->job->id, w->job->size, &footer, v->cancel));
  Error *first = NULL;
  for (size_t at = 0, n; at < footer.frames_len && (!first || is_damage(first)); at += n) {
    Error *err = check_frames(w, &footer, at, &n);
    if (err && !is_damage(err)) {
      err_free(first);
      first = err;
    } else {
      first = err_first(first, err);
    }
  }
  if (!first) {
    LOCKED(&v->lock);
    v->stats->frames += footer.frames_len;
  }
  pack_footer_free(&footer);
  return first;
}

/* ---- one pack -------------------------------------------------------------------------------------------------- */

/* Level 3 includes level 2, so that what only healing needs (stripe tables) is known good as well; and where the stripe
 * table itself is damaged, level 2 asks the frames. */
static Error *check_pack(PackWorker *w) {
  Verify *v = w->work->v;
  buf_clear(&w->bad_stripes);
  w->damaged = 0;
  Error *err = check_stripes(w);
  if (err && !is_damage(err)) return err;
  bool no_table = err && w->bad_stripes.len == 0;
  if (v->options->level < 3 && !no_table)
    return err_first(err, err ? index_visit_frames(w->work->index, &w->job->id, frame_in_bad_stripe, w) : NULL);
  uint64_t stripes = w->damaged;
  w->damaged = 0;
  Error *content = check_content(w);
  /* Without a footer nobody knows what else is good: what is in bad stripes is not. */
  if (is_damage(content) && w->damaged == 0)
    err_ignore(
        index_visit_frames(w->work->index, &w->job->id, no_table ? frame_of_pack_is_bad : frame_in_bad_stripe, w));
  if (content && !is_damage(content)) {
    err_free(err);
    return content;
  }
  w->damaged = w->damaged > stripes ? w->damaged : stripes;
  return err_first(err, content);
}

static Error *is_elsewhere(void *ctx, const FrameId *id, const FrameLoc *loc) {
  Index *index = (Index *)ctx;
  return index_find_good(index, loc->type, id, NULL) ? NULL : err_new(ERR_NOT_FOUND, "nowhere else");
}

Error *verify_is_replaced(Index *index, const Uuid *pack, bool *out) {
  Error *err = index_visit_frames(index, pack, is_elsewhere, index);
  *out = err == NULL;
  if (!err_is(err, ERR_NOT_FOUND)) return err;
  err_free(err);
  return NULL;
}

/* take: what is wrong with the pack; it is known to all from now on. NULL when nothing needs it any more. */
static Error *handle_damage(PackWorker *w, Error *take) {
  Verify *v = w->work->v;
  bool replaced;
  if (w->damaged > 1)
    take =
        err_recode(err_new(ERR_CORRUPT, "%s, and %llu more places", err_text(take), (unsigned long long)w->damaged - 1),
                   err_code(take));
  index_doubt(w->work->index, &w->job->id, take, v->cancel);
  Error *err = verify_is_replaced(w->work->index, &w->job->id, &replaced);
  if (err || !replaced) return err_first(err, take);
  err_free(take);
  LOCKED(&v->lock);
  v->stats->replaced++;
  return NULL;
}

/* Noted before, and nothing is wrong with it now: somebody put the right file back, or it was misread. */
static Error *handle_mended(PackWorker *w) {
  Verify *v = w->work->v;
  Error *err = damage_clear(v->repo, &w->job->id, v->cancel);
  bool cleared = err == NULL;
  err_ignore(err);
  LOCKED(&v->lock);
  if (cleared) v->stats->mended++;
  return NULL;
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
  w->job = job;
  pack_name(&job->id, w->name);
  Error *err = check_pack(w);
  bool good = err == NULL;
  bool reported = job->doubted && v->options->level < 3; /* as noted before */
  if (is_damage(err) && reported)
    err_free(STEAL(err));
  else if (is_damage(err))
    err = handle_damage(w, err);
  if (good && job->doubted && v->options->level >= 3) err = handle_mended(w);
  err = verify_report(v, w->name, err);
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
  buf_free(&w.bad_stripes);
  frame_decoder_free(w.decoder);
}

static Error *collect_pack(void *ctx, const IndexPack *pack) {
  PackWork *work = (PackWork *)ctx;
  const VerifyOptions *o = work->v->options;
  if (!pack->present) return NULL;
  const VerifyHooks *hooks = work->v->hooks;
  uint64_t last = hooks->last_verified ? hooks->last_verified(hooks->ctx, &pack->id, o->level) : 0;
  if (o->older_than_ns && last >= o->older_than_ns && !pack->doubted) {
    work->v->stats->packs_skipped++;
    return NULL;
  }
  if (work->len == work->cap) {
    work->cap = work->cap ? work->cap * 2 : 256;
    work->jobs = (PackJob *)mem_resize(work->jobs, work->cap, sizeof *work->jobs);
  }
  work->jobs[work->len++] = (PackJob){.id = pack->id, .size = pack->size, .last_ns = last, .doubted = pack->doubted};
  return NULL;
}

static int job_order(const void *a, const void *b) {
  const PackJob *x = (const PackJob *)a, *y = (const PackJob *)b;
  if (x->doubted != y->doubted) return x->doubted ? -1 : 1;
  if (x->last_ns != y->last_ns) return x->last_ns < y->last_ns ? -1 : 1;
  return memcmp(x->id.b, y->id.b, sizeof x->id.b);
}

/* Keeps the packs that fit the byte budget, at least one. */
static Error *apply_budget(PackWork *work) {
  uint64_t total = 0, max = work->v->options->max_bytes;
  size_t n = 0;
  for (; n < work->len; n++) {
    if (max && n && total + work->jobs[n].size > max) break;
    total += work->jobs[n].size;
  }
  work->v->stats->packs_skipped += work->len - n;
  for (size_t i = n; i < work->len; i++)
    if (work->jobs[i].doubted && work->v->options->level >= 3)
      TRY(verify_noted(work->v, work->index, &work->jobs[i].id));
  work->len = n;
  if (work->v->options->progress) {
    uint64_t times = work->v->options->level >= 3 ? 2 : 1;
    progress_add(&work->v->options->progress->total_bytes, total * times);
  }
  return NULL;
}

Error *verify_packs(Verify *v, Index *index) {
  PackWork work = {.v = v, .index = index};
  Error *err = index_visit_packs(index, collect_pack, &work);
  if (work.len) qsort(work.jobs, work.len, sizeof *work.jobs, job_order);
  err = err_first(err, apply_budget(&work));
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
