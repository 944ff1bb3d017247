#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "codec/blake3.h"
#include "repo/pagemap_live.h"
#include "repo/writer_impl.h"

/* ---- jobs
 * ---------------------------------------------------------------------------------------------------------------- */

static Job *block_job(WriterStream *s, JobKind kind, uint8_t *data, uint32_t len) {
  Block *block = s->block;
  CHECK(block->jobs_len < BLOCK_JOBS);
  Job *job = &block->jobs[block->jobs_len++];
  *job = (Job){.kind = kind, .stream = s, .block = block, .data = data, .len = len};
  atomic_fetch_add(&block->refs, 1);
  return job;
}

static Job *loose_job(WriterStream *s, JobKind kind) {
  Job *job = NEW(Job);
  job->kind = kind;
  job->stream = s;
  return job;
}

/* Puts the job at the end of its stream's order, then before the workers. */
static Error *submit(WriterStream *s, Job *job) {
  mutex_lock(&s->lock);
  if (s->tail)
    s->tail->next = job;
  else
    s->head = job;
  s->tail = job;
  mutex_unlock(&s->lock);
  if (queue_push(s->writer->jobs, job)) return NULL;
  return err_new(ERR_INTERNAL, "the pipeline is closed");
}

/* ---- small files
 * ----------------------------------------------------------------------------------------------------------- */

/* The parent's content at the path, if it is a file. */
static Error *parent_content(Writer *w, Bytes path, Content *out, uint64_t *read_ns, bool *found) {
  *found = false;
  if (!w->parent) return NULL;
  LOCKED(&w->parent_lock);
  TreeEntry entry;
  TRY(tree_cursor_find(w->parent, path, &entry, found));
  *found = *found && entry.entry.type == ENTRY_FILE;
  if (!*found) return NULL;
  *out = entry.content;
  *read_ns = entry.read_ns;
  return NULL;
}

static Error *bundle_take(Writer *w, Bundle **out) {
  mutex_lock(&w->lock);
  while (!w->free_bundles && !w->failed) cond_wait(&w->idle, &w->lock);
  Error *err = err_copy(w->failed);
  if (!err) {
    *out = w->free_bundles;
    w->free_bundles = (*out)->next;
    (*out)->next = NULL;
  }
  mutex_unlock(&w->lock);
  return err;
}

/* With bundle_lock held. */
static Error *bundle_submit(Writer *w) {
  Bundle *bundle = w->bundle;
  w->bundle = NULL;
  bundle->job = (Job){.kind = JOB_BUNDLE, .bundle = bundle};
  mutex_lock(&w->lock);
  w->bundles_out++;
  mutex_unlock(&w->lock);
  return queue_push(w->jobs, &bundle->job) ? NULL : err_new(ERR_INTERNAL, "the pipeline is closed");
}

Error *writer_bundle_flush(Writer *w) {
  LOCKED(&w->bundle_lock);
  return w->bundle && w->bundle->files_len ? bundle_submit(w) : NULL;
}

Error *writer_bundle_add(Writer *w, const Entry *entry, Bytes data, const uint8_t hash[16], uint64_t read_ns) {
  LOCKED(&w->bundle_lock);
  if (w->bundle && w->bundle->len + data.len > BUNDLE_SIZE) TRY(bundle_submit(w));
  if (!w->bundle) TRY(bundle_take(w, &w->bundle));
  Bundle *bundle = w->bundle;
  if (bundle->files_len == bundle->files_cap) {
    bundle->files_cap = bundle->files_cap ? bundle->files_cap * 2 : 64;
    bundle->files = (BundleFile *)mem_resize(bundle->files, bundle->files_cap, sizeof *bundle->files);
  }
  BundleFile *file = &bundle->files[bundle->files_len++];
  *file =
      (BundleFile){.entry = entry_copy(entry), .offset = bundle->len, .len = (uint32_t)data.len, .read_ns = read_ns};
  memcpy(file->hash, hash, sizeof file->hash);
  memcpy(bundle->data + bundle->len, data.data, data.len);
  bundle->len += (uint32_t)data.len;
  return NULL;
}

/* A whole small file is at hand: the parent's copy serves if it has the same bytes, else it joins a bundle. */
static Error *store_small(WriterStream *s, const Entry *final, Bytes data) {
  Writer *w = s->writer;
  if (w->options.progress) progress_add(&w->options.progress->done_bytes, data.len);
  uint8_t hash[32];
  blake3_keyed(w->repo->keys->id[FRAME_DATA], data.data, data.len, hash);
  Content parent;
  uint64_t read_ns;
  bool found;
  TRY(parent_content(w, final->path, &parent, &read_ns, &found));
  if (found && parent.kind == CONTENT_SLICE && parent.slice.len == data.len &&
      memcmp(parent.slice.hash, hash, sizeof parent.slice.hash) == 0)
    return writer_tree_add(w, final, &parent, s->read_ns);
  return writer_bundle_add(w, final, data, hash, s->read_ns);
}

/* ---- opening
 * ------------------------------------------------------------------------------------------------------------------ */

