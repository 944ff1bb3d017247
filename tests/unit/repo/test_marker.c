#include "codec/blake3.h"
#include "codec/secret.h"
#include "repo/json.h"
#include "repo/marker.h"
#include "store/store_memory.h"

#include "repo_tools.h"
#include "testing.h"

static Keys *new_keys(void) {
  Uuid id;
  uint8_t root[KEY_LEN];
  memset(&id, 7, sizeof id);
  memset(root, 9, sizeof root);
  return keys_new(&id, root);
}

static void test_round_trip(void **state UNUSED) {
  Keys *keys = new_keys(), *others;
  AUTO_BUF Buf text = {0};
  marker_create(keys, 12345, &text);
  Marker marker;
  assert_ok(marker_parse(buf_bytes(&text), &marker));
  assert_int_equal(marker.format, FORMAT_VERSION);
  assert_int_equal(marker.created_ns, 12345);
  assert_true(uuid_equal(&marker.repo, &keys->repo));
  assert_false(marker.read_only);
  assert_ok(marker_verify(&marker, keys));
  uint8_t root[KEY_LEN] = {1};
  others = keys_new(&keys->repo, root);
  assert_err(marker_verify(&marker, others), ERR_CORRUPT);
  marker_free(&marker);
  keys_free(keys);
  keys_free(others);
}

/* The marker's text with `edit` applied and a right code again, as a program that may write it would have. */
static void signed_edit(const Keys *keys, void (*edit)(json_t *doc), Buf *out) {
  AUTO_BUF Buf text = {0}, form = {0};
  marker_create(keys, 1, &text);
  AUTO_JSON json_t *doc = NULL;
  assert_ok(json_parse_object(buf_bytes(&text), "marker", &doc));
  json_object_del(doc, "mac");
  edit(doc);
  json_dump_sorted(doc, &form);
  uint8_t mac[32];
  blake3_keyed(keys->mac, form.data, form.len, mac);
  json_set_hex(doc, "mac", mac, sizeof mac);
  buf_clear(out);
  json_dump_sorted(doc, out);
  buf_put_u8(out, '\n');
}

static void feature(json_t *doc, const char *list) {
  json_array_append_new(json_object_get(json_object_get(doc, "features"), list), json_string("from-the-future"));
}
static void edit_compatible(json_t *doc) { feature(doc, "compatible"); }
static void edit_read_only(json_t *doc) { feature(doc, "read_only"); }
static void edit_incompatible(json_t *doc) { feature(doc, "incompatible"); }
static void edit_newer(json_t *doc) { json_set_u64(doc, "format", FORMAT_VERSION + 1); }
static void edit_hash(json_t *doc) { json_set_str(json_object_get(doc, "algorithms"), "hash", "sha3-512"); }
static void edit_more(json_t *doc) { json_set_str(doc, "comment", "a field of tomorrow"); }

/* A repository whose marker was edited. */
static Error *open_edited(void (*edit)(json_t *doc), Store *store, Repo **out) {
  Repo *repo = tools_init(sys_real(), store, NULL);
  AUTO_BUF Buf text = {0};
  signed_edit(repo->keys, edit, &text);
  repo_free(repo);
  tools_set(store, MARKER_KEY, buf_bytes(&text));
  return model_repo_open(sys_real(), tools_store_borrow(store), NULL, out);
}

