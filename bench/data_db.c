#include "data_db.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data_text.h"

enum { TABLES = 5, TEXT_MAX = 4096, FILL_BATCH = 5000 };
enum { CUSTOMERS, ORDERS, EVENTS, PRODUCTS, LEDGER };

static const char *const TABLE_NAME[TABLES] = {"customers", "orders", "events", "products", "ledger"};
static const char *const INSERT[TABLES] = {
    "INSERT INTO customers VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
    "INSERT INTO orders VALUES(?1,?2,?3,?4,?5,?6,?7,?8)",
    "INSERT INTO events VALUES(?1,?2,?3,?4,?5,?6)",
    "INSERT INTO products VALUES(?1,?2,?3,?4,?5)",
    "INSERT INTO ledger VALUES(?1,?2,?3,?4)",
};
/* What a touch changes: numbers of a fixed width that no index holds, so that one row changes one page. */
static const char *const UPDATE[3] = {
    "UPDATE customers SET balance=?2 WHERE id=?1",
    "UPDATE orders SET price=?2 WHERE id=?1",
    "UPDATE events SET weight=?2 WHERE id=?1",
};
static const char SCHEMA[] =
    "CREATE TABLE customers(id INTEGER PRIMARY KEY, first TEXT NOT NULL, last TEXT NOT NULL, email TEXT NOT NULL,"
    " phone TEXT, street TEXT, postcode TEXT, city TEXT, country TEXT, created INTEGER, balance REAL, notes TEXT);"
    "CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers(id),"
    " product INTEGER NOT NULL, quantity INTEGER, price REAL, status TEXT, placed INTEGER, remark TEXT);"
    "CREATE TABLE events(id INTEGER PRIMARY KEY, customer INTEGER, at INTEGER, kind TEXT, weight REAL, payload TEXT);"
    "CREATE TABLE products(id INTEGER PRIMARY KEY, sku TEXT UNIQUE, name TEXT, price REAL, description TEXT);"
    "CREATE TABLE ledger(seq INTEGER PRIMARY KEY, at INTEGER, kind TEXT, rows INTEGER);"
    "CREATE INDEX customers_email ON customers(email);"
    "CREATE INDEX customers_name ON customers(last, first);"
    "CREATE INDEX orders_customer ON orders(customer);"
    "CREATE INDEX orders_placed ON orders(placed);"
    "CREATE INDEX events_at ON events(at, kind);";

struct DataDb {
  sqlite3 *sqlite;
  sqlite3_stmt *insert[TABLES];
  sqlite3_stmt *update[3];
  sqlite3_stmt *row[TABLES];
  int64_t last[TABLES]; /* the highest row number of each table */
  Words *words;
  Rng rng;
  uint64_t now; /* the application's clock, seconds */
  DataDigest digest;
};

static void db_die(sqlite3 *sqlite, const char *doing) {
  fprintf(stderr, "make_data: %s: %s\n", doing, sqlite ? sqlite3_errmsg(sqlite) : "no memory");
  exit(1);
}

static void db_exec(sqlite3 *sqlite, const char *sql) {
  if (sqlite3_exec(sqlite, sql, NULL, NULL, NULL) != SQLITE_OK) db_die(sqlite, sql);
}

