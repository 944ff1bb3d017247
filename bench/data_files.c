#include "data_files.h"

#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "data_text.h"

enum { PAGE = 4096, PIECE = 256 * 1024, READ_SIZE = 4 * 1024 * 1024 };

static void files_die(const char *doing, const char *path) {
  fprintf(stderr, "make_data: %s %s: %s\n", doing, path, strerror(errno));
  exit(1);
}

static void *files_alloc(size_t size) {
  void *block = malloc(size);
  if (!block) abort();
  return block;
}

static int files_open(const char *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC, 0666);
  if (fd < 0) files_die("opening", path);
  return fd;
}

static void files_write_all(const char *path, const void *data, size_t len) {
  int fd = files_open(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (write(fd, data, len) != (ssize_t)len || close(fd) != 0) files_die("writing", path);
}

/* As many bytes as there are, up to len. */
static size_t files_read(int fd, uint8_t *data, size_t len, const char *path) {
  size_t done = 0;
  while (done < len) {
    ssize_t got = read(fd, data + done, len - done);
    if (got < 0) files_die("reading", path);
    if (got == 0) break;
    done += (size_t)got;
  }
  return done;
}

static void files_mkdir(const char *path) {
  if (mkdir(path, 0777) != 0 && errno != EEXIST) files_die("creating", path);
}

void data_files_tree(const char *folder, uint64_t count, uint64_t seed) {
  Rng rng = {.state = seed};
  Words *words = words_new();
  enum { SIZE_MAX_BYTES = 20 * 1024 };
  char *data = files_alloc(SIZE_MAX_BYTES + 1);
  char path[4096];
  files_mkdir(folder);
  for (uint64_t i = 0; i < count; i++) {
    if (i % 100 == 0) {
      snprintf(path, sizeof path, "%s/%04llu", folder, (unsigned long long)(i / 100));
      files_mkdir(path);
    }
    double scale = exp2((double)rng_below(&rng, 1000) / 1000 * 4 - 2); /* a quarter to four times 3 KiB */
    size_t size = 100 + (size_t)(scale * 3072) % (SIZE_MAX_BYTES - 100);
    Text text = {data, size, 0};
    while (text.len + 1 < size) {
      text_json_event(&text, words, &rng, i, data_event_kind(&rng));
      text_add(&text, "\n");
    }
    snprintf(path, sizeof path, "%s/%04llu/%s-%06llu.json", folder, (unsigned long long)(i / 100), data_last_name(&rng),
             (unsigned long long)i);
    files_write_all(path, data, text.len);
  }
  free(data);
  words_free(words);
}

void data_files_split(const char *path, const char *folder, uint64_t piece_bytes) {
  uint8_t *data = files_alloc((size_t)piece_bytes);
  char name[4096];
  int fd = files_open(path, O_RDONLY);
  files_mkdir(folder);
  for (uint64_t i = 0;; i++) {
    size_t len = files_read(fd, data, (size_t)piece_bytes, path);
    if (len == 0) break;
    if (i % 100 == 0) {
      snprintf(name, sizeof name, "%s/%05llu", folder, (unsigned long long)(i / 100));
      files_mkdir(name);
    }
    snprintf(name, sizeof name, "%s/%05llu/%07llu", folder, (unsigned long long)(i / 100), (unsigned long long)i);
    files_write_all(name, data, len);
  }
  close(fd);
  free(data);
}

uint64_t data_files_touch(const char *path, double percent, uint64_t seed) {
  struct stat info;
  int fd = files_open(path, O_RDWR);
  if (fstat(fd, &info) != 0) files_die("reading", path);
  uint64_t pages = (uint64_t)info.st_size / PAGE;
  uint64_t wanted = (uint64_t)ceil((double)pages * percent / 100), changed = 0;
  Rng rng = {.state = seed};
  uint8_t *taken = calloc(1, (size_t)pages + 1);
  if (!taken) abort();
  while (changed < wanted) {
    uint64_t page = rng_below(&rng, pages);
    if (taken[page]) continue;
    taken[page] = 1;
    char bytes[200];
    size_t len = 16 + (size_t)rng_below(&rng, sizeof bytes - 16);
    off_t at = (off_t)(page * PAGE + rng_below(&rng, PAGE - len));
    for (size_t i = 0; i < len; i++) bytes[i] = (char)(' ' + rng_below(&rng, 95));
    if (pwrite(fd, bytes, len, at) != (ssize_t)len) files_die("writing", path);
    changed++;
  }
  free(taken);
  if (close(fd) != 0) files_die("writing", path);
  return changed;
}

typedef struct PieceSink {
  uint8_t piece[PIECE];
  uint8_t out[PIECE + PIECE / 16];
  size_t len;
  ChangedPages sums;
} PieceSink;

static void piece_flush(PieceSink *sink) {
  if (sink->len == 0) return;
  size_t zstd = ZSTD_compress(sink->out, sizeof sink->out, sink->piece, sink->len, 1);
  int lz4 = LZ4_compress_default((const char *)sink->piece, (char *)sink->out, (int)sink->len, (int)sizeof sink->out);
  sink->sums.zstd_bytes += ZSTD_isError(zstd) ? sink->len : zstd;
  sink->sums.lz4_bytes += lz4 > 0 ? (uint64_t)lz4 : sink->len;
  sink->len = 0;
}

static void piece_add(PieceSink *sink, const uint8_t *page, size_t len) {
  if (sink->len + len > PIECE) piece_flush(sink);
  memcpy(sink->piece + sink->len, page, len);
  sink->len += len;
  sink->sums.pages++;
}

ChangedPages data_files_changed(const char *old_path, const char *new_path) {
  int old_fd = files_open(old_path, O_RDONLY), new_fd = files_open(new_path, O_RDONLY);
  uint8_t *before = files_alloc(READ_SIZE), *after = files_alloc(READ_SIZE);
  PieceSink *sink = calloc(1, sizeof *sink);
  if (!sink) abort();
  for (;;) {
    size_t old_len = files_read(old_fd, before, READ_SIZE, old_path);
    size_t new_len = files_read(new_fd, after, READ_SIZE, new_path);
    if (new_len == 0) break;
    for (size_t at = 0; at < new_len; at += PAGE) {
      size_t len = new_len - at < PAGE ? new_len - at : PAGE;
      if (at + len > old_len || memcmp(before + at, after + at, len) != 0) piece_add(sink, after + at, len);
    }
  }
  piece_flush(sink);
  ChangedPages sums = sink->sums;
  close(old_fd);
  close(new_fd);
  free(before);
  free(after);
  free(sink);
  return sums;
}
