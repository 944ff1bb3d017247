#include "store/store_fault.h"
#include "store/store_memory.h"

#include "store_conformance.h"
#include "testing.h"

static Store *fresh(void *ctx UNUSED) { return store_fault_new(sys_real(), store_memory_new(sys_real())); }

static void test_conformance(void **state UNUSED) { store_conformance(fresh, NULL); }

static Error *count_visit(void *ctx, const char *key UNUSED, const StoreStat *st UNUSED) {
  ++*(unsigned *)ctx;
  return NULL;
}

static Error *put_streamed(Store *store, const char *key) {
  StorePut *put;
  TRY(store_put_begin(store, key, PUT_NEW, &put, NULL));
  Error *err = store_put_write(put, bytes_str("streamed"), NULL);
  if (!err) return store_put_commit(put, NULL);
  store_put_abort(put);
  return err;
}

/* Eight operations, one of each kind; *out_at says which one failed. */
static Error *run_all(Store *store, unsigned *out_at) {
  uint8_t got[5];
  StoreStat st;
  unsigned visits = 0;
  StorePut *put;
  *out_at = 1;
  TRY(store_put(store, "a", bytes_str("whole"), PUT_NEW, NULL));
  *out_at = 2;
  TRY(store_put_begin(store, "b", PUT_NEW, &put, NULL));
  *out_at = 3;
  Error *err = store_put_write(put, bytes_str("streamed"), NULL);
  if (err) {
    store_put_abort(put);
    return err;
  }
  *out_at = 4;
  TRY(store_put_commit(put, NULL));
  *out_at = 5;
  TRY(store_get(store, "a", 0, 5, got, NULL));
  *out_at = 6;
  TRY(store_stat(store, "a", &st, NULL));
  *out_at = 7;
  TRY(store_list(store, "", count_visit, &visits, NULL));
  *out_at = 8;
  return store_remove(store, "a", NULL);
}

static void test_nothing_done(void **state UNUSED) {
  static const struct {
    FaultKind kind;
    ErrCode code;
  } cases[] = {
      {FAULT_IO, ERR_IO}, {FAULT_TEMPORARY, ERR_TEMPORARY}, {FAULT_NO_SPACE, ERR_NO_SPACE}, {FAULT_DEAD, ERR_IO}};
  for (size_t c = 0; c < NELEMS(cases); c++) {
    for (unsigned n = 1; n <= 8; n++) {
      bool read = n >= 5 && n <= 7;
      if (cases[c].kind == FAULT_NO_SPACE && read) continue;
      Store *inner = store_memory_new(sys_real()), *store = store_fault_new(sys_real(), inner);
      store_fault_at(store, n, cases[c].kind);
      unsigned at;
      assert_err(run_all(store, &at), cases[c].code);
      assert_int_equal(at, n);
      assert_int_equal(store_fault_count(store), n);
      assert_int_equal(store_count(inner, ""), n <= 1 ? 0 : n <= 4 ? 1 : 2);
      store_free(store);
    }
  }
}

static void test_no_space_lets_reads_pass(void **state UNUSED) {
  for (unsigned n = 5; n <= 7; n++) {
    Store *store = fresh(NULL);
    store_fault_at(store, n, FAULT_NO_SPACE);
    unsigned at;
    assert_ok(run_all(store, &at));
    assert_int_equal(store_fault_count(store), 8);
    store_free(store);
  }
}

static void test_dead_stays_dead(void **state UNUSED) {
  Store *inner = store_memory_new(sys_real()), *store = store_fault_new(sys_real(), inner);
  StorePut *put;
  assert_ok(store_put(store, "a", bytes_str("x"), PUT_NEW, NULL));
  assert_ok(store_put_begin(store, "b", PUT_NEW, &put, NULL));
  store_fault_at(store, 2, FAULT_DEAD);
  store_expect(inner, "a", bytes_str("x"));
  StoreStat st;
  assert_ok(store_stat(store, "a", &st, NULL));
  for (int i = 0; i < 3; i++) assert_err(store_stat(store, "a", &st, NULL), ERR_IO);
  assert_err(store_put_write(put, bytes_str("y"), NULL), ERR_IO);
  assert_err(store_put_commit(put, NULL), ERR_IO);
  assert_err(store_remove(store, "a", NULL), ERR_IO);
  assert_int_equal(store_count(inner, ""), 1);
  store_fault_at(store, 0, FAULT_NONE);
  store_expect(store, "a", bytes_str("x"));
  store_free(store);
}

static void test_after(void **state UNUSED) {
  Store *inner = store_memory_new(sys_real()), *store = store_fault_new(sys_real(), inner);
  store_fault_at(store, 1, FAULT_AFTER);
  assert_err(store_put(store, "a", bytes_str("x"), PUT_NEW, NULL), ERR_TEMPORARY);
  store_expect(inner, "a", bytes_str("x"));
  store_fault_at(store, 1, FAULT_AFTER);
  assert_err(store_put(store, "a", bytes_str("y"), PUT_NEW, NULL), ERR_EXISTS); /* an answer of its own goes first */
  store_fault_at(store, 1, FAULT_AFTER);
  assert_err(put_streamed(store, "b"), ERR_TEMPORARY); /* begun, and given up */
  store_fault_at(store, 3, FAULT_AFTER);
  assert_err(put_streamed(store, "b"), ERR_TEMPORARY);
  store_expect(inner, "b", bytes_str("streamed"));
  store_fault_at(store, 1, FAULT_AFTER);
  unsigned visits = 0;
  assert_err(store_list(store, "", count_visit, &visits, NULL), ERR_TEMPORARY);
  assert_int_equal(visits, 2);
  store_fault_at(store, 1, FAULT_AFTER);
  assert_err(store_remove(store, "a", NULL), ERR_TEMPORARY);
  assert_int_equal(store_count(inner, ""), 1);
  store_free(store);
}

