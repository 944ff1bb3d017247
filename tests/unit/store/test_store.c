#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/store.h"
#include "store/store_fault.h"
#include "store/store_memory.h"
#include "sys/fs.h"

#include "store_conformance.h"
#include "testing.h"

static void test_open_addresses(void **state UNUSED) {
  char dir[] = "/tmp/holdfast-store-XXXXXX";
  assert_non_null(mkdtemp(dir));
  AUTO_FREE char *spaced = mem_printf("%s/with 100%% space", dir);
  AUTO_FREE char *url = mem_printf("file://%s/with%%20100%%25%%20space", dir);
  Store *store;
  assert_err(store_open(sys_real(), url, false, &store), ERR_NOT_FOUND);
  assert_ok(store_open(sys_real(), url, true, &store));
  assert_string_equal(store->name, spaced);
  assert_ok(store_put(store, "a/b", bytes_str("x"), PUT_NEW, NULL));
  store_free(store);
  assert_ok(store_open(sys_real(), spaced, false, &store));
  store_expect(store, "a/b", bytes_str("x"));
  store_free(store);
  assert_ok(store_open(sys_real(), "memory:", false, &store));
  assert_int_equal(store_count(store, ""), 0);
  store_free(store);
  assert_ok(fs_remove_tree(dir));
}

static void test_open_refuses(void **state UNUSED) {
  static const char *const bad[] = {"",
                                    "s3://key:secret@host/x",
                                    "sftp:host",
                                    "memory:x",
                                    "file:",
                                    "file://",
                                    "file:relative",
                                    "file://host/x",
                                    "file:///a%2",
                                    "file:///a%zz",
                                    "file:///a%00b",
                                    "C:backup"};
  for (size_t i = 0; i < NELEMS(bad); i++) {
    Store *store;
    Error *err = store_open(sys_real(), bad[i], true, &store);
    assert_true(err_is(err, ERR_USAGE));
    assert_non_null(err_hint_text(err));
    assert_null(strstr(err_text(err), "secret"));
    err_free(err);
  }
}

static void test_messages(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  uint8_t byte;
  Error *err = store_get(store, "packs/aa/1", 0, 1, &byte, NULL);
  assert_string_equal(err_text(err), "reading packs/aa/1 in memory: no such object");
  err_free(err);
  err = store_put(store, "a\nb", bytes_str("x"), PUT_NEW, NULL);
  assert_null(strchr(err_text(err), '\n')); /* a hostile key cannot forge lines of a log */
  err_free(err);
  store_free(NULL);
  store_free(store);
}

/* A store that does not honour put-if-absent, made of one that does: the object makes room for each put. */
static void make_room(void *ctx, const char *op, const char *key, Bytes body UNUSED) {
  if (strcmp(op, "put") == 0) err_ignore(store_remove((Store *)ctx, key, NULL));
}

static void test_probe_finds_append_only(void **state UNUSED) {
  Store *inner = store_memory_new(sys_real());
  Store *store = store_fault_new(sys_real(), inner);
  assert_ok(store_probe(store, sys_real(), NULL));
  assert_false(store->append_only);
  store_fault_watch(store, make_room, inner);
  assert_ok(store_probe(store, sys_real(), NULL));
  assert_true(store->append_only);
  assert_int_equal(store_count(store, ""), 0);
  store_free(store);
}

/* One that overwrites and says that it did not is found out too. */
typedef struct Liar {
  Store *inner;
  unsigned puts;
} Liar;

static void overwrite(void *ctx, const char *op, const char *key, Bytes body) {
  Liar *liar = (Liar *)ctx;
  if (strcmp(op, "put") != 0 || ++liar->puts != 2) return;
  assert_ok(store_put(liar->inner, key, body, PUT_REPLACE, NULL));
}

static void test_probe_looks_at_bytes(void **state UNUSED) {
  Liar liar = {.inner = store_memory_new(sys_real())};
  Store *store = store_fault_new(sys_real(), liar.inner);
  store_fault_watch(store, overwrite, &liar);
  assert_ok(store_probe(store, sys_real(), NULL));
  assert_true(store->append_only);
  store_free(store);
}

static void test_probe_fails_cleanly(void **state UNUSED) {
  Store *store = store_fault_new(sys_real(), store_memory_new(sys_real()));
  assert_ok(store_probe(store, sys_real(), NULL));
  uint64_t operations = store_fault_count(store);
  assert_true(operations >= 3);
  for (uint64_t n = 1; n <= operations; n++) {
    store->append_only = true;
    store_fault_at(store, n, FAULT_IO);
    assert_err(store_probe(store, sys_real(), NULL), ERR_IO);
    assert_true(store->append_only); /* not answered: unchanged */
    if (n < operations) assert_int_equal(store_count(store, ""), 0);
  }
  store_free(store);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_open_addresses),
      cmocka_unit_test(test_open_refuses),
      cmocka_unit_test(test_messages),
      cmocka_unit_test(test_probe_finds_append_only),
      cmocka_unit_test(test_probe_looks_at_bytes),
      cmocka_unit_test(test_probe_fails_cleanly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
