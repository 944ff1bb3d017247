#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/blake3.h"
#include "repo/frames.h"
#include "repo/index_impl.h"
#include "repo/plan.h"
#include "repo/uuid.h"
#include "sys/fs.h"

enum { CACHE_HASH_LEN = 32, FILTER_MIN_BITS = 1 << 16 };
#define FILTER_MAX_BITS (UINT64_C(64) * MIB * 8)

/* ---- the miss filter: two bits in one 64-bit word and two in the next, chosen by the id itself
 * ------------------------------- */

static inline uint64_t filter_mask(uint64_t prefix) {
  return UINT64_C(1) << (prefix & 63) | UINT64_C(1) << (prefix >> 6 & 63) | UINT64_C(1) << (prefix >> 12 & 63) |
         UINT64_C(1) << (prefix >> 18 & 63);
}

static inline uint64_t *filter_word(const Index *index, uint64_t prefix) {
  return &index->filter[(prefix >> 24) & (index->filter_bits / 64 - 1)];
}

static void filter_add(Index *index, const Segment *view) {
  for (uint32_t i = 0; i < view->frames; i++) {
    uint64_t prefix = segment_prefix(view, i);
    *filter_word(index, prefix) |= filter_mask(prefix);
  }
  index->filter_used += view->frames;
}

/* Rebuilt from the segments when it is full: sized for half as many again. */
static void filter_rebuild(Index *index) {
  uint64_t bits = FILTER_MIN_BITS;
  while (bits < FILTER_MAX_BITS && bits < index->frames * 10) bits *= 2;
  free(index->filter);
  index->filter = NEW_ARRAY(uint64_t, bits / 64);
  index->filter_bits = bits;
  index->filter_used = 0;
  for (size_t i = 0; i < index->len; i++) filter_add(index, &index->segments[i]->view);
}

/* ---- segments and their cache
 * --------------------------------------------------------------------------------------------------- */

static void segment_free(IndexSegment *take) {
  if (!take) return;
  if (take->mapped) munmap(take->mapped, take->mapped_len);
  buf_free(&take->body);
  free(take->absent);
  free(take->doubted);
  free(take->name);
  free(take);
}

static char *cache_path(const Index *index, const char *name) {
  return index->repo->cache_dir ? fs_join(index->repo->cache_dir, name) : NULL;
}

/* Maps a cached body; false when it is not there or not what was written. */
static bool segment_map(const char *path, IndexSegment *segment) {
  AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0 || st.st_size <= CACHE_HASH_LEN || st.st_size > OBJECT_BODY_MAX * 2) return false;
  size_t len = (size_t)st.st_size;
  void *mapped = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
  if (mapped == MAP_FAILED) return false;
  uint8_t *data = (uint8_t *)mapped;
  uint8_t hash[CACHE_HASH_LEN];
  blake3_hash(data, len - CACHE_HASH_LEN, hash);
  if (memcmp(hash, data + len - CACHE_HASH_LEN, CACHE_HASH_LEN) == 0) {
    Error *err = segment_open(bytes(data, len - CACHE_HASH_LEN), &segment->view);
    if (!err) {
      segment->mapped = data;
      segment->mapped_len = len;
      return true;
    }
    err_free(err);
  }
  munmap(mapped, len);
  return false;
}

/* Keeps a body in the cache and maps it; without a cache, or when the cache cannot be written, it stays in memory. */
static Error *segment_keep(Index *index, IndexSegment *segment, Buf *take_body) {
  AUTO_FREE char *path = cache_path(index, segment->name);
  if (path) {
    uint8_t hash[CACHE_HASH_LEN];
    blake3_hash(take_body->data, take_body->len, hash);
    size_t len = take_body->len;
    buf_add(take_body, hash, sizeof hash);
    Error *err = fs_replace_file(path, buf_bytes(take_body), 0600);
    take_body->len = len;
    bool mapped = !err && segment_map(path, segment);
    err_free(err);
    if (mapped) {
      buf_free(take_body);
      return NULL;
    }
  }
  TRY(segment_open(buf_bytes(take_body), &segment->view));
  segment->body = *take_body;
  *take_body = (Buf){0};
  return NULL;
}

static Error *segment_load(Index *index, const char *name, IndexSegment **out, Cancel *cancel) {
  IndexSegment *segment = NEW(IndexSegment);
  segment->name = mem_strdup(name);
  AUTO_FREE char *path = cache_path(index, name);
  if (!path || !segment_map(path, segment)) {
    AUTO_BUF Buf body = {0};
    Error *err = repo_get_object(index->repo, OBJECT_SEGMENT, name, &body, NULL, cancel);
    if (!err) err = err_wrap(segment_keep(index, segment, &body), "%s", name);
    if (err) {
      segment_free(segment);
      return err;
    }
  }
  *out = segment;
  return NULL;
}

