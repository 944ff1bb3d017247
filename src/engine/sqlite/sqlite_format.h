/* sqlite_format.h: the 100 bytes a database file begins with, read and judged without SQLite (file format, section
 * 1.3). Pure and thread-safe.
 */
#ifndef HF_ENGINE_SQLITE_FORMAT_H
#define HF_ENGINE_SQLITE_FORMAT_H

#include "base/error.h"

enum {
  DB_HEADER_SIZE = 100,
  DB_PAGE_MIN = 512,
  DB_PAGE_MAX = 65536,
  DB_VERSION_AT = 24, /* change counter, size, freelist: what changes with every commit of a rollback journal */
  DB_VERSION_LEN = 16,
};

/* The byte range that SQLite's locks live in; its page never holds content. */
#define DB_LOCK_BYTE UINT64_C(0x40000000)

typedef struct DbHeader {
  uint32_t page_size;                  /* 512 to 65536 */
  uint8_t write_version, read_version; /* 1: rollback journal, 2: WAL */
  uint8_t reserved;                    /* bytes at the end of each page */
  uint32_t change_counter;
  uint32_t page_count; /* of the database; trustworthy only with page_count_valid */
  bool page_count_valid;
  uint32_t freelist_trunk, freelist_count;
  uint32_t schema_cookie;
  uint32_t schema_format;
  uint32_t largest_root; /* not 0: auto_vacuum */
  uint32_t encoding;     /* 1 UTF-8, 2 UTF-16le, 3 UTF-16be; 0 before the first table */
  uint32_t user_version;
  uint32_t incremental_vacuum;
  uint32_t application_id;
  uint32_t writer_version; /* SQLITE_VERSION_NUMBER of who wrote last */
} DbHeader;

/* True when the bytes begin like a database ("SQLite format 3" and its NUL). */
bool db_header_magic(Bytes head);
/* `head` holds at least 100 bytes. ERR_DAMAGED says which field cannot be. */
Error *db_header_parse(Bytes head, DbHeader *out) NODISCARD;
const char *db_encoding_name(uint32_t encoding);
const char *db_auto_vacuum_name(const DbHeader *header); /* "none", "full", "incremental" */

static inline uint32_t load_be32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#endif
