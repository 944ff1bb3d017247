#include "engine/sqlite/sqlite_snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/sqlite/sqlite_copy.h"
#include "engine/sqlite/sqlite_dbfile.h"
#include "engine/sqlite/sqlite_live.h"
#include "engine/sqlite/sqlite_wal.h"
#include "sys/fs.h"

enum { CHANGED_POLL_READS = 64 };

struct Snapshot {
  SnapshotInfo info;
  SnapshotOptions options;
  DbFile *file;
  Live *live;
  LiveMark mark;
  WalMap map;
  uint8_t wal_head[WAL_HEADER_SIZE]; /* of the WAL the map was made from */
  int wal_fd;
  int copy_fd;
  uint8_t version[DB_VERSION_LEN]; /* of page 1, at the beginning */
  bool changed;
  uint32_t reads;
};

const SnapshotInfo *snapshot_info(const Snapshot *snapshot) { return &snapshot->info; }
bool snapshot_changed(const Snapshot *snapshot) { return snapshot->changed; }

const char *snapshot_method_name(SnapshotMethod method) {
  switch (method) {
    case SNAPSHOT_EMPTY: return "empty";
    case SNAPSHOT_LIVE: return "read transaction";
    case SNAPSHOT_QUIET: return "main file, not in use";
    case SNAPSHOT_JOURNAL: return "main file, unchanged while read";
    case SNAPSHOT_HELD: return "main file under the shared lock";
    case SNAPSHOT_COPY: return "private copy";
  }
  return "unknown";
}

static Error *changed(Snapshot *s) {
  s->changed = true;
  return err_new(ERR_TEMPORARY, "reading %s: another process wrote to it meanwhile", dbfile_path(s->file));
}

/* ---- the log ------------------------------------------------------------------------------------------------- */

static const char *wal_name(const Snapshot *s) { return dbfile_companion_path(s->file, DB_WAL); }

static Error *wal_open(Snapshot *s, WalHeader *header, bool *valid) {
  size_t got = 0;
  *valid = false;
  s->wal_fd = open(wal_name(s), O_RDONLY | O_CLOEXEC);
  if (s->wal_fd < 0 && errno == ENOENT) return NULL;
  if (s->wal_fd < 0)
    return err_hint(err_errno(errno, "opening %s", wal_name(s)), "holdfast needs the right to read the -wal file too");
  TRY(fs_read_some(s->wal_fd, wal_name(s), s->wal_head, WAL_HEADER_SIZE, 0, &got));
  Error *err = wal_header_parse(bytes(s->wal_head, got), header);
  if (err_is(err, ERR_CORRUPT)) { /* SQLite ignores such a log */
    err_free(err);
    return NULL;
  }
  *valid = err == NULL;
  return err_wrap(err, "reading %s", wal_name(s));
}

/* Up to max_frames, or to the first that does not belong. */
static Error *wal_scan(Snapshot *s, const WalHeader *header, uint32_t max_frames, Cancel *cancel) {
  size_t step = WAL_FRAME_HEADER_SIZE + header->page_size;
  size_t batch = (size_t)(256 * KIB) / step + 1;
  uint8_t *buffer = mem_alloc(batch * step);
  WalScan scan;
  Error *err = NULL;
  bool more = true;
  wal_scan_init(&scan, header);
  while (!err && more && scan.seen < max_frames) {
    uint64_t at = WAL_HEADER_SIZE + (uint64_t)scan.seen * step;
    size_t got = 0;
    err = cancel_check(cancel);
    if (!err) err = fs_read_some(s->wal_fd, wal_name(s), buffer, batch * step, at, &got);
    if (err) break;
    size_t frames = got / step;
    more = frames == batch;
    for (size_t i = 0; i < frames && scan.seen < max_frames; i++)
      if (!wal_scan_frame(&scan, buffer + i * step)) {
        more = false;
        break;
      }
  }
  wal_scan_finish(&scan, &s->map);
  free(buffer);
  return err;
}