static void index_add(Index *index, IndexSegment *take) {
  if (index->len == index->cap) {
    index->cap = index->cap ? index->cap * 2 : 16;
    index->segments = (IndexSegment **)mem_resize(index->segments, index->cap, sizeof(IndexSegment *));
  }
  index->segments[index->len++] = take;
  index->frames += take->view.frames;
  if (!index->filter || (index->frames * 10 > index->filter_bits && index->filter_bits < FILTER_MAX_BITS))
    filter_rebuild(index);
  else
    filter_add(index, &take->view);
}

/* ---- opening
 * ------------------------------------------------------------------------------------------------------------------------
 */

static int name_order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* A cache that survived a sweep must not bring a swept pack back. */
static void cache_prune(Index *index, const StrList *listed) {
  AUTO_FREE char *dir = cache_path(index, "index");
  DIR *files = dir ? opendir(dir) : NULL;
  if (!files) return;
  for (struct dirent *file; (file = readdir(files));) {
    char name[64 + sizeof file->d_name];
    const char *key = name;
    snprintf(name, sizeof name, "index/%s", file->d_name);
    bool keep = file->d_name[0] == '.' ||
                (listed->len && bsearch(&key, listed->items, listed->len, sizeof(char *), name_order));
    if (!keep) unlinkat(dirfd(files), file->d_name, 0);
  }
  closedir(files);
}

/* A damaged segment is a loss, not the end: a writer stores again what only it named. */
static Error *pass_over(Index *index, Error *take) {
  bool unreadable = err_is(take, ERR_CORRUPT) || err_is(take, ERR_LIMIT) || (index->reading && err_is(take, ERR_IO));
  if (!unreadable) return take;
  err_free(take);
  index->broken++;
  return NULL;
}

static bool is_named(const Index *index, const Uuid *id) {
  for (size_t s = 0; s < index->len; s++) {
    const Segment *view = &index->segments[s]->view;
    for (uint32_t i = 0; i < view->packs; i++) {
      SegmentPack pack;
      segment_pack(view, i, &pack);
      if (uuid_equal(&pack.id, id)) return true;
    }
  }
  return false;
}

enum { SALVAGED_PACKS_MAX = 1024, SALVAGED_FRAMES_MAX = 1 << 18 }; /* in one segment */

static Error *add_salvaged(Index *index, SegmentBuilder *builder) {
  if (segment_builder_frames(builder) == 0) return NULL;
  IndexSegment *segment = NEW(IndexSegment);
  segment->name = mem_strdup("salvaged");
  segment->salvaged = true;
  segment_builder_finish(builder, &segment->body);
  segment_builder_clear(builder);
  Error *err = segment_open(buf_bytes(&segment->body), &segment->view);
  if (err) {
    segment_free(segment);
    return err;
  }
  LOCKED(&index->lock);
  index_judge(index, segment);
  index_add(index, segment);
  return NULL;
}

/* What a segment said that is damaged or gone, the packs' own footers say too. Packs that no segment ever named (a
 * backup that was killed) come along; a frame is the same wherever it is read. */
static Error *salvage_packs(Index *index, SegmentBuilder *builder, Cancel *cancel) {
  size_t packs = 0;
  for (size_t i = 0; i < index->seen_len; i++) {
    const PackSeen *seen = &index->seen[i];
    PackFooter footer;
    TRY(cancel_check(cancel));
    if (is_named(index, &seen->id)) continue;
    Error *err = pack_read_footer(index->repo, &seen->id, seen->size, &footer, cancel);
    if (err_is(err, ERR_CANCELLED)) return err;
    if (err) {
      err_free(err);
      continue;
    }
    if (++packs % SALVAGED_PACKS_MAX == 0 || segment_builder_frames(builder) + footer.frames_len > SALVAGED_FRAMES_MAX)
      err = add_salvaged(index, builder);
    segment_builder_add(builder, &seen->id, seen->size, footer.keys, footer.keys_len, footer.frames, footer.frames_len);
    pack_footer_free(&footer);
    TRY(err);
  }
  return add_salvaged(index, builder);
}

