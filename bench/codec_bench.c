/* codec_bench: what one core gives in each codec, every figure the median of ROUNDS runs.
 *
 * Usage: codec_bench
 * Ratios compare with OpenSSL's SHA-256 on the same core in the same run, once as the processor is and once without
 * SHA instructions: OpenSSL reads OPENSSL_ia32cap before main, so the program runs itself once more for that figure.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/aead.h"
#include "codec/blake3.h"
#include "codec/chunker.h"
#include "codec/compress.h"
#include "codec/secret.h"

enum { ROUNDS = 7, FRAME = 128 * 1024, HASH_LEN = 1 << 20, SAMPLE_LEN = 4 << 20 };
static const char SHA_ONLY[] = "--sha256-only";
static const char MASK_SHA_INSTRUCTIONS[] = ":~0x20000000"; /* CPUID leaf 7, EBX, bit 29 */

/* ---- measuring ---- */

typedef void Work(void *ctx);

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a;
  double y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Median rate in MB/s of work that handles `len` bytes; each round takes at least 50 ms. */
static double measure(Work *work, void *ctx, size_t len) {
  double rates[ROUNDS];
  work(ctx);
  for (size_t i = 0; i < ROUNDS; i++) {
    double start = now_s();
    double end = start;
    uint64_t runs = 0;
    for (; end - start < 0.05; end = now_s(), runs++) work(ctx);
    rates[i] = (double)runs * (double)len / (end - start) / 1e6;
  }
  qsort(rates, ROUNDS, sizeof(rates[0]), compare_doubles);
  return rates[ROUNDS / 2];
}

static void print_rate(const char *name, double rate) { printf("%-34s %8.0f MB/s\n", name, rate); }

/* ---- data ---- */

static uint64_t next_random(uint64_t *seed) {
  *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return *seed >> 33;
}

/* Rows as a database file has them: running numbers, some text from a vocabulary, JSON, numbers, random identifiers. */
static void add_row(Buf *out, uint64_t row, uint64_t *seed) {
  static const char *const WORDS[] = {"order",   "invoice", "shipped", "pending", "customer", "address",
                                      "street",  "note",    "the",     "of",      "and",      "returned",
                                      "premium", "paid",    "north",   "late"};
  buf_put_u64(out, 1000000 + row);
  buf_put_u32(out, (uint32_t)next_random(seed));
  buf_put_u16(out, (uint16_t)(next_random(seed) % 365));
  uint64_t words = 3 + next_random(seed) % 12;
  for (uint64_t i = 0; i < words; i++) {
    buf_add_str(out, WORDS[next_random(seed) % NELEMS(WORDS)]);
    buf_add_str(out, " ");
  }
  buf_printf(out, "{\"id\":%llu,\"email\":\"user%llu@example.org\",\"total\":%llu.%02llu,\"key\":\"%08llx%08llx\"}",
             (unsigned long long)row, (unsigned long long)(next_random(seed) % 90000),
             (unsigned long long)(next_random(seed) % 1000), (unsigned long long)(next_random(seed) % 100),
             (unsigned long long)next_random(seed), (unsigned long long)next_random(seed));
}

static uint8_t *database_like(size_t len) {
  Buf buf = {0};
  uint64_t seed = 1;
  for (uint64_t row = 0; buf.len < len; row++) add_row(&buf, row, &seed);
  return buf.data;
}

/* ---- hashes ---- */

typedef struct HashWork {
  const uint8_t *data;
  size_t len;
  EVP_MD *sha256;
} HashWork;

static void run_sha256(void *ctx) {
  const HashWork *w = ctx;
  uint8_t out[32];
  CHECK(EVP_Digest(w->data, w->len, out, NULL, w->sha256, NULL) == 1);
}

static void run_blake3(void *ctx) {
  const HashWork *w = ctx;
  uint8_t out[32];
  blake3_hash(w->data, w->len, out);
}

static void run_pages(void *ctx) {
  const HashWork *w = ctx;
  static const uint8_t key[32] = {9};
  uint8_t out[32];
  uint64_t fingerprints[FRAME / 4096];
  blake3_keyed_pages(key, w->data, FRAME, out, fingerprints);
}

