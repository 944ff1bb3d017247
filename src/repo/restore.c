#include "repo/restore.h"

#include "base/mem.h"
#include "base/str.h"
#include "repo/content_runs.h"
#include "repo/frames.h"
#include "repo/restore_plan.h"

typedef struct RestoreFile {
  Entry *entry;
  void *handle;     /* the caller's */
  uint32_t pending; /* items not written yet */
  bool planned;     /* all its items are in plans so far */
  bool queued;      /* in `complete` */
  Error *failed;
} RestoreFile;

typedef struct Restore {
  Repo *repo;
  Index *index;
  FrameReader *reader;
  const RestoreOps *ops;
  void *ctx;
  RestoreOptions options;
  RestoreStats *stats;
  Cancel *cancel;

  RestoreFile *files; /* of this batch; the last may go on into the next */
  size_t files_len;
  Plan plan;
  uint8_t *compare; /* FRAME_RAW_MAX, when targets are read */
  Error *lost;      /* the first part of the tree that cannot be read */

  Mutex lock; /* everything below, and pending/failed of files */
  Cond changed;
  size_t next_range, ranges_done;
  uint32_t *complete; /* files whose last item is written */
  size_t complete_len;
  Error *fatal;
  Error *first_failed; /* of the files that were given up */
  bool running, stopping;
  Cond start;
  Thread **threads;
  unsigned threads_len;
} Restore;

/* ---- failing
 * -------------------------------------------------------------------------------------------------------------- */

/* Only the target's own trouble or the operator stops everything; a damaged frame costs the files that need it. */
static void fail_all(Restore *r, Error *take) {
  LOCKED(&r->lock);
  if (r->fatal)
    err_free(take);
  else
    r->fatal = take;
  cond_broadcast(&r->changed);
}

static bool has_failed(Restore *r) {
  LOCKED(&r->lock);
  return r->fatal != NULL;
}

static void fail_file(Restore *r, uint32_t file, const Error *err) {
  LOCKED(&r->lock);
  if (!r->files[file].failed) r->files[file].failed = err_copy(err);
}

static void item_done(Restore *r, const PlanItem *item) {
  if (r->options.progress) progress_add(&r->options.progress->done_bytes, item->len);
  LOCKED(&r->lock);
  RestoreFile *file = &r->files[item->file];
  if (--file->pending == 0 && file->planned && !file->queued) {
    file->queued = true;
    r->complete[r->complete_len++] = item->file;
    cond_broadcast(&r->changed);
  }
}

/* ---- workers
 * ---------------------------------------------------------------------------------------------------------------- */

typedef struct RestoreWorker {
  Restore *restore;
  FrameDecoder *decoder;
  uint8_t *sealed; /* RANGE_MAX */
  uint8_t *raw;    /* FRAME_RAW_MAX */
} RestoreWorker;

static void write_item(Restore *r, const PlanItem *item, const uint8_t *raw) {
  Error *err =
      r->ops->write(r->ctx, r->files[item->file].handle, item->file_offset, bytes(raw + item->frame_offset, item->len));
  if (err) fail_all(r, err);
  item_done(r, item);
}

/* One frame of a range. When the range as a whole could not be read, because a sector is bad or the pack was cut
 * short, the frames that can be read by themselves are not given up with it. */
static Error *fetch_frame(RestoreWorker *w, const PlanRange *range, const PlanFrame *frame, const Error *unread) {
  Restore *r = w->restore;
  const FrameLoc *loc = &frame->loc;
  uint8_t *sealed = w->sealed + (loc->offset - range->offset);
  if (unread) {
    if (range->len == 1) return err_copy(unread);
    char name[PACK_NAME_LEN];
    pack_name(&loc->pack, name);
    TRY(err_wrap(store_get(r->repo->store, name, loc->offset, loc->stored, sealed, r->cancel), "%s", name));
  }
  return frame_decode(w->decoder, loc, &frame->id, sealed, w->raw, r->cancel);
}

/* The reader tries the same place once more, then other copies, and tells the repository what is damaged. */
static Error *second_copy(RestoreWorker *w, const PlanFrame *frame, Error *take) {
  FrameSource *source = frame_reader_source(w->restore->reader);
  AUTO_BUF Buf raw = {0};
  if (!err_is(take, ERR_CORRUPT) && !err_is(take, ERR_IO)) return take;
  Error *err = source->get(source, FRAME_DATA, &frame->id, &raw);
  if (!err) {
    memcpy(w->raw, raw.data, raw.len);
    err_free(take);
    return NULL;
  }
  err_free(err);
  return take;
}