Error *index_salvage(Index *index, Cancel *cancel) {
  if (!index->reading) return NULL;
  LOCKED(&index->salvage_lock);
  if (index->salvaged) return NULL;
  SegmentBuilder *builder = segment_builder_new();
  Error *err = salvage_packs(index, builder, cancel);
  segment_builder_free(builder);
  index->salvaged = err == NULL;
  return err;
}

size_t index_salvage_hits(const Index *index) { return atomic_load(&index->salvage_hits); }

static bool is_segment_name(const char *key) {
  Uuid id;
  return uuid_parse(key + strlen("index/"), &id);
}

static bool is_small(const IndexSegment *segment) { return segment->view.frames <= SMALL_SEGMENT_FRAMES; }

/* After the segments of an opening index are loaded; what is published later is looked through by itself. */
static void collect_small(Index *index) {
  for (size_t i = 0; i < index->len; i++)
    if (is_small(index->segments[i])) small_index_add(&index->small, &index->segments[i]->view, (uint32_t)i);
  small_index_sort(&index->small);
  index->in_small = index->len;
}

static Error *index_load(Index *index, Cancel *cancel) {
  AUTO_STRLIST StrList names = {0};
  if (!index->reading) TRY(plans_load(index->repo, &index->condemned, cancel));
  TRY(repo_list_keys(index->repo, "index/", &names, cancel));
  if (index->repo->cache_dir) {
    AUTO_FREE char *dir = cache_path(index, "index");
    err_ignore(fs_make_dirs(dir, 0700));
    cache_prune(index, &names);
  }
  TRY(index_list_packs(index, cancel));
  for (size_t i = 0; i < names.len; i++) {
    IndexSegment *segment;
    if (!is_segment_name(names.items[i])) continue; /* not ours */
    Error *err = segment_load(index, names.items[i], &segment, cancel);
    if (err) {
      TRY(pass_over(index, err));
      continue;
    }
    index_judge(index, segment);
    index_add(index, segment);
  }
  if (index->broken) TRY(index_salvage(index, cancel));
  collect_small(index);
  return NULL;
}

static Error *open_index(Repo *repo, bool reading, Index **out, Cancel *cancel) {
  Index *index = NEW(Index);
  index->reading = reading;
  index->repo = repo;
  mutex_init(&index->lock, repo->sys);
  mutex_init(&index->salvage_lock, repo->sys);
  filter_rebuild(index);
  Error *err = index_load(index, cancel);
  if (err) {
    index_free(index);
    return err_wrap(err, "reading the index");
  }
  *out = index;
  return NULL;
}

Error *index_open(Repo *repo, Index **out, Cancel *cancel) { return open_index(repo, false, out, cancel); }

Error *index_open_reading(Repo *repo, Index **out, Cancel *cancel) { return open_index(repo, true, out, cancel); }

size_t index_broken_segments(const Index *index) { return index->broken; }

void index_free(Index *take) {
  if (!take) return;
  for (size_t i = 0; i < take->len; i++) segment_free(take->segments[i]);
  uuid_set_free(&take->condemned);
  uuid_set_free(&take->damaged);
  uuid_set_free(&take->data_keys);
  small_index_free(&take->small);
  free(take->segments);
  free(take->filter);
  free(take->seen);
  free(take->claims);
  free(take->claim_types);
  mutex_free(&take->lock);
  mutex_free(&take->salvage_lock);
  free(take);
}

/* ---- looking up
 * ----------------------------------------------------------------------------------------------------------------------
 */

/* `doubted`: also in packs that are known to be damaged. */
static bool may_use(const IndexSegment *segment, uint32_t entry, bool doubted) {
  uint32_t pack = segment_pack_of(&segment->view, entry);
  return !index_bit(segment->absent, pack) && (doubted || !index_bit(segment->doubted, pack));
}

static bool find_small(Index *index, FrameType type, const FrameId *id, bool doubted, FrameLoc *out) {
  uint64_t prefix = small_prefix(id);
  for (size_t i = small_index_first(&index->small, id); i < index->small.len; i++) {
    const SmallEntry *e = &index->small.entries[i];
    if (e->prefix != prefix) break;
    const IndexSegment *segment = index->segments[e->segment];
    FrameId found = segment_id(&segment->view, e->entry);
    FrameLoc loc;
    segment_loc(&segment->view, e->entry, &loc);
    if (!frame_id_equal(&found, id) || loc.type != type || !may_use(segment, e->entry, doubted)) continue;
    if (segment->salvaged) atomic_fetch_add(&index->salvage_hits, 1);
    if (out) *out = loc;
    return true;
  }
  return false;
}

