#include "base/mem.h"
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
  uint8_t *buffer; /* READ_SIZE */
  uint8_t *raw;
  const PackJob *job; /* at hand */
  char name[PACK_NAME_LEN];
  Buf bad_stripes; /* one byte a stripe: 1 when it is damaged */
  uint64_t bad_stripes_count, bad_frames_count;
  DamagedFrame bad[DAMAGE_FRAMES_MAX]; /* the first of them */
} PackWorker;

/* ---- what is damaged ------------------------------------------------------------------------------------------- */

/* The rest of the pack is read all the same: what it still has is not lost. A store that is away ends everything. */
static bool is_damage(const Error *err) {
  return err_is(err, ERR_CORRUPT) || err_is(err, ERR_LIMIT) || err_is(err, ERR_IO) || err_is(err, ERR_NOT_FOUND) ||
         err_is(err, ERR_UNSUPPORTED); /* a version that the repository does not have */
}

/* Of two failures: the one that ends everything, else the first. */
static Error *worse(Error *first, Error *next) {
  bool ends = next && !is_damage(next) && (!first || is_damage(first));
  return ends ? err_first(next, first) : err_first(first, next);
}

static bool ends_all(const Error *err) { return err && !is_damage(err); }

/* With the lock held. The name lives as long as the verification. */
static char *lasting_name(Verify *v, const char *name) {
  size_t n = v->bad_packs.len;
  if (n == 0 || strcmp(v->bad_packs.items[n - 1], name) != 0) strlist_add(&v->bad_packs, name);
  return v->bad_packs.items[v->bad_packs.len - 1];
}

static void frame_is_bad(PackWorker *w, FrameType type, const FrameId *id) {
  Verify *v = w->work->v;
  if (w->bad_frames_count < DAMAGE_FRAMES_MAX) w->bad[w->bad_frames_count] = (DamagedFrame){.type = type, .id = *id};
  w->bad_frames_count++;
  LOCKED(&v->lock);
  if (map_count(v->bad_frames) < BAD_FRAMES_MAX)
    map_set(v->bad_frames, bytes(id->b, sizeof id->b), lasting_name(v, w->name));
}

static void stripe_is_bad(PackWorker *w, uint64_t stripe) {
  w->bad_stripes.data[stripe] = 1;
  w->bad_stripes_count++;
}

static Error *frame_in_bad_stripe(void *ctx, const FrameId *id, const FrameLoc *loc) {
  PackWorker *w = (PackWorker *)ctx;
  for (uint64_t s = loc->offset / PACK_STRIPE; s <= ((uint64_t)loc->offset + loc->stored - 1) / PACK_STRIPE; s++)
    if (s < w->bad_stripes.len && w->bad_stripes.data[s]) {
      frame_is_bad(w, loc->type, id);
      break;
    }
  return NULL;
}

/* ---- one pass over a pack: its bytes are read once, for the stripes' checksums and for its frames -----------------
 */

typedef struct Pass {
  uint64_t end;             /* of what has stripes: header, frames, footer */
  Buf table;                /* empty: it cannot be read, or does not match the trailer */
  const PackFooter *footer; /* NULL: frames are not looked at */
  uint64_t next_stripe;
  size_t next_frame;
} Pass;

/* At `at`, which begins a stripe. What cannot be read as a whole is read stripe by stripe. */
static Error *read_piece(PackWorker *w, uint64_t at, size_t n) {
  Verify *v = w->work->v;
  TRY(cancel_check(v->cancel));
  Error *first = store_get(v->repo->store, w->name, at, n, w->buffer, v->cancel);
  if (!is_damage(first)) return first;
  err_free(STEAL(first));
  for (size_t i = 0; i < n && !ends_all(first); i += PACK_STRIPE) {
    size_t len = n - i < PACK_STRIPE ? n - i : PACK_STRIPE;
    Error *err = store_get(v->repo->store, w->name, at + i, len, w->buffer + i, v->cancel);
    if (is_damage(err)) {
      stripe_is_bad(w, (at + i) / PACK_STRIPE);
      memset(w->buffer + i, 0, len);
    }
    first = worse(first, err);
  }
  return first;
}

/* Of the n bytes at `at`, which are in the buffer: stripes that were not looked at before. */
static Error *check_stripes(PackWorker *w, Pass *pass, uint64_t at, size_t n) {
  Error *first = NULL;
  for (; pass->next_stripe * PACK_STRIPE < at + n; pass->next_stripe++) {
    uint64_t stripe = pass->next_stripe, start = stripe * PACK_STRIPE;
    size_t len = pass->end - start < PACK_STRIPE ? (size_t)(pass->end - start) : PACK_STRIPE;
    if (start + len > at + n) break;
    uint8_t hash[32];
    blake3_hash(w->buffer + (start - at), len, hash);
    if (w->bad_stripes.data[stripe] ||
        memcmp(hash, pass->table.data + stripe * PACK_STRIPE_HASH, PACK_STRIPE_HASH) == 0)
      continue;
    stripe_is_bad(w, stripe);
    first = err_first(first,
                      err_new(ERR_CORRUPT, "checksum mismatch in the 64 KiB at byte %llu", (unsigned long long)start));
  }
  return first;
}

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

