#include <stdio.h>

#include "base/mem.h"
#include "codec/blake3.h"
#include "repo/writer_impl.h"

enum { WHOLE_SHARE_NUM = 31, WHOLE_SHARE_DEN = 32, AGAIN_OPEN_DELTAS = 1024, AUTO_EVERY = 64 };

/* ---- storing one frame
 * --------------------------------------------------------------------------------------------------- */

void work_context_init(WorkContext *ctx, Writer *w, size_t largest) {
  ctx->writer = w;
  ctx->sealer = sealer_new();
  ctx->compressor = compressor_new(w->options.compression);
  ctx->packed_cap = compressor_bound(largest);
  ctx->packed = (uint8_t *)mem_pages(ctx->packed_cap);
}

void work_context_free(WorkContext *ctx) {
  sealer_free(ctx->sealer);
  compressor_free(ctx->compressor);
  mem_free_pages(ctx->packed, ctx->packed_cap);
}

Error *work_store(WorkContext *ctx, FrameType type, Bytes raw, const FrameId *id) {
  Writer *w = ctx->writer;
  if (!index_claim(w->index, type, id)) return NULL;
  Packer *packer;
  TRY(writer_packer(w, type, &packer));
  if (w->options.compression.automatic) compressor_set_level(ctx->compressor, atomic_load(&w->auto_level));
  Codec codec;
  size_t len = compressor_run(ctx->compressor, raw.data, raw.len, ctx->packed, ctx->packed_cap, &codec);
  Bytes payload = codec == CODEC_NONE ? raw : bytes(ctx->packed, len);
  TRY(packer_put(packer, ctx->sealer, type, id, codec, (uint32_t)raw.len, payload));
  atomic_fetch_add(&w->new_bytes, raw.len);
  if (w->options.progress) {
    progress_add(&w->options.progress->new_bytes, raw.len);
    progress_add(&w->options.progress->stored_bytes, payload.len);
  }
  return NULL;
}

/* Metadata frames come from any thread: contexts are lent. */
typedef struct MetaContext {
  WorkContext work;
  struct MetaContext *next;
} MetaContext;

Error *meta_sink_put(FrameSink *sink, FrameType type, Bytes raw, FrameId *out) {
  Writer *w = (Writer *)((uint8_t *)sink - offsetof(Writer, sink));
  if (raw.len == 0 || raw.len > FRAME_RAW_MAX) return err_new(ERR_LIMIT, "metadata of %zu bytes in one piece", raw.len);
  *out = keys_frame_id(w->repo->keys, type, raw);
  mutex_lock(&w->metas_lock);
  MetaContext *meta = w->metas;
  if (meta) w->metas = meta->next;
  mutex_unlock(&w->metas_lock);
  if (!meta) {
    meta = NEW(MetaContext);
    work_context_init(&meta->work, w, FRAME_RAW_MAX);
  }
  Error *err = work_store(&meta->work, type, raw, out);
  mutex_lock(&w->metas_lock);
  meta->next = w->metas;
  w->metas = meta;
  mutex_unlock(&w->metas_lock);
  return err;
}

void metas_free(Writer *w) {
  for (MetaContext *meta = w->metas; meta;) {
    MetaContext *next = meta->next;
    work_context_free(&meta->work);
    free(meta);
    meta = next;
  }
  w->metas = NULL;
}

/* ---- jobs: any order
 * ------------------------------------------------------------------------------------------------------- */

static bool all_zero(const uint8_t *data, size_t len) {
  return data[0] == 0 && (len == 1 || memcmp(data, data + 1, len - 1) == 0);
}

static bool over_share(uint32_t changed, uint32_t pages) {
  return changed * WHOLE_SHARE_DEN >= pages * WHOLE_SHARE_NUM;
}

/* Stores the frame whole when nothing is known of it, or when nearly all of it changed. */
static FrameFate page_fate(Job *job) {
  if (!job->has_parent) return FATE_WHOLE;
  uint32_t pages = (job->len + PAGE_SIZE - 1) / PAGE_SIZE;
  job->changed_len = 0;
  for (uint32_t p = 0; p < pages; p++)
    if (p >= job->parent.pages || job->prints[p] != job->parent.prints[p])
      job->changed[job->changed_len++] = (uint8_t)p;
  if (job->changed_len == 0) return FATE_UNCHANGED;
  if (over_share(job->changed_len, pages)) return FATE_WHOLE;
  return FATE_DELTA;
}

