/* The log's parser against logs that SQLite wrote, and against logs that nobody should believe. */
#include "engine/sqlite/sqlite_wal.h"

#include "sqlite_fixture.h"

/* ---- logs SQLite wrote ----------------------------------------------------------------------------------------- */

typedef struct Log {
  Buf bytes;
  uint32_t frames; /* committed, as SQLite counts them */
  uint32_t pages;
} Log;

/* A checkpointed base, then `steps` transactions in the log. */
static Log make_log(const Fixture *f, const char *pragma, int steps) {
  char wal[160];
  Log log = {0};
  uint64_t random = 21;
  sqlite3 *db = sql_open(f->db);
  sql(db, pragma);
  sql(db, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
  ledger_create(db);
  sql(db, "PRAGMA wal_checkpoint(TRUNCATE)");
  for (int i = 0; i < steps; i++) assert_int_equal(ledger_step(db, &random), SQLITE_OK);
  log.bytes = file_content(path_in(f, "app.db-wal", wal));
  log.pages = (uint32_t)sql_int(db, "PRAGMA page_count");
  int frames = 0, copied = 0;
  assert_int_equal(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &copied), SQLITE_OK);
  log.frames = (uint32_t)frames;
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
  return log;
}

static void test_real_logs(void **state) {
  Fixture *f = *state;
  for (int size = 512; size <= 65536; size *= 4) {
    char pragma[64];
    (void)unlink(f->db);
    (void)snprintf(pragma, sizeof(pragma), "PRAGMA page_size = %d", size);
    Log log = make_log(f, pragma, 7);
    WalMap map;
    assert_ok(wal_parse(buf_bytes(&log.bytes), UINT32_MAX, &map));
    assert_int_equal(map.frames, log.frames);
    assert_int_equal(map.database_pages, log.pages);
    assert_int_equal(map.page_size, size);
    assert_true(map.len > 0 && map.len <= map.frames);
    for (size_t i = 0; i < map.len; i++) {
      assert_true(i == 0 || map.pages[i].page > map.pages[i - 1].page);
      assert_true(map.pages[i].frame >= 1 && map.pages[i].frame <= map.frames);
      assert_int_equal(wal_map_find(&map, map.pages[i].page), map.pages[i].frame);
    }
    assert_int_equal(wal_map_find(&map, 0), 0);
    assert_int_equal(wal_map_find(&map, log.pages + 1), 0);
    wal_map_free(&map);
    buf_free(&log.bytes);
  }
}

/* The map over the base is the database, page for page, after a checkpoint by SQLite. */
static void test_map_is_what_a_checkpoint_copies(void **state) {
  Fixture *f = *state;
  Log log = make_log(f, "PRAGMA page_size = 1024", 9);
  Buf db = file_content(f->db);
  WalMap map;
  assert_ok(wal_parse(buf_bytes(&log.bytes), UINT32_MAX, &map));
  assert_int_equal(db.len, (uint64_t)map.database_pages * 1024);
  for (size_t i = 0; i < map.len; i++) {
    const uint8_t *in_log = log.bytes.data + wal_frame_page_at(map.pages[i].frame, 1024);
    assert_memory_equal(in_log, db.data + (size_t)(map.pages[i].page - 1) * 1024, 1024);
  }
  wal_map_free(&map);
  buf_free(&db);
  buf_free(&log.bytes);
}

/* Cut anywhere: the map ends with the last whole commit before the cut, never in a transaction. */
static void test_truncation(void **state) {
  Log log = make_log(*state, "PRAGMA page_size = 512", 3);
  uint32_t last = 0;
  for (size_t len = 0; len <= log.bytes.len; len += 97) {
    WalMap map;
    assert_ok(wal_parse(bytes(log.bytes.data, len), UINT32_MAX, &map));
    assert_true(map.frames >= last);
    if (map.frames > 0) assert_true(WAL_HEADER_SIZE + (uint64_t)map.frames * (512 + 24) <= len);
    last = map.frames;
    wal_map_free(&map);
  }
  assert_true(last > 0);
  buf_free(&log.bytes);
}

