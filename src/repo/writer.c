#include "repo/writer.h"

#include "base/mem.h"
#include "base/timefmt.h"
#include "codec/blake3.h"
#include "codec/secret.h"
#include "repo/writer_impl.h"

enum {
  DATA_PART = 4 * 1024 * 1024,
  DATA_PARTS_EXTRA = 4,
  META_PART = FRAME_RAW_MAX + 64 * 1024,
  META_PARTS = 3,
  BUNDLES = 6,
  TREE_MEMORY = 24 * 1024 * 1024,
  TREE_SHARE = 6,                  /* of a limit, for sorting the tree */
  PIECE_MAX = 1024 * 1024,         /* of content, as the chunker cuts it */
  WORKER_MEMORY = 4 * 1024 * 1024, /* a worker's own: what is compressed, and the compressor; at least */
  AUTO_LEVEL_MAX = 9,
  LEAN_PARTS = 3,
  LEAN_META_PARTS = 2,
  SEGMENT_FRAMES_TARGET = 1 << 18,
};
#define BEAT_NS (600 * NS_PER_SECOND)

/* ---- failing
 * ---------------------------------------------------------------------------------------------------------------- */

void writer_fail(Writer *w, Error *take) {
  if (!take) return;
  LOCKED(&w->lock);
  if (w->failed)
    err_free(take);
  else
    w->failed = take;
  cond_broadcast(&w->free_block);
  cond_broadcast(&w->idle);
}

Error *writer_failure(Writer *w) {
  LOCKED(&w->lock);
  return err_copy(w->failed);
}

/* ---- blocks
 * ------------------------------------------------------------------------------------------------------------------ */

Block *writer_block_take(Writer *w) {
  LOCKED(&w->lock);
  while (!w->free_blocks && !w->failed) cond_wait(&w->free_block, &w->lock);
  if (w->failed) return NULL;
  Block *block = w->free_blocks;
  w->free_blocks = block->next;
  block->next = NULL;
  block->jobs_len = 0;
  atomic_store(&block->refs, 1);
  return block;
}

void block_release(Writer *w, Block *block) {
  if (atomic_fetch_sub(&block->refs, 1) != 1) return;
  LOCKED(&w->lock);
  block->next = w->free_blocks;
  w->free_blocks = block;
  cond_signal(&w->free_block);
}

/* ---- packs and segments
 * ------------------------------------------------------------------------------------------------------- */

/* Publishing often makes more of an interrupted backup reusable; publishing ever less often keeps the segments few. */
static bool publish_due(const Writer *w) {
  if (w->finishing && segment_builder_frames(w->segment) < SEGMENT_FRAMES_TARGET)
    return false; /* one for all at the end */
  return w->packs_waiting >= 1 + w->packs_published / 4 || segment_builder_frames(w->segment) >= SEGMENT_FRAMES_TARGET;
}

static Error *publish(Writer *w) {
  if (w->packs_waiting == 0) return NULL;
  TRY(index_publish(w->index, w->segment, &w->index_bytes, w->cancel));
  w->packs_published += w->packs_waiting;
  w->packs_waiting = 0;
  return NULL;
}

static Error *pack_done(void *ctx, const PackDone *pack) {
  Writer *w = (Writer *)ctx;
  LOCKED(&w->segment_lock);
  /* A segment that nobody could open must never be written. */
  if (segment_builder_frames(w->segment) + pack->frames_len > SEGMENT_FRAMES_MAX) TRY(publish(w));
  segment_builder_add(w->segment, &pack->id, pack->size, &pack->key, 1, pack->frames, pack->frames_len);
  w->packs_waiting++;
  return publish_due(w) ? publish(w) : NULL;
}

