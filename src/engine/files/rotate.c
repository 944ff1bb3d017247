#include "engine/files/rotate.h"

#include <errno.h>
#include <unistd.h>
#include <zlib.h>

#include "base/mem.h"

enum {
  GZIP_WINDOW = 15 + 16, /* zlib: gzip framing, with its CRC checked */
  GZIP_MIN = 18,         /* bytes of header and trailer */
  NAME_MAX_BYTES = 255,
  IN_BYTES = 64 * 1024,
  RECORD_VERSION = 1,
  LEVEL_BEST = 9,
  LEVEL_FAST = 1,
  LEVEL_USUAL = 6,
  XFL_BEST = 2,
  XFL_FAST = 4,
};

/* ---- the record ---- */

bool rotate_record_parse(Bytes value, RotateRecord *out) {
  Cursor c = cursor(value);
  bool known = cursor_u8(&c) == RECORD_VERSION;
  RotateRecord record = {.size = cursor_var(&c), .mtime = cursor_u32(&c)};
  record.level = cursor_u8(&c);
  record.os = cursor_u8(&c);
  record.name = cursor_bytes(&c, NAME_MAX_BYTES);
  Error *err = cursor_end(&c, "rotation record");
  bool good = known && !err && (record.name.len == 0 || !memchr(record.name.data, 0, record.name.len));
  err_free(err);
  if (good) *out = record;
  return good;
}

static void record_write(const RotateRecord *record, Buf *out) {
  buf_put_u8(out, RECORD_VERSION);
  buf_put_var(out, record->size);
  buf_put_u32(out, record->mtime);
  buf_put_u8(out, record->level);
  buf_put_u8(out, record->os);
  buf_put_bytes(out, record->name);
}

bool rotate_record_of(const Entry *entry, RotateRecord *out) {
  for (size_t i = 0; entry->type == ENTRY_FILE && i < entry->xattrs_len; i++) {
    if (bytes_equal(entry->xattrs[i].name, bytes_str(ROTATE_XATTR)))
      return rotate_record_parse(entry->xattrs[i].value, out);
  }
  return false;
}

/* ---- recognising ---- */

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* How many bytes of "app.log.3", "app.log-20261119" are the log's own name; all of them when it is not rotated. */
static size_t base_len(Bytes plain) {
  size_t at = plain.len;
  while (at > 0 && (is_digit(plain.data[at - 1]) || plain.data[at - 1] == '-')) at--;
  bool separated = at > 0 && at < plain.len && (plain.data[at - 1] == '.' || plain.data[at] == '-');
  if (!separated) return plain.len;
  return plain.data[at - 1] == '.' ? at - 1 : at;
}

/* The parent holds a file at `path` with these many bytes (modulo 2^32, which is all a gzip trailer tells), or fewer
 * when it was still growing then. */
static Error *parent_has(Reader *reader, Bytes path, uint32_t size, bool grows, bool *found) {
  Sink *sink = reader->shared->sink;
  ParentEntry parent;
  bool there = false;
  TRY(sink->ops->parent(sink, path, &parent, &there));
  if (!there || parent.entry.type != ENTRY_FILE || parent.entry.size == 0) return NULL;
  uint32_t held = (uint32_t)(parent.entry.size & UINT32_MAX);
  *found = held == size || (grows && held < size);
  return NULL;
}

/* Under any of the names that this file's content may have had when the parent was made. */
static Error *is_known(Reader *reader, Bytes plain, uint32_t size, bool *known) {
  TRY(parent_has(reader, plain, size, false, known));
  size_t base = base_len(plain);
  if (*known || base == plain.len) return NULL;
  TRY(parent_has(reader, bytes(plain.data, base), size, true, known));
  if (*known || plain.data[base] != '.') return NULL;
  uint64_t number = 0;
  for (size_t i = base + 1; i < plain.len && number < UINT32_MAX; i++) {
    if (!is_digit(plain.data[i])) return NULL;
    number = number * 10 + (uint64_t)(plain.data[i] - '0');
  }
  if (number < 2) return NULL;
  AUTO_BUF Buf before = {0};
  buf_printf(&before, "%.*s.%llu", (int)base, (const char *)plain.data, (unsigned long long)(number - 1));
  return parent_has(reader, buf_bytes(&before), size, false, known);
}

/* ---- storing what it holds ---- */

typedef struct Unpack {
  Reader *reader;
  const OpenFile *file;
  SinkStream *stream;
  z_stream z;
  gz_header header;
  uint8_t name[NAME_MAX_BYTES + 1];
  uint64_t in_at;   /* of the gzip file, how much was read */
  uint64_t out_len; /* of the content */
  bool good;        /* one whole member, its checksum right, nothing behind it */
  uint8_t *in;
} Unpack;