static Error *wal_mismatch(const Snapshot *s, const char *what, uint32_t index, uint32_t log) {
  return err_hint(
      err_new(ERR_DAMAGED, "reading %s: %s: the wal-index says %u, the log %u", wal_name(s), what, index, log),
      "check the disk; `PRAGMA integrity_check` in the application says whether it sees the damage too");
}

/* The frames up to the transaction's mark, which must be there, whole, and end in the commit that the index names. */
static Error *wal_map_to_mark(Snapshot *s, Cancel *cancel) {
  const LiveMark *mark = &s->mark;
  WalHeader header;
  bool valid;
  TRY(wal_open(s, &header, &valid));
  if (!valid) return mark->open_ended ? NULL : wal_mismatch(s, "frames", mark->frames, 0);
  if (!mark->open_ended && memcmp(header.salt, mark->salt, sizeof(mark->salt)) != 0)
    return err_new(ERR_INTERNAL, "reading %s: the log was begun anew under our read transaction", wal_name(s));
  TRY(wal_scan(s, &header, mark->open_ended ? UINT32_MAX : mark->frames, cancel));
  if (mark->open_ended) return NULL;
  if (s->map.frames != mark->frames) return wal_mismatch(s, "frames", mark->frames, s->map.frames);
  if (s->map.database_pages != mark->pages) return wal_mismatch(s, "pages", mark->pages, s->map.database_pages);
  if (s->map.checksum[0] != mark->checksum[0] || s->map.checksum[1] != mark->checksum[1])
    return wal_mismatch(s, "checksum", mark->checksum[0], s->map.checksum[0]);
  return NULL;
}