static sqlite3_stmt *db_prepare(sqlite3 *sqlite, const char *sql) {
  sqlite3_stmt *statement = NULL;
  if (sqlite3_prepare_v3(sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK)
    db_die(sqlite, sql);
  return statement;
}

static int64_t db_number(sqlite3 *sqlite, const char *sql) {
  sqlite3_stmt *statement = db_prepare(sqlite, sql);
  if (sqlite3_step(statement) != SQLITE_ROW) db_die(sqlite, sql);
  int64_t value = sqlite3_column_int64(statement, 0);
  sqlite3_finalize(statement);
  return value;
}

static void db_run(DataDb *db, sqlite3_stmt *statement) {
  if (sqlite3_step(statement) != SQLITE_DONE) db_die(db->sqlite, sqlite3_sql(statement));
  sqlite3_reset(statement);
}

/* --- the digest --- */

static uint64_t digest_mix(uint64_t hash, uint64_t word) {
  __uint128_t product = (__uint128_t)(hash ^ word) * UINT64_C(0x9fb21c651e98df25);
  return (uint64_t)product ^ (uint64_t)(product >> 64) ^ UINT64_C(0xa0761d6478bd642f);
}

static uint64_t digest_bytes(uint64_t hash, const uint8_t *data, size_t len) {
  uint64_t word;
  hash = digest_mix(hash, len + 1);
  for (; len >= sizeof word; data += sizeof word, len -= sizeof word) {
    memcpy(&word, data, sizeof word);
    hash = digest_mix(hash, word + 1);
  }
  word = 0;
  memcpy(&word, data, len);
  return digest_mix(hash, word + 2);
}

/* Adds (sign 1) or takes away (-1) the row that the statement stands on; column 0 is the row number. */
static void digest_row(DataDigest *digest, sqlite3_stmt *row, unsigned table, int sign) {
  uint64_t hash = digest_mix(UINT64_C(0x8ebc6af09c88c6e3), table + 1);
  for (int i = 0; i < sqlite3_column_count(row); i++) {
    int type = sqlite3_column_type(row, i);
    double real = type == SQLITE_FLOAT ? sqlite3_column_double(row, i) : 0;
    int64_t integer = type == SQLITE_INTEGER ? sqlite3_column_int64(row, i) : 0;
    hash = digest_mix(hash, (uint64_t)type + 1);
    if (type == SQLITE_INTEGER)
      hash = digest_bytes(hash, (const uint8_t *)&integer, sizeof integer);
    else if (type == SQLITE_FLOAT)
      hash = digest_bytes(hash, (const uint8_t *)&real, sizeof real);
    else if (type != SQLITE_NULL)
      hash = digest_bytes(hash, sqlite3_column_blob(row, i), (size_t)sqlite3_column_bytes(row, i));
  }
  uint64_t second = digest_mix(hash, UINT64_C(0x589965cc75374cc3));
  digest->rows += sign > 0 ? 1 : UINT64_MAX;
  digest->sum[0] += sign > 0 ? hash : 0 - hash;
  digest->sum[1] += sign > 0 ? second : 0 - second;
}

static void digest_one(DataDb *db, unsigned table, int64_t id, int sign) {
  sqlite3_bind_int64(db->row[table], 1, id);
  if (sqlite3_step(db->row[table]) != SQLITE_ROW) db_die(db->sqlite, "reading a row back");
  digest_row(&db->digest, db->row[table], table, sign);
  sqlite3_reset(db->row[table]);
}

static DataDigest digest_all(sqlite3 *sqlite) {
  DataDigest digest = {0};
  for (unsigned table = 0; table < TABLES; table++) {
    char sql[80];
    snprintf(sql, sizeof sql, "SELECT rowid, * FROM %s", TABLE_NAME[table]);
    sqlite3_stmt *row = db_prepare(sqlite, sql);
    int code;
    while ((code = sqlite3_step(row)) == SQLITE_ROW) digest_row(&digest, row, table, 1);
    if (code != SQLITE_DONE) db_die(sqlite, sql);
    sqlite3_finalize(row);
  }
  digest.sequence = (uint64_t)db_number(sqlite, "SELECT coalesce(max(seq), 0) FROM ledger");
  return digest;
}

/* --- rows --- */

static void bind_text(sqlite3_stmt *statement, int column, const Text *text) {
  sqlite3_bind_text(statement, column, text->data, (int)text->len, SQLITE_TRANSIENT);
}

static double db_money(Rng *rng, uint64_t limit) { return (double)rng_below(rng, limit * 100) / 100; }

static void insert_customer(DataDb *db) {
  char data[TEXT_MAX];
  Text text = {data, sizeof data, 0};
  sqlite3_stmt *s = db->insert[CUSTOMERS];
  int64_t id = ++db->last[CUSTOMERS];
  Rng *rng = &db->rng;
  const char *first = data_first_name(rng), *last = data_last_name(rng);
  sqlite3_bind_int64(s, 1, id);
  sqlite3_bind_text(s, 2, first, -1, SQLITE_STATIC);
  sqlite3_bind_text(s, 3, last, -1, SQLITE_STATIC);
  text_add(&text, "%s.%s%u@example.com", first, last, (unsigned)rng_below(rng, 1000000));
  bind_text(s, 4, &text);
  text.len = 0;
  text_add(&text, "+49 %03u %07u", (unsigned)rng_below(rng, 1000), (unsigned)rng_below(rng, 10000000));
  bind_text(s, 5, &text);
  text.len = 0;
  text_add(&text, "%s %u", data_street(rng), 1 + (unsigned)rng_below(rng, 250));
  bind_text(s, 6, &text);
  text.len = 0;
  text_add(&text, "%05u", (unsigned)rng_below(rng, 100000));
  bind_text(s, 7, &text);
  sqlite3_bind_text(s, 8, data_city(rng), -1, SQLITE_STATIC);
  sqlite3_bind_text(s, 9, data_country(rng), -1, SQLITE_STATIC);
  sqlite3_bind_int64(s, 10, (int64_t)db->now);
  sqlite3_bind_double(s, 11, db_money(rng, 10000));
  text.len = 0;
  text_sentences(&text, db->words, rng, (unsigned)rng_below(rng, 4));
  bind_text(s, 12, &text);
  db_run(db, s);
}

static void insert_order(DataDb *db) {
  char data[TEXT_MAX];
  Text text = {data, sizeof data, 0};
  sqlite3_stmt *s = db->insert[ORDERS];
  Rng *rng = &db->rng;
  sqlite3_bind_int64(s, 1, ++db->last[ORDERS]);
  sqlite3_bind_int64(s, 2, 1 + (int64_t)rng_below(rng, (uint64_t)db->last[CUSTOMERS]));
  sqlite3_bind_int64(s, 3, 1 + (int64_t)rng_below(rng, (uint64_t)db->last[PRODUCTS]));
  sqlite3_bind_int64(s, 4, 1 + (int64_t)rng_below(rng, 9));
  sqlite3_bind_double(s, 5, db_money(rng, 500) + 0.001);
  sqlite3_bind_text(s, 6, data_order_status(rng), -1, SQLITE_STATIC);
  sqlite3_bind_int64(s, 7, (int64_t)(db->now += rng_below(rng, 3)));
  if (rng_below(rng, 3) == 0) {
    text_sentences(&text, db->words, rng, 1);
    bind_text(s, 8, &text);
  } else {
    sqlite3_bind_null(s, 8);
  }
  db_run(db, s);
}

static void insert_event(DataDb *db) {
  char data[TEXT_MAX];
  Text text = {data, sizeof data, 0};
  sqlite3_stmt *s = db->insert[EVENTS];
  Rng *rng = &db->rng;
  const char *kind = data_event_kind(rng);
  int64_t id = ++db->last[EVENTS];
  sqlite3_bind_int64(s, 1, id);
  sqlite3_bind_int64(s, 2, 1 + (int64_t)rng_below(rng, (uint64_t)db->last[CUSTOMERS]));
  sqlite3_bind_int64(s, 3, (int64_t)(db->now += rng_below(rng, 2)));
  sqlite3_bind_text(s, 4, kind, -1, SQLITE_STATIC);
  sqlite3_bind_double(s, 5, db_money(rng, 100) + 0.001);
  text_json_event(&text, db->words, rng, (uint64_t)id, kind);
  bind_text(s, 6, &text);
  db_run(db, s);
}

static void insert_products(DataDb *db, unsigned count) {
  char data[TEXT_MAX];
  for (unsigned i = 0; i < count; i++) {
    Text text = {data, sizeof data, 0};
    sqlite3_stmt *s = db->insert[PRODUCTS];
    sqlite3_bind_int64(s, 1, ++db->last[PRODUCTS]);
    text_add(&text, "SKU-%05u", i);
    bind_text(s, 2, &text);
    text.len = 0;
    text_sentences(&text, db->words, &db->rng, 1);
    bind_text(s, 3, &text);
    sqlite3_bind_double(s, 4, db_money(&db->rng, 500));
    text.len = 0;
    text_sentences(&text, db->words, &db->rng, 3);
    bind_text(s, 5, &text);
    db_run(db, s);
  }
}

static void insert_ledger(DataDb *db, const char *kind, uint64_t rows) {
  sqlite3_stmt *s = db->insert[LEDGER];
  int64_t sequence = ++db->last[LEDGER];
  sqlite3_bind_int64(s, 1, sequence);
  sqlite3_bind_int64(s, 2, (int64_t)db->now);
  sqlite3_bind_text(s, 3, kind, -1, SQLITE_STATIC);
  sqlite3_bind_int64(s, 4, (int64_t)rows);
  db_run(db, s);
  digest_one(db, LEDGER, sequence, 1);
  db->digest.sequence = (uint64_t)sequence;
}

static void update_row(DataDb *db, unsigned table, int64_t id, double value) {
  digest_one(db, table, id, -1);
  sqlite3_bind_int64(db->update[table], 1, id);
  sqlite3_bind_double(db->update[table], 2, value);
  db_run(db, db->update[table]);
  digest_one(db, table, id, 1);
}

/* --- the database --- */

static DataDb *db_start(sqlite3 *sqlite, uint64_t seed) {
  DataDb *db = calloc(1, sizeof *db);
  if (!db) db_die(NULL, "starting");
  db->sqlite = sqlite;
  db->words = words_new();
  db->now = 1700000000;
  db->rng.state = seed;
  for (unsigned table = 0; table < TABLES; table++) {
    char sql[80];
    db->insert[table] = db_prepare(sqlite, INSERT[table]);
    if (table < 3) db->update[table] = db_prepare(sqlite, UPDATE[table]);
    snprintf(sql, sizeof sql, "SELECT rowid, * FROM %s WHERE rowid=?1", TABLE_NAME[table]);
    db->row[table] = db_prepare(sqlite, sql);
    snprintf(sql, sizeof sql, "SELECT coalesce(max(rowid), 0) FROM %s", TABLE_NAME[table]);
    db->last[table] = db_number(sqlite, sql);
  }
  return db;
}

void data_db_close(DataDb *take) {
  if (!take) return;
  for (unsigned table = 0; table < TABLES; table++) {
    sqlite3_finalize(take->insert[table]);
    sqlite3_finalize(take->row[table]);
    if (table < 3) sqlite3_finalize(take->update[table]);
  }
  if (sqlite3_close(take->sqlite) != SQLITE_OK) db_die(take->sqlite, "closing");
  words_free(take->words);
  free(take);
}

void data_db_create(const char *path, uint64_t size_bytes, uint64_t seed, const char *journal) {
  sqlite3 *sqlite = NULL;
  remove(path);
  if (sqlite3_open_v2(path, &sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK)
    db_die(sqlite, path);
  db_exec(sqlite,
          "PRAGMA page_size=4096; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
          "PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-400000;");
  db_exec(sqlite, SCHEMA);
  DataDb *db = db_start(sqlite, seed);
  db_exec(sqlite, "BEGIN");
  insert_products(db, 20000);
  for (uint64_t batch = 0; (uint64_t)db_number(sqlite, "PRAGMA page_count") * 4096 < size_bytes; batch++) {
    /* Small databases are filled in small batches, so that each comes near its size. */
    uint64_t count = batch == 0 ? 200 : size_bytes >> 16 > FILL_BATCH ? FILL_BATCH : 200;
    for (uint64_t i = 0; i < count; i++) {
      insert_customer(db);
      for (unsigned k = 0; k < 3; k++) insert_order(db);
      for (unsigned k = 0; k < 4; k++) insert_event(db);
    }
  }
  db_exec(sqlite, "COMMIT");
  db_exec(sqlite, "PRAGMA locking_mode=NORMAL; PRAGMA journal_mode=DELETE; SELECT count(*) FROM ledger;");
  if (strcmp(journal, "wal") == 0) db_exec(sqlite, "PRAGMA journal_mode=WAL");
  data_db_close(db);
}

DataDb *data_db_open(const char *path, uint64_t seed) {
  sqlite3 *sqlite = NULL;
  if (sqlite3_open_v2(path, &sqlite, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) db_die(sqlite, path);
  sqlite3_busy_timeout(sqlite, 60000);
  db_exec(sqlite, "PRAGMA synchronous=NORMAL; PRAGMA cache_size=-65536;");
  DataDb *db = db_start(sqlite, seed);
  db->digest = digest_all(sqlite);
  db->now += db->digest.rows;
  return db;
}

DataDigest data_db_step(DataDb *db) {
  db_exec(db->sqlite, "BEGIN IMMEDIATE");
  uint64_t orders = 1 + rng_below(&db->rng, 6), events = 2 + rng_below(&db->rng, 12), updates = rng_below(&db->rng, 3);
  insert_customer(db);
  digest_one(db, CUSTOMERS, db->last[CUSTOMERS], 1);
  for (uint64_t i = 0; i < orders; i++) {
    insert_order(db);
    digest_one(db, ORDERS, db->last[ORDERS], 1);
  }
  for (uint64_t i = 0; i < events; i++) {
    insert_event(db);
    digest_one(db, EVENTS, db->last[EVENTS], 1);
  }
  for (uint64_t i = 0; i < updates; i++)
    update_row(db, CUSTOMERS, 1 + (int64_t)rng_below(&db->rng, (uint64_t)db->last[CUSTOMERS]),
               db_money(&db->rng, 10000));
  insert_ledger(db, "step", 1 + orders + events + updates);
  db_exec(db->sqlite, "COMMIT");
  return db->digest;
}

DataDigest data_db_touch(DataDb *db, double percent, uint64_t seed, uint64_t *rows) {
  Rng rng = {.state = seed};
  uint64_t pages = (uint64_t)db_number(db->sqlite, "PRAGMA page_count");
  /* Rows of the three tables in proportion to the space they take: about 14, 45 and 10 rows a page. */
  double weight[3] = {(double)db->last[CUSTOMERS] / 14, (double)db->last[ORDERS] / 45, (double)db->last[EVENTS] / 10};
  double sum = weight[0] + weight[1] + weight[2];
  uint64_t count = (uint64_t)ceil((double)pages * percent / 100);
  db_exec(db->sqlite, "BEGIN IMMEDIATE");
  for (uint64_t i = 0; i < count; i++) {
    double at = (double)rng_below(&rng, UINT64_C(1) << 32) / 4294967296.0 * sum;
    unsigned table = at < weight[0] ? CUSTOMERS : at < weight[0] + weight[1] ? ORDERS : EVENTS;
    update_row(db, table, 1 + (int64_t)rng_below(&rng, (uint64_t)db->last[table]), db_money(&rng, 400) + 0.001);
  }
  insert_ledger(db, "touch", count);
  db_exec(db->sqlite, "COMMIT");
  *rows = count;
  return db->digest;
}

DataDigest data_db_digest(const char *path, bool check) {
  sqlite3 *sqlite = NULL;
  if (sqlite3_open_v2(path, &sqlite, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) db_die(sqlite, path);
  if (check) {
    sqlite3_stmt *statement = db_prepare(sqlite, "PRAGMA integrity_check");
    if (sqlite3_step(statement) != SQLITE_ROW) db_die(sqlite, "integrity_check");
    const char *result = (const char *)sqlite3_column_text(statement, 0);
    if (strcmp(result, "ok") != 0) {
      fprintf(stderr, "make_data: %s: integrity_check: %s\n", path, result);
      exit(1);
    }
    sqlite3_finalize(statement);
  }
  DataDigest digest = digest_all(sqlite);
  sqlite3_close(sqlite);
  return digest;
}
