#include "engine/files/read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "engine/files/rotate.h"
#include "sys/lockguard.h"

enum {
  SQLITE_PAGE_MIN = 512,
  TRUST_AGE_SECONDS = 2, /* how much older than the read a change time must be, for ticks and clocks that are coarse */
  ATTEMPTS = 2,
  NOTICES_MAX = 500,            /* of one level */
  READ_AHEAD_MIN = 1024 * 1024, /* smaller files are read by one or two calls anyway */
  SPARSE_MIN = 2 * READ_ALIGN,  /* smaller files are read whole */
};

static void give_notice(const ReadShared *shared, NoticeLevel level, Bytes path, const char *message) {
  Notices *notices = shared->sink->notices;
  if (notices) notices->report(notices, level, path, message);
}

void read_notice(ReadShared *shared, NoticeLevel level, Bytes path, const char *fmt, ...) {
  if (atomic_fetch_add(&shared->notices[level], 1) >= NOTICES_MAX) return;
  char message[512];
  va_list args;
  va_start(args, fmt);
  vsnprintf(message, sizeof message, fmt, args);
  va_end(args);
  give_notice(shared, level, path, message);
}

void read_notices_finish(ReadShared *shared) {
  for (int level = NOTICE_INFO; level <= NOTICE_PARTIAL; level++) {
    uint64_t given = atomic_load(&shared->notices[level]);
    if (given <= NOTICES_MAX) continue;
    AUTO_FREE char *text = mem_printf("%llu more notice%s like these", (unsigned long long)(given - NOTICES_MAX),
                                      given - NOTICES_MAX == 1 ? "" : "s");
    give_notice(shared, (NoticeLevel)level, bytes(NULL, 0), text);
  }
}

static void leave_out(Reader *reader, const ReadItem *item, const char *doing, int errno_value) {
  ReadShared *shared = reader->shared;
  char reason[128];
  if (errno_value == ENOENT) {
    read_count(&shared->counts.vanished, 1);
    read_notice(shared, item->named ? NOTICE_PARTIAL : NOTICE_INFO, item->path, "vanished before it was read");
    return;
  }
  read_count(&shared->counts.left_out, 1);
  read_notice(shared, NOTICE_PARTIAL, item->path, "left out: %s: %s", doing,
              strerror_r(errno_value, reason, sizeof reason));
}

/* ---- unchanged since the parent ---- */

bool read_unchanged(const ParentEntry *parent, const ReadItem *item, uint64_t parent_size) {
  const Entry *then = &parent->entry;
  const struct stat *now = item->st;
  int64_t ctime = attr_time(now->st_ctim);
  if (then->type != ENTRY_FILE || then->ctime_ns != ctime || then->mtime_ns != attr_time(now->st_mtim)) return false;
  if (parent_size != (uint64_t)now->st_size || then->inode != now->st_ino || then->device != item->device) return false;
  /* A change in the same tick as the read, after it, would leave every attribute as it is. */
  return ctime >= 0 && parent->read_ns > TRUST_AGE_SECONDS * NS_PER_SECOND &&
         (uint64_t)ctime < parent->read_ns - TRUST_AGE_SECONDS * NS_PER_SECOND;
}

Error *reader_keep(Reader *reader, const ReadItem *item, Bytes path, const ParentEntry *parent) {
  ReadShared *shared = reader->shared;
  Entry entry = attr_entry(reader->attrs, path, item->st);
  entry.device = item->device;
  entry.size = parent->entry.size;
  /* The change time covers the extended attributes too. */
  entry.xattrs = parent->entry.xattrs;
  entry.xattrs_len = parent->entry.xattrs_len;
  TRY(shared->sink->ops->keep(shared->sink, &entry));
  read_count(&shared->counts.files, 1);
  read_count(&shared->counts.unchanged_files, 1);
  read_count(&shared->counts.bytes, entry.size);
  return NULL;
}

