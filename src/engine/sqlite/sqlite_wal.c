#include "engine/sqlite/sqlite_wal.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "engine/sqlite/sqlite_format.h"

enum { WAL_MAGIC = 0x377f0682, WAL_VERSION = 3007000 };

static void checksum_little(const uint8_t *data, size_t len, uint32_t sum[2]) {
  uint32_t a = sum[0], b = sum[1];
  for (size_t i = 0; i < len; i += 8) {
    a += load_u32(data + i) + b;
    b += load_u32(data + i + 4) + a;
  }
  sum[0] = a;
  sum[1] = b;
}

static void checksum_big(const uint8_t *data, size_t len, uint32_t sum[2]) {
  uint32_t a = sum[0], b = sum[1];
  for (size_t i = 0; i < len; i += 8) {
    a += __builtin_bswap32(load_u32(data + i)) + b;
    b += __builtin_bswap32(load_u32(data + i + 4)) + a;
  }
  sum[0] = a;
  sum[1] = b;
}

void wal_checksum(bool big_endian, const uint8_t *data, size_t len, uint32_t sum[2]) {
  CHECK(len % 8 == 0);
  if (big_endian)
    checksum_big(data, len, sum);
  else
    checksum_little(data, len, sum);
}

Error *wal_header_parse(Bytes head, WalHeader *out) {
  if (head.len < WAL_HEADER_SIZE) return err_new(ERR_CORRUPT, "write-ahead log: shorter than its header");
  const uint8_t *p = head.data;
  uint32_t magic = load_be32(p);
  if ((magic & ~1u) != WAL_MAGIC) return err_new(ERR_CORRUPT, "write-ahead log: unknown magic number %08x", magic);
  WalHeader h = {.page_size = load_be32(p + 8), .big_endian = (magic & 1u) != 0, .checkpoints = load_be32(p + 12)};
  if (h.page_size < DB_PAGE_MIN || h.page_size > DB_PAGE_MAX || (h.page_size & (h.page_size - 1)) != 0)
    return err_new(ERR_CORRUPT, "write-ahead log: impossible page size %u", h.page_size);
  memcpy(h.salt, p + 16, sizeof(h.salt));
  wal_checksum(h.big_endian, p, 24, h.checksum);
  if (h.checksum[0] != load_be32(p + 24) || h.checksum[1] != load_be32(p + 28))
    return err_new(ERR_CORRUPT, "write-ahead log: the header's checksum is wrong");
  if (load_be32(p + 4) != WAL_VERSION)
    return err_new(ERR_UNSUPPORTED, "write-ahead log: unknown format version %u", load_be32(p + 4));
  *out = h;
  return NULL;
}

void wal_map_free(WalMap *map) {
  free(map->pages);
  *map = (WalMap){0};
}

size_t wal_map_lower(const WalMap *map, uint32_t page) {
  size_t low = 0, high = map->len;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    if (map->pages[mid].page < page)
      low = mid + 1;
    else
      high = mid;
  }
  return low;
}

uint32_t wal_map_find(const WalMap *map, uint32_t page) {
  size_t i = wal_map_lower(map, page);
  return i < map->len && map->pages[i].page == page ? map->pages[i].frame : 0;
}

static int page_compare(const void *a, const void *b) {
  const WalPage *x = a, *y = b;
  if (x->page != y->page) return x->page < y->page ? -1 : 1;
  return (x->frame > y->frame) - (x->frame < y->frame);
}

/* Sorts the committed part and keeps each page's last frame; the part still in a transaction follows it. */
static void scan_compact(WalScan *scan) {
  WalPage *pages = scan->map.pages;
  size_t kept = 0, len = scan->map.len, committed = scan->committed;
  if (committed == 0) return;
  qsort(pages, committed, sizeof(WalPage), page_compare);
  for (size_t i = 0; i < committed; i++)
    if (i + 1 == committed || pages[i + 1].page != pages[i].page) pages[kept++] = pages[i];
  memmove(pages + kept, pages + committed, (len - committed) * sizeof(WalPage));
  scan->committed = kept;
  scan->map.len = len - (committed - kept);
}

static void scan_push(WalScan *scan, uint32_t page, uint32_t frame) {
  if (scan->map.len == scan->cap) {
    scan_compact(scan);
    /* Grow only when compacting did not pay. */
    if (scan->map.len >= scan->cap / 2) {
      scan->cap = scan->cap ? scan->cap * 2 : 1024;
      scan->map.pages = mem_resize(scan->map.pages, scan->cap, sizeof(WalPage));
    }
  }
  scan->map.pages[scan->map.len++] = (WalPage){.page = page, .frame = frame};
}

void wal_scan_init(WalScan *scan, const WalHeader *header) {
  *scan = (WalScan){.header = *header};
  scan->checksum[0] = header->checksum[0];
  scan->checksum[1] = header->checksum[1];
  scan->map.page_size = header->page_size;
}

bool wal_scan_frame(WalScan *scan, const uint8_t *frame) {
  uint32_t sum[2] = {scan->checksum[0], scan->checksum[1]};
  uint32_t page = load_be32(frame), commit_pages = load_be32(frame + 4);
  if (scan->seen == UINT32_MAX || page == 0) return false;
  if (memcmp(frame + 8, scan->header.salt, sizeof(scan->header.salt)) != 0) return false;
  wal_checksum(scan->header.big_endian, frame, 8, sum);
  wal_checksum(scan->header.big_endian, frame + WAL_FRAME_HEADER_SIZE, scan->header.page_size, sum);
  if (sum[0] != load_be32(frame + 16) || sum[1] != load_be32(frame + 20)) return false;
  scan->checksum[0] = sum[0];
  scan->checksum[1] = sum[1];
  scan->seen++;
  scan_push(scan, page, scan->seen);
  if (commit_pages != 0) {
    scan->committed = scan->map.len;
    scan->map.frames = scan->seen;
    scan->map.database_pages = commit_pages;
    scan->map.checksum[0] = sum[0];
    scan->map.checksum[1] = sum[1];
  }
  return true;
}

void wal_scan_finish(WalScan *scan, WalMap *out) {
  scan_compact(scan);
  scan->map.len = scan->committed;
  *out = scan->map;
  *scan = (WalScan){0};
}

Error *wal_parse(Bytes log, uint32_t max_frames, WalMap *out) {
  WalHeader header = {0};
  *out = (WalMap){0};
  Error *err = wal_header_parse(log, &header);
  if (err_is(err, ERR_CORRUPT)) {
    err_free(err);
    return NULL;
  }
  if (err) return err;
  WalScan scan;
  wal_scan_init(&scan, &header);
  size_t step = WAL_FRAME_HEADER_SIZE + header.page_size;
  for (size_t at = WAL_HEADER_SIZE; log.len - at >= step && scan.seen < max_frames; at += step)
    if (!wal_scan_frame(&scan, log.data + at)) break;
  wal_scan_finish(&scan, out);
  return NULL;
}
