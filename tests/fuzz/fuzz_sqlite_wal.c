/* Write-ahead logs and database headers as a damaged or hostile disk may hold them. The first byte chooses: the rest as
 * it is, or with its checksums put right, so that what lies behind them is reached too. */
#include <stdlib.h>

#include "engine/sqlite/sqlite_format.h"
#include "engine/sqlite/sqlite_wal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_be32(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 24);
  p[1] = (uint8_t)(v >> 16);
  p[2] = (uint8_t)(v >> 8);
  p[3] = (uint8_t)v;
}

/* Makes header and frames chain, with the page size, page numbers and commits that the input has. */
static void put_right(uint8_t *log, size_t size) {
  uint32_t sum[2] = {0, 0};
  if (size < WAL_HEADER_SIZE) return;
  bool big = (log[3] & 1) != 0;
  uint32_t page_size = 512u << (log[11] % 4);
  put_be32(log, 0x377f0682u | big);
  put_be32(log + 4, 3007000);
  put_be32(log + 8, page_size);
  wal_checksum(big, log, 24, sum);
  put_be32(log + 24, sum[0]);
  put_be32(log + 28, sum[1]);
  size_t step = WAL_FRAME_HEADER_SIZE + page_size;
  for (size_t at = WAL_HEADER_SIZE; size - at >= step; at += step) {
    memcpy(log + at + 8, log + 16, 8);
    wal_checksum(big, log + at, 8, sum);
    wal_checksum(big, log + at + WAL_FRAME_HEADER_SIZE, page_size, sum);
    put_be32(log + at + 16, sum[0]);
    put_be32(log + at + 20, sum[1]);
  }
}

static void check_map(const WalMap *map, size_t log_size) {
  CHECK(map->len <= map->frames);
  for (size_t i = 0; i < map->len; i++) {
    const WalPage *page = &map->pages[i];
    CHECK(page->page > 0 && page->frame > 0 && page->frame <= map->frames);
    CHECK(i == 0 || map->pages[i - 1].page < page->page);
    CHECK(wal_frame_page_at(page->frame, map->page_size) + map->page_size <= log_size);
    CHECK(wal_map_find(map, page->page) == page->frame);
  }
  CHECK(map->frames == 0 || map->database_pages > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  size_t len = size - 2;
  uint8_t *log = malloc(len + 1);
  memcpy(log, data + 2, len);
  if (data[0] & 1) put_right(log, len);
  WalMap map;
  Error *err = wal_parse(bytes(log, len), data[1] ? data[1] : UINT32_MAX, &map);
  if (!err) {
    check_map(&map, len);
    wal_map_free(&map);
  }
  err_free(err);
  DbHeader header;
  if (len >= DB_HEADER_SIZE) err_free(db_header_parse(bytes(log, len), &header));
  free(log);
  return 0;
}