static Error *run_pages(WorkContext *ctx, Job *job) {
  const Keys *keys = ctx->writer->repo->keys;
  blake3_keyed_pages(keys->id[FRAME_DATA], job->data, job->len, job->id.b, job->prints);
  job->fate = page_fate(job);
  if (job->fate != FATE_WHOLE) return NULL;
  if (all_zero(job->data, job->len)) {
    job->id = (FrameId){0};
    return NULL;
  }
  return work_store(ctx, FRAME_DATA, bytes(job->data, job->len), &job->id);
}

static Error *run_piece(WorkContext *ctx, Job *job) {
  job->hole = job->kind == JOB_PIECE && all_zero(job->data, job->len);
  if (job->hole) return NULL;
  Bytes raw = bytes(job->data, job->len);
  job->id = keys_frame_id(ctx->writer->repo->keys, FRAME_DATA, raw);
  return work_store(ctx, FRAME_DATA, raw, &job->id);
}

static void run_bundle(WorkContext *ctx, Job *job) {
  Writer *w = ctx->writer;
  Bundle *bundle = job->bundle;
  job->data = bundle->data;
  job->len = bundle->len;
  Error *err = run_piece(ctx, job);
  for (size_t i = 0; i < bundle->files_len; i++) {
    BundleFile *file = &bundle->files[i];
    Content content = {.kind = CONTENT_SLICE, .slice = {.id = job->id, .offset = file->offset, .len = file->len}};
    memcpy(content.slice.hash, file->hash, sizeof content.slice.hash);
    if (!err) err = writer_tree_add(w, file->entry, &content, file->read_ns);
    entry_free(file->entry);
  }
  bundle->files_len = 0;
  bundle->len = 0;
  if (err) writer_fail(w, err);
  LOCKED(&w->lock);
  bundle->next = w->free_bundles;
  w->free_bundles = bundle;
  w->bundles_out--;
  cond_broadcast(&w->idle);
}

/* ---- results: each stream's order
 * ------------------------------------------------------------------------------------------ */

/* Stores a gather that was closed. Called and left with the stream's lock held; not held meanwhile, but deltas_out
 * keeps the stream from being finished. */
static void store_gather(WriterStream *s, WorkContext *ctx, Gather *gather) {
  mutex_unlock(&s->lock);
  Bytes raw = bytes(gather->data, (size_t)gather->pages * PAGE_SIZE);
  FrameId id = keys_frame_id(s->writer->repo->keys, FRAME_DATA, raw);
  Error *err = work_store(ctx, FRAME_DATA, raw, &id);
  if (err) writer_fail(s->writer, err);
  mutex_lock(&s->lock);
  if (!err) pagemap_builder_delta(s->map, gather->delta, &id, gather->pages);
  gather->pages = 0;
  gather->next = s->free_gathers;
  s->free_gathers = gather;
  s->deltas_out--;
}

static Gather *gather_take(WriterStream *s) {
  Gather *gather = s->free_gathers;
  if (gather)
    s->free_gathers = gather->next;
  else
    gather = NEW(Gather);
  gather->next = NULL;
  gather->pages = 0;
  gather->delta = s->deltas++;
  return gather;
}

/* Moves a gather that is full (or the last one) to those to be stored. */
static void gather_close(WriterStream *s, Gather **gather) {
  (*gather)->next = s->full_gathers;
  s->full_gathers = *gather;
  *gather = NULL;
  s->deltas_out++;
}

static PagePlace gather_page(WriterStream *s, Gather **gather, const Job *job, uint32_t page) {
  if (!*gather) *gather = gather_take(s);
  Gather *g = *gather;
  PagePlace place = {
      .print = job->prints[page], .delta = g->delta, .slot = (uint8_t)g->pages, .page_in_frame = (uint8_t)page};
  uint32_t len = job->len - page * PAGE_SIZE < PAGE_SIZE ? job->len - page * PAGE_SIZE : PAGE_SIZE;
  uint8_t *slot = g->data + (size_t)g->pages++ * PAGE_SIZE;
  memcpy(slot, job->data + (size_t)page * PAGE_SIZE, len);
  memset(slot + len, 0, PAGE_SIZE - len);
  if (g->pages == DELTA_PAGES_MAX) gather_close(s, gather);
  return place;
}

