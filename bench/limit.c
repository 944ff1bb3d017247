/* limit: what the machine gives at most: read, hash, compress, encrypt, write, with no repository around it.
 *
 * Usage: limit [--threads 2] [--compression zstd:1] --out FOLDER FILE...
 *        limit [--threads 2] --hash-only FILE...
 * Every thread takes blocks of 4 MiB from the files, cuts them into pieces of 128 KiB, and hashes (BLAKE3, keyed),
 * compresses and seals (AES-256-GCM) each piece by itself, then writes the results one after another to a file of its
 * own; at the end comes fdatasync. Prints one line of JSON.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "codec/aead.h"
#include "codec/blake3.h"
#include "codec/compress.h"
#include "codec/secret.h"

enum { PIECE = 128 * 1024, BLOCK = 4 * 1024 * 1024, OUT_SIZE = 8 * 1024 * 1024, THREADS_MAX = 64 };

typedef struct Input {
  int fd;
  uint64_t size;
  uint64_t first_block; /* the number of its first block among the blocks of all files */
} Input;

typedef struct Job {
  Input *inputs;
  size_t count;
  uint64_t blocks;
  atomic_uint_fast64_t next_block;
  Compression compression;
  const char *folder;
  bool hash_only;
} Job;

typedef struct Worker {
  pthread_t thread;
  Job *job;
  unsigned index;
  int fd;
  uint8_t *block, *squeezed, *out;
  size_t out_len;
  uint64_t pieces, bytes_in, bytes_out;
  Compressor *compressor;
  Aead *aead;
  uint8_t key[AEAD_KEY_LEN];
} Worker;

static void limit_die(const char *what) {
  fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void *limit_alloc(size_t size) {
  void *block = NULL;
  if (posix_memalign(&block, 4096, size) != 0) limit_die("memory");
  return block;
}

static double limit_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void worker_flush(Worker *w) {
  for (size_t done = 0; done < w->out_len;) {
    ssize_t put = pwrite(w->fd, w->out + done, w->out_len - done, (off_t)(w->bytes_out + done));
    if (put < 0) limit_die("writing");
    done += (size_t)put;
  }
  w->bytes_out += w->out_len;
  w->out_len = 0;
}

static void worker_piece(Worker *w, const uint8_t *data, size_t len) {
  uint8_t id[BLAKE3_OUT_LEN];
  Codec used = CODEC_NONE;
  blake3_keyed(w->key, data, len, id);
  w->bytes_in += len;
  if (w->job->hash_only) return;
  size_t small = compressor_run(w->compressor, data, len, w->squeezed, compressor_bound(PIECE), &used);
  if (w->out_len + small + AEAD_TAG_LEN > OUT_SIZE) worker_flush(w);
  aead_seal(w->aead, w->pieces++, bytes(id, sizeof id), used == CODEC_NONE ? data : w->squeezed, small,
            w->out + w->out_len);
  w->out_len += small + AEAD_TAG_LEN;
}

static void *worker_run(void *context) {
  Worker *w = context;
  Job *job = w->job;
  size_t file = 0;
  for (;;) {
    uint64_t number = atomic_fetch_add(&job->next_block, 1);
    if (number >= job->blocks) break;
    while (file + 1 < job->count && job->inputs[file + 1].first_block <= number) file++;
    const Input *input = &job->inputs[file];
    uint64_t offset = (number - input->first_block) * BLOCK;
    uint64_t want = input->size - offset < BLOCK ? input->size - offset : BLOCK;
    ssize_t got = pread(input->fd, w->block, (size_t)want, (off_t)offset);
    if (got != (ssize_t)want) limit_die("reading");
    for (size_t at = 0; at < want; at += PIECE) worker_piece(w, w->block + at, want - at < PIECE ? want - at : PIECE);
  }
  if (job->hash_only) return NULL;
  worker_flush(w);
  if (fdatasync(w->fd) != 0) limit_die("fdatasync");
  return NULL;
}

static void worker_start(Worker *w, Job *job, unsigned index) {
  *w = (Worker){.job = job, .index = index, .fd = -1};
  if (!job->hash_only) {
    char path[4096];
    snprintf(path, sizeof path, "%s/limit-%u", job->folder, index);
    w->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (w->fd < 0) limit_die(path);
  }
  w->block = limit_alloc(BLOCK);
  w->out = limit_alloc(OUT_SIZE);
  w->squeezed = limit_alloc(compressor_bound(PIECE));
  w->compressor = compressor_new(job->compression);
  w->aead = aead_new();
  memset(w->key, (int)index + 1, sizeof w->key);
  aead_set_key(w->aead, w->key);
  if (pthread_create(&w->thread, NULL, worker_run, w) != 0) limit_die("starting a thread");
}

static void worker_join(Worker *w) {
  pthread_join(w->thread, NULL);
  if (w->fd >= 0) close(w->fd);
  compressor_free(w->compressor);
  aead_free(w->aead);
  free(w->block);
  free(w->out);
  free(w->squeezed);
}

static void job_add(Job *job, const char *path) {
  struct stat info;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &info) != 0) limit_die(path);
  job->inputs[job->count++] = (Input){.fd = fd, .size = (uint64_t)info.st_size, .first_block = job->blocks};
  job->blocks += ((uint64_t)info.st_size + BLOCK - 1) / BLOCK;
}

int main(int argc, char **argv) {
  Job job = {.inputs = limit_alloc((size_t)argc * sizeof(Input))};
  const char *compression = "zstd:1";
  unsigned threads = 2;
  for (int i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : "";
    if (strcmp(argv[i], "--threads") == 0)
      threads = (unsigned)strtoul(value, NULL, 10), i++;
    else if (strcmp(argv[i], "--compression") == 0)
      compression = value, i++;
    else if (strcmp(argv[i], "--out") == 0)
      job.folder = value, i++;
    else if (strcmp(argv[i], "--hash-only") == 0)
      job.hash_only = true;
    else
      job_add(&job, argv[i]);
  }
  if (job.count == 0 || (!job.folder && !job.hash_only) || threads < 1 || threads > THREADS_MAX) {
    fputs("usage: limit [--threads 2] [--compression zstd:1] (--hash-only | --out FOLDER) FILE...\n", stderr);
    return 2;
  }
  Error *err = compression_parse(compression, &job.compression);
  if (err) {
    fprintf(stderr, "limit: %s\n", err_text(err));
    err_free(err);
    return 2;
  }
  secret_init();
  Worker workers[THREADS_MAX];
  double start = limit_now();
  uint64_t in = 0, out = 0;
  for (unsigned i = 0; i < threads; i++) worker_start(&workers[i], &job, i);
  for (unsigned i = 0; i < threads; i++) {
    worker_join(&workers[i]);
    in += workers[i].bytes_in;
    out += workers[i].bytes_out;
  }
  printf("{\"read_bytes\":%llu,\"stored_bytes\":%llu,\"seconds\":%.3f,\"threads\":%u,\"compression\":\"%s\"}\n",
         (unsigned long long)in, (unsigned long long)out, limit_now() - start, threads, compression);
  for (size_t i = 0; i < job.count; i++) close(job.inputs[i].fd);
  free(job.inputs);
  return 0;
}