static Error *keep_if_unchanged(Reader *reader, const ReadItem *item, bool *kept) {
  ReadShared *shared = reader->shared;
  if (shared->plan->mode == BACKUP_FULL) return NULL;
  ParentEntry parent;
  bool found = false;
  TRY(shared->sink->ops->parent(shared->sink, item->path, &parent, &found));
  RotateRecord record;
  if (!found || !read_unchanged(&parent, item, parent.entry.size)) return NULL;
  if (rotate_record_of(&parent.entry, &record)) return NULL; /* content of another file, unpacked */
  *kept = true;
  return reader_keep(reader, item, item->path, &parent);
}

/* ---- opening ---- */

static int open_for_reading(const ReadItem *item) {
  enum { FLAGS = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };
  int fd = openat(item->dir->fd, item->name, FLAGS | O_NOATIME);
  return fd < 0 && errno == EPERM ? openat(item->dir->fd, item->name, FLAGS) : fd;
}

/* Opening and closing it would drop the locks that this very process has on it. */
static void leave_out_locked(Reader *reader, const ReadItem *item, LockGuard why) {
  ReadShared *shared = reader->shared;
  read_count(&shared->counts.left_out, 1);
  if (why == LOCKGUARD_OWN)
    read_notice(shared, NOTICE_INFO, item->path, "left out: holdfast's own database, in use");
  else
    read_notice(shared, NOTICE_PARTIAL, item->path,
                "left out: it is being backed up as a database at this moment, and is in that snapshot");
}

bool reader_open(Reader *reader, const ReadItem *item, OpenFile *out) {
  LockGuard why = lockguard_enter(item->st);
  if (why != LOCKGUARD_FREE) {
    leave_out_locked(reader, item, why);
    return false;
  }
  int fd = open_for_reading(item);
  out->fd = fd;
  if (fd >= 0 && fstat(fd, &out->st) == 0 && S_ISREG(out->st.st_mode)) return true;
  if (fd < 0)
    leave_out(reader, item, "opening it", errno);
  else
    leave_out(reader, item, "it became something else than a file", EINVAL);
  reader_close(item, out);
  return false;
}

void reader_close(const ReadItem *item, const OpenFile *file) {
  if (file->fd >= 0) close(file->fd);
  lockguard_leave(item->st);
}

static uint64_t device_of(const ReadItem *item, const struct stat *st) {
  return st->st_dev == item->st->st_dev ? item->device : st->st_dev;
}

static void note_xattrs(Reader *reader, const ReadItem *item, int rc) {
  char reason[128];
  if (rc == 0) return;
  read_notice(reader->shared, NOTICE_PARTIAL, item->path, "not all of its extended attributes could be read: %s",
              strerror_r(rc, reason, sizeof reason));
}

Entry reader_entry(Reader *reader, const ReadItem *item, const OpenFile *file) {
  Entry entry = attr_entry(reader->attrs, item->path, &file->st);
  entry.device = device_of(item, &file->st);
  note_xattrs(reader, item, attr_read_xattrs_fd(reader->attrs, file->fd, &entry));
  return entry;
}

/* ---- content ---- */