/* Items [at, …) that share one frame; returns how many. */
static uint32_t run_frame(RestoreWorker *w, const PlanRange *range, const PlanItem *items, uint32_t left,
                          const Error *unread) {
  Restore *r = w->restore;
  const PlanFrame *frame = &r->plan.frames[items[0].frame];
  const FrameLoc *loc = &frame->loc;
  Error *err = fetch_frame(w, range, frame, unread);
  if (err) err = second_copy(w, frame, err);
  uint32_t n = 0;
  for (; n < left; n++) {
    const PlanFrame *other = &r->plan.frames[items[n].frame];
    bool same_place = other->loc.offset == loc->offset && uuid_equal(&other->loc.pack, &loc->pack);
    /* Two ids at one place: an index that lies. The second is decoded by itself, and is not what its id says. */
    if (n && !(same_place && frame_id_equal(&other->id, &frame->id))) break;
    if (err) {
      fail_file(r, items[n].file, err);
      item_done(r, &items[n]);
    } else {
      write_item(r, &items[n], w->raw);
    }
  }
  err_free(err);
  return n;
}

/* A repository that cannot be reached is not a damaged one. */
static bool stops_all(const Error *err) {
  return err_is(err, ERR_CANCELLED) || err_is(err, ERR_UNREACHABLE) || err_is(err, ERR_TEMPORARY) ||
         err_is(err, ERR_TIMEOUT);
}

static void run_range(RestoreWorker *w, const PlanRange *range) {
  Restore *r = w->restore;
  const PlanItem *items = &r->plan.items[range->first];
  const FrameLoc *first = &r->plan.frames[items[0].frame].loc;
  char name[PACK_NAME_LEN];
  pack_name(&first->pack, name);
  Error *err = err_wrap(store_get(r->repo->store, name, range->offset, range->size, w->sealed, r->cancel), "%s", name);
  if (stops_all(err)) {
    fail_all(r, err);
    return;
  }
  for (uint32_t i = 0; i < range->len && !has_failed(r);) i += run_frame(w, range, items + i, range->len - i, err);
  err_free(err);
  LOCKED(&r->lock);
  r->stats->fetched_bytes += range->size;
}

static bool next_range(Restore *r, PlanRange *out) {
  LOCKED(&r->lock);
  while (!r->stopping && (!r->running || r->next_range == r->plan.ranges_len || r->fatal))
    cond_wait(&r->start, &r->lock);
  if (r->stopping) return false;
  *out = r->plan.ranges[r->next_range++];
  return true;
}

static void worker_run(void *arg) {
  Restore *r = (Restore *)arg;
  RestoreWorker w = {.restore = r, .decoder = frame_decoder_new(r->repo)};
  w.sealed = (uint8_t *)mem_pages(RANGE_MAX);
  w.raw = (uint8_t *)mem_pages(FRAME_RAW_MAX);
  PlanRange range;
  while (next_range(r, &range)) {
    run_range(&w, &range);
    LOCKED(&r->lock);
    r->ranges_done++;
    cond_broadcast(&r->changed);
  }
  mem_free_pages(w.sealed, RANGE_MAX);
  mem_free_pages(w.raw, FRAME_RAW_MAX);
  frame_decoder_free(w.decoder);
}

/* ---- planning
 * ---------------------------------------------------------------------------------------------------------------- */

/* For targets that exist: true when the whole frame is there already. */
static Error *already_there(Restore *r, const RestoreFile *file, const ContentRun *run, bool *same) {
  *same = false;
  FrameLoc loc;
  if (!r->ops->read || run->frame_offset || !index_find(r->index, FRAME_DATA, &run->id, &loc) || loc.raw != run->len)
    return NULL;
  if (!r->compare) r->compare = (uint8_t *)mem_pages(FRAME_RAW_MAX);
  size_t len;
  TRY(r->ops->read(r->ctx, file->handle, run->file_offset, r->compare, (size_t)run->len, &len));
  if (len != run->len) return NULL;
  FrameId id = keys_frame_id(r->repo->keys, FRAME_DATA, bytes(r->compare, len));
  *same = frame_id_equal(&id, &run->id);
  return NULL;
}

static Error *run_batch(Restore *r);

typedef struct PlanFile {
  Restore *restore;
  uint32_t file;
} PlanFile;

