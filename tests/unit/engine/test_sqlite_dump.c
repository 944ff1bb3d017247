#include <math.h>

#include "engine/sqlite/sqlite_dump.h"

#include "sqlite_fixture.h"

static Error *collect(void *ctx, Bytes part) {
  buf_add((Buf *)ctx, part.data, part.len);
  return NULL;
}

/* Dumps f->db and reads the text into a new database, whose path goes to `to`. Owned text. */
static char *dump_and_load(const Fixture *f, const char *name, char to[160]) {
  Buf text = {0};
  assert_ok(sqlite_dump(f->db, collect, &text, NULL));
  char *script = buf_steal_str(&text);
  sql_at(path_in(f, name, to), script);
  assert_integrity(to);
  return script;
}

/* Every row of a query, with types, as bytes. */
static void read_all(const char *path, const char *query, Buf *out) {
  sqlite3 *db = sql_open(path);
  sqlite3_stmt *stmt = NULL;
  if (sqlite3_prepare_v2(db, query, -1, &stmt, NULL) != SQLITE_OK) fail_msg("%s: %s", query, sqlite3_errmsg(db));
  int rc;
  while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
    for (int i = 0; i < sqlite3_column_count(stmt); i++) {
      int type = sqlite3_column_type(stmt, i);
      buf_put_u8(out, (uint8_t)type);
      double real = sqlite3_column_double(stmt, i);
      if (type == SQLITE_FLOAT)
        buf_put_bytes(out, bytes(&real, sizeof real));
      else if (type != SQLITE_NULL) {
        const void *data = sqlite3_column_blob(stmt, i);
        buf_put_bytes(out, bytes(data, (size_t)sqlite3_column_bytes(stmt, i)));
      }
    }
  }
  assert_int_equal(rc, SQLITE_DONE);
  assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void assert_same(const char *a, const char *b, const char *query) {
  Buf of_a = {0}, of_b = {0};
  read_all(a, query, &of_a);
  read_all(b, query, &of_b);
  if (!bytes_equal(buf_bytes(&of_a), buf_bytes(&of_b))) fail_msg("%s: the two differ", query);
  assert_true(of_a.len > 0);
  buf_free(&of_a);
  buf_free(&of_b);
}

/* ---- values ---- */

static void put_random_row(sqlite3_stmt *stmt, uint64_t *seed) {
  uint64_t bits = test_random(seed);
  double real;
  memcpy(&real, &bits, sizeof real);
  uint8_t text[24], blob[40];
  static const char alphabet[] = "ab'\"{}0\r\n;\0-/*";
  size_t text_len = test_random(seed) % sizeof text, blob_len = test_random(seed) % sizeof blob;
  for (size_t i = 0; i < text_len; i++) text[i] = (uint8_t)alphabet[test_random(seed) % (sizeof alphabet - 1)];
  for (size_t i = 0; i < blob_len; i++) blob[i] = (uint8_t)test_random(seed);
  sqlite3_bind_double(stmt, 1, real);
  sqlite3_bind_double(stmt, 2, (double)(int64_t)(bits >> 40) / 1000.0);
  sqlite3_bind_text(stmt, 3, (const char *)text, (int)text_len, SQLITE_TRANSIENT);
  sqlite3_bind_blob(stmt, 4, blob, (int)blob_len, SQLITE_TRANSIENT);
  sqlite3_bind_int64(stmt, 5, (int64_t)test_random(seed));
  assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
  sqlite3_reset(stmt);
}

static void test_every_value_comes_back_bit_by_bit(void **state) {
  const Fixture *f = *state;
  char copy[160];
  uint64_t seed = 42;
  sqlite3 *db = sql_open(f->db);
  sql(db,
      "CREATE TABLE v(a, b, c, d, e); BEGIN;"
      "INSERT INTO v VALUES(9e999, -9e999, NULL, 0.1, 1e23),(5e-324, 1.7976931348623157e308, -0.0, 1e15, 1e16),"
      "(-9223372036854775808, 9223372036854775807, 100000.0, X'', '')");
  sqlite3_stmt *stmt = NULL;
  assert_int_equal(sqlite3_prepare_v2(db, "INSERT INTO v VALUES(?,?,?,?,?)", -1, &stmt, NULL), SQLITE_OK);
  for (int i = 0; i < 5000; i++) put_random_row(stmt, &seed);
  sqlite3_finalize(stmt);
  sql(db, "COMMIT");
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
  free(dump_and_load(f, "copy.db", copy));
  assert_same(f->db, copy, "SELECT rowid, * FROM v ORDER BY rowid");
}

