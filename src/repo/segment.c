#include "repo/segment.h"

#include "base/mem.h"
#include "codec/aead.h"

enum { HEAD_LEN = 16, PACK_LEN = 32, ENTRY_LEN = 28, DETAIL_LEN = 28, PREFIX_LEN = 16 };

/* ---- reading
 * ---------------------------------------------------------------------------------------------------------- */

static Error *check_packs(const Segment *s) {
  uint64_t frames = 0;
  for (uint32_t i = 0; i < s->packs; i++) {
    SegmentPack pack;
    segment_pack(s, i, &pack);
    frames += pack.frames;
    if (pack.size > PACK_SIZE_MAX || load_u32(s->pack_table + (size_t)i * PACK_LEN + 28) != 0)
      return err_new(ERR_CORRUPT, "index segment: pack %u is malformed", i);
  }
  if (frames != s->frames) return err_new(ERR_CORRUPT, "index segment: frame counts do not add up");
  for (uint32_t i = 0; i < s->keys; i++) {
    Cursor c = cursor(bytes(s->key_table + (size_t)i * PACK_KEY_LEN, PACK_KEY_LEN));
    PackKey key;
    TRY(pack_key_decode(&c, &key));
  }
  return NULL;
}

static bool entry_valid(const Segment *s, uint32_t i) {
  const uint8_t *e = s->entries + (size_t)i * ENTRY_LEN;
  const uint8_t *d = s->details + (size_t)i * DETAIL_LEN;
  if (i > 0 && memcmp(e - ENTRY_LEN, e, PREFIX_LEN) > 0) return false;
  uint32_t pack = load_u32(e + 16), stored = load_u32(e + 24), raw = load_u32(d + 16);
  if (pack >= s->packs || load_u16(d + 24) >= s->keys) return false;
  if (stored < AEAD_TAG_LEN || raw == 0 || raw > FRAME_RAW_MAX || stored - AEAD_TAG_LEN > raw) return false;
  if (d[26] == 0 || d[26] > FRAME_TYPE_MAX || d[27] >= CODEC_COUNT) return false;
  uint64_t size = load_u64(s->pack_table + (size_t)pack * PACK_LEN + 16);
  return (uint64_t)load_u32(e + 20) + stored <= size;
}

Error *segment_open(Bytes body, Segment *out) {
  Cursor c = cursor(body);
  Segment s = {.packs = cursor_u32(&c), .keys = cursor_u32(&c), .frames = cursor_u32(&c)};
  uint32_t zero = cursor_u32(&c);
  if (c.failed || zero || s.packs > SEGMENT_PACKS_MAX || s.keys > UINT16_MAX || s.frames > SEGMENT_FRAMES_MAX)
    return err_new(ERR_CORRUPT, "index segment: malformed head");
  s.pack_table = cursor_take(&c, (size_t)s.packs * PACK_LEN).data;
  s.key_table = cursor_take(&c, (size_t)s.keys * PACK_KEY_LEN).data;
  s.entries = cursor_take(&c, (size_t)s.frames * ENTRY_LEN).data;
  s.details = cursor_take(&c, (size_t)s.frames * DETAIL_LEN).data;
  TRY(cursor_end(&c, "index segment"));
  TRY(check_packs(&s));
  for (uint32_t i = 0; i < s.frames; i++)
    if (!entry_valid(&s, i)) return err_new(ERR_CORRUPT, "index segment: entry %u is malformed", i);
  *out = s;
  return NULL;
}

/* First entry whose prefix is >= the wanted one. Ids are uniform, so the first guesses are by interpolation. */
static uint32_t lower_bound(const Segment *s, const uint8_t prefix[PREFIX_LEN]) {
  uint32_t low = 0, high = s->frames;
  uint64_t wanted = __builtin_bswap64(load_u64(prefix));
  uint64_t low_value = 0, high_value = UINT64_MAX;
  for (int guess = 0; low < high; guess++) {
    uint32_t mid = low + (high - low) / 2;
    if (guess < 6 && high_value > low_value && wanted >= low_value && wanted <= high_value) {
      double share = (double)(wanted - low_value) / (double)(high_value - low_value);
      mid = low + (uint32_t)(share * (double)(high - low - 1));
    }
    const uint8_t *e = s->entries + (size_t)mid * ENTRY_LEN;
    uint64_t value = __builtin_bswap64(load_u64(e));
    if (memcmp(e, prefix, PREFIX_LEN) < 0) {
      low = mid + 1;
      low_value = value;
    } else {
      high = mid;
      high_value = value;
    }
  }
  return low;
}

/* The first entry from `at` on with this id, among those that share its prefix. */
static int64_t find_from(const Segment *s, uint32_t at, FrameType type, const FrameId *id) {
  for (uint32_t i = at; i < s->frames; i++) {
    if (memcmp(s->entries + (size_t)i * ENTRY_LEN, id->b, PREFIX_LEN) != 0) break;
    const uint8_t *d = s->details + (size_t)i * DETAIL_LEN;
    if (memcmp(d, id->b + PREFIX_LEN, 16) == 0 && d[26] == type) return (int64_t)i;
  }
  return -1;
}

int64_t segment_find(const Segment *s, FrameType type, const FrameId *id) {
  return find_from(s, lower_bound(s, id->b), type, id);
}

int64_t segment_find_next(const Segment *s, uint32_t entry, FrameType type, const FrameId *id) {
  return find_from(s, entry + 1, type, id);
}

