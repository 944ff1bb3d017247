/* The committed repositories of every format: each opens with key file and passphrase, lists, verifies, restores what
 * the text file beside it says, and can be added to (in a copy). */
#include <stdio.h>

#include "base/mem.h"
#include "codec/blake3.h"
#include "codec/secret.h"
#include "repo/restore.h"
#include "repo/uuid.h"
#include "store/store_file.h"
#include "store/store_memory.h"
#include "sys/fs.h"

#include "golden.h"
#include "testing.h"

typedef struct Golden {
  char *folder; /* tests/golden */
  Store *store; /* format-0, in memory */
  Buf key, expected;
} Golden;

static const char *folder; /* from the command line */

static int setup(void **state) {
  Golden *g = NEW(Golden);
  g->folder = mem_strdup(folder);
  AUTO_FREE char *repo = fs_join(folder, "format-0"), *key = fs_join(folder, "key"),
                 *expected = fs_join(folder, "format-0.expected");
  Store *files;
  assert_ok(store_file_open(sys_real(), repo, false, &files));
  g->store = tools_store_copy(sys_real(), files);
  store_free(files);
  assert_ok(fs_read_file(key, 4096, &g->key));
  assert_ok(fs_read_file(expected, MIB, &g->expected));
  *state = g;
  return 0;
}

static int teardown(void **state) {
  Golden *g = (Golden *)*state;
  store_free(g->store);
  buf_free(&g->key);
  buf_free(&g->expected);
  free(g->folder);
  free(g);
  return 0;
}

static Error *open_golden(const Golden *g, Store *store, Repo **out) {
  Unlock unlock = {.kind = SLOT_KEY_FILE, .secret = buf_bytes(&g->key)};
  return repo_open(sys_real(), tools_store_borrow(store), &unlock, 1, NULL, out, NULL);
}

/* ---- contents
 * ------------------------------------------------------------------------------------------------------------- */

typedef struct Found {
  const Snapshot *snapshot;
  Buf lines;
} Found;

typedef struct FoundFile {
  char *path;
  uint8_t *data;
  size_t len;
} FoundFile;

static bool select_all(void *ctx UNUSED, const Entry *entry UNUSED) { return true; }

static Error *create_file(void *ctx UNUSED, const Entry *entry, void **out) {
  FoundFile *f = NEW(FoundFile);
  *f = (FoundFile){.path = mem_strndup((const char *)entry->path.data, entry->path.len), .len = entry->size};
  f->data = NEW_ARRAY(uint8_t, f->len + 1);
  *out = f;
  return NULL;
}

static Error *write_file(void *ctx UNUSED, void *handle, uint64_t offset, Bytes data) {
  FoundFile *f = (FoundFile *)handle;
  CHECK(offset + data.len <= f->len);
  memcpy(f->data + offset, data.data, data.len);
  return NULL;
}

static Error *finish_file(void *ctx, void *handle, const Error *failed) {
  Found *found = (Found *)ctx;
  FoundFile *f = (FoundFile *)handle;
  uint8_t hash[32];
  char text[65], id[UUID_TEXT_LEN];
  blake3_hash(f->data, f->len, hash);
  hex_encode(hash, sizeof hash, text);
  if (!failed) buf_printf(&found->lines, "%s %s %zu %s\n", uuid_text(&found->snapshot->id, id), text, f->len, f->path);
  free(f->path);
  free(f->data);
  free(f);
  return NULL;
}

static int line_order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The lines, sorted: a restore finishes files in any order. */
static StrList sorted_lines(Bytes text) {
  StrList lines = {0};
  for (size_t at = 0; at < text.len;) {
    const uint8_t *end = (const uint8_t *)memchr(text.data + at, '\n', text.len - at);
    assert_non_null(end);
    AUTO_FREE char *line = mem_strndup((const char *)text.data + at, (size_t)(end - text.data) - at);
    strlist_add(&lines, line);
    at = (size_t)(end - text.data) + 1;
  }
  qsort(lines.items, lines.len, sizeof *lines.items, line_order);
  return lines;
}

static void expect_contents(const Golden *g, Repo *repo) {
  static const RestoreOps ops = {
      .select = select_all, .create = create_file, .write = write_file, .finish = finish_file};
  Index *index;
  assert_ok(index_open_reading(repo, &index, NULL));
  SnapshotList list;
  assert_ok(snapshot_list(repo, NULL, &list, NULL, NULL, NULL));
  assert_int_equal(list.len, 6);
  Found found = {0};
  for (size_t i = 0; i < list.len; i++) {
    found.snapshot = &list.items[i];
    RestoreOptions options = {.workers = 1};
    RestoreStats stats;
    assert_ok(restore_fetch(repo, index, &list.items[i].root, &ops, &found, &options, &stats, NULL));
  }
  AUTO_STRLIST StrList lines = sorted_lines(buf_bytes(&found.lines));
  AUTO_STRLIST StrList expected = sorted_lines(buf_bytes(&g->expected));
  assert_int_equal(lines.len, expected.len);
  for (size_t i = 0; i < lines.len; i++) assert_string_equal(lines.items[i], expected.items[i]);
  buf_free(&found.lines);
  snapshot_list_free(&list);
  index_free(index);
}