static void test_text_that_looks_like_our_marks(void **state) {
  (void)state;
  Buf out = {0};
  sqlite_dump_text(bytes("a\0{0}", 5), &out);
  char *text = buf_steal_str(&out);
  assert_string_equal(text, "replace('a{1}{0}','{1}',char(0))");
  free(text);
  sqlite_dump_text(bytes_str("it's"), &out);
  text = buf_steal_str(&out);
  assert_string_equal(text, "'it''s'");
  free(text);
}

static void check_real(sqlite3_stmt *cast, double value, const char *expected) {
  Buf out = {0};
  sqlite_dump_real(cast, value, &out);
  char *text = buf_steal_str(&out);
  assert_string_equal(text, expected);
  free(text);
}

static void test_reals_are_written_short(void **state) {
  const Fixture *f = *state;
  sqlite3 *db = sql_open(f->db);
  sqlite3_stmt *cast = NULL;
  assert_int_equal(sqlite3_prepare_v2(db, SQLITE_DUMP_CAST, -1, &cast, NULL), SQLITE_OK);
  check_real(cast, 0.1, "0.1");
  check_real(cast, 3, "3.0");
  check_real(cast, -1e300, "-1e+300");
  check_real(cast, INFINITY, "9e999");
  check_real(cast, -INFINITY, "-9e999");
  check_real(cast, NAN, "NULL");
  sqlite3_finalize(cast);
  sqlite3_close(db);
}

/* ---- schemas ---- */

static const char rich[] =
    "PRAGMA user_version=7; PRAGMA application_id=99;"
    "CREATE TABLE parent(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE);"
    "INSERT INTO parent(name) VALUES('a'),('b'),('c'); DELETE FROM parent WHERE id = 3;"
    "CREATE TABLE child(p REFERENCES parent(id), twice AS (p * 2) STORED, n, thrice AS (p * 3));"
    "INSERT INTO child(p, n) VALUES(1, 'x'), (99, 'dangling');"
    "CREATE TABLE keyed(k TEXT, v, PRIMARY KEY(k)) WITHOUT ROWID; INSERT INTO keyed VALUES('z', 1), ('a', 2);"
    "CREATE TABLE sparse(t); INSERT INTO sparse(rowid, t) VALUES(5, 'five'), (-3, 'minus'), (1000000000000, 'far');"
    "CREATE TABLE hides(rowid, oid, t); INSERT INTO hides(_rowid_, rowid, oid, t) VALUES(8, 1, 2, 3);"
    "CREATE TABLE exact(a INT, b REAL, c ANY) STRICT; INSERT INTO exact VALUES(1, 2.5, X'00');"
    "CREATE TABLE \"odd \"\"name\"\"\"(\"a b\", [select]); INSERT INTO \"odd \"\"name\"\"\" VALUES('%s %d', 1);"
    "CREATE TABLE backwards(k INTEGER PRIMARY KEY DESC, t); INSERT INTO backwards(rowid, k, t)"
    " VALUES(3, 30, 'a'), (9, NULL, 'b'), (12, 1, 'c');"
    "CREATE TABLE empty(a);"
    "CREATE INDEX by_name ON parent(name DESC) WHERE name > 'a'; CREATE INDEX by_expression ON child(p + 1);"
    "CREATE VIEW shown AS SELECT p, twice FROM child -- the end\n;"
    "CREATE TRIGGER into_view INSTEAD OF INSERT ON shown BEGIN INSERT INTO child(p) VALUES(new.p); END;"
    "CREATE TRIGGER fires AFTER INSERT ON parent BEGIN INSERT INTO child(p, n) VALUES(new.id, 'fired'); END;"
    "CREATE VIRTUAL TABLE words USING fts5(body); INSERT INTO words VALUES('hold fast'), ('let go');"
    "CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1); INSERT INTO boxes VALUES(1, 0.5, 2.5);"
    "ANALYZE;";