/* Of the sparse pages among the first `pages` that did not change, those that the changes so far pay for. */
static uint32_t choose_again(WriterStream *s, const Job *job, uint32_t changed, uint32_t pages) {
  uint32_t sparse = job->parent.sparse & ~changed, again = 0;
  uint64_t most = s->new_pages / AGAIN_SHARE;
  if (most < s->again_first) most = s->again_first;
  for (uint32_t p = 0; p < pages && s->again_pages < most; p++) {
    if (!(sparse >> p & 1)) continue;
    again |= UINT32_C(1) << p;
    s->again_pages++;
  }
  return again;
}

static Error *take_delta(WriterStream *s, const Job *job) {
  PagePlace places[PAGES_PER_FRAME];
  uint32_t changed = 0, pages = (job->len + PAGE_SIZE - 1) / PAGE_SIZE;
  size_t len = 0;
  for (uint32_t i = 0; i < job->changed_len; i++) changed |= UINT32_C(1) << job->changed[i];
  s->new_pages += job->changed_len;
  uint32_t again = choose_again(s, job, changed, pages);
  for (uint32_t p = 0; p < pages; p++) {
    if (changed >> p & 1)
      places[len++] = gather_page(s, &s->gather, job, p);
    else if (again >> p & 1)
      places[len++] = gather_page(s, &s->gather_again, job, p);
  }
  /* The map keeps in memory what stands behind an open delta frame. */
  Error *err = pagemap_builder_pages(s->map, job->frame, places, len);
  if (s->gather_again && s->deltas - s->gather_again->delta > AGAIN_OPEN_DELTAS) gather_close(s, &s->gather_again);
  return err;
}

static Error *take_pages(WriterStream *s, Job *job) {
  if (job->fate != FATE_WHOLE) return take_delta(s, job);
  s->new_pages += (job->len + PAGE_SIZE - 1) / PAGE_SIZE;
  return pagemap_builder_frame(s->map, job->frame, &job->id, job->len, job->prints);
}

/* A hole in a page file: only frames that were not zeros before need saying. */
static Error *take_page_hole(WriterStream *s, const Job *job) {
  return pagemap_builder_frame(s->map, job->frame, &(FrameId){0}, job->len, job->prints);
}

static Error *take_in_order(WriterStream *s, Job *job) {
  if (s->pages) return job->kind == JOB_HOLE ? take_page_hole(s, job) : take_pages(s, job);
  ContentPiece piece = {.len = job->len, .id = job->id};
  if (job->kind == JOB_HOLE)
    piece = (ContentPiece){.hole_len = job->hole_len};
  else if (job->hole)
    piece = (ContentPiece){.hole_len = job->len};
  return content_builder_add(s->content, &piece);
}

void stream_free(WriterStream *s) {
  content_builder_free(s->content);
  pagemap_builder_free(s->map);
  pagemap_prints_free(s->parent_prints);
  pagemap_live_free(s->parent_live);
  free(s->parent_map);
  for (Gather *lists[] = {s->gather, s->gather_again, s->free_gathers, s->full_gathers}, **list = lists;
       list < lists + NELEMS(lists); list++)
    for (Gather *g = *list; g;) {
      Gather *next = g->next;
      free(g);
      g = next;
    }
  entry_free(s->final);
  mutex_free(&s->lock);
  free(s->path_text);
  free(s->path);
  free(s);
}

static Error *finish_content(WriterStream *s, Content *out) {
  if (!s->pages) return content_builder_finish(s->content, out);
  out->kind = CONTENT_PAGES;
  pagemap_prints_free(s->parent_prints); /* folding reads all layers as well: not both in memory */
  s->parent_prints = NULL;
  const FrameId *parent = s->parent_map ? &s->parent_content.pages : NULL;
  return pagemap_builder_finish(s->map, s->position, parent, &out->pages);
}

