/* Which packs the index counts on: there with their size, condemned by no plan, not known to be damaged, and with a
 * data key that still exists. */
#include "base/mem.h"
#include "repo/damage.h"
#include "repo/index_impl.h"

/* ---- what is there --------------------------------------------------------------------------------------------- */

static Error *see_pack(void *ctx, const char *key, const StoreStat *stat) {
  Index *index = (Index *)ctx;
  PackSeen seen = {.size = stat->size_bytes};
  if (!pack_name_parse(key, &seen.id)) return NULL; /* not ours */
  if (index->seen_len == index->seen_cap) {
    index->seen_cap = index->seen_cap ? index->seen_cap * 2 : 256;
    index->seen = (PackSeen *)mem_resize(index->seen, index->seen_cap, sizeof *index->seen);
  }
  index->seen[index->seen_len++] = seen;
  return NULL;
}

static int seen_order(const void *a, const void *b) { return memcmp(a, b, sizeof(Uuid)); }

static Error *list_present(Index *index, Cancel *cancel) {
  index->seen_len = 0;
  TRY(store_list(index->repo->store, "packs/", see_pack, index, cancel));
  if (index->seen_len) qsort(index->seen, index->seen_len, sizeof *index->seen, seen_order);
  UuidSet damaged;
  TRY(damage_list(index->repo, &damaged, cancel));
  uuid_set_free(&index->damaged);
  index->damaged = damaged;
  return NULL;
}

/* keyring/<epoch>/data/<key> */
static Error *list_data_keys(Index *index, Cancel *cancel) {
  AUTO_STRLIST StrList keys = {0};
  TRY(repo_list_keys(index->repo, "keyring/", &keys, cancel));
  for (size_t i = 0; i < keys.len; i++) {
    const char *id_text = strrchr(keys.items[i], '/') + 1;
    Uuid id;
    if (strstr(keys.items[i], "/data/") && strlen(id_text) == 2 * sizeof id.b && hex_decode(id_text, id.b, sizeof id.b))
      uuid_set_add(&index->data_keys, &id);
  }
  uuid_set_sort(&index->data_keys);
  return NULL;
}

Error *index_list_packs(Index *index, Cancel *cancel) {
  TRY(list_present(index, cancel));
  return list_data_keys(index, cancel);
}

/* ---- judging them ---------------------------------------------------------------------------------------------- */

static bool pack_is_there(const Index *index, const SegmentPack *pack) {
  const PackSeen *seen = index->seen_len ? (const PackSeen *)bsearch(&pack->id, index->seen, index->seen_len,
                                                                     sizeof *index->seen, seen_order)
                                         : NULL;
  return seen && seen->size == pack->size;
}

/* True when the bit was not set before. */
static bool set_bit(uint8_t **bits, const IndexSegment *segment, uint32_t pack) {
  if (index_bit(*bits, pack)) return false;
  if (!*bits) *bits = NEW_ARRAY(uint8_t, (segment->view.packs + 7) / 8);
  (*bits)[pack / 8] |= (uint8_t)(1u << (pack % 8));
  return true;
}

static void set_absent(Index *index, IndexSegment *segment, uint32_t pack) {
  if (set_bit(&segment->absent, segment, pack)) index->lost++;
}

/* A writer counts a damaged pack as absent; a reader comes back to it when there is no other copy. */
static void doubt_pack(Index *index, IndexSegment *segment, uint32_t pack) {
  if (!index->reading) {
    set_absent(index, segment, pack);
  } else if (set_bit(&segment->doubted, segment, pack)) {
    index->any_doubted = true;
    index->lost++;
  }
}

/* Nothing in them can be opened. */
static void lose_packs_under(Index *index, IndexSegment *segment, uint32_t key) {
  for (uint32_t i = 0; i < segment->view.frames; i++)
    if (segment_key_of(&segment->view, i) == key) set_absent(index, segment, segment_pack_of(&segment->view, i));
}

static bool data_key_of(const Segment *view, uint32_t key, Uuid *out) {
  PackKey pack_key;
  segment_key(view, key, &pack_key);
  memcpy(out->b, pack_key.ref, sizeof out->b);
  return pack_key.kind == PACK_KEY_DATA;
}

void index_judge(Index *index, IndexSegment *segment) {
  const Segment *view = &segment->view;
  for (uint32_t i = 0; i < view->packs; i++) {
    SegmentPack pack;
    segment_pack(view, i, &pack);
    if (!pack_is_there(index, &pack) || uuid_set_has(&index->condemned, &pack.id))
      set_absent(index, segment, i);
    else if (uuid_set_has(&index->damaged, &pack.id))
      doubt_pack(index, segment, i);
  }
  for (uint32_t i = 0; i < view->keys; i++) {
    Uuid key;
    if (data_key_of(view, i, &key) && !uuid_set_has(&index->data_keys, &key)) lose_packs_under(index, segment, i);
  }
}

