#include "ops/tar.h"

#include <stdio.h>
#include <sys/sysmacros.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/timefmt.h"

enum { BLOCK = 512, RECORD = 20 * BLOCK, NAME_MAX_LEN = 100, OWNER_MAX_LEN = 31 };

/* POSIX.1-2017, pax, "ustar Interchange Format". Numbers are octal text. */
typedef struct TarHeader {
  char name[100];
  char mode[8];
  char uid[8];
  char gid[8];
  char size[12];
  char mtime[12];
  char checksum[8];
  char type;
  char target[100];
  char magic[8]; /* "ustar", NUL, "00" */
  char user[32];
  char group[32];
  char major[8];
  char minor[8];
  char prefix[155];
  char unused[12];
} TarHeader;
_Static_assert(sizeof(TarHeader) == BLOCK, "one block");

struct TarWriter {
  TarWrite *write;
  void *ctx;
  uint64_t written;
  uint64_t left;    /* bytes of the entry's content to come */
  uint64_t padding; /* after them */
};

TarWriter *tar_new(TarWrite *write, void *ctx) {
  TarWriter *tar = NEW(TarWriter);
  tar->write = write;
  tar->ctx = ctx;
  return tar;
}

void tar_free(TarWriter *take) { free(take); }

static Error *put(TarWriter *tar, const void *data, size_t len) {
  if (len == 0) return NULL;
  tar->written += len;
  return tar->write(tar->ctx, bytes(data, len));
}

static Error *put_zeros(TarWriter *tar, uint64_t len) {
  static const uint8_t zeros[RECORD];
  CHECK(len <= sizeof zeros);
  return put(tar, zeros, (size_t)len);
}

static uint64_t padding_of(uint64_t len) { return (BLOCK - len % BLOCK) % BLOCK; }

/* ---- headers -------------------------------------------------------------------------------------------------------
 */

/* Octal with leading zeros and a NUL; false when it does not fit. */
static bool set_octal(char *field, size_t width, uint64_t value) {
  bool fits = true;
  field[width - 1] = '\0';
  for (size_t i = width - 1; i-- > 0; value >>= 3) field[i] = (char)('0' + (value & 7));
  if (value != 0) {
    memset(field, '0', width - 1);
    fits = false;
  }
  return fits;
}

/* "LENGTH key=value\n", where LENGTH counts itself. */
static void add_record(Buf *pax, const char *key, Bytes value) {
  size_t rest = strlen(key) + value.len + 3; /* blank, '=', line end */
  size_t digits = 1, total = rest + digits;
  for (size_t n = total; n >= 10; n /= 10) digits++;
  total = rest + digits;
  char text[24];
  int len = snprintf(text, sizeof text, "%zu", total);
  if ((size_t)len != digits) total += 1; /* the length's own digits carried over */
  buf_printf(pax, "%zu %s=", total, key);
  buf_add(pax, value.data, value.len);
  buf_add_str(pax, "\n");
}

/* A value in the header, and in a pax record when the field is too narrow for it. */
static void set_number(char *field, size_t width, uint64_t value, const char *key, Buf *pax) {
  if (set_octal(field, width, value)) return;
  char text[24];
  int len = snprintf(text, sizeof text, "%llu", (unsigned long long)value);
  add_record(pax, key, bytes(text, (size_t)len));
}

/* Records are UTF-8. What is not (or has control characters) is taken as it is from the header where it fits there. */
static bool wants_record(Bytes text) {
  bool plain = true;
  for (size_t i = 0; i < text.len && plain; i++) plain = text.data[i] >= 0x20 && text.data[i] < 0x7f;
  if (plain) return false;
  AUTO_FREE char *shown = str_printable(text);
  return bytes_equal(text, bytes_str(shown));
}

/* ASCII that fits stands in the header alone; what is longer is cut there, and whole in the record. */
static void set_text(char *field, size_t width, Bytes text, const char *key, Buf *pax) {
  size_t len = text.len < width ? text.len : width;
  if (len) memcpy(field, text.data, len);
  if (text.len > width || wants_record(text)) add_record(pax, key, text);
}

/* Seconds with nine digits behind the point, also before 1970: -0.5 s is "-0.500000000". */
static void set_time(char field[12], int64_t ns, Buf *pax) {
  uint64_t magnitude = ns < 0 ? ~(uint64_t)ns + 1 : (uint64_t)ns;
  uint64_t seconds = magnitude / NS_PER_SECOND, fraction = magnitude % NS_PER_SECOND;
  bool fits = set_octal(field, 12, ns < 0 ? 0 : seconds);
  if (fits && ns >= 0 && fraction == 0) return;
  char text[48];
  int len = fraction ? snprintf(text, sizeof text, "%s%llu.%09llu", ns < 0 ? "-" : "", (unsigned long long)seconds,
                                (unsigned long long)fraction)
                     : snprintf(text, sizeof text, "%s%llu", ns < 0 ? "-" : "", (unsigned long long)seconds);
  add_record(pax, "mtime", bytes(text, (size_t)len));
}

