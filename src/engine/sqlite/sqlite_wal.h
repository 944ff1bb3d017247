/* sqlite_wal.h: a write-ahead log, parsed from its bytes alone (file format, section 4): header, frames, salts and the
 * running checksum. What comes out is a map: for every page, the last committed frame that holds it.
 *
 * Pure: no file, no SQLite, no lock. The caller feeds frames in order and stops at the first that is not the log's
 * next; frames after the last commit never enter the map. Memory is 8 bytes for each distinct page, not each frame.
 */
#ifndef HF_ENGINE_SQLITE_WAL_H
#define HF_ENGINE_SQLITE_WAL_H

#include "base/error.h"

enum { WAL_HEADER_SIZE = 32, WAL_FRAME_HEADER_SIZE = 24 };

typedef struct WalHeader {
  uint32_t page_size;
  bool big_endian; /* how the checksum reads its words */
  uint32_t checkpoints;
  uint8_t salt[8];
  uint32_t checksum[2];
} WalHeader;

/* `head` is the file's first 32 bytes. ERR_CORRUPT when this is no header SQLite would accept (then the log is empty:
 * SQLite ignores it); ERR_UNSUPPORTED for a newer version. */
Error *wal_header_parse(Bytes head, WalHeader *out) NODISCARD;

typedef struct WalPage {
  uint32_t page;  /* from 1 */
  uint32_t frame; /* from 1 */
} WalPage;

typedef struct WalMap {
  WalPage *pages; /* ascending, each page once */
  size_t len;
  uint32_t page_size;
  uint32_t frames;         /* up to and with the last commit; 0: nothing committed */
  uint32_t database_pages; /* after that commit */
  uint32_t checksum[2];    /* of that commit's frame */
} WalMap;

void wal_map_free(WalMap *map); /* leaves an empty one */
/* Index of the first entry whose page is >= page; map->len when there is none. */
size_t wal_map_lower(const WalMap *map, uint32_t page);
/* 0 when the page is not in the log. */
uint32_t wal_map_find(const WalMap *map, uint32_t page);
/* Where a frame's page begins in the file. */
static inline uint64_t wal_frame_page_at(uint32_t frame, uint32_t page_size) {
  return WAL_HEADER_SIZE + (uint64_t)(frame - 1) * (WAL_FRAME_HEADER_SIZE + page_size) + WAL_FRAME_HEADER_SIZE;
}

typedef struct WalScan {
  WalHeader header;
  uint32_t checksum[2];
  uint32_t seen;    /* frames accepted */
  size_t committed; /* of pages: the map at the last commit */
  size_t cap;
  WalMap map;
} WalScan;

void wal_scan_init(WalScan *scan, const WalHeader *header);
/* `frame` holds 24 + page_size bytes. False: not the log's next frame; the log ends before it. */
bool wal_scan_frame(WalScan *scan, const uint8_t *frame);
/* Moves the map out; the scan is over. */
void wal_scan_finish(WalScan *scan, WalMap *out);

/* The same for a whole log in memory, at most max_frames of it. A log that SQLite would ignore gives an empty map. */
Error *wal_parse(Bytes log, uint32_t max_frames, WalMap *out) NODISCARD;

/* The checksum of section 4.2 over len bytes (a multiple of 8), continued from sum. */
void wal_checksum(bool big_endian, const uint8_t *data, size_t len, uint32_t sum[2]);

#endif
