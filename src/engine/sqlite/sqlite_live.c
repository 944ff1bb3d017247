#include "engine/sqlite/sqlite_live.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "engine/sqlite/sqlite_dbfile.h"
#include "engine/sqlite/sqlite_wal.h"
#include "sys/lockguard.h"

/* The wal-index (file format, section 4.5 and walformat.html): two copies of a 48-byte header in the machine's byte
 * order, then what checkpoints say about themselves. */
enum {
  INDEX_HEADER_LEN = 48,
  INDEX_BACKFILL_AT = 96,
  INDEX_REGION_LEN = 32768,
  BEGIN_TRIES = 1000,
  POLL_MS = 5,
};

typedef struct IndexHeader {
  uint8_t raw[INDEX_HEADER_LEN];
  bool consistent; /* both copies are the same and the checksum is right */
  uint32_t backfilled;
} IndexHeader;

struct Live {
  char *path;
  sqlite3 *db;
  bool begun;
  bool guarded;
  struct stat shm; /* locks are on it too */
};

static Error *live_error(const Live *live, int rc, const char *doing) {
  return sqlite_error(rc, live->db ? sqlite3_errmsg(live->db) : NULL, live->path, doing);
}

static int run(Live *live, const char *sql) { return sqlite3_exec(live->db, sql, NULL, NULL, NULL); }