static void test_reads(void **state) {
  const Golden *g = (const Golden *)*state;
  Repo *repo;
  assert_ok(open_golden(g, g->store, &repo));
  assert_false(repo->read_only);
  tools_expect_clean(repo);
  expect_contents(g, repo);
  SeriesList series;
  assert_ok(series_list(repo, &series, NULL));
  assert_int_equal(series.len, 1);
  assert_string_equal(series.items[0].name, "golden:/srv");
  assert_int_equal(series.items[0].revision, 2);
  series_list_free(&series);
  repo_free(repo);
  Unlock phrase = {.kind = SLOT_PASSPHRASE, .secret = bytes_str(GOLDEN_PASSPHRASE)};
  assert_ok(repo_open(sys_real(), tools_store_borrow(g->store), &phrase, 1, NULL, &repo, NULL));
  expect_contents(g, repo);
  repo_free(repo);
}

/* This program's writer goes on where that one stopped: an incremental on an old parent, what is known is not stored.
 */
static void test_goes_on(void **state) {
  const Golden *g = (const Golden *)*state;
  Store *copy = tools_store_copy(sys_real(), g->store);
  Repo *repo;
  assert_ok(open_golden(g, copy, &repo));
  uint64_t seed = 1;
  Model model = golden_model(&seed);
  ModelBackup how = {.source = "golden:/srv"};
  Snapshot s;
  assert_ok(model_backup(repo, &model, &how, &s, NULL));
  assert_true(s.has_parent);
  assert_ok(model_compare(repo, &s, &model, NULL));
  snapshot_free(&s);
  assert_ok(repo_epoch_new(repo, NULL));
  tools_change(&model, &seed);
  assert_ok(model_backup(repo, &model, &how, &s, NULL));
  assert_ok(model_compare(repo, &s, &model, NULL));
  snapshot_free(&s);
  tools_expect_clean(repo);
  model_free(&model);
  repo_free(repo);
  store_free(copy);
}

/* ---- versions that are not ours
 * ----------------------------------------------------------------------------------------------- */

static void replace_text(Store *store, const char *key, const char *from, const char *to) {
  AUTO_BUF Buf body = tools_get(store, key), changed = {0};
  buf_put_u8(&body, 0);
  const char *text = (const char *)body.data, *at = strstr(text, from);
  assert_non_null(at);
  buf_add(&changed, text, (size_t)(at - text));
  buf_add_str(&changed, to);
  buf_add_str(&changed, at + strlen(from));
  tools_set(store, key, buf_bytes(&changed));
}

static void expect_open(const Golden *g, const char *from, const char *to, ErrCode code) {
  Store *copy = tools_store_copy(sys_real(), g->store);
  replace_text(copy, "holdfast.json", from, to);
  Repo *repo;
  assert_err(open_golden(g, copy, &repo), code);
  store_free(copy);
}

static void test_other_versions(void **state) {
  const Golden *g = (const Golden *)*state;
  expect_open(g, "\"format\":0", "\"format\":1", ERR_UNSUPPORTED);
  expect_open(g, "\"format\":0", "\"format\":4294967296", ERR_UNSUPPORTED);
  expect_open(g, "\"format\":0", "\"format\":-1", ERR_CORRUPT);
  expect_open(g, "\"incompatible\":[]", "\"incompatible\":[\"parity-in-packs\"]", ERR_UNSUPPORTED);
  expect_open(g, "blake3-256", "blake4-256", ERR_UNSUPPORTED);
  expect_open(g, "aes-256-gcm", "rot-13", ERR_UNSUPPORTED);
  /* Not signed by a key holder. */
  expect_open(g, "\"compatible\":[]", "\"compatible\":[\"x\"]", ERR_CORRUPT);
  expect_open(g, "\"read_only\":[]", "\"read_only\":[\"x\"]", ERR_CORRUPT);
}

/* Objects of a newer version inside a repository whose marker does not say so are refused as such, by name. */
static void test_newer_objects(void **state) {
  const Golden *g = (const Golden *)*state;
  static const char *const prefixes[] = {"packs/", "index/", "series/", "sessions/", "snapshots/", "plans/"};
  for (size_t i = 0; i < NELEMS(prefixes); i++) {
    Store *copy = tools_store_copy(sys_real(), g->store);
    AUTO_STRLIST StrList keys = tools_keys(copy, prefixes[i]);
    size_t len;
    uint8_t *data = store_memory_bytes(copy, keys.items[keys.len - 1], &len);
    data[4] = 1;
    Repo *repo;
    assert_ok(open_golden(g, copy, &repo));
    uint64_t damaged;
    char *first;
    assert_ok(model_verify(repo, 3, &damaged, &first));
    assert_true(damaged >= 1);
    free(first);
    repo_free(repo);
    store_free(copy);
  }
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: test_golden tests/golden\n");
    return 2;
  }
  folder = argv[1];
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reads),
      cmocka_unit_test(test_goes_on),
      cmocka_unit_test(test_other_versions),
      cmocka_unit_test(test_newer_objects),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