static Error *put_header(TarWriter *tar, TarHeader *header) {
  memcpy(header->magic,
         "ustar\0"
         "00",
         8);
  memset(header->checksum, ' ', sizeof header->checksum);
  unsigned sum = 0;
  const uint8_t *bytes_of = (const uint8_t *)header;
  for (size_t i = 0; i < BLOCK; i++) sum += bytes_of[i];
  (void)snprintf(header->checksum, sizeof header->checksum, "%06o", sum & 0777777U); /* then the blank stays */
  return put(tar, header, BLOCK);
}

static Error *put_pax(TarWriter *tar, const Buf *pax) {
  if (pax->len == 0) return NULL;
  TarHeader header = {.type = 'x'};
  memcpy(header.name, "././@PaxHeader", sizeof "././@PaxHeader");
  (void)set_octal(header.mode, sizeof header.mode, 0644);
  (void)set_octal(header.uid, sizeof header.uid, 0);
  (void)set_octal(header.gid, sizeof header.gid, 0);
  (void)set_octal(header.mtime, sizeof header.mtime, 0);
  if (!set_octal(header.size, sizeof header.size, pax->len)) return err_new(ERR_LIMIT, "attributes too large for tar");
  TRY(put_header(tar, &header));
  TRY(put(tar, pax->data, pax->len));
  return put_zeros(tar, padding_of(pax->len));
}

static char type_flag(EntryType type) {
  switch (type) {
    case ENTRY_FILE: return '0';
    case ENTRY_HARDLINK: return '1';
    case ENTRY_SYMLINK: return '2';
    case ENTRY_CHAR: return '3';
    case ENTRY_BLOCK: return '4';
    case ENTRY_DIR: return '5';
    case ENTRY_FIFO: return '6';
    case ENTRY_SOCKET: break;
  }
  return 0;
}

/* Keys hold any bytes but '=' and NUL; such a name cannot be written and is left out. */
static void add_xattrs(const Entry *entry, Buf *pax) {
  for (size_t i = 0; i < entry->xattrs_len; i++) {
    const Xattr *x = &entry->xattrs[i];
    if (memchr(x->name.data, '=', x->name.len) || memchr(x->name.data, 0, x->name.len)) continue;
    AUTO_FREE char *key = mem_printf("SCHILY.xattr.%.*s", (int)x->name.len, (const char *)x->name.data);
    add_record(pax, key, x->value);
  }
}

static void fill_header(const Entry *entry, TarHeader *h, Buf *pax) {
  AUTO_BUF Buf path = {0};
  if (entry->path.len)
    buf_add(&path, entry->path.data, entry->path.len);
  else
    buf_add_str(&path, ".");
  if (entry->type == ENTRY_DIR) buf_add_str(&path, "/");
  set_text(h->name, sizeof h->name, buf_bytes(&path), "path", pax);
  (void)set_octal(h->mode, sizeof h->mode, entry->mode & 07777U);
  set_number(h->uid, sizeof h->uid, entry->uid, "uid", pax);
  set_number(h->gid, sizeof h->gid, entry->gid, "gid", pax);
  set_number(h->size, sizeof h->size, entry->type == ENTRY_FILE ? entry->size : 0, "size", pax);
  set_time(h->mtime, entry->mtime_ns, pax);
  set_text(h->user, OWNER_MAX_LEN, entry->user, "uname", pax);
  set_text(h->group, OWNER_MAX_LEN, entry->group, "gname", pax);
  if (entry->type == ENTRY_SYMLINK || entry->type == ENTRY_HARDLINK)
    set_text(h->target, NAME_MAX_LEN, entry->target, "linkpath", pax);
  if (entry->type == ENTRY_CHAR || entry->type == ENTRY_BLOCK) {
    (void)set_octal(h->major, sizeof h->major, major(entry->rdev));
    (void)set_octal(h->minor, sizeof h->minor, minor(entry->rdev));
  }
  add_xattrs(entry, pax);
}

/* ---- entries -------------------------------------------------------------------------------------------------------
 */

Error *tar_begin(TarWriter *tar, const Entry *entry) {
  TarHeader header = {.type = type_flag(entry->type)};
  if (header.type == 0) return err_new(ERR_UNSUPPORTED, "a tar archive cannot hold a socket");
  AUTO_BUF Buf pax = {0};
  fill_header(entry, &header, &pax);
  tar->left = entry->type == ENTRY_FILE ? entry->size : 0;
  tar->padding = padding_of(tar->left);
  TRY(put_pax(tar, &pax));
  return put_header(tar, &header);
}

Error *tar_data(TarWriter *tar, Bytes part) {
  if (part.len > tar->left) return err_new(ERR_CORRUPT, "more content than the entry's size says");
  tar->left -= part.len;
  return put(tar, part.data, part.len);
}

Error *tar_end(TarWriter *tar) {
  if (tar->left)
    return err_new(ERR_CORRUPT, "%llu bytes of the entry's content are missing", (unsigned long long)tar->left);
  return put_zeros(tar, tar->padding);
}

Error *tar_finish(TarWriter *tar) {
  TRY(put_zeros(tar, (uint64_t)2 * BLOCK));
  return put_zeros(tar, (RECORD - tar->written % RECORD) % RECORD);
}