/* As many bytes as there are, up to len. -1 with errno set. */
static ssize_t read_full(int fd, uint8_t *out, size_t len, uint64_t offset) {
  size_t got = 0;
  while (got < len) {
    ssize_t n = pread(fd, out + got, len - got, (off_t)(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    got += (size_t)n;
  }
  return (ssize_t)got;
}

static bool is_sqlite(const OpenFile *file) {
  static const char magic[16] = "SQLite format 3";
  char start[sizeof magic];
  if (file->st.st_size < SQLITE_PAGE_MIN || file->st.st_size % SQLITE_PAGE_MIN != 0) return false;
  return pread(file->fd, start, sizeof start, 0) == (ssize_t)sizeof start && memcmp(start, magic, sizeof magic) == 0;
}

static StreamKind stream_kind(Reader *reader, const ReadItem *item, const OpenFile *file) {
  if (!is_sqlite(file)) return STREAM_BYTES;
  if (!atomic_exchange(&reader->shared->sqlite_hinted, true)) {
    read_notice(reader->shared, NOTICE_WARNING, item->path,
                "a SQLite database, copied like any file: if it is written to meanwhile, the copy may not be "
                "consistent; back up live databases as a source of type sqlite");
  }
  return STREAM_PAGES;
}

typedef struct Copy { /* one reading of one file */
  Reader *reader;
  const OpenFile *file;
  SinkStream *stream;
  uint64_t size; /* where to stop */
  bool sparse;
  uint64_t done;
  uint64_t read; /* of them not holes */
  int failed;    /* errno of a read */
} Copy;

/* The bytes of [from, size) before the next hole worth skipping, and that hole's length, both in whole frames. */
static void next_extent(const Copy *copy, uint64_t *data_len, uint64_t *hole_len) {
  *data_len = copy->size - copy->done;
  *hole_len = 0;
  if (!copy->sparse) return;
  uint64_t at = copy->done;
  while (at < copy->size) {
    off_t hole = lseek(copy->file->fd, (off_t)at, SEEK_HOLE);
    if (hole < 0 || (uint64_t)hole >= copy->size) return;
    off_t data = lseek(copy->file->fd, hole, SEEK_DATA);
    uint64_t end = data < 0 || (uint64_t)data > copy->size ? copy->size : (uint64_t)data;
    if (data < 0 && errno != ENXIO) return;
    uint64_t from = ((uint64_t)hole + READ_ALIGN - 1) / READ_ALIGN * READ_ALIGN;
    uint64_t to = end == copy->size ? end : end / READ_ALIGN * READ_ALIGN;
    if (from < to) {
      *data_len = from - copy->done;
      *hole_len = to - from;
      return;
    }
    at = end;
  }
}

static Error *copy_data(Copy *copy, uint64_t len, bool *ended) {
  const ReadShared *shared = copy->reader->shared;
  const SinkOps *ops = shared->sink->ops;
  while (len > 0) {
    uint8_t *into;
    size_t cap;
    TRY(ops->buffer(copy->stream, &into, &cap, shared->cancel));
    size_t want = len < cap ? (size_t)len : cap;
    ssize_t n = read_full(copy->file->fd, into, want, copy->done);
    if (n < 0) copy->failed = errno;
    *ended = n < 0 || (size_t)n < want;
    if (n > 0) {
      TRY(ops->write(copy->stream, (size_t)n));
      copy->done += (uint64_t)n;
      copy->read += (uint64_t)n;
    }
    if (*ended) return NULL;
    len -= want;
  }
  return NULL;
}

static Error *copy_content(Copy *copy) {
  const ReadShared *shared = copy->reader->shared;
  bool ended = false;
  while (copy->done < copy->size && !ended) {
    TRY(cancel_check(shared->cancel));
    uint64_t data_len, hole_len;
    next_extent(copy, &data_len, &hole_len);
    TRY(copy_data(copy, data_len, &ended));
    if (ended || hole_len == 0) continue;
    TRY(shared->sink->ops->hole(copy->stream, hole_len));
    copy->done += hole_len;
  }
  return NULL;
}

bool read_stat_equal(const struct stat *a, const struct stat *b) {
  return a->st_size == b->st_size && attr_time(a->st_mtim) == attr_time(b->st_mtim) &&
         attr_time(a->st_ctim) == attr_time(b->st_ctim);
}

typedef enum Verdict { READ_GOOD, READ_AGAIN, READ_TORN, READ_FAILED } Verdict;

/* Decides what a finished reading is worth; `entry` becomes what is recorded. */
static Verdict judge(const Copy *copy, const ReadItem *item, bool last, Entry *entry) {
  const OpenFile *file = copy->file;
  struct stat after;
  if (copy->failed || fstat(file->fd, &after) != 0) return READ_FAILED;
  entry->size = copy->done;
  if (read_stat_equal(&file->st, &after) && copy->done == copy->size) return READ_GOOD;
  /* A log that only grew is complete as of its size at the start: its earlier attributes go with that. */
  bool grew = after.st_size > file->st.st_size && copy->done == copy->size;
  if (copy->reader->shared->logs && grew) return READ_GOOD;
  if (!last) return READ_AGAIN;
  Entry now = attr_entry(copy->reader->attrs, entry->path, &after);
  now.size = copy->done;
  now.device = device_of(item, &after);
  now.xattrs = entry->xattrs;
  now.xattrs_len = entry->xattrs_len;
  *entry = now;
  return READ_TORN;
}

static Error *store_copy(Copy *copy, const ReadItem *item, Verdict verdict, const Entry *entry) {
  ReadShared *shared = copy->reader->shared;
  TRY(shared->sink->ops->end(STEAL(copy->stream), entry));
  read_count(&shared->counts.files, 1);
  read_count(&shared->counts.bytes, copy->done);
  if (verdict == READ_TORN) {
    read_count(&shared->counts.changed, 1);
    read_notice(shared, NOTICE_PARTIAL, item->path, "changed while it was read, twice: what was read is stored");
  }
  return NULL;
}

static Error *read_once(Reader *reader, const ReadItem *item, OpenFile *file, bool last, Verdict *verdict) {
  ReadShared *shared = reader->shared;
  const SinkOps *ops = shared->sink->ops;
  Entry entry = reader_entry(reader, item, file);
  uint64_t size = (uint64_t)file->st.st_size;
  Copy copy = {.reader = reader,
               .file = file,
               .size = size,
               .sparse = size >= SPARSE_MIN && (uint64_t)file->st.st_blocks * 512 < size};
  TRY(ops->begin(shared->sink, &entry, stream_kind(reader, item, file), &copy.stream, shared->cancel));
  if (size >= READ_AHEAD_MIN) (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  Error *err = copy_content(&copy);
  read_count(&shared->counts.read_bytes, copy.read);
  if (!err) {
    *verdict = judge(&copy, item, last, &entry);
    if (*verdict == READ_GOOD || *verdict == READ_TORN) err = store_copy(&copy, item, *verdict, &entry);
  }
  if (copy.stream) ops->abort(copy.stream);
  if (!err && *verdict == READ_FAILED) leave_out(reader, item, "reading it", copy.failed ? copy.failed : EIO);
  return err;
}

static Error *add_empty(Reader *reader, const ReadItem *item, const OpenFile *file) {
  ReadShared *shared = reader->shared;
  Entry entry = attr_entry(reader->attrs, item->path, file ? &file->st : item->st);
  entry.device = item->device;
  int rc = file ? attr_read_xattrs_fd(reader->attrs, file->fd, &entry)
                : attr_read_xattrs_at(reader->attrs, item->dir, item->name, &entry);
  note_xattrs(reader, item, rc);
  TRY(shared->sink->ops->add(shared->sink, &entry));
  read_count(&shared->counts.files, 1);
  return NULL;
}

static Error *read_file(Reader *reader, const ReadItem *item, OpenFile *file, bool *stored) {
  Verdict verdict = READ_AGAIN;
  for (int i = 0; i < ATTEMPTS && verdict == READ_AGAIN; i++) {
    if (i > 0 && fstat(file->fd, &file->st) != 0) break;
    if (file->st.st_size == 0) {
      TRY(add_empty(reader, item, file));
      verdict = READ_GOOD;
    } else {
      TRY(read_once(reader, item, file, i == ATTEMPTS - 1, &verdict));
    }
  }
  *stored = verdict == READ_GOOD || verdict == READ_TORN;
  return NULL;
}

Error *reader_store(Reader *reader, const ReadItem *item, bool *stored) {
  *stored = false;
  if (item->st->st_size == 0) {
    *stored = true;
    return add_empty(reader, item, NULL);
  }
  TRY(keep_if_unchanged(reader, item, stored));
  if (*stored) return NULL;
  if (reader->shared->logs) {
    bool handled = false;
    TRY(rotate_store(reader, item, &handled));
    if (handled) return NULL;
  }
  OpenFile file;
  if (!reader_open(reader, item, &file)) return NULL;
  Error *err = read_file(reader, item, &file, stored);
  reader_close(item, &file);
  return err;
}