FrameId segment_id(const Segment *s, uint32_t entry) {
  FrameId id;
  memcpy(id.b, s->entries + (size_t)entry * ENTRY_LEN, PREFIX_LEN);
  memcpy(id.b + PREFIX_LEN, s->details + (size_t)entry * DETAIL_LEN, 16);
  return id;
}

uint32_t segment_pack_of(const Segment *s, uint32_t entry) {
  return load_u32(s->entries + (size_t)entry * ENTRY_LEN + 16);
}

uint32_t segment_key_of(const Segment *s, uint32_t entry) {
  return load_u16(s->details + (size_t)entry * DETAIL_LEN + 24);
}

void segment_key(const Segment *s, uint32_t key, PackKey *out) {
  Cursor c = cursor(bytes(s->key_table + (size_t)key * PACK_KEY_LEN, PACK_KEY_LEN));
  err_ignore(pack_key_decode(&c, out)); /* checked by segment_open */
}

void segment_pack(const Segment *s, uint32_t pack, SegmentPack *out) {
  const uint8_t *p = s->pack_table + (size_t)pack * PACK_LEN;
  memcpy(out->id.b, p, 16);
  out->size = load_u64(p + 16);
  out->frames = load_u32(p + 24);
}

void segment_loc(const Segment *s, uint32_t entry, FrameLoc *out) {
  const uint8_t *e = s->entries + (size_t)entry * ENTRY_LEN;
  const uint8_t *d = s->details + (size_t)entry * DETAIL_LEN;
  SegmentPack pack;
  segment_pack(s, load_u32(e + 16), &pack);
  *out = (FrameLoc){.pack = pack.id,
                    .pack_size = pack.size,
                    .offset = load_u32(e + 20),
                    .stored = load_u32(e + 24),
                    .raw = load_u32(d + 16),
                    .number = load_u32(d + 20),
                    .type = (FrameType)d[26],
                    .codec = (Codec)d[27]};
  segment_key(s, segment_key_of(s, entry), &out->key);
}

/* ---- writing
 * ------------------------------------------------------------------------------------------------------------ */

typedef struct BuildFrame {
  PackFrame frame;
  uint32_t pack;
  uint16_t key;
} BuildFrame;

struct SegmentBuilder {
  Buf packs, keys;
  uint32_t packs_len, keys_len;
  BuildFrame *frames;
  size_t len, cap;
};

SegmentBuilder *segment_builder_new(void) { return NEW(SegmentBuilder); }

void segment_builder_free(SegmentBuilder *take) {
  if (!take) return;
  buf_free(&take->packs);
  buf_free(&take->keys);
  free(take->frames);
  free(take);
}

size_t segment_builder_frames(const SegmentBuilder *b) { return b->len; }

void segment_builder_add(SegmentBuilder *b, const Uuid *pack, uint64_t size, const PackKey *keys, size_t keys_len,
                         const PackFrame *frames, size_t frames_len) {
  CHECK(b->keys_len + keys_len <= UINT16_MAX);
  buf_add(&b->packs, pack->b, 16);
  buf_put_u64(&b->packs, size);
  buf_put_u32(&b->packs, (uint32_t)frames_len);
  buf_put_u32(&b->packs, 0);
  for (size_t i = 0; i < keys_len; i++) pack_key_encode(&keys[i], &b->keys);
  if (b->len + frames_len > b->cap) {
    b->cap = (b->len + frames_len) * 2;
    b->frames = (BuildFrame *)mem_resize(b->frames, b->cap, sizeof *b->frames);
  }
  for (size_t i = 0; i < frames_len; i++)
    b->frames[b->len++] =
        (BuildFrame){.frame = frames[i], .pack = b->packs_len, .key = (uint16_t)(b->keys_len + frames[i].key)};
  b->packs_len++;
  b->keys_len += (uint32_t)keys_len;
}

static int frame_order(const void *a, const void *b) {
  const BuildFrame *x = (const BuildFrame *)a, *y = (const BuildFrame *)b;
  return memcmp(x->frame.id.b, y->frame.id.b, sizeof x->frame.id.b);
}

void segment_builder_finish(SegmentBuilder *b, Buf *out) {
  if (b->len) qsort(b->frames, b->len, sizeof *b->frames, frame_order);
  buf_reserve(out, HEAD_LEN + b->packs.len + b->keys.len + b->len * (ENTRY_LEN + DETAIL_LEN));
  buf_put_u32(out, b->packs_len);
  buf_put_u32(out, b->keys_len);
  buf_put_u32(out, (uint32_t)b->len);
  buf_put_u32(out, 0);
  buf_add(out, b->packs.data, b->packs.len);
  buf_add(out, b->keys.data, b->keys.len);
  for (size_t i = 0; i < b->len; i++) {
    const BuildFrame *f = &b->frames[i];
    buf_add(out, f->frame.id.b, PREFIX_LEN);
    buf_put_u32(out, f->pack);
    buf_put_u32(out, f->frame.offset);
    buf_put_u32(out, f->frame.stored);
  }
  for (size_t i = 0; i < b->len; i++) {
    const BuildFrame *f = &b->frames[i];
    buf_add(out, f->frame.id.b + PREFIX_LEN, 16);
    buf_put_u32(out, f->frame.raw);
    buf_put_u32(out, f->frame.number);
    buf_put_u16(out, f->key);
    buf_put_u8(out, f->frame.type);
    buf_put_u8(out, f->frame.codec);
  }
}

void segment_builder_clear(SegmentBuilder *b) {
  buf_clear(&b->packs);
  buf_clear(&b->keys);
  b->packs_len = b->keys_len = 0;
  b->len = 0;
}
