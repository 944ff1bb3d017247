/* make_data: the data that tests, the demo and the benchmarks back up. `make_data` alone says how it is used. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data_db.h"
#include "data_files.h"

typedef struct Options {
  const char *args[3];
  int count;
  uint64_t size_bytes, seed, files, piece_bytes;
  double percent;
  unsigned pause_us;
  const char *journal;
  bool check, raw;
} Options;

static volatile sig_atomic_t stop_asked;
static void on_signal(int number) { stop_asked = number; }

static int usage(void) {
  fputs(
      "usage: make_data create DB [--size 300M] [--seed N] [--journal wal|delete]\n"
      "       make_data writer DB [--seed N] [--pause-us 2000]   inserts until SIGTERM; prints SEQUENCE DIGEST per\n"
      "                                                          commit; reads \"touch PERCENT SEED\" from stdin\n"
      "       make_data touch FILE --percent 1 [--seed N] [--raw] changes pages of a database, or of any file (--raw)\n"
      "       make_data digest DB [--check]                      prints SEQUENCE DIGEST of what a database holds\n"
      "       make_data tree FOLDER [--files 100000] [--seed N]\n"
      "       make_data split FILE FOLDER [--piece 100K]\n"
      "       make_data changed OLD NEW                          prints PAGES ZSTD_BYTES LZ4_BYTES of what differs\n",
      stderr);
  return 2;
}

/* "300M", "2.28G", "4096". */
static uint64_t parse_size(const char *text) {
  char *end;
  double value = strtod(text, &end);
  uint64_t unit = *end == 'K' ? 1024 : *end == 'M' ? 1000000 : *end == 'G' ? 1000000000 : 1;
  return value > 0 ? (uint64_t)(value * (double)unit) : 0;
}

static bool parse_options(int argc, char **argv, Options *o) {
  *o = (Options){.size_bytes = 300000000,
                 .seed = 1,
                 .files = 100000,
                 .piece_bytes = 100 * 1024,
                 .percent = 1,
                 .pause_us = 2000,
                 .journal = "wal"};
  for (int i = 2; i < argc; i++) {
    const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (name[0] != '-') {
      if (o->count == 2) return false;
      o->args[o->count++] = name;
      continue;
    }
    if (strcmp(name, "--check") == 0 || strcmp(name, "--raw") == 0) {
      *(name[2] == 'c' ? &o->check : &o->raw) = true;
      continue;
    }
    if (!value) return false;
    i++;
    if (strcmp(name, "--size") == 0)
      o->size_bytes = parse_size(value);
    else if (strcmp(name, "--seed") == 0)
      o->seed = strtoull(value, NULL, 10);
    else if (strcmp(name, "--files") == 0)
      o->files = strtoull(value, NULL, 10);
    else if (strcmp(name, "--piece") == 0)
      o->piece_bytes = parse_size(value);
    else if (strcmp(name, "--percent") == 0)
      o->percent = strtod(value, NULL);
    else if (strcmp(name, "--pause-us") == 0)
      o->pause_us = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(name, "--journal") == 0)
      o->journal = value;
    else
      return false;
  }
  return o->count > 0;
}

static void print_digest(const char *before, DataDigest digest) {
  printf("%s%llu %016llx%016llx", before, (unsigned long long)digest.sequence, (unsigned long long)digest.sum[0],
         (unsigned long long)digest.sum[1]);
}

/* A command line from stdin, when there is one. */
static void writer_listen(DataDb *db, bool *open) {
  struct pollfd ready = {.fd = STDIN_FILENO, .events = POLLIN};
  char line[128], *end = line;
  if (!*open || poll(&ready, 1, 0) <= 0) return;
  if (!fgets(line, sizeof line, stdin)) {
    *open = false;
  } else if (strncmp(line, "touch ", 6) == 0) {
    double percent = strtod(line + 6, &end);
    uint64_t rows = 0;
    DataDigest digest = data_db_touch(db, percent, strtoull(end, NULL, 10), &rows);
    print_digest("", digest);
    printf(" touched %llu\n", (unsigned long long)rows);
  }
}

static int run_writer(const Options *o) {
  struct sigaction action = {.sa_handler = on_signal};
  bool open = true;
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  setvbuf(stdin, NULL, _IONBF, 0);
  setvbuf(stdout, NULL, _IOLBF, 0);
  DataDb *db = data_db_open(o->args[0], o->seed);
  while (!stop_asked) {
    writer_listen(db, &open);
    print_digest("", data_db_step(db));
    putchar('\n');
    if (o->pause_us) usleep(o->pause_us);
  }
  data_db_close(db);
  return 0;
}

static int run_touch(const Options *o) {
  if (o->raw) {
    printf("%llu\n", (unsigned long long)data_files_touch(o->args[0], o->percent, o->seed));
    return 0;
  }
  uint64_t rows = 0;
  DataDb *db = data_db_open(o->args[0], o->seed);
  print_digest("", data_db_touch(db, o->percent, o->seed, &rows));
  printf(" touched %llu\n", (unsigned long long)rows);
  data_db_close(db);
  return 0;
}

static int run_changed(const Options *o) {
  ChangedPages sums = data_files_changed(o->args[0], o->args[1]);
  printf("%llu %llu %llu\n", (unsigned long long)sums.pages, (unsigned long long)sums.zstd_bytes,
         (unsigned long long)sums.lz4_bytes);
  return 0;
}

int main(int argc, char **argv) {
  Options options;
  if (argc < 3 || !parse_options(argc, argv, &options)) return usage();
  const char *mode = argv[1];
  if (strcmp(mode, "writer") == 0) return run_writer(&options);
  if (strcmp(mode, "touch") == 0) return run_touch(&options);
  if (strcmp(mode, "changed") == 0 && options.count == 2) return run_changed(&options);
  if (strcmp(mode, "create") == 0) {
    data_db_create(options.args[0], options.size_bytes, options.seed, options.journal);
  } else if (strcmp(mode, "digest") == 0) {
    print_digest("", data_db_digest(options.args[0], options.check));
    putchar('\n');
  } else if (strcmp(mode, "tree") == 0) {
    data_files_tree(options.args[0], options.files, options.seed);
  } else if (strcmp(mode, "split") == 0 && options.count == 2 && options.piece_bytes > 0) {
    data_files_split(options.args[0], options.args[1], options.piece_bytes);
  } else {
    return usage();
  }
  return 0;
}