static void stream_finish(WriterStream *s) {
  Writer *w = s->writer;
  Error *err = NULL;
  if (!s->aborted && !(err = writer_failure(w))) {
    Content content = {0};
    err = finish_content(s, &content);
    if (!err) err = writer_tree_add(w, s->final, &content, s->read_ns);
    err = err_wrap(err, "%s", s->path_text);
  }
  if (err) writer_fail(w, err);
  stream_free(s);
  LOCKED(&w->lock);
  w->streams_open--;
  cond_broadcast(&w->idle);
}

/* Takes one job that has come to its turn; with the lock held. */
static void take_job(WriterStream *s, Job *job) {
  Error *err = NULL;
  if (job->kind == JOB_END) {
    s->ended = true;
    if (s->gather && !s->aborted) gather_close(s, &s->gather);
    if (s->gather_again && !s->aborted) gather_close(s, &s->gather_again);
  } else if (!s->aborted && !(err = writer_failure(s->writer))) {
    err = take_in_order(s, job);
  }
  if (err) {
    s->aborted = true;
    writer_fail(s->writer, err_wrap(err, "%s", s->path_text));
  }
  if (job->block)
    block_release(s->writer, job->block);
  else
    free(job);
}

/* A job is done: takes what is ready at the head of its stream, in order, stores the delta frames that became full, and
 * finishes the stream after its last job. The stream may be gone when this returns. */
static void stream_job_done(WriterStream *s, WorkContext *ctx, Job *done) {
  mutex_lock(&s->lock);
  done->done = true;
  do {
    while (s->head && s->head->done) {
      Job *job = s->head;
      s->head = job->next;
      if (!s->head) s->tail = NULL;
      take_job(s, job);
    }
    Gather *gather = s->full_gathers;
    if (gather) {
      s->full_gathers = gather->next;
      store_gather(s, ctx, gather);
    }
  } while (s->full_gathers || (s->head && s->head->done));
  bool finish = s->ended && s->deltas_out == 0;
  mutex_unlock(&s->lock);
  if (finish) stream_finish(s);
}

/* ---- threads
 * ------------------------------------------------------------------------------------------------------------------ */

/* auto: higher levels while workers wait for input, lower ones while input waits for workers. */
static void adapt_level(Writer *w) {
  size_t waiting = queue_len(w->jobs), capacity = (size_t)w->blocks_len * (WRITER_BLOCK_SIZE / PAGE_FRAME_SIZE);
  int level = atomic_load(&w->auto_level);
  if (waiting < capacity / 8 && level < w->auto_level_max) atomic_store(&w->auto_level, level + 1);
  if (waiting > capacity / 2 && level > 1) atomic_store(&w->auto_level, level - 1);
}

static void run_job(WorkContext *ctx, Job *job) {
  if (job->kind == JOB_BUNDLE) {
    run_bundle(ctx, job);
    return;
  }
  WriterStream *s = job->stream;
  Writer *w = ctx->writer;
  Error *err = writer_failure(w);
  if (!err && job->kind == JOB_PAGES)
    err = run_pages(ctx, job);
  else if (!err && job->kind == JOB_PIECE)
    err = run_piece(ctx, job);
  if (err) writer_fail(w, err);
  if (w->options.progress)
    progress_add(&w->options.progress->done_bytes, job->kind == JOB_HOLE ? job->hole_len : job->len);
  stream_job_done(s, ctx, job);
}

static void worker_run(void *arg) {
  Writer *w = (Writer *)arg;
  WorkContext ctx;
  work_context_init(&ctx, w, WRITER_BLOCK_SIZE);
  unsigned count = 0;
  for (Job *job; (job = (Job *)queue_pop(w->jobs));) {
    run_job(&ctx, job);
    if (w->options.compression.automatic && ++count % AUTO_EVERY == 0) adapt_level(w);
  }
  work_context_free(&ctx);
}

Error *work_start(Writer *w) {
  w->threads = NEW_ARRAY(Thread *, w->options.workers);
  for (unsigned i = 0; i < w->options.workers; i++) {
    TRY(thread_start(w->repo->sys, "worker", worker_run, w, &w->threads[i]));
    w->threads_len++;
  }
  return NULL;
}

void work_stop(Writer *w) {
  if (w->jobs) queue_close(w->jobs);
  for (unsigned i = 0; i < w->threads_len; i++) thread_join(w->threads[i]);
  w->threads_len = 0;
}