static Error *plan_run(void *ctx, const ContentRun *run) {
  PlanFile *pf = (PlanFile *)ctx;
  Restore *r = pf->restore;
  RestoreFile *file = &r->files[pf->file];
  TRY(cancel_check(r->cancel));
  if (frame_id_is_hole(&run->id)) {
    if (r->options.progress) progress_add(&r->options.progress->done_bytes, run->len);
    return r->ops->zero ? r->ops->zero(r->ctx, file->handle, run->file_offset, run->len) : NULL;
  }
  bool same, found;
  TRY(already_there(r, file, run, &same));
  if (same) {
    if (r->options.progress) progress_add(&r->options.progress->done_bytes, run->len);
    r->stats->kept_bytes += run->len;
    return NULL;
  }
  TRY(plan_add(&r->plan, r->index, pf->file, run, &found));
  if (!found) {
    TRY(index_salvage(r->index, r->cancel));
    TRY(plan_add(&r->plan, r->index, pf->file, run, &found));
  }
  if (!found) {
    AUTO_ERR Error *missing = err_new(ERR_CORRUPT, "a part of it is in no pack that is present");
    fail_file(r, pf->file, missing);
    return NULL;
  }
  file->pending++;
  if (!plan_is_full(&r->plan)) return NULL;
  TRY(run_batch(r));
  pf->file = 0; /* the unfinished file is the only one left */
  return NULL;
}

/* An error of the content map costs this file only. */
static Error *plan_file(Restore *r, const TreeEntry *entry) {
  uint32_t number = (uint32_t)r->files_len++;
  RestoreFile *file = &r->files[number];
  *file = (RestoreFile){.entry = entry_copy(&entry->entry)};
  TRY(r->ops->create(r->ctx, file->entry, &file->handle));
  PlanFile pf = {.restore = r, .file = number};
  Error *err = content_runs(frame_reader_source(r->reader), &entry->content, entry->entry.size, plan_run, &pf);
  if (err && err_code(err) != ERR_CORRUPT && err_code(err) != ERR_LIMIT && err_code(err) != ERR_NOT_FOUND) return err;
  file = &r->files[pf.file];
  if (err) {
    fail_file(r, pf.file, err);
    err_free(err);
  }
  LOCKED(&r->lock);
  file->planned = true;
  if (file->pending == 0) {
    file->queued = true;
    r->complete[r->complete_len++] = pf.file;
  }
  return NULL;
}

/* ---- a batch
 * -------------------------------------------------------------------------------------------------------------------
 */

static Error *finish_file(Restore *r, uint32_t number) {
  RestoreFile *file = &r->files[number];
  r->stats->files++;
  r->stats->bytes += file->entry->size;
  if (file->failed) {
    r->stats->damaged_files++;
    if (!r->first_failed) r->first_failed = err_copy(file->failed);
  }
  if (r->options.progress) progress_add(&r->options.progress->files_done, 1);
  Error *failed = STEAL(file->failed);
  Error *err = r->ops->finish(r->ctx, file->handle, failed);
  err_free(failed);
  file->handle = NULL;
  entry_free(file->entry);
  file->entry = NULL;
  return err;
}

/* Finishes complete files; waits for more until all ranges are done. Called with the lock held. */
static Error *finish_complete(Restore *r) {
  for (;;) {
    while (r->complete_len && !r->fatal) {
      uint32_t number = r->complete[--r->complete_len];
      mutex_unlock(&r->lock);
      Error *err = finish_file(r, number);
      mutex_lock(&r->lock);
      if (err) return err;
    }
    if (r->fatal) return err_copy(r->fatal);
    if (r->ranges_done == r->plan.ranges_len && !r->complete_len) return NULL;
    cond_wait(&r->changed, &r->lock);
  }
}

/* Waits until no worker is inside a range, so that the plan may be changed. Called with the lock held. */
static void quiesce(Restore *r) {
  r->running = false;
  while (r->ranges_done != r->next_range) cond_wait(&r->changed, &r->lock);
}

static Error *run_batch(Restore *r) {
  plan_order(&r->plan);
  mutex_lock(&r->lock);
  r->next_range = r->ranges_done = 0;
  r->running = true;
  cond_broadcast(&r->start);
  Error *err = finish_complete(r);
  quiesce(r);
  mutex_unlock(&r->lock);
  plan_clear(&r->plan);
  /* A file whose map goes on keeps its place as the first of the next batch. */
  size_t kept = 0;
  for (size_t i = 0; i < r->files_len; i++)
    if (r->files[i].entry) {
      RestoreFile file = r->files[i];
      r->files[i] = (RestoreFile){0};
      r->files[kept++] = file;
    }
  r->files_len = kept;
  return err;
}

