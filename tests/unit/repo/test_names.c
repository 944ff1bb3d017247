/* Which files in a repository are ours. Everything a repository writes is; what lies beside it is nobody's damage. */
#include "base/mem.h"
#include "codec/secret.h"
#include "repo/names.h"
#include "repo/series.h"
#include "repo/session.h"
#include "store/store_memory.h"

#include "repo_tools.h"
#include "testing.h"

static void test_all_we_write(void **state UNUSED) {
  uint64_t seed = 1;
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Model model = tools_model(&seed);
  Snapshot s;
  Session session;
  tools_backup(repo, &model, &s);
  assert_ok(session_begin(repo, &s.series, "host", &session, NULL));
  assert_ok(session_beat(repo, &session, NULL));
  assert_ok(repo_epoch_new(repo, NULL));
  AUTO_STRLIST StrList keys = tools_keys(store, "");
  for (size_t i = 0; i < keys.len; i++)
    if (!name_is_object(keys.items[i])) fail_msg("%s is ours", keys.items[i]);
  assert_true(keys.len > 12);
  assert_true(name_is_object("plans/00000001"));
  snapshot_free(&s);
  model_free(&model);
  repo_free(repo);
  store_free(store);
}

/* Every object's name with something put before, behind or into it, or cut off. */
static void test_neighbours(void **state UNUSED) {
#define ID "0123456789abcdef0123456789abcdef"
  static const char *const ours[] = {"holdfast.json",
                                     "keys/" ID,
                                     "keyring/00000000/grant",
                                     "keyring/00000000/slots/" ID,
                                     "keyring/00000000/data/" ID,
                                     "packs/01/" ID,
                                     "index/" ID,
                                     "damaged/" ID,
                                     "series/" ID "/00000001",
                                     "sessions/" ID "/begin",
                                     "sessions/" ID "/beat-00000001",
                                     "sessions/" ID "/end",
                                     "snapshots/" ID "/20261120T093000.123456789Z-" ID,
                                     "plans/00000001"};
  static const char *const ends[] = {".bak", "x", "0", "/", "/x", "-", ".", "~"};
  for (size_t i = 0; i < NELEMS(ours); i++) {
    assert_true(name_is_object(ours[i]));
    size_t len = strlen(ours[i]);
    bool number = strstr(ours[i], "beat-") != NULL; /* of any length */
    for (size_t cut = 0; cut < len - (number ? 8 : 0); cut++) {
      AUTO_FREE char *head = mem_strndup(ours[i], cut);
      assert_false(name_is_object(head));
    }
    for (size_t k = 0; k < NELEMS(ends); k++) {
      AUTO_FREE char *longer = mem_printf("%s%s", ours[i], ends[k]), *before = mem_printf("%s%s", ends[k], ours[i]);
      if (!number || k != 2) assert_false(name_is_object(longer));
      assert_false(name_is_object(before));
    }
  }
  static const char *const others[] = {"packs/02/" ID,
                                       "README",
                                       "index",
                                       "index/" ID "/x",
                                       "snapshots/" ID "/20261120-" ID,
                                       "keys/0123456789ABCDEF0123456789ABCDEF",
                                       "plans/0000000a",
                                       "sessions/" ID "/beat-"};
  for (size_t i = 0; i < NELEMS(others); i++) assert_false(name_is_object(others[i]));
#undef ID
}

/* Notes and copies among plans, keys and snapshots stop nobody. */
static void test_foreign_names_stop_nothing(void **state UNUSED) {
  uint64_t seed = 2;
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Model model = tools_model(&seed);
  Snapshot s;
  tools_backup(repo, &model, &s);
  AUTO_STRLIST StrList keys = tools_keys(store, "");
  for (size_t i = 0; i < keys.len; i++) {
    AUTO_FREE char *copy = mem_printf("%s.orig", keys.items[i]);
    AUTO_BUF Buf body = tools_get(store, keys.items[i]);
    tools_set(store, copy, buf_bytes(&body));
  }
  tools_set(store, "plans/README", bytes_str("hello"));
  tools_set(store, "keys/README", bytes_str("hello"));
  tools_set(store, "snapshots/README", bytes_str("hello"));
  SnapshotList list;
  assert_ok(snapshot_list(repo, NULL, &list, NULL, NULL, NULL));
  assert_int_equal(list.len, 1);
  snapshot_list_free(&list);
  assert_ok(model_compare(repo, &s, &model, NULL));
  tools_change(&model, &seed);
  tools_backup(repo, &model, NULL);
  assert_ok(repo_epoch_new(repo, NULL)); /* reads every slot */
  repo_free(repo);
  repo = tools_open(sys_real(), store, NULL);
  tools_backup(repo, &model, NULL);
  snapshot_free(&s);
  model_free(&model);
  repo_free(repo);
  store_free(store);
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_we_write),
      cmocka_unit_test(test_neighbours),
      cmocka_unit_test(test_foreign_names_stop_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
