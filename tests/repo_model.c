#include "repo_model.h"

#include "base/mem.h"
#include "repo/restore.h"

#include "testing.h"

static const char key_file[] = "a key file of more than sixteen bytes";

void model_free(Model *model) {
  for (size_t i = 0; i < model->len; i++) {
    free(model->files[i].path);
    free(model->files[i].data);
  }
  free(model->files);
  *model = (Model){0};
}

void model_set(Model *model, const char *path, bool pages, const uint8_t *data, size_t len) {
  size_t at = 0;
  while (at < model->len && entry_path_compare(bytes_str(model->files[at].path), bytes_str(path)) < 0) at++;
  bool replace = at < model->len && strcmp(model->files[at].path, path) == 0;
  if (!replace) {
    model->files = (ModelFile *)mem_resize(model->files, model->len + 1, sizeof(ModelFile));
    memmove(&model->files[at + 1], &model->files[at], (model->len - at) * sizeof(ModelFile));
    model->len++;
    model->files[at] = (ModelFile){.path = mem_strdup(path)};
  }
  uint8_t *copy = (uint8_t *)mem_dup(data, len);
  free(model->files[at].data);
  model->files[at].data = copy;
  model->files[at].len = len;
  model->files[at].pages = pages;
}

Model model_copy(const Model *model) {
  Model copy = {0};
  for (size_t i = 0; i < model->len; i++)
    model_set(&copy, model->files[i].path, model->files[i].pages, model->files[i].data, model->files[i].len);
  return copy;
}

void model_fill(uint8_t *out, size_t len, uint64_t *seed) {
  static const char words[] = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda omega ";
  for (size_t i = 0; i < len;) {
    uint64_t r = test_random(seed);
    size_t from = r % (sizeof words - 12), n = 4 + (r >> 32) % 8;
    for (size_t k = 0; k < n && i < len; k++) out[i++] = (uint8_t)words[from + k];
    if (i < len) out[i++] = (uint8_t)(r >> 56);
  }
}

Error *model_repo_init(Sys *sys, Store *take_store, const char *cache_dir, Repo **out) {
  Unlock unlock = {.kind = SLOT_KEY_FILE, .secret = bytes_str(key_file)};
  RepoInit init = {.unlocks = &unlock, .unlocks_len = 1};
  return repo_init(sys, take_store, &init, cache_dir, NULL, out, NULL);
}

Error *model_repo_open(Sys *sys, Store *take_store, const char *cache_dir, Repo **out) {
  Unlock unlock = {.kind = SLOT_KEY_FILE, .secret = bytes_str(key_file)};
  return repo_open(sys, take_store, &unlock, 1, cache_dir, out, NULL);
}

/* ---- backing up
 * ---------------------------------------------------------------------------------------------------------- */

static Error *find_or_create(Repo *repo, const char *name, Series *out) {
  SeriesList list = {0};
  TRY(series_list(repo, &list, NULL));
  const Series *known = series_by_name(&list, name);
  Series series = {.name = mem_strdup(name),
                   .engine = mem_strdup("files"),
                   .address = mem_strdup("files:/model"),
                   .host = mem_strdup("host"),
                   .host_id = mem_strdup("host"),
                   .identity = mem_strdup("")};
  Error *err = NULL;
  if (known)
    series.id = known->id;
  else
    err = series_create(repo, &series, NULL);
  series_list_free(&list);
  if (err)
    series_free(&series);
  else
    *out = series;
  return err;
}

static Error *write_content(WriterStream *s, const ModelFile *file) {
  for (size_t at = 0; at < file->len;) {
    uint8_t *place;
    size_t cap;
    TRY(writer_stream_buffer(s, &place, &cap));
    size_t n = file->len - at < cap ? file->len - at : cap;
    memcpy(place, file->data + at, n);
    TRY(writer_stream_write(s, n));
    at += n;
  }
  return NULL;
}

static Error *write_file(Writer *w, const ModelFile *file) {
  Entry entry = {.path = bytes_str(file->path), .type = ENTRY_FILE, .mode = 0644, .size = file->len};
  WriterStreamSpec spec = {.path = entry.path, .pages = file->pages, .size_hint = file->len};
  WriterStream *s;
  TRY(writer_stream_open(w, &spec, &s));
  Error *err = write_content(s, file);
  if (err) {
    writer_stream_abort(s);
    return err;
  }
  return writer_stream_end(s, &entry);
}

static Error *write_all(Writer *w, const Model *model) {
  for (size_t i = 0; i < model->len; i++) TRY(write_file(w, &model->files[i]));
  return NULL;
}

