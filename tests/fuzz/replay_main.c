/* replay_main.c: runs a fuzz target without libFuzzer, so that `make check` replays what was ever found.
 *
 * Usage: fuzz_x [--mutations N] FILE|FOLDER...
 * Every file runs as it is, cut short, and with N seeded mutations; the empty input and seeded random bytes run always.
 * Each input is copied to a block of exactly its size, so that AddressSanitizer sees a read of one byte too many.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Weak: a target may define it, as under libFuzzer. */
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

enum { REPLAY_BYTES_MAX = 1 << 20, RANDOM_INPUTS = 200, RANDOM_MAX = 4096 };

typedef struct Replay {
  uint64_t seed;
  unsigned mutations;
  uint64_t files;
  uint64_t runs;
} Replay;

static uint64_t replay_random(Replay *r) {
  uint64_t z = (r->seed += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

static size_t replay_below(Replay *r, size_t limit) { return limit ? (size_t)(replay_random(r) % limit) : 0; }

static void *replay_alloc(size_t size) {
  void *block = malloc(size ? size : 1);
  if (!block) {
    fprintf(stderr, "out of memory\n");
    abort();
  }
  return block;
}

static void replay_one(Replay *r, const uint8_t *data, size_t size) {
  uint8_t *exact = replay_alloc(size);
  if (size) memcpy(exact, data, size);
  LLVMFuzzerTestOneInput(exact, size);
  free(exact);
  r->runs++;
}

/* One to four small changes: what a flipped bit, a wrong length or a torn write looks like. */
static size_t replay_mutate(Replay *r, uint8_t *data, size_t size) {
  static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff};
  for (size_t changes = 1 + replay_below(r, 4); changes > 0 && size > 0; changes--) {
    size_t at = replay_below(r, size);
    switch (replay_below(r, 5)) {
      case 0: data[at] ^= (uint8_t)(1u << replay_below(r, 8)); break;
      case 1: data[at] = edges[replay_below(r, sizeof edges)]; break;
      case 2: data[at] = (uint8_t)replay_below(r, 256); break;
      case 3: size = at; break;
      default: { /* one part over another */
        size_t from = replay_below(r, size);
        size_t room = size - (from > at ? from : at);
        memmove(data + at, data + from, 1 + replay_below(r, room) / 2);
        break;
      }
    }
  }
  return size;
}

static void replay_input(Replay *r, const uint8_t *data, size_t size) {
  replay_one(r, data, size);
  for (size_t cut = 1; cut <= 16 && cut < size; cut++) replay_one(r, data, size - cut);
  uint8_t *changed = replay_alloc(size);
  for (unsigned i = 0; i < r->mutations && size > 0; i++) {
    memcpy(changed, data, size);
    replay_one(r, changed, replay_mutate(r, changed, size));
  }
  free(changed);
}

static int replay_file(Replay *r, const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) {
    fprintf(stderr, "opening %s: %s\n", path, strerror(errno));
    return 1;
  }
  uint8_t *data = replay_alloc(REPLAY_BYTES_MAX);
  size_t size = fread(data, 1, REPLAY_BYTES_MAX, file);
  fclose(file);
  fprintf(stderr, "%s: %zu bytes\n", path, size);
  r->files++;
  replay_input(r, data, size);
  free(data);
  return 0;
}

static int replay_folder(Replay *r, const char *path) {
  struct dirent **names = NULL;
  int count = scandir(path, &names, NULL, alphasort);
  if (count < 0) {
    fprintf(stderr, "reading %s: %s\n", path, strerror(errno));
    return 1;
  }
  int failed = 0;
  for (int i = 0; i < count; i++) {
    if (names[i]->d_name[0] != '.') {
      char file[4096];
      if (snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name) < (int)sizeof file)
        failed |= replay_file(r, file);
    }
    free(names[i]);
  }
  free(names);
  return failed;
}

static void replay_generated(Replay *r) {
  uint8_t *data = replay_alloc(RANDOM_MAX);
  replay_one(r, data, 0);
  for (int i = 0; i < RANDOM_INPUTS; i++) {
    size_t size = 1 + replay_below(r, i < RANDOM_INPUTS / 2 ? 64 : RANDOM_MAX);
    for (size_t k = 0; k < size; k++) data[k] = (uint8_t)replay_below(r, 256);
    replay_one(r, data, size);
  }
  free(data);
}

int main(int argc, char **argv) {
  Replay replay = {.seed = 1, .mutations = 300};
  int failed = 0;
  if (LLVMFuzzerInitialize) LLVMFuzzerInitialize(&argc, &argv);
  replay_generated(&replay);
  for (int i = 1; i < argc; i++) {
    struct stat info;
    if (strcmp(argv[i], "--mutations") == 0 && i + 1 < argc) {
      replay.mutations = (unsigned)strtoul(argv[++i], NULL, 10);
    } else if (stat(argv[i], &info) != 0) {
      fprintf(stderr, "opening %s: %s\n", argv[i], strerror(errno));
      failed = 1;
    } else {
      failed |= S_ISDIR(info.st_mode) ? replay_folder(&replay, argv[i]) : replay_file(&replay, argv[i]);
    }
  }
  printf("replayed %llu files, %llu inputs\n", (unsigned long long)replay.files, (unsigned long long)replay.runs);
  return failed;
}