/* ---- the whole
 * -------------------------------------------------------------------------------------------------------------------
 */

static Error *restore_start(Restore *r) {
  mutex_init(&r->lock, r->repo->sys);
  cond_init(&r->changed, r->repo->sys);
  cond_init(&r->start, r->repo->sys);
  if (!r->options.max_open_files) r->options.max_open_files = RESTORE_OPEN_FILES;
  r->files = NEW_ARRAY(RestoreFile, r->options.max_open_files);
  r->complete = NEW_ARRAY(uint32_t, r->options.max_open_files);
  r->reader = frame_reader_new(r->repo, r->index, r->cancel);
  if (!r->options.workers) r->options.workers = sys_cpus(r->repo->sys);
  r->threads = NEW_ARRAY(Thread *, r->options.workers);
  for (unsigned i = 0; i < r->options.workers; i++) {
    TRY(thread_start(r->repo->sys, "restore", worker_run, r, &r->threads[i]));
    r->threads_len++;
  }
  return NULL;
}

/* `failed` tells the files that are still open why. */
static void restore_stop(Restore *r, const Error *failed) {
  mutex_lock(&r->lock);
  r->stopping = true;
  cond_broadcast(&r->start);
  mutex_unlock(&r->lock);
  for (unsigned i = 0; i < r->threads_len; i++) thread_join(r->threads[i]);
  for (size_t i = 0; i < r->files_len; i++) {
    RestoreFile *file = &r->files[i];
    if (file->entry && file->handle) err_ignore(r->ops->finish(r->ctx, file->handle, failed));
    err_free(file->failed);
    entry_free(file->entry);
  }
  plan_free(&r->plan);
  if (r->compare) mem_free_pages(r->compare, FRAME_RAW_MAX);
  frame_reader_free(r->reader);
  err_free(r->fatal);
  free(r->files);
  free(r->complete);
  free(r->threads);
  mutex_free(&r->lock);
  cond_free(&r->changed);
  cond_free(&r->start);
}

static Error *walk_entry(void *ctx, const TreeEntry *entry) {
  Restore *r = (Restore *)ctx;
  if (entry->entry.type != ENTRY_FILE || !r->ops->select(r->ctx, &entry->entry)) return NULL;
  TRY(plan_file(r, entry));
  return r->files_len == r->options.max_open_files ? run_batch(r) : NULL;
}

/* A part of the tree is lost, and with it the names of files: the rest is restored, then this is the result. */
static Error *walk_broken(void *ctx, Bytes first_path, Error *take) {
  Restore *r = (Restore *)ctx;
  AUTO_FREE char *path = str_printable(first_path);
  r->lost = err_first(r->lost, err_wrap(take, "what the snapshot has from \"%s\" on", path));
  return NULL;
}

static Error *walk_tree(Restore *r, const TreeRoot *root) {
  static const TreeWalk walk = {.entry = walk_entry, .broken = walk_broken};
  Error *err = tree_walk(frame_reader_source(r->reader), root, &walk, r);
  return err ? err : run_batch(r);
}

Error *restore_fetch(Repo *repo, Index *index, const TreeRoot *root, const RestoreOps *ops, void *ctx,
                     const RestoreOptions *options, RestoreStats *stats, Cancel *cancel) {
  Restore r = {
      .repo = repo, .index = index, .ops = ops, .ctx = ctx, .options = *options, .stats = stats, .cancel = cancel};
  *stats = (RestoreStats){0};
  Error *err = restore_start(&r);
  if (!err) err = walk_tree(&r, root);
  restore_stop(&r, err);
  err = err_first(err, r.lost);
  if (!err && stats->damaged_files)
    err = err_hint(
        err_new(ERR_CORRUPT, "%llu of %llu files could not be restored; the first: %s",
                (unsigned long long)stats->damaged_files, (unsigned long long)stats->files, err_text(r.first_failed)),
        "another snapshot or another repository may have it; `holdfast verify --level 3` names all that is damaged, "
        "and "
        "the next backup stores again what the source still has");
  err_free(r.first_failed);
  return err;
}

/* ---- in order
 * -----------------------------------------------------------------------------------------------------------------------
 */

typedef struct StreamState {
  FrameSource *source;
  Error *(*write)(void *ctx, Bytes part);
  void *ctx;
  Progress *progress;
  Cancel *cancel;
  FrameId id; /* the frame in raw */
  Buf raw;
} StreamState;

