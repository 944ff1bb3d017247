#include "engine/sqlite/sqlite_format.h"

static const char MAGIC[16] = "SQLite format 3";

bool db_header_magic(Bytes head) { return head.len >= sizeof(MAGIC) && memcmp(head.data, MAGIC, sizeof(MAGIC)) == 0; }

static Error *impossible(const char *field, uint32_t value) {
  return err_new(ERR_DAMAGED, "database header: %s is %u, which cannot be", field, value);
}

/* What no version of SQLite accepts. */
static Error *header_judge(const DbHeader *h, Bytes head) {
  uint32_t size = h->page_size;
  if (size < DB_PAGE_MIN || size > DB_PAGE_MAX || (size & (size - 1)) != 0) return impossible("page size", size);
  if (size - h->reserved < 480) return impossible("reserved space", h->reserved);
  if (head.data[21] != 64 || head.data[22] != 32 || head.data[23] != 32)
    return err_new(ERR_DAMAGED, "database header: payload fractions are %u, %u, %u instead of 64, 32, 32",
                   head.data[21], head.data[22], head.data[23]);
  if (h->read_version < 1 || h->read_version > 2)
    return h->read_version > 2 ? err_new(ERR_UNSUPPORTED, "database header: read version %u is newer than SQLite's two",
                                         h->read_version)
                               : impossible("read version", h->read_version);
  if (h->schema_format > 4) return impossible("schema format", h->schema_format);
  if (h->encoding > 3) return impossible("text encoding", h->encoding);
  if (h->page_count_valid && h->page_count > 0) {
    if (h->freelist_trunk > h->page_count) return impossible("first free page", h->freelist_trunk);
    if (h->freelist_count > h->page_count) return impossible("number of free pages", h->freelist_count);
  }
  return NULL;
}

Error *db_header_parse(Bytes head, DbHeader *out) {
  CHECK(head.len >= DB_HEADER_SIZE);
  const uint8_t *p = head.data;
  if (!db_header_magic(head)) return err_new(ERR_DAMAGED, "the file does not begin like a SQLite database");
  uint32_t size = (uint32_t)p[16] << 8 | p[17];
  DbHeader h = {
      .page_size = size == 1 ? DB_PAGE_MAX : size,
      .write_version = p[18],
      .read_version = p[19],
      .reserved = p[20],
      .change_counter = load_be32(p + 24),
      .page_count = load_be32(p + 28),
      .page_count_valid = load_be32(p + 24) == load_be32(p + 92),
      .freelist_trunk = load_be32(p + 32),
      .freelist_count = load_be32(p + 36),
      .schema_cookie = load_be32(p + 40),
      .schema_format = load_be32(p + 44),
      .largest_root = load_be32(p + 52),
      .encoding = load_be32(p + 56),
      .user_version = load_be32(p + 60),
      .incremental_vacuum = load_be32(p + 64),
      .application_id = load_be32(p + 68),
      .writer_version = load_be32(p + 96),
  };
  TRY(header_judge(&h, head));
  *out = h;
  return NULL;
}

const char *db_encoding_name(uint32_t encoding) {
  switch (encoding) {
    case 2: return "UTF-16le";
    case 3: return "UTF-16be";
    default: return "UTF-8";
  }
}

const char *db_auto_vacuum_name(const DbHeader *header) {
  if (header->largest_root == 0) return "none";
  return header->incremental_vacuum ? "incremental" : "full";
}