Error *model_backup(Repo *repo, const Model *model, const ModelBackup *how, Snapshot *out, Cancel *cancel) {
  Series series;
  TRY(find_or_create(repo, how->source, &series));
  SnapshotList history = {0};
  Error *err = snapshot_list(repo, &series.id, &history, NULL, NULL, cancel);
  WriterOptions options = {.series = &series,
                           .parent = !err && history.len && !how->full ? &history.items[history.len - 1] : NULL,
                           .workers = how->workers ? how->workers : 2,
                           .readers = 1,
                           .pack_size = how->pack_size ? how->pack_size : 64 * KIB,
                           .scratch_dir = "/tmp",
                           .host = "host"};
  if (!err) err = compression_parse(how->compression ? how->compression : "zstd:1", &options.compression);
  Writer *w = NULL;
  if (!err) err = writer_begin(repo, &options, &w, cancel);
  if (!err) err = write_all(w, model);
  char facts[] = "{}";
  Snapshot fields = {.source = series.name, .engine = series.engine, .facts_json = facts};
  if (!err) err = writer_commit(STEAL(w), &fields, out);
  writer_abort(w, "failed");
  snapshot_list_free(&history);
  series_free(&series);
  return err;
}

/* ---- restoring
 * -------------------------------------------------------------------------------------------------------------- */

typedef struct Restored {
  Model *model;
  Error *failed;
} Restored;

static bool select_all(void *ctx UNUSED, const Entry *entry UNUSED) { return true; }

static Error *create_file(void *ctx, const Entry *entry, void **out) {
  Restored *r = (Restored *)ctx;
  AUTO_FREE char *path = mem_strndup((const char *)entry->path.data, entry->path.len);
  uint8_t *zeros = (uint8_t *)mem_alloc(entry->size + 1);
  model_set(r->model, path, false, zeros, entry->size);
  free(zeros);
  *out = mem_strdup(path);
  return NULL;
}

static ModelFile *file_of(Restored *r, const void *handle) {
  for (size_t i = 0; i < r->model->len; i++)
    if (strcmp(r->model->files[i].path, (const char *)handle) == 0) return &r->model->files[i];
  fail_msg("no such file");
  return NULL;
}

static Error *write_file_at(void *ctx, void *handle, uint64_t offset, Bytes data) {
  ModelFile *file = file_of((Restored *)ctx, handle);
  CHECK(offset + data.len <= file->len);
  memcpy(file->data + offset, data.data, data.len);
  return NULL;
}

static Error *finish_file(void *ctx, void *handle, const Error *failed) {
  Restored *r = (Restored *)ctx;
  if (failed && !r->failed) r->failed = err_wrap(err_copy(failed), "%s", (char *)handle);
  free(handle);
  return NULL;
}

static Error *compare(const Model *found, const Model *expected) {
  if (found->len != expected->len)
    return err_new(ERR_CHECK_FAILED, "%zu files restored, %zu expected", found->len, expected->len);
  for (size_t i = 0; i < found->len; i++) {
    const ModelFile *a = &found->files[i], *b = &expected->files[i];
    if (strcmp(a->path, b->path) != 0) return err_new(ERR_CHECK_FAILED, "%s restored, %s expected", a->path, b->path);
    if (a->len != b->len) return err_new(ERR_CHECK_FAILED, "%s: %zu bytes, %zu expected", a->path, a->len, b->len);
    for (size_t k = 0; k < a->len; k++)
      if (a->data[k] != b->data[k]) return err_new(ERR_CHECK_FAILED, "%s: byte %zu differs", a->path, k);
  }
  return NULL;
}

Error *model_compare(Repo *repo, const Snapshot *snapshot, const Model *model, Cancel *cancel) {
  static const RestoreOps ops = {
      .select = select_all, .create = create_file, .write = write_file_at, .finish = finish_file};
  Index *index;
  TRY(index_open_reading(repo, &index, cancel));
  Model found = {0};
  Restored r = {.model = &found};
  RestoreOptions options = {.workers = 2};
  RestoreStats stats;
  Error *err = restore_fetch(repo, index, &snapshot->root, &ops, &r, &options, &stats, cancel);
  err = err_first(err, r.failed);
  if (!err) err = compare(&found, model);
  model_free(&found);
  index_free(index);
  return err;
}

/* ---- verifying
 * --------------------------------------------------------------------------------------------------------------- */

static void note_damage(void *ctx, const char *object, const Error *err) {
  char **first = (char **)ctx;
  if (first && !*first) *first = mem_printf("%s: %s", object, err_text(err));
}

Error *model_verify(Repo *repo, unsigned level, uint64_t *damaged, char **first) {
  if (first) *first = NULL;
  VerifyHooks hooks = {.damaged = note_damage, .ctx = first};
  VerifyOptions options = {.level = level, .workers = 2};
  VerifyStats stats;
  TRY(repo_verify(repo, &options, &hooks, &stats, NULL));
  *damaged = stats.damaged;
  return NULL;
}