static Error *stream_hole(StreamState *s, uint64_t len) {
  static const uint8_t zeros[64 * 1024];
  while (len) {
    size_t n = len < sizeof zeros ? (size_t)len : sizeof zeros;
    TRY(cancel_check(s->cancel));
    TRY(s->write(s->ctx, bytes(zeros, n)));
    len -= n;
  }
  return NULL;
}

static Error *stream_run(void *ctx, const ContentRun *run) {
  StreamState *s = (StreamState *)ctx;
  TRY(cancel_check(s->cancel));
  if (s->progress) progress_add(&s->progress->done_bytes, run->len);
  if (frame_id_is_hole(&run->id)) return stream_hole(s, run->len);
  if (!frame_id_equal(&s->id, &run->id)) {
    TRY(s->source->get(s->source, FRAME_DATA, &run->id, &s->raw));
    s->id = run->id;
  }
  if (run->frame_offset + run->len > s->raw.len) return err_new(ERR_CORRUPT, "content map: names bytes beyond a frame");
  return s->write(s->ctx, bytes(s->raw.data + run->frame_offset, (size_t)run->len));
}

Error *restore_stream(Repo *repo, Index *index, const TreeRoot *root, Bytes path,
                      Error *(*write)(void *ctx, Bytes part), void *ctx, Progress *progress, Cancel *cancel) {
  FrameReader *reader = frame_reader_new(repo, index, cancel);
  FrameSource *source = frame_reader_source(reader);
  TreeCursor *cursor = tree_cursor_new(source, root);
  TreeEntry entry;
  bool found;
  Error *err = tree_cursor_find(cursor, path, &entry, &found);
  if (!err && (!found || entry.entry.type != ENTRY_FILE)) {
    AUTO_FREE char *text = str_printable(path);
    err = err_new(ERR_NOT_FOUND, "%s: no such file in the snapshot", text);
  }
  if (!err) {
    StreamState s = {.source = source, .write = write, .ctx = ctx, .progress = progress, .cancel = cancel};
    err = content_runs(source, &entry.content, entry.entry.size, stream_run, &s);
    buf_free(&s.raw);
  }
  tree_cursor_free(cursor);
  frame_reader_free(reader);
  return err;
}

/* ---- estimating
 * ----------------------------------------------------------------------------------------------------------------------
 */

typedef struct EstimateState {
  Index *index;
  Plan plan;
  RestoreEstimate *out;
  Cancel *cancel;
} EstimateState;

static void estimate_flush(EstimateState *s) {
  plan_order(&s->plan);
  s->out->requests += s->plan.ranges_len;
  const FrameLoc *last = NULL;
  for (size_t i = 0; i < s->plan.ranges_len; i++) {
    const FrameLoc *loc = &s->plan.frames[s->plan.items[s->plan.ranges[i].first].frame].loc;
    if (!last || !uuid_equal(&last->pack, &loc->pack)) s->out->packs++;
    s->out->fetch_bytes += s->plan.ranges[i].size;
    last = loc;
  }
  plan_clear(&s->plan);
}

static Error *estimate_run(void *ctx, const ContentRun *run) {
  EstimateState *s = (EstimateState *)ctx;
  TRY(cancel_check(s->cancel));
  if (frame_id_is_hole(&run->id)) return NULL;
  bool found;
  TRY(plan_add(&s->plan, s->index, 0, run, &found));
  if (!found) s->out->missing_frames++;
  if (plan_is_full(&s->plan)) estimate_flush(s);
  return NULL;
}

Error *restore_estimate(Repo *repo, Index *index, const TreeRoot *root, bool (*select)(void *ctx, const Entry *entry),
                        void *ctx, RestoreEstimate *out, Cancel *cancel) {
  FrameReader *reader = frame_reader_new(repo, index, cancel);
  FrameSource *source = frame_reader_source(reader);
  TreeCursor *cursor = tree_cursor_new(source, root);
  EstimateState s = {.index = index, .out = out, .cancel = cancel};
  *out = (RestoreEstimate){0};
  Error *err = NULL;
  for (bool found = true; !err;) {
    TreeEntry entry;
    err = tree_cursor_next(cursor, &entry, &found);
    if (err || !found) break;
    if (entry.entry.type != ENTRY_FILE || !select(ctx, &entry.entry)) continue;
    out->files++;
    out->bytes += entry.entry.size;
    err = content_runs(source, &entry.content, entry.entry.size, estimate_run, &s);
  }
  if (!err) estimate_flush(&s);
  plan_free(&s.plan);
  tree_cursor_free(cursor);
  frame_reader_free(reader);
  return err;
}