static Error *check_frame(PackWorker *w, const FrameLoc *loc, const FrameId *id, uint8_t *sealed) {
  Error *err = frame_decode(w->decoder, loc, id, sealed, w->raw, w->work->v->cancel);
  if (!err) err = check_index(w, loc, id);
  if (is_damage(err)) frame_is_bad(w, loc->type, id);
  return err;
}

/* Frames that lie in the n bytes at `at`, each once. They are opened in place. */
static Error *check_frames(PackWorker *w, Pass *pass, uint64_t at, size_t n) {
  const PackFooter *footer = pass->footer;
  Error *first = NULL;
  for (; pass->next_frame < footer->frames_len && !ends_all(first); pass->next_frame++) {
    const PackFrame *f = &footer->frames[pass->next_frame];
    if ((uint64_t)f->offset + f->stored > at + n) break;
    FrameLoc loc;
    frame_loc_of(footer, f, &w->job->id, w->job->size, &loc);
    first = worse(first, check_frame(w, &loc, &f->id, w->buffer + (f->offset - at)));
  }
  return first;
}

/* Where to read on: behind this piece, or at the stripe in which a frame begins that did not fit. */
static uint64_t after_piece(const Pass *pass, uint64_t next) {
  if (!pass->footer || pass->next_frame == pass->footer->frames_len || next == pass->end) return next;
  uint64_t frame = pass->footer->frames[pass->next_frame].offset;
  return frame < next ? frame / PACK_STRIPE * PACK_STRIPE : next;
}

static Error *run_pass(PackWorker *w, Pass *pass) {
  Progress *progress = w->work->v->options->progress;
  Error *first = NULL;
  for (uint64_t at = 0; at < pass->end && !ends_all(first);) {
    size_t n = pass->end - at < READ_SIZE ? (size_t)(pass->end - at) : READ_SIZE;
    first = worse(first, read_piece(w, at, n));
    if (!ends_all(first) && pass->table.len) first = worse(first, check_stripes(w, pass, at, n));
    if (!ends_all(first) && pass->footer) first = worse(first, check_frames(w, pass, at, n));
    uint64_t next = after_piece(pass, at + n);
    progress_add(progress ? &progress->done_bytes : NULL, next - at);
    at = next;
  }
  return first;
}

/* ---- one pack -------------------------------------------------------------------------------------------------- */

static Error *read_trailer(PackWorker *w, uint8_t tail[PACK_TRAILER_LEN], PackTrailer *out) {
  Verify *v = w->work->v;
  uint64_t size = w->job->size;
  if (size < OBJECT_HEADER_LEN + PACK_TRAILER_LEN) return err_new(ERR_CORRUPT, "too short for a pack");
  TRY(store_get(v->repo->store, w->name, size - PACK_TRAILER_LEN, PACK_TRAILER_LEN, tail, v->cancel));
  return pack_trailer_decode(tail, size, out);
}

static Error *read_table(PackWorker *w, const uint8_t tail[PACK_TRAILER_LEN], const PackTrailer *trailer, Buf *out) {
  Verify *v = w->work->v;
  uint64_t at = trailer->footer_offset + trailer->footer_len;
  Error *err =
      store_get(v->repo->store, w->name, at, trailer->stripes_len, buf_grow(out, trailer->stripes_len), v->cancel);
  if (!err) err = pack_stripes_verify(tail, buf_bytes(out));
  if (err) buf_clear(out);
  return err;
}

/* Without a footer the index says where frames are. */
static Error *check_single(void *ctx, const FrameId *id, const FrameLoc *loc) {
  PackWorker *w = (PackWorker *)ctx;
  Verify *v = w->work->v;
  AUTO_BUF Buf sealed = {0};
  TRY(cancel_check(v->cancel));
  Error *err = store_get(v->repo->store, w->name, loc->offset, loc->stored, buf_grow(&sealed, loc->stored), v->cancel);
  if (is_damage(err))
    frame_is_bad(w, loc->type, id);
  else if (!err)
    err = check_frame(w, loc, id, sealed.data);
  if (ends_all(err)) return err;
  err_free(err);
  return NULL;
}