/* Fills one sink buffer. False: no more, or not what a rotation is. */
static bool inflate_into(Unpack *job, uint8_t *out, size_t cap, size_t *out_len) {
  job->z.next_out = out;
  job->z.avail_out = (uInt)cap;
  int rc = Z_OK;
  while (rc == Z_OK && job->z.avail_out > 0) {
    if (job->z.avail_in == 0) {
      ssize_t n = pread(job->file->fd, job->in, IN_BYTES, (off_t)job->in_at);
      if (n <= 0) break;
      job->in_at += (uint64_t)n;
      job->z.next_in = job->in;
      job->z.avail_in = (uInt)n;
    }
    rc = inflate(&job->z, Z_NO_FLUSH);
  }
  *out_len = cap - job->z.avail_out;
  job->out_len += *out_len;
  job->good = rc == Z_STREAM_END && job->z.avail_in == 0 && job->in_at == (uint64_t)job->file->st.st_size;
  return rc == Z_OK && job->z.avail_out == 0;
}

static Error *unpack_all(Unpack *job) {
  const ReadShared *shared = job->reader->shared;
  const SinkOps *ops = shared->sink->ops;
  bool more = true;
  while (more) {
    uint8_t *out;
    size_t cap, len;
    TRY(ops->buffer(job->stream, &out, &cap, shared->cancel));
    if (cap > UINT32_MAX) cap = UINT32_MAX;
    more = inflate_into(job, out, cap, &len);
    if (len > 0 && (more || job->good)) TRY(ops->write(job->stream, len));
  }
  return NULL;
}

static Error *finish_stream(Unpack *job, const ReadItem *item, Entry *entry, bool *handled) {
  ReadShared *shared = job->reader->shared;
  struct stat after;
  if (!job->good || job->out_len == 0 || fstat(job->file->fd, &after) != 0 || !read_stat_equal(&job->file->st, &after))
    return NULL;
  RotateRecord record = {.size = (uint64_t)job->file->st.st_size,
                         .mtime = (uint32_t)job->header.time,
                         .level = (uint8_t)job->header.xflags,
                         .os = (uint8_t)job->header.os,
                         .name = bytes(job->name, strnlen((const char *)job->name, NAME_MAX_BYTES))};
  AUTO_BUF Buf text = {0};
  record_write(&record, &text);
  attr_add_xattr(job->reader->attrs, entry, (Xattr){.name = bytes_str(ROTATE_XATTR), .value = buf_bytes(&text)});
  entry->size = job->out_len;
  TRY(shared->sink->ops->end(STEAL(job->stream), entry));
  read_count(&shared->counts.files, 1);
  read_count(&shared->counts.bytes, job->out_len);
  read_count(&shared->counts.read_bytes, (uint64_t)job->file->st.st_size);
  read_count(&shared->counts.unpacked, 1);
  read_notice(shared, NOTICE_INFO, item->path, "a compressed rotation of a known log: stored as what it holds");
  *handled = true;
  return NULL;
}

static Error *store_unpacked(Reader *reader, const ReadItem *item, const OpenFile *file, bool *handled) {
  ReadShared *shared = reader->shared;
  Unpack job = {.reader = reader, .file = file};
  job.header = (gz_header){.name = job.name, .name_max = NAME_MAX_BYTES};
  if (inflateInit2(&job.z, GZIP_WINDOW) != Z_OK) return NULL;
  AUTO_FREE uint8_t *in = (uint8_t *)mem_alloc(IN_BYTES);
  job.in = in;
  inflateGetHeader(&job.z, &job.header);
  Entry entry = reader_entry(reader, item, file);
  entry.path.len -= 3;
  entry.size = UINT64_MAX;
  Error *err = shared->sink->ops->begin(shared->sink, &entry, STREAM_BYTES, &job.stream, shared->cancel);
  if (!err) err = unpack_all(&job);
  if (!err) err = finish_stream(&job, item, &entry, handled);
  if (job.stream) shared->sink->ops->abort(job.stream);
  inflateEnd(&job.z);
  return err;
}

static Error *keep_unpacked(Reader *reader, const ReadItem *item, Bytes plain, bool *handled) {
  ReadShared *shared = reader->shared;
  ParentEntry parent;
  bool found = false;
  RotateRecord record;
  TRY(shared->sink->ops->parent(shared->sink, plain, &parent, &found));
  if (!found || !rotate_record_of(&parent.entry, &record) || !read_unchanged(&parent, item, record.size)) return NULL;
  *handled = true;
  return reader_keep(reader, item, plain, &parent);
}