/* First value of a statement as text, up to 15 characters. */
static int query(Live *live, const char *sql, char out[16]) {
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_prepare_v2(live->db, sql, -1, &stmt, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_step(stmt);
  out[0] = 0;
  if (rc == SQLITE_ROW) {
    const unsigned char *text = sqlite3_column_text(stmt, 0);
    if (text) sqlite3_snprintf(16, out, "%s", text);
  }
  int finished = sqlite3_finalize(stmt);
  return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : finished != SQLITE_OK ? finished : rc;
}

/* ---- the wal-index ------------------------------------------------------------------------------------------- */

static int map_index(Live *live, volatile uint8_t **out) {
  sqlite3_file *file = NULL;
  void volatile *region = NULL;
  int rc = sqlite3_file_control(live->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (rc != SQLITE_OK) return rc;
  rc = file->pMethods->xShmMap(file, 0, INDEX_REGION_LEN, 0, &region);
  if (rc == SQLITE_READONLY) rc = SQLITE_OK; /* mapped, for reading only */
  if (rc == SQLITE_OK && !region) rc = SQLITE_READONLY_CANTINIT;
  *out = region;
  return rc;
}

static void read_index(const volatile uint8_t *region, IndexHeader *out) {
  uint8_t second[INDEX_HEADER_LEN];
  uint32_t sum[2] = {0, 0};
  for (size_t i = 0; i < INDEX_HEADER_LEN; i++) out->raw[i] = region[i];
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  for (size_t i = 0; i < INDEX_HEADER_LEN; i++) second[i] = region[INDEX_HEADER_LEN + i];
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  out->backfilled = *(const volatile uint32_t *)(const volatile void *)(region + INDEX_BACKFILL_AT);
  wal_checksum(false, out->raw, INDEX_HEADER_LEN - 8, sum);
  out->consistent = memcmp(out->raw, second, INDEX_HEADER_LEN) == 0 && out->raw[12] == 1 &&
                    sum[0] == load_u32(out->raw + 40) && sum[1] == load_u32(out->raw + 44);
}

static void mark_from_index(const IndexHeader *index, LiveMark *out) {
  uint32_t size = (uint32_t)index->raw[14] | (uint32_t)index->raw[15] << 8;
  *out = (LiveMark){
      .wal = true,
      .frames = load_u32(index->raw + 16),
      .pages = load_u32(index->raw + 20),
      .page_size = (size & 0xfe00) + ((size & 1) << 16),
      .checksum = {load_u32(index->raw + 24), load_u32(index->raw + 28)},
  };
  memcpy(out->salt, index->raw + 32, sizeof(out->salt));
  out->main_only = index->backfilled >= out->frames;
}

/* ---- the transaction ----------------------------------------------------------------------------------------- */

static void end_transaction(Live *live) {
  if (live->begun) (void)run(live, "ROLLBACK");
  live->begun = false;
}

/* A transaction begins with its first read, hence the pragma. */
static int begin_transaction(Live *live) {
  char version[16];
  int rc = run(live, "BEGIN");
  if (rc != SQLITE_OK) return rc;
  live->begun = true;
  rc = query(live, "PRAGMA schema_version", version);
  if (rc != SQLITE_OK) end_transaction(live);
  return rc;
}

/* The wal-index is equal before and after the transaction began, and every commit changes its counter: so it is what
 * the transaction saw.
 *
 * Where everything up to the mark was backfilled, the transaction may hold read lock 0, under which a writer is free to
 * overwrite the WAL: the main file alone is the state, and no checkpoint can change it, since one would have to pass
 * our lock or our mark. Where it was not, the lock is another one: it keeps the WAL's frames where they are, and
 * checkpoints copy nothing above our mark into the main file, so what they copy meanwhile is the same bytes that the
 * map puts over it. The number of backfilled frames only grows within one WAL, and is read last. */
static int begin_with_mark(Live *live, LiveMark *out) {
  volatile uint8_t *region = NULL;
  IndexHeader before, after;
  int rc = begin_transaction(live); /* opens the WAL, for the mapping */
  for (int tries = 0; rc == SQLITE_OK && tries < BEGIN_TRIES; tries++) {
    rc = map_index(live, &region);
    if (rc == SQLITE_READONLY_CANTINIT) {
      *out = (LiveMark){.wal = true, .open_ended = true};
      return SQLITE_OK;
    }
    if (rc != SQLITE_OK) break;
    end_transaction(live);
    read_index(region, &before);
    rc = begin_transaction(live);
    if (rc != SQLITE_OK) break;
    read_index(region, &after);
    if (before.consistent && after.consistent && memcmp(before.raw, after.raw, INDEX_HEADER_LEN) == 0) {
      mark_from_index(&after, out);
      return SQLITE_OK;
    }
  }
  end_transaction(live);
  return rc == SQLITE_OK ? SQLITE_BUSY : rc;
}

static int begin(Live *live, LiveMark *out) {
  char mode[16];
  int rc = begin_transaction(live);
  if (rc == SQLITE_OK) rc = query(live, "PRAGMA journal_mode", mode);
  if (rc == SQLITE_OK && strcmp(mode, "wal") != 0) {
    *out = (LiveMark){.wal = false};
    return SQLITE_OK;
  }
  end_transaction(live);
  return rc == SQLITE_OK ? begin_with_mark(live, out) : rc;
}

static int open_connection(Live *live) {
  int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, on = 1;
  int rc = sqlite3_open_v2(live->path, &live->db, flags, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_db_config(live->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_file_control(live->db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
  return rc;
}

/* Before the first lock where the index exists already; where it is made by our connection, as soon as it is there. */
static Error *guard_index(Live *live, Sys *sys, uint64_t wait_ms, Cancel *cancel) {
  AUTO_FREE char *name = mem_printf("%s-shm", live->path);
  if (live->guarded || stat(name, &live->shm) != 0) return NULL;
  TRY(err_wrap(lockguard_hold(sys, &live->shm, LOCKGUARD_SOURCE, wait_ms, cancel), "locking %s", name));
  live->guarded = true;
  return NULL;
}

Error *live_open(const char *path, Sys *sys, uint64_t wait_ms, Live **out, LiveMark *mark, Cancel *cancel) {
  Live *live = NEW(Live);
  live->path = mem_strdup(path);
  uint64_t deadline_ns = sys_mono_ns(sys) + wait_ms * 1000000;
  Error *err = guard_index(live, sys, wait_ms, cancel);
  int rc = err ? SQLITE_OK : open_connection(live);
  if (rc != SQLITE_OK) err = live_error(live, rc, "opening");
  while (!err) {
    rc = begin(live, mark);
    if (rc == SQLITE_OK) err = guard_index(live, sys, wait_ms, cancel);
    if (rc == SQLITE_OK) break;
    if (!sqlite_is_busy(rc) || sys_mono_ns(sys) >= deadline_ns)
      err = live_error(live, rc, "beginning to read");
    else
      err = cancel_sleep_ms(sys, POLL_MS, cancel);
  }
  if (err) {
    live_close(live);
    return err;
  }
  *out = live;
  return NULL;
}

Error *live_still_holds(Live *live, const LiveMark *mark, bool *out) {
  volatile uint8_t *region = NULL;
  IndexHeader now;
  *out = true;
  if (mark->open_ended || mark->main_only) return NULL;
  int rc = map_index(live, &region);
  if (rc != SQLITE_OK) return live_error(live, rc, "looking at the wal-index of");
  read_index(region, &now);
  /* A commit under way makes it inconsistent for a moment; salts do not change by a commit. */
  *out = memcmp(now.raw + 32, mark->salt, sizeof(mark->salt)) == 0;
  return NULL;
}

void live_close(Live *take) {
  if (!take) return;
  end_transaction(take);
  (void)sqlite3_close(take->db);
  if (take->guarded) lockguard_release(&take->shm);
  free(take->path);
  free(take);
}
