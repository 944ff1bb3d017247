#include "base/mem.h"
#include "codec/secret.h"
#include "repo/series.h"
#include "repo/uuid.h"
#include "store/store_memory.h"

#include "repo_tools.h"
#include "testing.h"

static Series make_series(const char *name, const char *host) {
  return (Series){.name = mem_strdup(name),
                  .engine = mem_strdup("sqlite"),
                  .address = mem_strdup("sqlite:/srv/app.db"),
                  .host = mem_strdup(host),
                  .host_id = mem_strdup(host),
                  .identity = mem_strdup("")};
}

static void test_create_and_list(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Series a = make_series("b:/srv/app.db", "b"), b = make_series("a:/srv/app.db", "a");
  assert_ok(series_create(repo, &a, NULL));
  assert_ok(series_create(repo, &b, NULL));
  assert_false(uuid_equal(&a.id, &b.id));
  SeriesList list;
  assert_ok(series_list(repo, &list, NULL));
  assert_int_equal(list.len, 2);
  assert_string_equal(list.items[0].name, "a:/srv/app.db");
  const Series *found = series_by_name(&list, "b:/srv/app.db");
  assert_non_null(found);
  assert_true(uuid_equal(&found->id, &a.id));
  assert_true(found == series_by_id(&list, &a.id));
  assert_null(series_by_name(&list, "c"));
  assert_string_equal(found->host, "b");
  assert_int_equal(found->revision, 1);
  series_list_free(&list);
  series_free(&a);
  series_free(&b);
  repo_free(repo);
  store_free(store);
}

/* Two who meet a new source at once make one series of it. A name that a series gave up is free again. */
static void test_one_series_a_name(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Series first = make_series("n", "a"), rival = make_series("n", "b"), later = make_series("n", "c");
  assert_ok(series_create(repo, &first, NULL));
  assert_err(series_create(repo, &rival, NULL), ERR_EXISTS);
  Series renamed = make_series("other", "a");
  renamed.id = first.id;
  renamed.revision = first.revision;
  assert_ok(series_update(repo, &renamed, NULL));
  assert_ok(series_create(repo, &later, NULL));
  assert_false(uuid_equal(&later.id, &first.id));
  SeriesList list;
  assert_ok(series_list(repo, &list, NULL));
  assert_int_equal(list.len, 2);
  assert_string_equal(series_by_name(&list, "n")->host, "c");
  series_list_free(&list);
  series_free(&first);
  series_free(&rival);
  series_free(&later);
  series_free(&renamed);
  repo_free(repo);
  store_free(store);
}

/* Of two who adopt at once one wins; the newest record counts; a damaged older one does not matter. */
static void test_revisions(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Series s = make_series("n", "old"), rival;
  assert_ok(series_create(repo, &s, NULL));
  rival = make_series("n", "rival");
  rival.id = s.id;
  rival.revision = s.revision;
  free(s.host);
  s.host = mem_strdup("new");
  assert_ok(series_update(repo, &s, NULL));
  assert_err(series_update(repo, &rival, NULL), ERR_EXISTS);
  for (int i = 0; i < 12; i++) assert_ok(series_update(repo, &s, NULL)); /* past 9 and 10 */
  char key[64], id[UUID_TEXT_LEN];
  snprintf(key, sizeof key, "series/%s/00000001", uuid_text(&s.id, id));
  size_t len;
  store_memory_bytes(store, key, &len)[120] ^= 1;
  SeriesList list;
  assert_ok(series_list(repo, &list, NULL));
  assert_int_equal(list.len, 1);
  assert_string_equal(list.items[0].host, "new");
  assert_int_equal(list.items[0].revision, 14);
  series_list_free(&list);
  series_free(&s);
  series_free(&rival);
  repo_free(repo);
  store_free(store);
}

/* A record that could not be read again is refused when it is written, or the repository would be of no use to
 * anybody. */
static void test_limits(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  char *long_name = (char *)mem_alloc(4098);
  memset(long_name, 'x', 4097);
  long_name[4097] = 0;
  Series s = make_series(long_name, "h");
  assert_err(series_create(repo, &s, NULL), ERR_LIMIT);
  series_free(&s);
  long_name[4096] = 0;
  s = make_series(long_name, "h");
  assert_ok(series_create(repo, &s, NULL));
  series_free(&s);
  s = make_series("bytes \xff\xfe and \x01 controls", "h\xc3");
  assert_ok(series_create(repo, &s, NULL));
  series_free(&s);
  SeriesList list;
  assert_ok(series_list(repo, &list, NULL));
  assert_int_equal(list.len, 2);
  series_list_free(&list);
  free(long_name);
  repo_free(repo);
  store_free(store);
}

static void test_foreign_files(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  assert_ok(store_put(store, "series/README", bytes_str("hello"), PUT_NEW, NULL));
  assert_ok(store_put(store, "series/0123/00000001", bytes_str("hello"), PUT_NEW, NULL));
  SeriesList list;
  assert_ok(series_list(repo, &list, NULL));
  assert_int_equal(list.len, 0);
  series_list_free(&list);
  repo_free(repo);
  store_free(store);
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_create_and_list), cmocka_unit_test(test_one_series_a_name),
      cmocka_unit_test(test_revisions),       cmocka_unit_test(test_limits),
      cmocka_unit_test(test_foreign_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