/* About how many sparse pages can be stored again, if as much changed as the last time. A few of them may be before any
 * change is seen: the pages that frames are kept for may stand before those that keep changing. */
static uint64_t again_affordable(WriterStream *s) {
  enum { AT_FIRST_MAX = 6 };
  const PageMap *map = s->parent_map;
  uint64_t last = (map->layers_len ? map->layers[map->layers_len - 1].pages_len : 0) / AGAIN_SHARE;
  s->again_first = last < AT_FIRST_MAX ? last : AT_FIRST_MAX;
  return last;
}

static Error *open_pages(WriterStream *s) {
  Writer *w = s->writer;
  uint64_t read_ns;
  bool found;
  TRY(parent_content(w, bytes(s->path, s->path_len), &s->parent_content, &read_ns, &found));
  s->has_parent_content = found && s->parent_content.kind == CONTENT_PAGES;
  if (s->has_parent_content) {
    FrameSource *source = frame_reader_source(w->reader);
    s->parent_map = NEW(PageMap);
    TRY(pagemap_load(source, &s->parent_content.pages, s->parent_map));
    TRY(pagemap_live_new(source, s->parent_map, again_affordable(s), &s->parent_live));
    s->parent_prints = pagemap_prints_new(source, s->parent_map);
    pagemap_prints_set_live(s->parent_prints, s->parent_live);
    pagemap_prints_set_zero(s->parent_prints, w->zero_prints);
  }
  s->map = pagemap_builder_new(&w->sink, frame_reader_source(w->reader), s->parent_map, s->parent_live);
  return NULL;
}

Error *writer_stream_open(Writer *w, const WriterStreamSpec *spec, WriterStream **out) {
  TRY(writer_failure(w));
  WriterStream *s = NEW(WriterStream);
  s->writer = w;
  s->pages = spec->pages;
  s->size_hint = spec->size_hint;
  s->read_ns = spec->read_ns;
  s->path = (uint8_t *)mem_dup(spec->path.data, spec->path.len);
  s->path_len = spec->path.len;
  s->path_text = str_printable(spec->path);
  mutex_init(&s->lock, w->repo->sys);
  Error *err = NULL;
  if (s->pages)
    err = open_pages(s);
  else
    s->content = content_builder_new(&w->sink);
  if (err) {
    err = err_wrap(err, "%s: reading what the parent snapshot has", s->path_text);
    stream_free(s);
    return err;
  }
  mutex_lock(&w->lock);
  w->streams_open++;
  mutex_unlock(&w->lock);
  *out = s;
  return NULL;
}

/* ---- bytes
 * --------------------------------------------------------------------------------------------------------------------
 */

/* A fresh block that starts with what is still uncut in the old one. */
static Error *next_block(WriterStream *s) {
  Block *block = writer_block_take(s->writer);
  if (!block) return writer_failure(s->writer);
  if (s->block) {
    memcpy(block->data, s->block->data + s->used - s->pending, s->pending);
    block_release(s->writer, s->block);
  }
  s->block = block;
  s->used = s->pending;
  return NULL;
}

Error *writer_stream_buffer(WriterStream *s, uint8_t **out, size_t *out_cap) {
  TRY(writer_failure(s->writer));
  TRY(cancel_check(s->writer->cancel));
  size_t least = s->pages ? PAGE_FRAME_SIZE : WRITER_BLOCK_SIZE / 4;
  bool jobs_full = s->block && s->block->jobs_len + 1 >= BLOCK_JOBS;
  if (!s->block || WRITER_BLOCK_SIZE - s->used < least || jobs_full) TRY(next_block(s));
  CHECK(s->block);
  *out = s->block->data + s->used;
  *out_cap = WRITER_BLOCK_SIZE - s->used;
  if (s->pages) *out_cap -= *out_cap % PAGE_FRAME_SIZE;
  return NULL;
}

/* Cuts pieces off the pending bytes; all of them when the stream (or this run of data) ends. */
static Error *cut_pieces(WriterStream *s, bool all) {
  const Chunker *chunker = &s->writer->chunker;
  while (s->pending && (all || s->pending >= chunker->max)) {
    uint8_t *data = s->block->data + s->used - s->pending;
    size_t len = chunker_cut(chunker, data, s->pending);
    if (s->block->jobs_len == BLOCK_JOBS) {
      TRY(next_block(s));
      continue;
    }
    s->pending -= len;
    TRY(submit(s, block_job(s, JOB_PIECE, data, (uint32_t)len)));
  }
  return NULL;
}

static Error *submit_pages(WriterStream *s, size_t len) {
  size_t at = s->used - len;
  uint64_t frame = (s->position - len) / PAGE_FRAME_SIZE;
  for (size_t left = len; left;) {
    uint32_t n = left < PAGE_FRAME_SIZE ? (uint32_t)left : PAGE_FRAME_SIZE;
    Job *job = block_job(s, JOB_PAGES, s->block->data + at, n);
    job->frame = frame++;
    if (s->parent_prints) TRY(pagemap_prints_get(s->parent_prints, job->frame, &job->parent, &job->has_parent));
    TRY(submit(s, job));
    at += n;
    left -= n;
  }
  return NULL;
}

