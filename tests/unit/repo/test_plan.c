#include "base/mem.h"
#include "codec/secret.h"
#include "repo/index.h"
#include "repo/plan.h"
#include "store/store_memory.h"

#include "repo_tools.h"
#include "testing.h"

static void test_codec(void **state UNUSED) {
  Uuid packs[] = {{{1}}, {{2}}, {{2, 1}}, {{9}}};
  AUTO_BUF Buf body = {0};
  plan_encode(packs, NELEMS(packs), &body);
  UuidSet plans = {0};
  assert_ok(plan_decode(buf_bytes(&body), &plans));
  assert_int_equal(plans.len, NELEMS(packs));
  assert_true(uuid_set_has(&plans, &packs[2]));
  Uuid other = {{2, 2}};
  assert_false(uuid_set_has(&plans, &other));
  uuid_set_free(&plans);
  for (size_t len = 0; len < body.len; len++) {
    assert_err(plan_decode(bytes(body.data, len), &plans), ERR_CORRUPT);
    uuid_set_free(&plans);
  }
  store_u32(body.data, UINT32_MAX);
  assert_err(plan_decode(buf_bytes(&body), &plans), ERR_CORRUPT);
  uuid_set_free(&plans);
  /* Twice the same, or out of order. */
  Uuid twice[] = {{{3}}, {{3}}};
  buf_clear(&body);
  plan_encode(twice, 2, &body);
  assert_err(plan_decode(buf_bytes(&body), &plans), ERR_CORRUPT);
  uuid_set_free(&plans);
  buf_clear(&body);
  plan_encode(NULL, 0, &body);
  assert_ok(plan_decode(buf_bytes(&body), &plans));
  assert_false(uuid_set_has(&plans, &other));
  uuid_set_free(&plans);
}

static int uuid_order(const void *a, const void *b) { return memcmp(a, b, sizeof(Uuid)); }

static void condemn_all(Repo *repo, const char *name) {
  AUTO_STRLIST StrList packs = tools_keys(repo->store, "packs/");
  Uuid *ids = NEW_ARRAY(Uuid, packs.len);
  for (size_t i = 0; i < packs.len; i++) assert_true(pack_name_parse(packs.items[i], &ids[i]));
  qsort(ids, packs.len, sizeof *ids, uuid_order);
  AUTO_BUF Buf body = {0};
  plan_encode(ids, packs.len, &body);
  assert_ok(repo_put_object(repo, OBJECT_PLAN, NULL, name, buf_bytes(&body), NULL));
  free(ids);
}

/* A condemned pack counts as absent: the next backup stores all again and names nothing of it, so that the sweep may
 * come. Until then, and while there is a snapshot of before, reading does not mind. */
static void test_condemned(void **state UNUSED) {
  uint64_t seed = 1;
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Model model = tools_model(&seed);
  Snapshot first, second;
  tools_backup(repo, &model, &first);
  AUTO_STRLIST StrList condemned = tools_keys(store, "packs/"), segments = tools_keys(store, "index/");
  condemn_all(repo, "plans/00000001");
  Index *index;
  assert_ok(index_open(repo, &index, NULL));
  assert_int_equal(index_lost_packs(index), condemned.len);
  index_free(index);
  tools_expect_clean(repo);
  assert_ok(index_open_reading(repo, &index, NULL));
  assert_int_equal(index_lost_packs(index), 0);
  index_free(index);

  tools_backup(repo, &model, &second);
  assert_false(second.has_parent);
  assert_true(second.stats.new_bytes + 4096 > first.stats.new_bytes);
  assert_ok(model_compare(repo, &first, &model, NULL));
  /* The sweep. */
  for (size_t i = 0; i < segments.len; i++) assert_ok(store_remove(store, segments.items[i], NULL));
  for (size_t i = 0; i < condemned.len; i++) assert_ok(store_remove(store, condemned.items[i], NULL));
  assert_ok(model_compare(repo, &second, &model, NULL));
  snapshot_free(&first);
  snapshot_free(&second);
  model_free(&model);
  repo_free(repo);
  store_free(store);
}

/* What a plan that does not open condemns is unknown: nobody writes; but reading goes on. */
static void test_damaged_plan(void **state UNUSED) {
  uint64_t seed = 2;
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Model model = tools_model(&seed);
  Snapshot s;
  tools_backup(repo, &model, &s);
  condemn_all(repo, "plans/00000001");
  size_t len;
  store_memory_bytes(store, "plans/00000001", &len)[100] ^= 1;
  ModelBackup how = {.source = "m"};
  Snapshot none;
  assert_err(model_backup(repo, &model, &how, &none, NULL), ERR_CORRUPT);
  uint64_t damaged;
  assert_ok(model_verify(repo, 3, &damaged, NULL));
  assert_int_equal(damaged, 1);
  snapshot_free(&s);
  model_free(&model);
  repo_free(repo);
  store_free(store);
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_codec),
      cmocka_unit_test(test_condemned),
      cmocka_unit_test(test_damaged_plan),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