static Error *packer_make(Writer *w, PackKeyKind kind, Packer **out) {
  const Keys *keys = w->repo->keys;
  PackerOptions o = {.kind = kind,
                     .series = w->session.series,
                     .epoch = keys->epochs - 1,
                     .target_size = w->options.pack_size,
                     .part_size = kind == PACK_KEY_DATA ? DATA_PART : META_PART,
                     .parts = kind == PACK_KEY_DATA ? w->data_parts : w->meta_parts,
                     .writers = kind == PACK_KEY_DATA ? 2 : 1,
                     .done = pack_done,
                     .ctx = w};
  TRY(keys_class(keys, o.epoch, KEY_CLASS_META, &w->session.series, o.meta_key));
  Error *err = NULL;
  if (kind == PACK_KEY_META) {
    memcpy(o.ref, w->session.series.b, sizeof o.ref);
    memcpy(o.base_key, o.meta_key, sizeof o.base_key);
  } else {
    err = repo_data_key_new(w->repo, o.ref, o.base_key, NULL);
  }
  /* No Cancel: what is sealed is still written when the operator stops, for the next backup to find. */
  if (!err) err = packer_new(w->repo, &o, NULL, out);
  secret_wipe(&o, sizeof o);
  return err;
}

Error *writer_packer(Writer *w, FrameType type, Packer **out) {
  LOCKED(&w->packers_lock);
  Packer **slot = type == FRAME_DATA ? &w->data : &w->meta;
  if (!*slot) TRY(packer_make(w, type == FRAME_DATA ? PACK_KEY_DATA : PACK_KEY_META, slot));
  *out = *slot;
  return NULL;
}

Error *writer_beat(Writer *w) {
  uint64_t now = sys_mono_ns(w->repo->sys);
  LOCKED(&w->beat_lock);
  if (now - w->last_beat_ns < BEAT_NS) return NULL;
  w->last_beat_ns = now;
  return session_beat(w->repo, &w->session, w->cancel);
}

/* ---- beginning
 * -------------------------------------------------------------------------------------------------------------------
 */

static void writer_init_locks(Writer *w) {
  Sys *sys = w->repo->sys;
  Mutex *locks[] = {&w->parent_lock,  &w->lock,         &w->bundle_lock, &w->tree_lock,
                    &w->packers_lock, &w->segment_lock, &w->metas_lock,  &w->beat_lock};
  for (size_t i = 0; i < NELEMS(locks); i++) mutex_init(locks[i], sys);
  cond_init(&w->free_block, sys);
  cond_init(&w->idle, sys);
}

static void writer_free_locks(Writer *w) {
  Mutex *locks[] = {&w->parent_lock,  &w->lock,         &w->bundle_lock, &w->tree_lock,
                    &w->packers_lock, &w->segment_lock, &w->metas_lock,  &w->beat_lock};
  for (size_t i = 0; i < NELEMS(locks); i++) mutex_free(locks[i]);
  cond_free(&w->free_block);
  cond_free(&w->idle);
}

/* What a worker takes for itself. */
static uint64_t worker_bytes(Compression c) {
  uint64_t bytes = compressor_bound(PIECE_MAX) + compressor_memory(c, PIECE_MAX);
  return bytes > WORKER_MEMORY ? bytes : WORKER_MEMORY;
}

uint64_t writer_memory_min(Compression c) { return WRITER_MEMORY_MIN + worker_bytes(c) - WORKER_MEMORY; }

/* What all buffers take with these numbers. */
static uint64_t planned_bytes(const Writer *w) {
  return (uint64_t)w->blocks_len * WRITER_BLOCK_SIZE + (uint64_t)w->data_parts * DATA_PART +
         (uint64_t)w->meta_parts * META_PART + (uint64_t)BUNDLES * BUNDLE_SIZE + w->tree_bytes +
         (uint64_t)w->options.workers * worker_bytes(w->options.compression) + WORKER_MEMORY; /* that for metadata */
}

/* Each stream holds a block and asks for the next; each worker has one in work and one waiting. With little memory
 * there is one worker, and nothing waits. */