Error *writer_stream_write(WriterStream *s, size_t len) {
  if (len == 0) return NULL;
  CHECK(s->block && len <= WRITER_BLOCK_SIZE - s->used);
  if (s->pages && s->position % PAGE_FRAME_SIZE)
    return err_new(ERR_INTERNAL, "page stream continued after a short frame");
  s->used += len;
  s->position += len;
  atomic_fetch_add(&s->writer->read_bytes, len);
  TRY(writer_beat(s->writer));
  if (s->pages) return submit_pages(s, len);
  s->pending += len;
  return cut_pieces(s, false);
}

/* Whether the parent's frame is zeros as well, over the same length. */
static Error *hole_is_known(WriterStream *s, const Job *job, bool *known) {
  FrameView view;
  TRY(pagemap_prints_get(s->parent_prints, job->frame, &view, known));
  *known = *known && view.len == job->len && memcmp(view.prints, job->prints, view.pages * sizeof view.prints[0]) == 0;
  return NULL;
}

static Error *hole_frame(WriterStream *s, uint32_t len) {
  Job *job = loose_job(s, JOB_HOLE);
  job->frame = s->position / PAGE_FRAME_SIZE;
  job->len = len;
  job->hole_len = len;
  memcpy(job->prints, s->writer->zero_prints, sizeof job->prints);
  if (len < PAGE_FRAME_SIZE) {
    FrameId unused;
    static const uint8_t zeros[PAGE_FRAME_SIZE];
    blake3_keyed_pages(s->writer->repo->keys->id[FRAME_DATA], zeros, len, unused.b, job->prints);
  }
  bool known;
  Error *err = hole_is_known(s, job, &known);
  s->position += len;
  if (!err && !known) return submit(s, job);
  free(job);
  return err;
}

/* A first map need not name holes: what no layer names is zeros. */
static Error *page_hole(WriterStream *s, uint64_t len) {
  while (len && s->parent_prints) {
    uint32_t n = len < PAGE_FRAME_SIZE ? (uint32_t)len : PAGE_FRAME_SIZE;
    TRY(hole_frame(s, n));
    len -= n;
  }
  s->position += len;
  return NULL;
}

Error *writer_stream_hole(WriterStream *s, uint64_t len) {
  if (len == 0) return NULL;
  if (len > FILE_SIZE_MAX - s->position) return err_new(ERR_LIMIT, "%s: too large", s->path_text);
  if (s->pages && s->position % PAGE_FRAME_SIZE)
    return err_new(ERR_INTERNAL, "page stream continued after a short frame");
  if (s->pages) return page_hole(s, len);
  TRY(cut_pieces(s, true));
  Job *job = loose_job(s, JOB_HOLE);
  job->hole_len = len;
  s->position += len;
  return submit(s, job);
}

Error *writer_stream_keep(WriterStream *s, uint64_t len) {
  if (!s->parent_map || s->position % PAGE_FRAME_SIZE || len % PAGE_FRAME_SIZE ||
      s->position + len > s->parent_map->size)
    return err_new(ERR_REFUSED, "%s: nothing in the parent snapshot to keep", s->path_text);
  s->position += len;
  if (s->writer->options.progress) progress_add(&s->writer->options.progress->done_bytes, len);
  return NULL;
}

/* ---- ending
 * --------------------------------------------------------------------------------------------------------------------
 */

/* The block that was being filled goes back when its jobs are done. */
static void drop_block(WriterStream *s) {
  if (s->block) block_release(s->writer, s->block);
  s->block = NULL;
}

static Error *submit_end(WriterStream *s) {
  Job *job = loose_job(s, JOB_END);
  return submit(s, job);
}

/* Nothing was handed to the workers: the stream ends here and now. */
static void end_unused(WriterStream *s) {
  Writer *w = s->writer;
  drop_block(s);
  stream_free(s);
  LOCKED(&w->lock);
  w->streams_open--;
  cond_broadcast(&w->idle);
}

void writer_stream_abort(WriterStream *take) {
  if (!take) return;
  drop_block(take);
  mutex_lock(&take->lock);
  take->aborted = true;
  mutex_unlock(&take->lock);
  err_ignore(submit_end(take));
}

Error *writer_stream_end(WriterStream *take, const Entry *final) {
  WriterStream *s = take;
  Writer *w = s->writer;
  Error *err = writer_failure(w);
  if (!err && final->size != s->position)
    err = err_new(ERR_INTERNAL, "%s: %llu bytes were written, the entry says %llu", s->path_text,
                  (unsigned long long)s->position, (unsigned long long) final->size);
  bool small = !s->pages && s->position <= SMALL_FILE_MAX && s->pending == s->position;
  if (!err && small) {
    err = s->position == 0 ? writer_tree_add(w, final, &(Content){0}, s->read_ns)
                           : store_small(s, final, bytes(s->block->data + s->used - s->pending, s->pending));
    end_unused(s);
    return err;
  }
  if (!err && !s->pages) err = cut_pieces(s, true);
  if (err) {
    writer_stream_abort(s);
    return err;
  }
  drop_block(s);
  s->final = entry_copy(final);
  return submit_end(s);
}