/* ---- later ----------------------------------------------------------------------------------------------------- */

Error *index_check_packs(Index *index, Cancel *cancel) {
  LOCKED(&index->lock);
  TRY(list_present(index, cancel));
  for (size_t s = 0; s < index->len; s++) {
    IndexSegment *segment = index->segments[s];
    for (uint32_t i = 0; i < segment->view.packs; i++) {
      SegmentPack pack;
      segment_pack(&segment->view, i, &pack);
      if (index_bit(segment->absent, i)) continue;
      char name[PACK_NAME_LEN];
      if (!pack_is_there(index, &pack))
        return err_hint(
            err_new(ERR_CORRUPT, "%s: gone or of another size since this backup began", pack_name(&pack.id, name)),
            "something removes files from the repository; run the backup again, then `holdfast verify`");
      if (uuid_set_has(&index->damaged, &pack.id)) doubt_pack(index, segment, i);
    }
  }
  return NULL;
}

/* With the lock held: whether anything about it was counted on until now. */
static bool doubt(Index *index, const Uuid *id) {
  size_t before = index->lost;
  for (size_t s = 0; s < index->len; s++) {
    IndexSegment *segment = index->segments[s];
    for (uint32_t i = 0; i < segment->view.packs; i++) {
      SegmentPack pack;
      segment_pack(&segment->view, i, &pack);
      if (uuid_equal(&pack.id, id)) doubt_pack(index, segment, i);
    }
  }
  return index->lost > before;
}

void index_doubt(Index *index, const Uuid *pack, const Error *why, Cancel *cancel) {
  {
    LOCKED(&index->lock);
    if (!doubt(index, pack)) return;
  }
  Error *err = damage_note(index->repo, pack, err_text(why), cancel);
  if (!err) return;
  err_free(err);
  LOCKED(&index->lock);
  index->unnoted++;
}

static bool is_in(const UuidSet *set, const Uuid *id) {
  for (size_t i = set->len; i-- > 0;)
    if (uuid_equal(&set->items[i], id)) return true;
  return false;
}

void index_packs_under(Index *index, const Uuid *data_key, UuidSet *out) {
  LOCKED(&index->lock);
  for (size_t s = 0; s < index->len; s++) {
    const Segment *view = &index->segments[s]->view;
    for (uint32_t i = 0; i < view->frames; i++) {
      Uuid key;
      SegmentPack pack;
      if (!data_key_of(view, segment_key_of(view, i), &key) || !uuid_equal(&key, data_key)) continue;
      segment_pack(view, segment_pack_of(view, i), &pack);
      if (!is_in(out, &pack.id)) uuid_set_add(out, &pack.id);
    }
  }
}

size_t index_unnoted_packs(const Index *index) { return index->unnoted; }

size_t index_lost_packs(const Index *index) { return index->lost; }

/* ---- visiting -------------------------------------------------------------------------------------------------- */

Error *index_visit_packs(Index *index, Error *(*visit)(void *ctx, const IndexPack *pack), void *ctx) {
  for (size_t s = 0; s < index->len; s++) {
    const IndexSegment *segment = index->segments[s];
    for (uint32_t i = 0; i < segment->view.packs; i++) {
      SegmentPack pack;
      segment_pack(&segment->view, i, &pack);
      IndexPack out = {.id = pack.id,
                       .size = pack.size,
                       .frames = pack.frames,
                       .present = !index_bit(segment->absent, i),
                       .doubted = index_bit(segment->doubted, i)};
      TRY(visit(ctx, &out));
    }
  }
  return NULL;
}

Error *index_visit_frames(Index *index, const Uuid *id,
                          Error *(*visit)(void *ctx, const FrameId *id, const FrameLoc *loc), void *ctx) {
  for (size_t s = 0; s < index->len; s++) {
    const Segment *view = &index->segments[s]->view;
    uint32_t wanted = 0;
    SegmentPack pack;
    for (; wanted < view->packs; wanted++) {
      segment_pack(view, wanted, &pack);
      if (uuid_equal(&pack.id, id)) break;
    }
    if (wanted == view->packs) continue;
    for (uint32_t i = 0; i < view->frames; i++) {
      if (segment_pack_of(view, i) != wanted) continue;
      FrameLoc loc;
      FrameId frame = segment_id(view, i);
      segment_loc(view, i, &loc);
      TRY(visit(ctx, &frame, &loc));
    }
    return NULL; /* another segment that names it says the same */
  }
  return NULL;
}