/* One bit anywhere: frames from the damaged one on are not believed. */
static void test_bit_flips(void **state) {
  Log log = make_log(*state, "PRAGMA page_size = 512", 4);
  uint64_t random = 8;
  for (int i = 0; i < 400; i++) {
    size_t at = (size_t)(test_random(&random) % ((uint64_t)log.frames * (512 + 24) + 32));
    uint8_t bit = (uint8_t)(1u << (test_random(&random) % 8));
    WalMap map;
    log.bytes.data[at] ^= bit;
    Error *err = wal_parse(buf_bytes(&log.bytes), UINT32_MAX, &map);
    log.bytes.data[at] ^= bit;
    if (err) {
      err_free(err);
      continue;
    }
    /* Bytes 0 to 23 of the header are under its own checksum. */
    uint64_t damaged = at < 32 ? 0 : (at - 32) / (512 + 24);
    assert_true(map.frames <= damaged);
    wal_map_free(&map);
  }
  buf_free(&log.bytes);
}

static void test_max_frames(void **state) {
  Log log = make_log(*state, "PRAGMA page_size = 4096", 5);
  WalMap all, part;
  assert_ok(wal_parse(buf_bytes(&log.bytes), UINT32_MAX, &all));
  assert_ok(wal_parse(buf_bytes(&log.bytes), all.frames - 1, &part));
  assert_true(part.frames < all.frames);
  wal_map_free(&part);
  assert_ok(wal_parse(buf_bytes(&log.bytes), all.frames, &part));
  assert_int_equal(part.frames, all.frames);
  assert_int_equal(part.checksum[0], all.checksum[0]);
  wal_map_free(&part);
  wal_map_free(&all);
  buf_free(&log.bytes);
}