static void writer_plan_memory(Writer *w) {
  WriterOptions *o = &w->options;
  w->tree_bytes = TREE_MEMORY;
  if (o->memory_bytes && o->memory_bytes / TREE_SHARE < TREE_MEMORY) w->tree_bytes = o->memory_bytes / TREE_SHARE;
  w->meta_parts = META_PARTS;
  for (;; o->workers--) {
    w->blocks_len = 2 * o->readers + 2 * o->workers + 2;
    w->data_parts = o->workers + DATA_PARTS_EXTRA;
    if (!o->memory_bytes || planned_bytes(w) <= o->memory_bytes) return;
    if (o->workers == 1) break;
  }
  w->blocks_len = 2 * o->readers + 2;
  w->data_parts = LEAN_PARTS;
  w->meta_parts = LEAN_META_PARTS;
}

/* `auto` may become as slow as the memory that is left allows. */
static void plan_auto_level(Writer *w) {
  const WriterOptions *o = &w->options;
  uint64_t planned = planned_bytes(w);
  uint64_t left = o->memory_bytes > planned ? o->memory_bytes - planned : 0;
  Compression c = o->compression;
  for (c.level = AUTO_LEVEL_MAX; c.level > 1; c.level--)
    if (!o->memory_bytes || o->workers * (worker_bytes(c) - WORKER_MEMORY) <= left) break;
  w->auto_level_max = c.level;
}

static void writer_alloc_blocks(Writer *w) {
  w->blocks = NEW_ARRAY(Block, w->blocks_len);
  for (unsigned i = 0; i < w->blocks_len; i++) {
    w->blocks[i].data = (uint8_t *)mem_pages(WRITER_BLOCK_SIZE);
    w->blocks[i].next = w->free_blocks;
    w->free_blocks = &w->blocks[i];
  }
  for (unsigned i = 0; i < BUNDLES; i++) {
    Bundle *bundle = NEW(Bundle);
    bundle->data = (uint8_t *)mem_alloc(BUNDLE_SIZE);
    bundle->next = w->free_bundles;
    w->free_bundles = bundle;
  }
  w->jobs = queue_new(w->repo->sys, (size_t)w->blocks_len * BLOCK_JOBS);
}

static void bundle_free(Bundle *bundle) {
  for (size_t i = 0; i < bundle->files_len; i++) entry_free(bundle->files[i].entry);
  free(bundle->files);
  free(bundle->data);
  free(bundle);
}

/* Everything but the threads, which must have ended. */
static void writer_free(Writer *w) {
  packer_free(w->data);
  packer_free(w->meta);
  metas_free(w);
  tree_builder_free(w->tree);
  tree_cursor_free(w->parent);
  frame_reader_free(w->reader);
  segment_builder_free(w->segment);
  index_free(w->index);
  if (w->jobs) queue_free(w->jobs);
  for (unsigned i = 0; i < w->blocks_len; i++) mem_free_pages(w->blocks[i].data, WRITER_BLOCK_SIZE);
  free(w->blocks);
  if (w->bundle) bundle_free(w->bundle);
  for (Bundle *bundle = w->free_bundles; bundle;) {
    Bundle *next = bundle->next;
    bundle_free(bundle);
    bundle = next;
  }
  free(w->threads);
  err_free(w->failed);
  writer_free_locks(w);
  free(w);
}

static void writer_zero_prints(Writer *w) {
  uint8_t id[32];
  static const uint8_t zeros[PAGE_FRAME_SIZE];
  blake3_keyed_pages(w->repo->keys->id[FRAME_DATA], zeros, sizeof zeros, id, w->zero_prints);
}

/* When something is lost in the repository, nothing may be taken over unread that the parent has in what is lost:
 * without a parent everything is read, and stored again. */
static Error *parent_is_whole(Writer *w, bool *whole) {
  Error *err = writer_prove(w, &w->options.parent->root);
  *whole = err == NULL;
  if (!err_is(err, ERR_CORRUPT) && !err_is(err, ERR_LIMIT)) return err;
  err_free(err);
  return NULL;
}