static void test_schema_and_rows_come_back(void **state) {
  const Fixture *f = *state;
  static const char *const queries[] = {
      "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name",
      "SELECT * FROM parent",
      "SELECT rowid, * FROM child",
      "SELECT * FROM keyed",
      "SELECT rowid, * FROM sparse ORDER BY rowid",
      "SELECT _rowid_, * FROM hides",
      "SELECT rowid, * FROM backwards ORDER BY rowid",
      "SELECT * FROM exact",
      "SELECT * FROM \"odd \"\"name\"\"\"",
      "SELECT * FROM sqlite_sequence",
      "SELECT * FROM sqlite_stat1 ORDER BY tbl, idx",
      "SELECT rowid, body FROM words WHERE words MATCH 'fast'",
      "SELECT * FROM boxes WHERE x1 > 1",
      "PRAGMA user_version",
      "PRAGMA application_id",
  };
  char copy[160];
  sql_at(f->db, rich);
  char *script = dump_and_load(f, "copy.db", copy);
  for (size_t i = 0; i < NELEMS(queries); i++) assert_same(f->db, copy, queries[i]);
  /* The next row of a table with AUTOINCREMENT never reuses the number of a deleted one. */
  sql_at(copy, "INSERT INTO parent(name) VALUES('d')");
  sqlite3 *db = sql_open(copy);
  assert_int_equal(sql_int(db, "SELECT max(id) FROM parent"), 4);
  sqlite3_close(db);
  assert_non_null(strstr(script, "BEGIN TRANSACTION;"));
  assert_null(strstr(script, "INSERT INTO \"empty\""));
  free(script);
}

static void test_wide_encodings(void **state) {
  const Fixture *f = *state;
  char copy[160];
  sql_at(f->db,
         "PRAGMA encoding='UTF-16be'; CREATE TABLE t(a); INSERT INTO t VALUES('gr\xc3\xbc\xc3\x9f' || char(0) || 'e')");
  free(dump_and_load(f, "copy.db", copy));
  assert_same(f->db, copy, "SELECT a, hex(a) FROM t");
  assert_same(f->db, copy, "PRAGMA encoding");
}

static void test_a_dropped_counter_is_no_error(void **state) {
  const Fixture *f = *state;
  char copy[160];
  sql_at(
      f->db,
      "CREATE TABLE a(i INTEGER PRIMARY KEY AUTOINCREMENT); DROP TABLE a; CREATE TABLE b(x); INSERT INTO b VALUES(1)");
  free(dump_and_load(f, "copy.db", copy));
  assert_same(f->db, copy, "SELECT * FROM b");
}

/* ---- failures ---- */

static Error *refuse(void *ctx, Bytes part) {
  (void)ctx, (void)part;
  return err_new(ERR_NO_SPACE, "full");
}

static void test_failures(void **state) {
  const Fixture *f = *state;
  Buf text = {0};
  sql_at(f->db, "CREATE TABLE t(a); INSERT INTO t VALUES(randomblob(1000000))");
  assert_err(sqlite_dump(f->db, refuse, NULL, NULL), ERR_NO_SPACE);
  Cancel cancel = {0};
  cancel_set(&cancel, -1);
  assert_err(sqlite_dump(f->db, collect, &text, &cancel), ERR_CANCELLED);
  file_put(f->db,
           "this is no database, but long enough to be taken for one, or so it might seem to a reader of headers", 100);
  assert_err(sqlite_dump(f->db, collect, &text, NULL), ERR_DAMAGED);
  buf_free(&text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_every_value_comes_back_bit_by_bit, fixture_setup, fixture_teardown),
      cmocka_unit_test(test_text_that_looks_like_our_marks),
      cmocka_unit_test_setup_teardown(test_reals_are_written_short, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(test_schema_and_rows_come_back, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(test_wide_encodings, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(test_a_dropped_counter_is_no_error, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(test_failures, fixture_setup, fixture_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