/* A part whose answer was lost is there once, whether it is sent again or not. */
static void test_lost_part(void **state UNUSED) {
  Store *inner = store_memory_new(sys_real()), *store = store_fault_new(sys_real(), inner);
  static const char *const keys[] = {"sent-once", "sent-again", "lost-twice"};
  for (unsigned again = 0; again < NELEMS(keys); again++) {
    StorePut *put;
    assert_ok(store_put_begin(store, keys[again], PUT_NEW, &put, NULL));
    assert_ok(store_put_write(put, bytes_str("one "), NULL));
    store_fault_at(store, 1, FAULT_AFTER);
    assert_err(store_put_write(put, bytes_str("two "), NULL), ERR_TEMPORARY);
    if (again == 2) {
      store_fault_at(store, 1, FAULT_AFTER);
      assert_err(store_put_write(put, bytes_str("two "), NULL), ERR_TEMPORARY);
    }
    if (again) {
      assert_ok(store_put_write(put, bytes_str("two "), NULL));
      assert_ok(store_put_write(put, bytes_str("three"), NULL));
    }
    assert_ok(store_put_commit(put, NULL));
    store_expect(inner, keys[again], bytes_str(again ? "one two three" : "one two "));
  }
  store_free(store);
}

static void test_short_and_flip(void **state UNUSED) {
  Store *store = fresh(NULL);
  uint8_t got[10];
  assert_ok(store_put(store, "a", bytes_str("0123456789"), PUT_NEW, NULL));
  memset(got, '-', sizeof got);
  store_fault_at(store, 1, FAULT_SHORT);
  assert_err(store_get(store, "a", 0, sizeof got, got, NULL), ERR_CORRUPT);
  assert_memory_equal(got, "012345678-", sizeof got);
  for (int i = 0; i < 100; i++) {
    store_fault_at(store, 1, FAULT_FLIP);
    assert_ok(store_get(store, "a", 0, sizeof got, got, NULL));
    int bits = 0;
    for (size_t k = 0; k < sizeof got; k++) bits += __builtin_popcount((unsigned)(got[k] ^ "0123456789"[k]));
    assert_int_equal(bits, 1);
  }
  assert_ok(store_get(store, "a", 0, sizeof got, got, NULL));
  assert_memory_equal(got, "0123456789", sizeof got);
  store_fault_at(store, 1, FAULT_FLIP);
  assert_ok(store_get(store, "a", 0, 0, got, NULL));
  store_free(store);
}

static Error *count_key(void *ctx, const char *key UNUSED, const StoreStat *stat UNUSED) {
  ++*(int *)ctx;
  return NULL;
}

static void test_stale(void **state UNUSED) {
  Store *store = fresh(NULL);
  int listed = 0;
  store_fault_at(store, 1, FAULT_STALE);
  assert_ok(store_list(store, "", count_key, &listed, NULL)); /* of nothing, nothing is left out */
  assert_int_equal(listed, 0);
  assert_ok(store_put(store, "a", bytes_str("1"), PUT_NEW, NULL));
  assert_ok(store_put(store, "b", bytes_str("2"), PUT_NEW, NULL));
  store_fault_at(store, 1, FAULT_STALE);
  assert_ok(store_list(store, "", count_key, &listed, NULL));
  assert_int_equal(listed, 1);
  assert_ok(store_list(store, "", count_key, &listed, NULL));
  assert_int_equal(listed, 3);
  StoreStat st;
  store_fault_at(store, 1, FAULT_STALE);
  assert_ok(store_stat(store, "a", &st, NULL)); /* only lists */
  store_free(store);
}

static void note(void *ctx, const char *op, const char *key, Bytes body) {
  buf_printf((Buf *)ctx, "%s(%s,%.*s) ", op, key, (int)body.len, (const char *)body.data);
}

static void test_watch(void **state UNUSED) {
  Store *store = fresh(NULL);
  AUTO_BUF Buf seen = {0};
  store_fault_watch(store, note, &seen);
  unsigned at;
  assert_ok(run_all(store, &at));
  buf_put_u8(&seen, 0);
  assert_string_equal(
      (const char *)seen.data,
      "put(a,whole) put_begin(b,) put_write(b,streamed) put_commit(b,) get(a,) stat(a,) list(,) remove(a,) ");
  buf_clear(&seen);
  store_fault_at(store, 1, FAULT_IO);
  assert_err(store_remove(store, "b", NULL), ERR_IO); /* also what fails is seen */
  assert_memory_equal(seen.data, "remove(b,) ", 11);
  store_fault_watch(store, NULL, NULL);
  assert_ok(store_remove(store, "b", NULL));
  assert_int_equal(seen.len, 11);
  store_free(store);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_conformance),
      cmocka_unit_test(test_nothing_done),
      cmocka_unit_test(test_no_space_lets_reads_pass),
      cmocka_unit_test(test_dead_stays_dead),
      cmocka_unit_test(test_after),
      cmocka_unit_test(test_lost_part),
      cmocka_unit_test(test_short_and_flip),
      cmocka_unit_test(test_stale),
      cmocka_unit_test(test_watch),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