static Error *writer_open(Writer *w) {
  const WriterOptions *o = &w->options;
  w->last_beat_ns = sys_mono_ns(w->repo->sys);
  TRY(index_open(w->repo, &w->index, w->cancel));
  w->reader = frame_reader_new(w->repo, w->index, w->cancel);
  bool whole = o->parent != NULL;
  if (whole && (index_lost_packs(w->index) || index_broken_segments(w->index))) TRY(parent_is_whole(w, &whole));
  if (whole) w->parent = tree_cursor_new(frame_reader_source(w->reader), &o->parent->root);
  TreeBuilderOptions tree = {.scratch_dir = o->scratch_dir, .memory_bytes = w->tree_bytes};
  memcpy(tree.split_key, w->repo->keys->split, sizeof tree.split_key);
  w->tree = tree_builder_new(&w->sink, &tree);
  return work_start(w);
}

bool writer_has_parent(const Writer *w) { return w->parent != NULL; }

Error *writer_begin(Repo *repo, const WriterOptions *options, Writer **out, Cancel *cancel) {
  TRY(repo_check_writable(repo));
  Writer *w = NEW(Writer);
  w->repo = repo;
  w->options = *options;
  w->cancel = cancel;
  w->sink.put = meta_sink_put;
  if (!w->options.workers) w->options.workers = sys_cpus(repo->sys);
  if (!w->options.readers) w->options.readers = 1;
  if (!w->options.pack_size) w->options.pack_size = PACK_TARGET_SIZE;
  w->started_mono_ns = sys_mono_ns(repo->sys);
  atomic_store(&w->auto_level, 1);
  writer_init_locks(w);
  chunker_init(&w->chunker, repo->keys->chunker);
  writer_zero_prints(w);
  w->segment = segment_builder_new();
  writer_plan_memory(w);
  plan_auto_level(w);
  writer_alloc_blocks(w);
  Error *err = session_begin(repo, &options->series->id, options->host, &w->session, cancel);
  if (err) {
    writer_free(w);
    return err;
  }
  err = writer_open(w);
  if (err) {
    work_stop(w);
    err_ignore(session_end(repo, &w->session, err_is(err, ERR_CANCELLED) ? "cancelled" : "failed", NULL));
    writer_free(w);
    return err;
  }
  *out = w;
  return NULL;
}

/* ---- entries
 * ----------------------------------------------------------------------------------------------------------------------
 */

Error *writer_parent(Writer *w, Bytes path, ParentFile *out, bool *found) {
  *found = false;
  if (!w->parent) return NULL;
  LOCKED(&w->parent_lock);
  TreeEntry entry;
  TRY(tree_cursor_find(w->parent, path, &entry, found));
  if (!*found) return NULL;
  const Entry *e = &entry.entry;
  *out = (ParentFile){.type = e->type,
                      .mode = e->mode,
                      .mtime_ns = e->mtime_ns,
                      .ctime_ns = e->ctime_ns,
                      .inode = e->inode,
                      .device = e->device,
                      .size = e->size,
                      .read_ns = entry.read_ns,
                      .has_pages = entry.content.kind == CONTENT_PAGES};
  if (e->xattrs_len) out->holder = entry_copy(&(Entry){.xattrs = e->xattrs, .xattrs_len = e->xattrs_len});
  return NULL;
}

Error *writer_tree_add(Writer *w, const Entry *entry, const Content *content, uint64_t read_ns) {
  TreeEntry tree_entry = {.entry = *entry, .content = *content, .read_ns = read_ns};
  LOCKED(&w->tree_lock);
  if (entry->type == ENTRY_FILE) {
    w->files++;
    if (w->options.progress) progress_add(&w->options.progress->files_done, 1);
  }
  return tree_builder_add(w->tree, &tree_entry);
}

Error *writer_add(Writer *w, const Entry *entry) {
  TRY(writer_failure(w));
  return writer_tree_add(w, entry, &(Content){0}, 0);
}

Error *writer_keep(Writer *w, const Entry *entry) {
  TRY(writer_failure(w));
  TRY(cancel_check(w->cancel));
  Content content;
  uint64_t read_ns;
  {
    LOCKED(&w->parent_lock);
    TreeEntry parent;
    bool found = false;
    if (w->parent) TRY(tree_cursor_find(w->parent, entry->path, &parent, &found));
    if (!found || parent.entry.type != ENTRY_FILE || parent.entry.size != entry->size)
      return err_new(ERR_REFUSED, "the parent snapshot has no such content to keep");
    content = parent.content;
    read_ns = parent.read_ns;
  }
  if (w->options.progress) progress_add(&w->options.progress->done_bytes, entry->size);
  return writer_tree_add(w, entry, &content, read_ns);
}