static Error *wal_map_all(Snapshot *s, Cancel *cancel) {
  WalHeader header;
  bool valid;
  TRY(wal_open(s, &header, &valid));
  return valid ? wal_scan(s, &header, UINT32_MAX, cancel) : NULL;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* Copies what the map has of [offset, offset + len) over what the main file had. */
static Error *overlay(const Snapshot *s, uint64_t offset, uint8_t *out, size_t len) {
  const WalMap *map = &s->map;
  if (map->len == 0) return NULL;
  uint32_t size = map->page_size;
  size_t i = wal_map_lower(map, (uint32_t)(offset / size) + 1);
  for (; i < map->len; i++) {
    uint64_t page_at = (uint64_t)(map->pages[i].page - 1) * size;
    if (page_at >= offset + len) break;
    uint64_t from = page_at > offset ? page_at : offset;
    uint64_t to = page_at + size < offset + len ? page_at + size : offset + len;
    uint64_t frame_at = wal_frame_page_at(map->pages[i].frame, size);
    TRY(fs_read_at(s->wal_fd, wal_name(s), out + (from - offset), (size_t)(to - from), frame_at + (from - page_at)));
  }
  return NULL;
}

/* The page of SQLite's locks never holds content; whatever lies there is not part of the state. */
static void clear_lock_page(const Snapshot *s, uint64_t offset, uint8_t *out, size_t len) {
  uint64_t from = DB_LOCK_BYTE, to = DB_LOCK_BYTE + s->info.header.page_size;
  if (from < offset) from = offset;
  if (to > offset + len) to = offset + len;
  if (s->info.header_valid && from < to) memset(out + (from - offset), 0, (size_t)(to - from));
}

/* With the shared lock held: is this still the state the snapshot began with? */
static Error *compare_version(Snapshot *s) {
  uint8_t now[DB_VERSION_LEN];
  uint64_t size;
  bool hot;
  TRY(dbfile_read(s->file, DB_VERSION_AT, now, sizeof(now)));
  TRY(dbfile_size(s->file, &size));
  if (size != s->info.file_size || memcmp(now, s->version, sizeof(now)) != 0) return changed(s);
  /* A writer that died half-way has perhaps not reached page 1. */
  TRY(dbfile_is_hot(s->file, &hot));
  return hot ? changed(s) : NULL;
}

static Error *read_slice(Snapshot *s, uint64_t offset, uint8_t *out, size_t len, Cancel *cancel) {
  TRY(dbfile_lock(s->file, s->options.sys, SQLITE_LOCK_SHARED, s->options.lock_wait_ms, cancel));
  Error *err = compare_version(s);
  if (!err && len > 0) err = dbfile_read(s->file, offset, out, len);
  dbfile_unlock(s->file);
  return err;
}

/* SQLite finds a log by the name under which a database was opened: ours says nothing about one under another. */
static Error *used_elsewhere(const Snapshot *s) {
  return err_hint(
      err_new(ERR_REFUSED, "reading %s: another process uses it under another of its names (it has %llu hard links)",
              dbfile_path(s->file), (unsigned long long)s->info.st.st_nlink),
      "back it up under the name its application uses: the log with the newest transactions lies beside that");
}

/* Nobody uses the log: there is no -wal, or no wal-index. */
static bool is_quiet(const Snapshot *s) {
  return !dbfile_has_companion(s->file, DB_WAL, NULL) || !dbfile_has_companion(s->file, DB_SHM, NULL);
}

static Error *read_copy(const Snapshot *s, uint64_t offset, uint8_t *out, size_t len) {
  size_t got = 0;
  TRY(fs_read_some(s->copy_fd, "the private copy", out, len, offset, &got));
  memset(out + got, 0, len - got);
  return NULL;
}

Error *snapshot_read(Snapshot *s, uint64_t offset, uint8_t *out, size_t len, Cancel *cancel) {
  CHECK(offset <= s->info.size && len <= s->info.size - offset);
  switch (s->info.method) {
    case SNAPSHOT_EMPTY: return NULL;
    case SNAPSHOT_JOURNAL: TRY(read_slice(s, offset, out, len, cancel)); break;
    case SNAPSHOT_COPY: TRY(read_copy(s, offset, out, len)); break;
    case SNAPSHOT_QUIET:
      /* The look that counts is the last; these save reading on in vain. */
      if (s->reads++ % CHANGED_POLL_READS == 0 && !is_quiet(s)) return changed(s);
      TRY(dbfile_read(s->file, offset, out, len));
      break;
    case SNAPSHOT_LIVE:
    case SNAPSHOT_HELD: TRY(dbfile_read(s->file, offset, out, len)); break;
  }
  TRY(overlay(s, offset, out, len));
  clear_lock_page(s, offset, out, len);
  return NULL;
}

/* The log the map was made from must still be there. */
static Error *verify_live(Snapshot *s) {
  uint8_t head[WAL_HEADER_SIZE];
  size_t got = 0;
  bool holds;
  TRY(live_still_holds(s->live, &s->mark, &holds));
  if (holds && s->map.len > 0) {
    TRY(fs_read_some(s->wal_fd, wal_name(s), head, sizeof(head), 0, &got));
    holds = got == sizeof(head) && memcmp(head, s->wal_head, sizeof(head)) == 0;
  }
  return holds ? NULL : changed(s);
}

/* SQLite truncates the file under our lock to the size of our state at most; what somebody else cut off was read as
 * zeros. */
static Error *verify_size(Snapshot *s) {
  uint64_t size, least = s->info.file_size < s->info.size ? s->info.file_size : s->info.size;
  TRY(dbfile_size(s->file, &size));
  return size >= least ? NULL : changed(s);
}

/* Not in use at the end either, and not written to by somebody who knows it under another name. */
static Error *verify_quiet(Snapshot *s) {
  struct stat st;
  if (stat(dbfile_real_path(s->file), &st) != 0) return changed(s);
  bool same = st.st_size == s->info.st.st_size && st.st_mtim.tv_sec == s->info.st.st_mtim.tv_sec &&
              st.st_mtim.tv_nsec == s->info.st.st_mtim.tv_nsec;
  if (!same || !is_quiet(s)) return changed(s);
  return st.st_nlink > 1 && dbfile_is_shared(s->file) ? used_elsewhere(s) : NULL;
}

Error *snapshot_verify(Snapshot *s, Cancel *cancel) {
  switch (s->info.method) {
    case SNAPSHOT_JOURNAL: return read_slice(s, 0, NULL, 0, cancel);
    case SNAPSHOT_QUIET: return verify_quiet(s);
    case SNAPSHOT_LIVE: TRY(verify_live(s)); return verify_size(s);
    case SNAPSHOT_HELD: return verify_size(s);
    case SNAPSHOT_EMPTY:
    case SNAPSHOT_COPY: break;
  }
  return NULL;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static Error *refuse_hot(const Snapshot *s) {
  return err_hint(
      err_new(ERR_REFUSED, "backing up %s: a transaction was interrupted and its journal waits to be rolled back",
              dbfile_path(s->file)),
      "open the database once with its application or `sqlite3`, or use --recover-copy to roll back a "
      "private copy and leave the original as it is");
}

/* The state's size and page 1, once the log is known. */
static Error *settle_size(Snapshot *s, Cancel *cancel) {
  uint8_t head[DB_HEADER_SIZE];
  SnapshotInfo *info = &s->info;
  bool from_log = s->map.frames > 0;
  uint32_t size = info->header.page_size;
  if (from_log && s->map.page_size != size)
    return err_new(ERR_DAMAGED, "reading %s: its pages have %u bytes, the database's %u", wal_name(s), s->map.page_size,
                   size);
  info->size = UINT64_MAX; /* for reading page 1 */
  TRY(snapshot_read(s, 0, head, sizeof(head), cancel));
  TRY(err_wrap(db_header_parse(bytes(head, sizeof(head)), &info->header), "reading %s", dbfile_path(s->file)));
  const DbHeader *h = &info->header;
  if (from_log)
    info->page_count = s->map.database_pages;
  else if (s->live && s->mark.wal && s->mark.pages > 0)
    info->page_count = s->mark.pages;
  else if (h->page_count_valid && h->page_count > 0)
    info->page_count = h->page_count;
  else
    info->page_count = (info->file_size + h->page_size - 1) / h->page_size; /* a part of a page is a lost page */
  info->size = info->page_count * h->page_size;
  info->overlaid = s->map.len > 0;
  info->wal_frames = s->map.frames;
  return NULL;
}

/* Pages that neither the main file nor the log holds. The page of SQLite's locks is none of them. */
static bool is_absent(const Snapshot *s, uint32_t page) {
  uint64_t at = (uint64_t)(page - 1) * s->info.header.page_size;
  if (page == 0 || page > s->info.page_count || at == DB_LOCK_BYTE) return false;
  return at + s->info.header.page_size > s->info.file_size && wal_map_find(&s->map, page) == 0;
}

static uint64_t count_absent(const Snapshot *s) {
  uint64_t first = s->info.file_size / s->info.header.page_size + 1, count = 0;
  if (first > s->info.page_count) return 0;
  count = s->info.page_count - first + 1;
  count -= s->map.len - wal_map_lower(&s->map, (uint32_t)first);
  /* Pages behind the end of the database may still be in the log. */
  count += s->map.len - wal_map_lower(&s->map, (uint32_t)s->info.page_count + 1);
  uint64_t lock_page = DB_LOCK_BYTE / s->info.header.page_size + 1;
  if (lock_page >= first && lock_page <= s->info.page_count && !wal_map_find(&s->map, (uint32_t)lock_page)) count--;
  return count;
}

/* How many of the absent pages the list of free pages names. */
static Error *count_absent_free(Snapshot *s, uint64_t *out, Cancel *cancel) {
  const DbHeader *h = &s->info.header;
  uint32_t size = h->page_size, most = (size - h->reserved) / 4 - 2, page = h->freelist_trunk;
  uint8_t *trunk = mem_alloc(size);
  Error *err = NULL;
  *out = 0;
  for (uint32_t i = 0; !err && page >= 1 && page <= s->info.page_count && i < h->freelist_count; i++) {
    err = cancel_check(cancel);
    if (!err) err = snapshot_read(s, (uint64_t)(page - 1) * size, trunk, size, cancel);
    if (err) break;
    uint32_t leaves = load_be32(trunk + 4);
    if (leaves > most) break; /* the list itself is damaged */
    for (uint32_t leaf = 0; leaf < leaves; leaf++) *out += is_absent(s, load_be32(trunk + 8 + leaf * (size_t)4));
    page = load_be32(trunk);
  }
  free(trunk);
  return err;
}

/* A file shorter than its header says has lost pages. While a log waits to be copied into it, it may be shorter: by the
 * pages that the log holds, and by free pages, in which there is nothing. */
static Error *judge_size(Snapshot *s, Cancel *cancel) {
  SnapshotInfo *info = &s->info;
  if (info->file_size >= info->size) return NULL;
  if (info->overlaid) {
    uint64_t absent = count_absent(s), idle = 0;
    if (absent > 0) TRY(count_absent_free(s, &idle, cancel));
    if (absent <= idle) return NULL;
  }
  info->truncated = s->options.raw;
  if (s->options.raw) return NULL;
  return err_new(ERR_DAMAGED, "reading %s: the file has %llu bytes, but the database %llu pages of %u bytes",
                 dbfile_path(s->file), (unsigned long long)info->file_size, (unsigned long long)info->page_count,
                 info->header.page_size);
}

/* Nothing is known but that there are bytes. */
static void treat_as_raw(Snapshot *s) {
  wal_map_free(&s->map);
  s->info.header_valid = s->info.overlaid = false;
  s->info.wal_frames = 0;
  s->info.size = s->info.file_size;
}

static Error *open_live(Snapshot *s, bool *is_wal, Cancel *cancel) {
  TRY(live_open(dbfile_real_path(s->file), s->options.sys, s->options.lock_wait_ms, &s->live, &s->mark, cancel));
  *is_wal = s->mark.wal;
  if (!s->mark.wal) {
    live_close(STEAL(s->live));
    return NULL;
  }
  s->info.method = SNAPSHOT_LIVE;
  TRY(dbfile_size(s->file, &s->info.file_size));
  return s->mark.main_only ? NULL : wal_map_to_mark(s, cancel);
}

static Error *open_wal(Snapshot *s, bool *is_wal, Cancel *cancel) {
  bool quiet = is_quiet(s);
  *is_wal = true;
  sqlite3_snprintf((int)sizeof(s->info.journal_mode), s->info.journal_mode, "wal");
  if (quiet && s->info.st.st_nlink > 1 && dbfile_is_shared(s->file)) return used_elsewhere(s);
  if (!quiet || s->options.settle) {
    Error *err = open_live(s, is_wal, cancel);
    /* Where the log's files cannot be created, a database not in use can still be read. */
    if (!err || !quiet || err_is(err, ERR_CANCELLED)) return err;
    err_free(err);
    live_close(STEAL(s->live));
  }
  s->info.method = SNAPSHOT_QUIET;
  TRY(wal_map_all(s, cancel));
  return is_quiet(s) ? NULL : changed(s);
}

static Error *take_copy(Snapshot *s, bool recover, Cancel *cancel) {
  CopyOptions options = {.sys = s->options.sys, .dir = s->options.scratch_dir, .recover = recover};
  TRY(copy_database(s->file, &options, &s->copy_fd, &s->info.file_size, cancel));
  s->info.method = SNAPSHOT_COPY;
  s->info.recovered = recover;
  dbfile_unlock(s->file);
  return NULL;
}

/* The shared lock is held. */
static Error *open_journal(Snapshot *s, Cancel *cancel) {
  sqlite3_snprintf((int)sizeof(s->info.journal_mode), s->info.journal_mode, "rollback");
  TRY(dbfile_read(s->file, DB_VERSION_AT, s->version, sizeof(s->version)));
  if (!s->options.settle) {
    s->info.method = SNAPSHOT_JOURNAL;
    dbfile_unlock(s->file);
    return NULL;
  }
  Error *err = s->options.scratch_dir ? take_copy(s, false, cancel) : err_new(ERR_NO_SPACE, "no scratch directory");
  if (!err || err_is(err, ERR_CANCELLED)) return err;
  /* No room for a copy: rather keep writers waiting than fail. */
  err_free(err);
  s->info.method = SNAPSHOT_HELD;
  return NULL;
}

/* The shared lock is held, no journal is hot. */
static Error *open_state(Snapshot *s, Cancel *cancel) {
  uint64_t wal_size = 0;
  bool is_wal = false;
  bool has_wal = dbfile_has_companion(s->file, DB_WAL, &wal_size) && wal_size > 0;
  if (s->info.header_valid && (s->info.header.read_version == 2 || has_wal)) TRY(open_wal(s, &is_wal, cancel));
  return is_wal ? NULL : open_journal(s, cancel);
}

static Error *parse_head(Snapshot *s) {
  uint8_t head[DB_HEADER_SIZE];
  if (s->info.method == SNAPSHOT_COPY)
    TRY(read_copy(s, 0, head, sizeof(head)));
  else
    TRY(dbfile_read(s->file, 0, head, sizeof(head)));
  Error *err = db_header_parse(bytes(head, sizeof(head)), &s->info.header);
  s->info.header_valid = err == NULL;
  if (err && s->options.raw) {
    err_free(err);
    return NULL;
  }
  return err_wrap(err, "reading %s", dbfile_path(s->file));
}

/* A half-done transaction may have reached any page: no page is judged before its journal is. */
static Error *open_parts(Snapshot *s, Cancel *cancel) {
  bool hot;
  TRY(dbfile_is_hot(s->file, &hot));
  if (hot && !s->options.recover_copy) return refuse_hot(s);
  if (hot) TRY(take_copy(s, true, cancel));
  TRY(parse_head(s));
  return hot ? NULL : open_state(s, cancel);
}

static Error *open_file(Snapshot *s, const char *path, Cancel *cancel) {
  TRY(dbfile_open(path, false, &s->file));
  if (stat(dbfile_real_path(s->file), &s->info.st) != 0) return err_errno(errno, "opening %s", path);
  /* One file's content must not be stored with another's times. */
  if (dbfile_has_moved(s->file)) return changed(s);
  TRY(dbfile_lock(s->file, s->options.sys, SQLITE_LOCK_SHARED, s->options.lock_wait_ms, cancel));
  TRY(dbfile_size(s->file, &s->info.file_size));
  if (s->info.file_size == 0) {
    s->info.method = SNAPSHOT_EMPTY;
    return NULL;
  }
  TRY(open_parts(s, cancel));
  /* The log and its index are found by name: they could be another file's by now. */
  if (dbfile_has_moved(s->file)) return changed(s);
  Error *err = s->info.header_valid ? settle_size(s, cancel) : NULL;
  if (err_is(err, ERR_DAMAGED) && s->options.raw) {
    s->info.header_valid = false;
    err_free(err);
    err = NULL;
  }
  if (err) return err;
  if (s->info.header_valid) return judge_size(s, cancel);
  treat_as_raw(s);
  return NULL;
}

Error *snapshot_open(const char *path, const SnapshotOptions *options, Snapshot **out, Cancel *cancel) {
  Snapshot *s = NEW(Snapshot);
  s->options = *options;
  s->wal_fd = s->copy_fd = -1;
  Error *err = open_file(s, path, cancel);
  if (err) {
    snapshot_close(s);
    return err;
  }
  *out = s;
  return NULL;
}

void snapshot_close(Snapshot *take) {
  if (!take) return;
  live_close(take->live);
  dbfile_close(take->file);
  wal_map_free(&take->map);
  if (take->wal_fd >= 0) close(take->wal_fd);
  if (take->copy_fd >= 0) close(take->copy_fd);
  free(take);
}
