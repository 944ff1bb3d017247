/* Several engine threads writing streams into one writer at the same time, with few and with many workers, much memory
 * and hardly any, streams given up half way: what was ended is in the snapshot, byte for byte. On the machine's own
 * threads (for ThreadSanitizer), and under the seeded scheduler, which finds deadlocks. */
#include "base/mem.h"
#include "codec/secret.h"
#include "store/store_memory.h"
#include "sys/sim.h"

#include "repo_tools.h"
#include "seeds.h"
#include "testing.h"

enum { READERS = 3 };

typedef struct Source {
  Writer *writer;
  const Model *model;
  unsigned number; /* this reader's: it takes every READERS-th file */
  uint64_t seed;
  Error *failed;
} Source;

static Error *write_some(WriterStream *s, const uint8_t *data, size_t len) {
  uint8_t *place;
  size_t cap;
  while (len) {
    TRY(writer_stream_buffer(s, &place, &cap));
    size_t n = len < cap ? len : cap;
    memcpy(place, data, n);
    TRY(writer_stream_write(s, n));
    data += n;
    len -= n;
  }
  return NULL;
}

static bool zeros(const uint8_t *data, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (data[i]) return false;
  return true;
}

/* In steps of whole frames; frames of zeros as holes. */
static Error *write_content(WriterStream *s, const ModelFile *file, size_t len) {
  for (size_t at = 0; at < len;) {
    size_t n = len - at < 131072 ? len - at : 131072;
    TRY(zeros(file->data + at, n) ? writer_stream_hole(s, n) : write_some(s, file->data + at, n));
    at += n;
  }
  return NULL;
}

static Error *open_file(const Source *src, const ModelFile *file, const char *path, WriterStream **out) {
  WriterStreamSpec spec = {.path = bytes_str(path), .pages = file->pages, .size_hint = UINT64_MAX};
  return writer_stream_open(src->writer, &spec, out);
}

/* A stream that is given up: nothing of it may show. */
static Error *write_aborted(Source *src, const ModelFile *file) {
  WriterStream *s;
  TRY(open_file(src, file, "given up", &s));
  size_t len = file->len ? test_random(&src->seed) % file->len : 0;
  Error *err = write_content(s, file, len - len % 131072);
  writer_stream_abort(s);
  return err;
}

static Error *write_file(Source *src, const ModelFile *file) {
  Entry entry = {.path = bytes_str(file->path), .type = ENTRY_FILE, .mode = 0644, .size = file->len};
  WriterStream *s;
  if (test_random(&src->seed) % 4 == 0) TRY(write_aborted(src, file));
  TRY(open_file(src, file, file->path, &s));
  Error *err = write_content(s, file, file->len);
  if (err) {
    writer_stream_abort(s);
    return err;
  }
  return writer_stream_end(s, &entry);
}

static void reader_run(void *arg) {
  Source *src = (Source *)arg;
  for (size_t i = src->number; i < src->model->len && !src->failed; i += READERS)
    src->failed = write_file(src, &src->model->files[i]);
}

typedef struct Shape {
  unsigned workers;
  uint64_t memory_bytes;
  const Snapshot *parent;
} Shape;

static void fill_series(Repo *repo, Series *out) {
  SeriesList list;
  assert_ok(series_list(repo, &list, NULL));
  if (list.len == 0) {
    *out = (Series){.name = mem_strdup("m"),
                    .engine = mem_strdup("files"),
                    .address = mem_strdup("a"),
                    .host = mem_strdup("h"),
                    .host_id = mem_strdup("h"),
                    .identity = mem_strdup("")};
    assert_ok(series_create(repo, out, NULL));
  } else {
    *out = list.items[0];
    list.len = 0; /* taken over */
  }
  series_list_free(&list);
}

static void back_up(Sys *sys, Repo *repo, const Model *model, const Shape *shape, uint64_t seed, Snapshot *out) {
  Series series;
  fill_series(repo, &series);
  WriterOptions options = {.series = &series,
                           .parent = shape->parent,
                           .workers = shape->workers,
                           .readers = READERS,
                           .memory_bytes = shape->memory_bytes,
                           .pack_size = 128 * KIB,
                           .scratch_dir = "/tmp",
                           .host = "h"};
  assert_ok(compression_parse("lz4", &options.compression));
  Writer *w;
  assert_ok(writer_begin(repo, &options, &w, NULL));
  Source sources[READERS];
  Thread *threads[READERS];
  for (unsigned i = 0; i < READERS; i++) {
    sources[i] = (Source){.writer = w, .model = model, .number = i, .seed = seed + i};
    assert_ok(thread_start(sys, "reader", reader_run, &sources[i], &threads[i]));
  }
  for (unsigned i = 0; i < READERS; i++) {
    thread_join(threads[i]);
    assert_ok(sources[i].failed);
  }
  char facts[] = "{}";
  Snapshot fields = {.source = series.name, .engine = series.engine, .facts_json = facts};
  assert_ok(writer_commit(w, &fields, out));
  series_free(&series);
}

static Model make_model(uint64_t *seed) {
  Model model = {0};
  for (int i = 0; i < 12; i++) {
    AUTO_FREE char *path = mem_printf("f%02d", i);
    size_t len = test_random(seed) % (i % 4 == 0 ? 2000 : 900 * 1000);
    tools_add_random(&model, path, i % 3 == 1, len, seed);
    if (len > 3 * 131072) memset(model.files[model.len - 1].data + 131072, 0, 131072); /* a hole */
  }
  return model;
}

static void round_trip(Sys *sys, uint64_t round) {
  static const Shape shapes[] = {{1, 0, NULL}, {3, 0, NULL}, {2, 24 * MIB, NULL}, {4, 1, NULL}};
  uint64_t seed = seeds_begin(round * 100);
  Shape shape = shapes[round % NELEMS(shapes)];
  Store *store = store_memory_new(sys);
  Repo *repo = tools_init(sys, store, NULL);
  Model model = make_model(&seed);
  Snapshot first, second;
  back_up(sys, repo, &model, &shape, seed, &first);
  assert_ok(model_compare(repo, &first, &model, NULL));
  for (size_t i = 0; i < model.len; i++)
    for (int k = 0; k < 5 && model.files[i].len; k++)
      model.files[i].data[test_random(&seed) % model.files[i].len] ^= (uint8_t)(1 + k);
  shape.parent = &first;
  back_up(sys, repo, &model, &shape, seed, &second);
  assert_ok(model_compare(repo, &second, &model, NULL));
  tools_expect_clean(repo);
  snapshot_free(&first);
  snapshot_free(&second);
  model_free(&model);
  repo_free(repo);
  store_free(store);
}

static void test_real_threads(void **state UNUSED) {
  unsigned rounds = seeds_rounds(12);
  for (uint64_t round = 0; round < rounds; round++) round_trip(sys_real(), round);
}

static void test_any_interleaving(void **state UNUSED) {
  unsigned rounds = SEEDS_REAL_THREADS_ONLY ? 0 : seeds_rounds(24);
  for (uint64_t round = 0; round < rounds; round++) {
    Sys *sys = sim_new(seeds_begin(round + 1), 2);
    round_trip(sys, round);
    sim_free(sys);
  }
}

int main(void) {
  seeds_say();
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_real_threads),
      cmocka_unit_test(test_any_interleaving),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