/* After a reset, old frames lie behind the new ones: their salts are of another log. */
static void test_old_frames_behind_new(void **state) {
  Fixture *f = *state;
  char wal[160];
  uint64_t random = 6;
  sqlite3 *db = sql_open(f->db);
  sql(db, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
  ledger_create(db);
  sql(db, "PRAGMA wal_checkpoint(RESTART)");
  assert_int_equal(ledger_step(db, &random), SQLITE_OK);
  Buf content = file_content(path_in(f, "app.db-wal", wal));
  WalMap map;
  assert_ok(wal_parse(buf_bytes(&content), UINT32_MAX, &map));
  assert_true(map.frames > 0 && WAL_HEADER_SIZE + (uint64_t)map.frames * (4096 + 24) < content.len);
  int frames = 0, copied = 0;
  assert_int_equal(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &copied), SQLITE_OK);
  assert_int_equal(map.frames, frames);
  wal_map_free(&map);
  buf_free(&content);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* A transaction that spilled into the log and was rolled back: the next writes over its frames. */
static void test_spilled_rollback(void **state) {
  Fixture *f = *state;
  char wal[160];
  uint64_t random = 6;
  sqlite3 *db = sql_open(f->db);
  sql(db, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
  ledger_create(db);
  for (int i = 0; i < 3; i++) {
    sql(db, "PRAGMA cache_size = 2; BEGIN; UPDATE account SET pad = randomblob(700); ROLLBACK");
    assert_int_equal(ledger_step(db, &random), SQLITE_OK);
  }
  Buf content = file_content(path_in(f, "app.db-wal", wal));
  WalMap map;
  assert_ok(wal_parse(buf_bytes(&content), UINT32_MAX, &map));
  int frames = 0, copied = 0;
  assert_int_equal(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &copied), SQLITE_OK);
  assert_int_equal(map.frames, frames);
  wal_map_free(&map);
  buf_free(&content);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* ---- logs made by hand ----------------------------------------------------------------------------------------- */

static void put_be32(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8), p[3] = (uint8_t)v;
}

static void make_header(uint8_t out[32], uint32_t magic, uint32_t version, uint32_t page_size, uint32_t sum[2]) {
  put_be32(out, magic);
  put_be32(out + 4, version);
  put_be32(out + 8, page_size);
  put_be32(out + 12, 1);
  memcpy(out + 16, "saltSALT", 8);
  sum[0] = sum[1] = 0;
  wal_checksum((magic & 1) != 0, out, 24, sum);
  put_be32(out + 24, sum[0]);
  put_be32(out + 28, sum[1]);
}

static void add_frame(Buf *log, bool big, uint32_t page, uint32_t commit, uint32_t page_size, uint32_t sum[2]) {
  uint8_t *frame = buf_grow(log, WAL_FRAME_HEADER_SIZE + page_size);
  memset(frame, (int)page, WAL_FRAME_HEADER_SIZE + page_size);
  put_be32(frame, page);
  put_be32(frame + 4, commit);
  memcpy(frame + 8, "saltSALT", 8);
  wal_checksum(big, frame, 8, sum);
  wal_checksum(big, frame + WAL_FRAME_HEADER_SIZE, page_size, sum);
  put_be32(frame + 16, sum[0]);
  put_be32(frame + 20, sum[1]);
}

static void test_both_byte_orders(void **state) {
  (void)state;
  for (uint32_t magic = 0x377f0682; magic <= 0x377f0683; magic++) {
    Buf log = {0};
    uint32_t sum[2];
    make_header(buf_grow(&log, 32), magic, 3007000, 512, sum);
    add_frame(&log, magic & 1, 3, 0, 512, sum);
    add_frame(&log, magic & 1, 1, 3, 512, sum);
    add_frame(&log, magic & 1, 3, 3, 512, sum);
    add_frame(&log, magic & 1, 2, 0, 512, sum); /* not committed */
    WalMap map;
    assert_ok(wal_parse(buf_bytes(&log), UINT32_MAX, &map));
    assert_int_equal(map.frames, 3);
    assert_int_equal(map.len, 2);
    assert_int_equal(wal_map_find(&map, 1), 2);
    assert_int_equal(wal_map_find(&map, 2), 0);
    assert_int_equal(wal_map_find(&map, 3), 3);
    wal_map_free(&map);
    buf_free(&log);
  }
}

static void test_headers_not_believed(void **state) {
  (void)state;
  static const uint32_t SIZES[] = {0, 1, 256, 513, 131072, UINT32_MAX};
  uint8_t head[32];
  uint32_t sum[2];
  WalHeader header;
  make_header(head, 0x377f0682, 3007000, 512, sum);
  assert_ok(wal_header_parse(bytes(head, 32), &header));
  assert_err(wal_header_parse(bytes(head, 31), &header), ERR_CORRUPT);
  for (size_t i = 0; i < NELEMS(SIZES); i++) {
    make_header(head, 0x377f0682, 3007000, SIZES[i], sum);
    assert_err(wal_header_parse(bytes(head, 32), &header), ERR_CORRUPT);
  }
  make_header(head, 0x377f0684, 3007000, 512, sum);
  assert_err(wal_header_parse(bytes(head, 32), &header), ERR_CORRUPT);
  make_header(head, 0x377f0682, 3007001, 512, sum);
  assert_err(wal_header_parse(bytes(head, 32), &header), ERR_UNSUPPORTED);
}

/* Memory follows the distinct pages, not the frames; and a long transaction at the end survives compaction. */
static void test_many_frames(void **state) {
  (void)state;
  Buf log = {0};
  uint32_t sum[2], frames = 20000;
  make_header(buf_grow(&log, 32), 0x377f0682, 3007000, 512, sum);
  for (uint32_t i = 1; i <= frames; i++) add_frame(&log, false, 1 + i % 300, i % 10 == 0 ? 400 : 0, 512, sum);
  for (uint32_t i = 1; i <= 3000; i++) add_frame(&log, false, 1000 + i, 0, 512, sum);
  WalHeader header;
  WalScan scan;
  WalMap map;
  assert_ok(wal_header_parse(bytes(log.data, 32), &header));
  wal_scan_init(&scan, &header);
  for (uint32_t i = 0; i < frames; i++) assert_true(wal_scan_frame(&scan, log.data + 32 + (size_t)i * (512 + 24)));
  assert_true(scan.cap <= 2048);
  for (uint32_t i = frames; i < frames + 3000; i++)
    assert_true(wal_scan_frame(&scan, log.data + 32 + (size_t)i * (512 + 24)));
  wal_scan_finish(&scan, &map);
  assert_int_equal(map.len, 300);
  assert_int_equal(map.frames, frames);
  for (uint32_t page = 1; page <= 300; page++) {
    uint32_t frame = wal_map_find(&map, page);
    assert_true(frame > frames - 300 && 1 + frame % 300 == page);
  }
  wal_map_free(&map);
  buf_free(&log);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_real_logs),
      CASE(test_map_is_what_a_checkpoint_copies),
      CASE(test_truncation),
      CASE(test_bit_flips),
      CASE(test_max_frames),
      CASE(test_old_frames_behind_new),
      CASE(test_spilled_rollback),
      cmocka_unit_test(test_both_byte_orders),
      cmocka_unit_test(test_headers_not_believed),
      cmocka_unit_test(test_many_frames),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