static double sha256_here(const uint8_t *data) {
  HashWork w = {.data = data, .len = HASH_LEN, .sha256 = EVP_MD_fetch(NULL, "SHA256", NULL)};
  CHECK(w.sha256 != NULL);
  double rate = measure(run_sha256, &w, HASH_LEN);
  EVP_MD_free(w.sha256);
  return rate;
}

/* The figure of a child whose OpenSSL believes that the processor has no SHA instructions. */
static double sha256_masked(void) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    setenv("OPENSSL_ia32cap", MASK_SHA_INSTRUCTIONS, 1);
    execl("/proc/self/exe", "codec_bench", SHA_ONLY, (char *)NULL);
    _exit(127);
  }
  close(ends[1]);
  FILE *in = fdopen(ends[0], "r");
  char line[64] = "", *end = line;
  int status = 0;
  CHECK(in && fgets(line, sizeof line, in));
  fclose(in);
  double rate = strtod(line, &end);
  CHECK(end != line);
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  return rate;
}

static void bench_hashes(const uint8_t *data) {
  static const char *const BACKENDS[] = {"portable", "avx2", "avx512"};
  double sha = sha256_here(data);
  double masked = sha256_masked();
  print_rate("sha256 openssl, as it is", sha);
  print_rate("sha256 openssl, no SHA instructions", masked);
  for (size_t i = 0; i < NELEMS(BACKENDS); i++) {
    if (!blake3_force_backend(BACKENDS[i])) continue;
    HashWork w = {.data = data, .len = HASH_LEN};
    char name[64];
    double rate = measure(run_blake3, &w, HASH_LEN);
    snprintf(name, sizeof(name), "blake3 %s, 1 MiB", BACKENDS[i]);
    printf("%-34s %8.0f MB/s  %5.1f x sha256, %5.1f x without SHA instructions\n", name, rate, rate / sha,
           rate / masked);
    snprintf(name, sizeof(name), "blake3 %s, 128 KiB with pages", BACKENDS[i]);
    print_rate(name, measure(run_pages, &w, FRAME));
    w.len = 4096;
    snprintf(name, sizeof(name), "blake3 %s, 4 KiB", BACKENDS[i]);
    print_rate(name, measure(run_blake3, &w, w.len));
  }
  blake3_force_backend(NULL);
}

/* ---- chunker ---- */

typedef struct ChunkWork {
  const Chunker *chunker;
  const uint8_t *data;
  size_t len;
} ChunkWork;

static void run_chunker(void *ctx) {
  const ChunkWork *w = ctx;
  for (size_t at = 0; at < w->len;) {
    size_t left = w->len - at;
    at += chunker_cut(w->chunker, w->data + at, left < w->chunker->max ? left : w->chunker->max);
  }
}

static void bench_chunker(const uint8_t *data) {
  static const uint8_t key[32] = {3};
  Chunker chunker;
  chunker_init(&chunker, key);
  ChunkWork w = {.chunker = &chunker, .data = data, .len = SAMPLE_LEN};
  print_rate("fastcdc 64K/256K/1M", measure(run_chunker, &w, SAMPLE_LEN));
}

/* ---- authenticated encryption ---- */

typedef struct AeadWork {
  Aead *aead;
  const uint8_t *in;
  uint8_t *sealed;
  uint8_t *out;
  size_t len;
  uint64_t number;
} AeadWork;

static void run_seal(void *ctx) {
  AeadWork *w = ctx;
  aead_seal(w->aead, w->number++, bytes_str("frame"), w->in, w->len, w->sealed);
}

static void run_open(void *ctx) {
  AeadWork *w = ctx;
  CHECK(aead_open(w->aead, 7, bytes_str("frame"), bytes(w->sealed, w->len + AEAD_TAG_LEN), w->out) == NULL);
}

static void run_rekey(void *ctx) {
  AeadWork *w = ctx;
  uint8_t key[AEAD_KEY_LEN] = {(uint8_t)w->number++};
  aead_set_key(w->aead, key);
}