/* ---- ending
 * ------------------------------------------------------------------------------------------------------------------------
 */

/* Waits until every stream and bundle is in the tree. */
static Error *settle(Writer *w) {
  TRY(writer_bundle_flush(w));
  mutex_lock(&w->lock);
  while ((w->streams_open || w->bundles_out) && !w->failed) cond_wait(&w->idle, &w->lock);
  Error *err = err_copy(w->failed);
  mutex_unlock(&w->lock);
  return err;
}

/* What is durable is published even when a packer failed: the next backup need not store it again. */
static void set_finishing(Writer *w) {
  LOCKED(&w->segment_lock);
  w->finishing = true;
}

static Error *flush_packs(Writer *w) {
  set_finishing(w);
  Error *err = w->data ? packer_flush(w->data) : NULL;
  if (w->meta) err = err_first(err, packer_flush(w->meta));
  LOCKED(&w->segment_lock);
  return err_first(err, publish(w));
}

static Error *finish_data(Writer *w, TreeRoot *root) {
  TRY(settle(w));
  set_finishing(w);
  if (w->data) TRY(packer_flush(w->data));
  TRY(tree_builder_finish(w->tree, root));
  TRY(flush_packs(w));
  TRY(index_check_packs(w->index, w->cancel));
  return writer_prove(w, root);
}

static void fill_snapshot(Writer *w, const TreeRoot *root, Snapshot *s) {
  s->id = w->session.snapshot;
  s->series = w->session.series;
  s->time_ns = w->session.started_ns;
  s->end_ns = sys_now_ns(w->repo->sys);
  s->zone_minutes = time_zone_minutes(s->time_ns);
  s->root = *root;
  s->has_parent = w->parent != NULL;
  if (s->has_parent) s->parent = w->options.parent->id;
  uint64_t stored = 0;
  if (w->data) stored += packer_stored_bytes(w->data);
  if (w->meta) stored += packer_stored_bytes(w->meta);
  s->stats = (SnapshotStats){.files = w->files,
                             .entries = root->entries,
                             .source_bytes = root->bytes,
                             .read_bytes = atomic_load(&w->read_bytes),
                             .new_bytes = atomic_load(&w->new_bytes),
                             .stored_bytes = stored + w->index_bytes,
                             .duration_ns = sys_mono_ns(w->repo->sys) - w->started_mono_ns};
}

static Error *commit(Writer *w, const Snapshot *fields, Snapshot *out) {
  TreeRoot root;
  TRY(finish_data(w, &root));
  Snapshot filled = *fields; /* texts borrowed */
  fill_snapshot(w, &root, &filled);
  TRY(snapshot_commit(w->repo, &w->session, &filled, w->cancel));
  AUTO_BUF Buf body = {0};
  snapshot_encode(&filled, &body);
  return snapshot_decode(buf_bytes(&body), out);
}

Error *writer_commit(Writer *take, const Snapshot *fields, Snapshot *out) {
  Error *err = commit(take, fields, out);
  if (err) {
    writer_abort(take, err_is(err, ERR_CANCELLED) ? "cancelled" : "failed");
    return err;
  }
  work_stop(take);
  /* The snapshot exists; an end record that cannot be written only makes the session look alive for longer. */
  err_ignore(session_end(take->repo, &take->session, "committed", NULL));
  writer_free(take);
  return NULL;
}

void writer_abort(Writer *take, const char *outcome) {
  if (!take) return;
  writer_fail(take, err_new(ERR_CANCELLED, "the backup was given up"));
  work_stop(take);
  /* What is sealed already spares the next backup work. The operator's wish to stop must not keep it from being
   * published. */
  take->cancel = NULL;
  err_ignore(flush_packs(take));
  err_ignore(session_end(take->repo, &take->session, outcome, NULL));
  writer_free(take);
}
