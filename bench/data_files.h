/* data_files.h: plain files for benchmarks: trees of small ones, pieces of a large one, pages changed at random places,
 * and what a perfect incremental would have to store. Failures end the process with a message.
 */
#ifndef HF_BENCH_DATA_FILES_H
#define HF_BENCH_DATA_FILES_H

#include <stdint.h>

/* `count` text files of 100 bytes to 20 KiB, mostly 2 to 6, a hundred in each folder below `folder`. */
void data_files_tree(const char *folder, uint64_t count, uint64_t seed);
/* The content of `path` as files of piece_bytes below `folder`. */
void data_files_split(const char *path, const char *folder, uint64_t piece_bytes);
/* Overwrites 16 to 200 bytes within `percent` of the 4 KiB pages of a file, chosen at random. Returns the pages. */
uint64_t data_files_touch(const char *path, double percent, uint64_t seed);

typedef struct ChangedPages {
  uint64_t pages;      /* of 4 KiB, in the new file, that differ from the old one at the same place or are new */
  uint64_t zstd_bytes; /* those pages in file order, compressed with zstd -1 in pieces of 256 KiB */
  uint64_t lz4_bytes;  /* the same with lz4 */
} ChangedPages;
ChangedPages data_files_changed(const char *old_path, const char *new_path);

#endif
