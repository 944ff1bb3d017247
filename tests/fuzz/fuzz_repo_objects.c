/* Every parser of what a repository holds outside its frames: the first byte says which. What parses must be usable:
 * found, asked for, encoded again. (Trees and maps have a target of their own.) */
#include "base/mem.h"
#include "repo/damage.h"
#include "repo/grant.h"
#include "repo/marker.h"
#include "repo/names.h"
#include "repo/object.h"
#include "repo/plan.h"
#include "repo/segment.h"
#include "repo/series.h"
#include "repo/snapshot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_marker(Bytes in) {
  Marker marker;
  AUTO_ERR Error *err = marker_parse(in, &marker);
  if (!err) marker_free(&marker);
}

static void fuzz_slot(Bytes in) {
  Slot slot;
  AUTO_ERR Error *err = slot_parse(in, &slot);
  if (err) return;
  AUTO_BUF Buf again = {0};
  slot_encode(&slot, &again);
  Slot twice;
  AUTO_ERR Error *second = slot_parse(buf_bytes(&again), &twice);
  CHECK(!second && uuid_equal(&slot.id, &twice.id));
}

static void fuzz_series(Bytes in) {
  Series series;
  AUTO_ERR Error *err = series_decode(in, &series);
  if (!err) series_free(&series);
}

static void fuzz_snapshot(Bytes in) {
  Snapshot s, again;
  AUTO_ERR Error *err = snapshot_decode(in, &s);
  if (err) return;
  AUTO_BUF Buf body = {0};
  snapshot_encode(&s, &body);
  AUTO_ERR Error *second = snapshot_decode(buf_bytes(&body), &again);
  CHECK(!second && uuid_equal(&s.id, &again.id) && s.labels_len == again.labels_len);
  snapshot_free(&again);
  snapshot_free(&s);
}

static void fuzz_footer(Bytes in) {
  PackFooter footer;
  AUTO_ERR Error *err = pack_footer_decode(in, 1 << 20, &footer);
  if (err) return;
  AUTO_BUF Buf again = {0};
  pack_footer_encode(&footer, &again);
  CHECK(bytes_equal(in, buf_bytes(&again)));
  for (size_t i = 0; i < footer.frames_len; i++)
    CHECK((uint64_t)footer.frames[i].offset + footer.frames[i].stored <= 1 << 20);
  pack_footer_free(&footer);
}

static void fuzz_trailer(Bytes in) {
  if (in.len < PACK_TRAILER_LEN + 8) return;
  PackTrailer t;
  uint64_t size = load_u64(in.data);
  AUTO_ERR Error *err = pack_trailer_decode(in.data + 8, size, &t);
  if (!err) CHECK(t.footer_offset + t.footer_len + t.stripes_len + PACK_TRAILER_LEN == size);
}

static void fuzz_segment(Bytes in) {
  Segment s;
  AUTO_ERR Error *err = segment_open(in, &s);
  if (err) return;
  for (uint32_t i = 0; i < s.frames && i < 64; i++) {
    FrameLoc loc;
    segment_loc(&s, i, &loc);
    CHECK((uint64_t)loc.offset + loc.stored <= loc.pack_size);
    FrameId id = segment_id(&s, i);
    CHECK(segment_find(&s, loc.type, &id) >= 0);
    CHECK(segment_pack_of(&s, i) < s.packs);
    id.b[31] ^= 1;
    int64_t other = segment_find(&s, loc.type, &id);
    CHECK(other < (int64_t)s.frames);
  }
}

static void fuzz_plan(Bytes in) {
  UuidSet plans = {0};
  AUTO_ERR Error *err = plan_decode(in, &plans);
  for (size_t i = 0; !err && i < plans.len && i < 64; i++) CHECK(uuid_set_has(&plans, &plans.items[i]));
  uuid_set_free(&plans);
}

static void fuzz_damage(Bytes in) {
  Damage damage;
  AUTO_ERR Error *err = damage_decode(in, &damage);
  if (err) return;
  CHECK(strlen(damage.reason) <= DAMAGE_REASON_MAX);
  damage_free(&damage);
}

static void fuzz_header(Bytes in) {
  ObjectHeader header;
  for (ObjectType type = OBJECT_PACK; type <= OBJECT_DAMAGE; type++) {
    AUTO_ERR Error *err = object_header_decode(in, type, &header);
    if (err) continue;
    uint8_t again[OBJECT_HEADER_LEN];
    object_header_encode(&header, again);
    CHECK(memcmp(again, in.data, sizeof again) == 0);
  }
}

static void fuzz_grant(Bytes in) {
  Uuid id = {{0}};
  if (in.len >= 20) memcpy(id.b, in.data + 4, sizeof id.b);
  Bytes sealed;
  AUTO_ERR Error *err = grant_find(in, &id, &sealed);
  if (!err) CHECK(sealed.len <= in.len);
}

static void fuzz_names(Bytes in) {
  AUTO_FREE char *text = mem_strndup((const char *)in.data, in.len);
  char name[PACK_NAME_LEN], code[RECOVERY_CODE_LEN], again[RECOVERY_CODE_LEN];
  Uuid id;
  if (pack_name_parse(text, &id)) CHECK(strcmp(pack_name(&id, name), text) == 0 && name_is_object(text));
  if (name_is_object(text)) CHECK(store_key_valid(text));
  AUTO_ERR Error *err = recovery_code_normalize(text, code);
  if (err) return;
  AUTO_ERR Error *second = recovery_code_normalize(code, again);
  CHECK(!second && strcmp(code, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const targets[])(Bytes) = {fuzz_marker, fuzz_slot,    fuzz_series,  fuzz_snapshot,
                                           fuzz_footer, fuzz_trailer, fuzz_segment, fuzz_plan,
                                           fuzz_header, fuzz_grant,   fuzz_names,   fuzz_damage};
  if (size == 0) return 0;
  targets[data[0] % NELEMS(targets)](bytes(data + 1, size - 1));
  return 0;
}