/* Level 3 includes level 2, so that what only healing needs (stripe tables) is known good as well. */
static Error *check_pack(PackWorker *w) {
  Verify *v = w->work->v;
  bool open = v->options->level >= 3, have_footer = false;
  uint8_t tail[PACK_TRAILER_LEN];
  PackTrailer trailer;
  PackFooter footer = {0};
  Pass pass = {0};
  w->bad_stripes_count = w->bad_frames_count = 0;
  Error *first = read_trailer(w, tail, &trailer);
  if (!first) {
    pass.end = trailer.footer_offset + trailer.footer_len;
    first = read_table(w, tail, &trailer, &pass.table);
  }
  if (open && !ends_all(first)) {
    Error *err = pack_read_footer(v->repo, &w->job->id, w->job->size, &footer, v->cancel);
    have_footer = err == NULL;
    first = worse(first, err);
  }
  if (have_footer) pass.footer = &footer;
  buf_clear(&w->bad_stripes);
  memset(buf_grow(&w->bad_stripes, (size_t)(pass.end / PACK_STRIPE + 1)), 0, (size_t)(pass.end / PACK_STRIPE + 1));
  if (!ends_all(first)) first = worse(first, run_pass(w, &pass));
  if (open && !have_footer && !ends_all(first))
    first = worse(first, index_visit_frames(w->work->index, &w->job->id, check_single, w));
  if (!open && is_damage(first))
    first = worse(first, index_visit_frames(w->work->index, &w->job->id, frame_in_bad_stripe, w));
  if (!first) {
    LOCKED(&v->lock);
    v->stats->frames += footer.frames_len;
  }
  pack_footer_free(&footer);
  buf_free(&pass.table);
  return first;
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

bool verify_frames_elsewhere(Index *index, const DamagedFrame *frames, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!index_find_good(index, frames[i].type, &frames[i].id, NULL)) return false;
  return true;
}

static Error *say_how_much(PackWorker *w, Error *take) {
  bool stripes = w->bad_stripes_count > w->bad_frames_count;
  uint64_t count = stripes ? w->bad_stripes_count : w->bad_frames_count;
  if (count < 2) return take;
  Error *err = err_new(ERR_CORRUPT, "%s; %llu %s are damaged", err_text(take), (unsigned long long)count,
                       stripes ? "pieces of 64 KiB" : "frames");
  err_free(take);
  return err;
}

/* The note that is there gives way to one that says just what is damaged; where that cannot be written, to one that
 * says less. */
static void note_exactly(PackWorker *w, const char *reason, size_t len) {
  Verify *v = w->work->v;
  Error *err = damage_note_exact(v->repo, &w->job->id, reason, w->bad, len, v->cancel);
  if (!err) return;
  err_free(err);
  err = damage_note(v->repo, &w->job->id, reason, NULL);
  LOCKED(&v->lock);
  if (err) v->unnoted++;
  err_free(err);
}

/* Damage outside of frames concerns only repairs; that it was said once shows an exact note. */
static bool was_said(PackWorker *w, size_t len) {
  char key[DAMAGE_KEY_LEN];
  Damage damage = {0};
  if (!w->job->doubted || len) return w->job->doubted;
  err_ignore(damage_read(w->work->v->repo, damage_key(&w->job->id, key), &damage, w->work->v->cancel));
  bool said = damage.exact;
  damage_free(&damage);
  return said;
}

/* take: what is wrong with the pack. It is known to all from now on. Once that was said, and all that is damaged stands
 * elsewhere, it is not said again. */
static Error *handle_damage(PackWorker *w, Error *take) {
  Verify *v = w->work->v;
  Index *index = w->work->index;
  bool exact = v->options->level >= 3 && w->bad_frames_count <= DAMAGE_FRAMES_MAX;
  take = say_how_much(w, take);
  index_doubt(index, &w->job->id, take, v->cancel);
  if (!exact) return take;
  size_t len = (size_t)w->bad_frames_count;
  bool said = was_said(w, len);
  note_exactly(w, err_text(take), len);
  if (!said || !verify_frames_elsewhere(index, w->bad, len)) return take;
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
  PackWorker *w = NEW(PackWorker);
  w->work = work;
  w->decoder = frame_decoder_new(work->v->repo);
  w->buffer = (uint8_t *)mem_pages(READ_SIZE);
  w->raw = (uint8_t *)mem_pages(FRAME_RAW_MAX);
  PackJob job;
  while (next_pack(work, &job)) run_pack(w, &job);
  mem_free_pages(w->buffer, READ_SIZE);
  mem_free_pages(w->raw, FRAME_RAW_MAX);
  buf_free(&w->bad_stripes);
  frame_decoder_free(w->decoder);
  free(w);
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
  if (work->v->options->progress) progress_add(&work->v->options->progress->total_bytes, total);
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