static void bench_aead(const uint8_t *data) {
  static const uint8_t key[AEAD_KEY_LEN] = {5};
  AeadWork w = {.aead = aead_new(), .in = data, .len = FRAME};
  w.sealed = mem_alloc(FRAME + AEAD_TAG_LEN);
  w.out = mem_alloc(FRAME);
  aead_set_key(w.aead, key);
  print_rate("aes-256-gcm seal, 128 KiB", measure(run_seal, &w, FRAME));
  w.number = 7;
  run_seal(&w);
  print_rate("aes-256-gcm open, 128 KiB", measure(run_open, &w, FRAME));
  w.len = 4096;
  print_rate("aes-256-gcm seal, 4 KiB", measure(run_seal, &w, w.len));
  w.len = 0;
  printf("%-34s %8.2f us\n", "aes-256-gcm seal, empty", 1 / measure(run_seal, &w, 1));
  printf("%-34s %8.2f us\n", "aes-256-gcm new key", 1 / measure(run_rekey, &w, 1));
  aead_free(w.aead);
  free(w.sealed);
  free(w.out);
}

/* ---- compression ---- */

enum { FRAMES = SAMPLE_LEN / FRAME };

typedef struct PackWork {
  Compressor *c;
  Decompressor *d;
  const uint8_t *data;
  uint8_t *packed[FRAMES];
  size_t cap;
  size_t lens[FRAMES];
  Codec used[FRAMES];
  uint8_t *raw;
} PackWork;

static void run_compress(void *ctx) {
  PackWork *w = ctx;
  for (size_t i = 0; i < FRAMES; i++)
    w->lens[i] = compressor_run(w->c, w->data + i * FRAME, FRAME, w->packed[i], w->cap, &w->used[i]);
}

static void run_decompress(void *ctx) {
  PackWork *w = ctx;
  for (size_t i = 0; i < FRAMES; i++) {
    const uint8_t *src = w->used[i] == CODEC_NONE ? w->data + i * FRAME : w->packed[i];
    CHECK(decompressor_run(w->d, w->used[i], bytes(src, w->lens[i]), w->raw, FRAME) == NULL);
  }
}

static void bench_codec(const char *text, const char *what, const uint8_t *data) {
  Compression setting;
  CHECK(compression_parse(text, &setting) == NULL);
  PackWork w = {.c = compressor_new(setting), .d = decompressor_new(), .data = data, .cap = compressor_bound(FRAME)};
  for (size_t i = 0; i < FRAMES; i++) w.packed[i] = mem_alloc(w.cap);
  w.raw = mem_alloc(FRAME);
  double in = measure(run_compress, &w, SAMPLE_LEN);
  double out = measure(run_decompress, &w, SAMPLE_LEN);
  size_t total = 0;
  for (size_t i = 0; i < FRAMES; i++) total += w.lens[i];
  printf("%-8s %-25s %8.0f MB/s, back %6.0f MB/s, to %5.1f %%\n", text, what, in, out,
         100.0 * (double)total / SAMPLE_LEN);
  for (size_t i = 0; i < FRAMES; i++) free(w.packed[i]);
  free(w.raw);
  compressor_free(w.c);
  decompressor_free(w.d);
}

static void bench_compression(const uint8_t *data) {
  static const char *const EACH[] = {"zstd:1", "zstd:3", "lz4", "gzip:6"};
  for (size_t i = 0; i < NELEMS(EACH); i++) bench_codec(EACH[i], "rows in 128 KiB", data);
  uint8_t *noise = mem_alloc(SAMPLE_LEN);
  uint64_t seed = 2;
  for (size_t i = 0; i < SAMPLE_LEN; i++) noise[i] = (uint8_t)next_random(&seed);
  for (size_t i = 0; i < NELEMS(EACH); i++) bench_codec(EACH[i], "noise in 128 KiB", noise);
  free(noise);
}

int main(int argc, char **argv) {
  secret_init();
  uint8_t *data = database_like(SAMPLE_LEN);
  if (argc == 2 && strcmp(argv[1], SHA_ONLY) == 0) {
    printf("%.3f\n", sha256_here(data));
  } else {
    bench_hashes(data);
    bench_chunker(data);
    bench_aead(data);
    bench_compression(data);
  }
  free(data);
  return 0;
}
