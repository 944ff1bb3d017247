/* make_golden: writes the golden repository of the current format, from fixed content and a fixed key.
 *
 * Usage: make_golden FOLDER KEY_FILE        the repository goes to FOLDER, what it holds to FOLDER.expected
 *
 * A format that was released is never written again: its folder stays as it is, and must open for ever. While the
 * format is version 0 the folder is made anew when the format changes (tests/golden/remake). */
#include <stdio.h>

#include "base/mem.h"
#include "codec/blake3.h"
#include "codec/secret.h"
#include "repo/plan.h"
#include "repo/uuid.h"
#include "store/store_file.h"
#include "sys/fs.h"

#include "golden.h"
#include "testing.h"

static void describe(FILE *out, const Snapshot *s, const Model *model) {
  char id[UUID_TEXT_LEN];
  for (size_t i = 0; i < model->len; i++) {
    uint8_t hash[32];
    char text[65];
    blake3_hash(model->files[i].data, model->files[i].len, hash);
    hex_encode(hash, sizeof hash, text);
    fprintf(out, "%s %s %zu %s\n", uuid_text(&s->id, id), text, model->files[i].len, model->files[i].path);
  }
}

static void back_up(Repo *repo, const Model *model, const char *compression, bool full, FILE *out) {
  ModelBackup how = {.source = "golden:/srv", .compression = compression, .full = full, .workers = 1};
  Snapshot s;
  assert_ok(model_backup(repo, model, &how, &s, NULL));
  assert_ok(model_compare(repo, &s, model, NULL));
  describe(out, &s, model);
  snapshot_free(&s);
}

/* Every kind of content, codec, key and object that the format has. */
static void fill(Repo *repo, FILE *out) {
  uint64_t seed = 20260101;
  Model model = golden_model(&seed);
  tools_add_random(&model, "names/\xc3\xa4 \xff \x01", false, 10, &seed);
  size_t sparse_len = 3 * 131072;
  uint8_t *sparse = (uint8_t *)mem_alloc(sparse_len);
  memset(sparse, 0, sparse_len);
  model_fill(sparse + 131072, 5000, &seed);
  model_set(&model, "sparse-db", true, sparse, sparse_len);
  model_set(&model, "sparse", false, sparse, sparse_len);
  free(sparse);
  back_up(repo, &model, "zstd:1", true, out);
  Slot slot;
  assert_ok(repo_slot_add(repo, SLOT_PASSPHRASE, bytes_str(GOLDEN_PASSPHRASE), "passphrase", &slot, NULL));
  assert_ok(repo_epoch_new(repo, NULL));
  static const char *const codecs[] = {"lz4", "gzip", "bzip2", "xz", "none"};
  for (size_t i = 0; i < NELEMS(codecs); i++) {
    AUTO_FREE char *path = mem_printf("codec/%s", codecs[i]);
    tools_add_random(&model, path, false, 3000, &seed);
    tools_change(&model, &seed);
    back_up(repo, &model, codecs[i], false, out);
  }
  /* What no command writes yet. */
  SeriesList list;
  assert_ok(series_list(repo, &list, NULL));
  assert_ok(series_update(repo, &list.items[0], NULL));
  Session session;
  assert_ok(session_begin(repo, &list.items[0].id, "golden", &session, NULL));
  assert_ok(session_beat(repo, &session, NULL));
  assert_ok(repo_put_object(repo, OBJECT_FENCE, &session.series, session.commit_key, bytes_str("{}"), NULL));
  series_list_free(&list);
  AUTO_BUF Buf body = {0};
  Uuid gone = uuid_new(repo->sys);
  plan_encode(&gone, 1, &body);
  assert_ok(repo_put_object(repo, OBJECT_PLAN, NULL, "plans/00000001", buf_bytes(&body), NULL));
  model_free(&model);
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: make_golden FOLDER KEY_FILE\n");
    return 2;
  }
  secret_init();
  AUTO_BUF Buf key = {0};
  AUTO_FREE char *expected = mem_printf("%s.expected", argv[1]);
  assert_ok(fs_read_file(argv[2], 4096, &key));
  Store *store;
  assert_ok(store_file_open(sys_real(), argv[1], true, &store));
  Unlock unlock = {.kind = SLOT_KEY_FILE, .secret = buf_bytes(&key)};
  RepoInit init = {.unlocks = &unlock, .unlocks_len = 1};
  Repo *repo;
  assert_ok(repo_init(sys_real(), store, &init, NULL, NULL, &repo, NULL));
  FILE *out = fopen(expected, "w");
  CHECK(out != NULL);
  fill(repo, out);
  CHECK(fclose(out) == 0);
  repo_free(repo);
  return 0;
}