static void test_features(void **state UNUSED) {
  uint64_t seed = 1;
  Model model = {0};
  tools_add_random(&model, "f", false, 1000, &seed);
  void (*const usable[])(json_t * doc) = {edit_compatible, edit_more};
  for (size_t i = 0; i < NELEMS(usable); i++) {
    Store *store = store_memory_new(sys_real());
    Repo *repo;
    assert_ok(open_edited(usable[i], store, &repo));
    assert_ok(repo_check_writable(repo));
    tools_backup(repo, &model, NULL);
    tools_expect_clean(repo);
    repo_free(repo);
    store_free(store);
  }
  Store *store = store_memory_new(sys_real());
  Repo *repo;
  assert_ok(open_edited(edit_read_only, store, &repo));
  assert_err(repo_check_writable(repo), ERR_REFUSED);
  tools_expect_clean(repo);
  ModelBackup how = {.source = "m"};
  Snapshot s;
  size_t before = tools_count(store, "");
  assert_err(model_backup(repo, &model, &how, &s, NULL), ERR_REFUSED);
  assert_err(repo_epoch_new(repo, NULL), ERR_REFUSED);
  assert_int_equal(tools_count(store, "packs/"), 0);
  assert_int_equal(tools_count(store, "sessions/"), 0);
  assert_int_equal(tools_count(store, ""), before);
  repo_free(repo);
  store_free(store);
  store = store_memory_new(sys_real());
  assert_err(open_edited(edit_incompatible, store, &repo), ERR_UNSUPPORTED);
  store_free(store);
  model_free(&model);
}

static void test_versions(void **state UNUSED) {
  void (*const unusable[])(json_t * doc) = {edit_newer, edit_hash};
  for (size_t i = 0; i < NELEMS(unusable); i++) {
    Store *store = store_memory_new(sys_real());
    Repo *repo;
    assert_err(open_edited(unusable[i], store, &repo), ERR_UNSUPPORTED);
    store_free(store);
  }
}

/* A feature taken out, or put in, by somebody without a key. */
static void test_unsigned_edit(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  repo_free(tools_init(sys_real(), store, NULL));
  AUTO_BUF Buf text = tools_get(store, MARKER_KEY);
  AUTO_JSON json_t *doc = NULL;
  assert_ok(json_parse_object(buf_bytes(&text), "marker", &doc));
  edit_compatible(doc);
  buf_clear(&text);
  json_dump_sorted(doc, &text);
  buf_put_u8(&text, '\n');
  tools_set(store, MARKER_KEY, buf_bytes(&text));
  Repo *repo;
  assert_err(model_repo_open(sys_real(), tools_store_borrow(store), NULL, &repo), ERR_CORRUPT);
  store_free(store);
}

static void test_malformed(void **state UNUSED) {
  static const char *const texts[] = {
      "",
      "{",
      "{}",
      "[]",
      "{\"format\":0}",
      "{\"format\":\"0\"}",
      "{\"format\":-1}",
      "{\"format\":0,\"format\":0}",
      "{\"format\":0,\"repository\":\"zz\",\"created_ns\":0,\"mac\":\"\",\"features\":{},\"algorithms\":{}}",
  };
  Marker marker;
  for (size_t i = 0; i < NELEMS(texts); i++) assert_err(marker_parse(bytes_str(texts[i]), &marker), ERR_CORRUPT);
  /* Equal as JSON, not in form: blanks, capitals, no newline. */
  Keys *keys = new_keys();
  AUTO_BUF Buf text = {0};
  marker_create(keys, 1, &text);
  assert_err(marker_parse(bytes(text.data, text.len - 1), &marker), ERR_CORRUPT);
  buf_put_u8(&text, '\n');
  assert_err(marker_parse(buf_bytes(&text), &marker), ERR_CORRUPT);
  keys_free(keys);
}

static void test_no_repository(void **state UNUSED) {
  Repo *repo;
  assert_err(model_repo_open(sys_real(), store_memory_new(sys_real()), NULL, &repo), ERR_NO_REPOSITORY);
  Store *store = store_memory_new(sys_real());
  assert_ok(store_put(store, "letters/to-mother", bytes_str("Dear"), PUT_NEW, NULL));
  assert_err(model_repo_init(sys_real(), tools_store_borrow(store), NULL, &repo), ERR_NOT_EMPTY);
  assert_ok(store_remove(store, "letters/to-mother", NULL));
  repo_free(tools_init(sys_real(), store, NULL));
  assert_err(model_repo_init(sys_real(), tools_store_borrow(store), NULL, &repo), ERR_EXISTS);
  store_free(store);
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_features),  cmocka_unit_test(test_versions),
      cmocka_unit_test(test_unsigned_edit), cmocka_unit_test(test_malformed), cmocka_unit_test(test_no_repository),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