Error *rotate_store(Reader *reader, const ReadItem *item, bool *handled) {
  size_t len = strlen(item->name);
  if (item->named || item->twin || len < 4 || strcmp(item->name + len - 3, ".gz") != 0) return NULL;
  if (item->st->st_size < GZIP_MIN) return NULL;
  Bytes plain = bytes(item->path.data, item->path.len - 3);
  if (reader->shared->plan->mode != BACKUP_FULL) TRY(keep_unpacked(reader, item, plain, handled));
  if (*handled) return NULL;
  OpenFile file;
  if (!reader_open(reader, item, &file)) {
    *handled = true; /* reported */
    return NULL;
  }
  uint8_t tail[4];
  bool known = false;
  Error *err = NULL;
  if (pread(file.fd, tail, sizeof tail, (off_t)(file.st.st_size - 4)) == (ssize_t)sizeof tail)
    err = is_known(reader, plain, load_u32(tail), &known);
  if (!err && known) err = store_unpacked(reader, item, &file, handled);
  reader_close(item, &file);
  return err;
}

/* ---- making the gzip file again ---- */

static int level_of(const RotateRecord *record) {
  return record->level == XFL_BEST ? LEVEL_BEST : record->level == XFL_FAST ? LEVEL_FAST : LEVEL_USUAL;
}

static Error *write_out(z_stream *z, int fd, const uint8_t *out, size_t cap) {
  size_t len = cap - z->avail_out;
  while (len > 0) {
    ssize_t n = write(fd, out, len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return err_errno(errno, "writing");
    out += n;
    len -= (size_t)n;
  }
  return NULL;
}

static Error *deflate_all(z_stream *z, int from_fd, int to_fd, uint8_t *in, uint8_t *out) {
  uint64_t at = 0;
  int flush = Z_NO_FLUSH;
  while (flush != Z_FINISH) {
    ssize_t n = pread(from_fd, in, IN_BYTES, (off_t)at);
    if (n < 0) return err_errno(errno, "reading back");
    at += (uint64_t)n;
    flush = n == 0 ? Z_FINISH : Z_NO_FLUSH;
    z->next_in = in;
    z->avail_in = (uInt)n;
    do {
      z->next_out = out;
      z->avail_out = IN_BYTES;
      if (deflate(z, flush) == Z_STREAM_ERROR) return err_new(ERR_INTERNAL, "compressing: zlib failed");
      TRY(write_out(z, to_fd, out, IN_BYTES));
    } while (z->avail_out == 0);
  }
  return NULL;
}

Error *rotate_pack(int from_fd, int to_fd, const RotateRecord *record, const char *name) {
  uint8_t header_name[NAME_MAX_BYTES + 1] = {0};
  if (record->name.len) memcpy(header_name, record->name.data, record->name.len);
  z_stream z = {0};
  if (deflateInit2(&z, level_of(record), Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return err_new(ERR_INTERNAL, "compressing %s: zlib failed", name);
  gz_header header = {.time = record->mtime, .os = record->os, .name = record->name.len ? header_name : NULL};
  deflateSetHeader(&z, &header);
  AUTO_FREE uint8_t *in = (uint8_t *)mem_alloc(IN_BYTES);
  AUTO_FREE uint8_t *out = (uint8_t *)mem_alloc(IN_BYTES);
  Error *err = deflate_all(&z, from_fd, to_fd, in, out);
  deflateEnd(&z);
  return err_wrap(err, "compressing %s", name);
}

bool rotate_content_sum(int fd, uint32_t *out_crc, uint64_t *out_len) {
  int own = dup(fd);
  if (own < 0 || lseek(own, 0, SEEK_SET) != 0) {
    if (own >= 0) close(own);
    return false;
  }
  gzFile file = gzdopen(own, "rb");
  if (!file) {
    close(own);
    return false;
  }
  AUTO_FREE uint8_t *buffer = (uint8_t *)mem_alloc(IN_BYTES);
  uLong crc = crc32(0, NULL, 0);
  uint64_t len = 0;
  int n;
  while ((n = gzread(file, buffer, IN_BYTES)) > 0) {
    crc = crc32(crc, buffer, (uInt)n);
    len += (uint64_t)n;
  }
  bool good = gzclose_r(file) == Z_OK && n == 0;
  *out_crc = (uint32_t)crc;
  *out_len = len;
  return good;
}