static bool find_in(Index *index, FrameType type, const FrameId *id, bool doubted, FrameLoc *out) {
  if (find_small(index, type, id, doubted, out)) return true;
  for (size_t i = index->len; i-- > 0;) {
    const IndexSegment *segment = index->segments[i];
    if (i < index->in_small && is_small(segment)) continue;
    int64_t entry = segment_find(&segment->view, type, id);
    while (entry >= 0 && !may_use(segment, (uint32_t)entry, doubted))
      entry = segment_find_next(&segment->view, (uint32_t)entry, type, id);
    if (entry < 0) continue;
    if (segment->salvaged) atomic_fetch_add(&index->salvage_hits, 1);
    if (out) segment_loc(&segment->view, (uint32_t)entry, out);
    return true;
  }
  return false;
}

/* With the lock held. */
static bool find_stored(Index *index, FrameType type, const FrameId *id, FrameLoc *out) {
  uint64_t prefix = load_u64(id->b), mask = filter_mask(prefix);
  if ((*filter_word(index, prefix) & mask) != mask) return false;
  return find_in(index, type, id, false, out) || (index->any_doubted && find_in(index, type, id, true, out));
}

bool index_find_good(Index *index, FrameType type, const FrameId *id, FrameLoc *out) {
  LOCKED(&index->lock);
  return find_in(index, type, id, false, out);
}

bool index_find(Index *index, FrameType type, const FrameId *id, FrameLoc *out) {
  LOCKED(&index->lock);
  return find_stored(index, type, id, out);
}

static size_t claim_place(const FrameId *claims, const uint8_t *types, size_t cap, FrameType type, const FrameId *id) {
  size_t at = (size_t)load_u64(id->b + 8) & (cap - 1);
  while (types[at] && !(types[at] == type && frame_id_equal(&claims[at], id))) at = (at + 1) & (cap - 1);
  return at;
}

static void claims_resize(Index *index, size_t cap) {
  FrameId *claims = NEW_ARRAY(FrameId, cap);
  uint8_t *types = NEW_ARRAY(uint8_t, cap);
  index->claims_len = 0;
  for (size_t i = 0; i < index->claims_cap; i++) {
    FrameType type = (FrameType)index->claim_types[i];
    if (!type || find_stored(index, type, &index->claims[i], NULL)) continue; /* published meanwhile */
    size_t at = claim_place(claims, types, cap, type, &index->claims[i]);
    claims[at] = index->claims[i];
    types[at] = (uint8_t)type;
    index->claims_len++;
  }
  free(index->claims);
  free(index->claim_types);
  index->claims = claims;
  index->claim_types = types;
  index->claims_cap = cap;
}

bool index_claim(Index *index, FrameType type, const FrameId *id) {
  LOCKED(&index->lock);
  if (index->claims_cap) {
    size_t at = claim_place(index->claims, index->claim_types, index->claims_cap, type, id);
    if (index->claim_types[at]) return false;
  }
  if (find_stored(index, type, id, NULL)) return false;
  if (index->claims_len * 2 >= index->claims_cap) {
    claims_resize(index, index->claims_cap ? index->claims_cap : 1024);
    if (index->claims_len * 3 >= index->claims_cap) claims_resize(index, index->claims_cap * 2);
  }
  size_t at = claim_place(index->claims, index->claim_types, index->claims_cap, type, id);
  index->claims[at] = *id;
  index->claim_types[at] = (uint8_t)type;
  index->claims_len++;
  return true;
}

Error *index_publish(Index *index, SegmentBuilder *builder, uint64_t *io_bytes, Cancel *cancel) {
  char name[64], id[UUID_TEXT_LEN];
  Uuid uuid = uuid_new(index->repo->sys);
  snprintf(name, sizeof name, "index/%s", uuid_text(&uuid, id));
  AUTO_BUF Buf body = {0};
  segment_builder_finish(builder, &body);
  TRY(repo_put_object(index->repo, OBJECT_SEGMENT, NULL, name, buf_bytes(&body), cancel));
  segment_builder_clear(builder);
  *io_bytes += body.len + OBJECT_HEADER_LEN;
  IndexSegment *segment = NEW(IndexSegment);
  segment->name = mem_strdup(name);
  Error *err = segment_keep(index, segment, &body);
  if (err) {
    segment_free(segment);
    return err;
  }
  LOCKED(&index->lock);
  index_add(index, segment);
  return NULL;
}

uint64_t index_frames(const Index *index) { return index->frames; }

uint64_t index_segments(const Index *index) { return index->len; }
