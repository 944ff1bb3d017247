#include "store_conformance.h"

#include "base/mem.h"
#include "base/str.h"

#include "testing.h"

uint8_t *store_sample(uint64_t seed, size_t len) {
  uint8_t *data = (uint8_t *)mem_alloc(len);
  for (size_t i = 0; i < len; i++) data[i] = (uint8_t)(i % 8 == 0 ? test_random(&seed) : data[i - 1] * 31 + i);
  return data;
}

void store_expect(Store *store, const char *key, Bytes body) {
  StoreStat st;
  assert_ok(store_stat(store, key, &st, NULL));
  assert_int_equal(st.size_bytes, body.len);
  AUTO_BUF Buf got = {0};
  buf_add_str(&got, "before");
  assert_ok(store_get_all(store, key, body.len, &got, NULL));
  assert_int_equal(got.len, body.len + 6);
  assert_memory_equal(got.data, "before", 6);
  assert_true(bytes_equal(bytes(got.data + 6, body.len), body));
}

static void expect_absent(Store *store, const char *key) {
  StoreStat st;
  uint8_t byte;
  AUTO_BUF Buf all = {0};
  assert_err(store_stat(store, key, &st, NULL), ERR_NOT_FOUND);
  assert_err(store_get(store, key, 0, 1, &byte, NULL), ERR_NOT_FOUND);
  assert_err(store_get(store, key, 0, 0, &byte, NULL), ERR_NOT_FOUND);
  assert_err(store_get_all(store, key, 100, &all, NULL), ERR_NOT_FOUND);
}

static void put_text(Store *store, const char *key, const char *text) {
  assert_ok(store_put(store, key, bytes_str(text), PUT_NEW, NULL));
}

/* ---- listing ---- */

typedef struct Keys {
  StrList list;
  uint64_t size_bytes;
  bool unordered;
} Keys;

static Error *collect(void *ctx, const char *key, const StoreStat *st) {
  Keys *keys = (Keys *)ctx;
  StrList *list = &keys->list;
  if (list->len && strcmp(list->items[list->len - 1], key) >= 0) keys->unordered = true;
  strlist_add(list, key);
  keys->size_bytes += st->size_bytes;
  return NULL;
}

static void keys_free(Keys *keys) { strlist_free(&keys->list); }

size_t store_count(Store *store, const char *prefix) {
  __attribute__((cleanup(keys_free))) Keys keys = {0};
  assert_ok(store_list(store, prefix, collect, &keys, NULL));
  assert_false(keys.unordered);
  return keys.list.len;
}

/* ---- one thread ---- */

static void check_round_trip(Store *store) {
  enum { LEN = 300000 };
  AUTO_FREE uint8_t *data = store_sample(1, LEN);
  assert_ok(store_put(store, "packs/3f/object-1", bytes(data, LEN), PUT_NEW, NULL));
  store_expect(store, "packs/3f/object-1", bytes(data, LEN));
  AUTO_FREE uint8_t *out = (uint8_t *)mem_alloc(LEN);
  uint64_t seed = 2;
  for (int i = 0; i < 200; i++) {
    uint64_t off = test_random(&seed) % LEN, len = test_random(&seed) % (LEN - off + 1);
    memset(out, 0xee, LEN);
    assert_ok(store_get(store, "packs/3f/object-1", off, len, out, NULL));
    assert_memory_equal(out, data + off, len);
    if (len < LEN) assert_int_equal(out[len], 0xee);
  }
  StoreStat st;
  assert_ok(store_stat(store, "packs/3f/object-1", &st, NULL));
  uint64_t year_ns = UINT64_C(365) * 24 * 3600 * 1000000000u, now = sys_now_ns(sys_real());
  assert_true(st.modified_ns == 0 || (st.modified_ns + year_ns > now && st.modified_ns < now + year_ns));
}

static void check_empty_object(Store *store) {
  uint8_t byte = 7;
  assert_ok(store_put(store, "empty", bytes(NULL, 0), PUT_NEW, NULL));
  store_expect(store, "empty", bytes(NULL, 0));
  assert_ok(store_get(store, "empty", 0, 0, &byte, NULL));
  assert_err(store_get(store, "empty", 0, 1, &byte, NULL), ERR_CORRUPT);
  assert_err(store_put(store, "empty", bytes_str("x"), PUT_NEW, NULL), ERR_EXISTS);
  StorePut *put;
  assert_ok(store_put_begin(store, "empty-2", PUT_NEW, &put, NULL));
  assert_ok(store_put_commit(put, NULL));
  store_expect(store, "empty-2", bytes(NULL, 0));
  assert_int_equal(store_count(store, ""), 2);
}

static void check_put_modes(Store *store) {
  put_text(store, "a/b", "first");
  assert_err(store_put(store, "a/b", bytes_str("other"), PUT_NEW, NULL), ERR_EXISTS);
  assert_err(store_put(store, "a/b", bytes_str("first"), PUT_NEW, NULL), ERR_EXISTS);
  store_expect(store, "a/b", bytes_str("first"));
  assert_ok(store_put(store, "a/b", bytes_str("replaced, longer"), PUT_REPLACE, NULL));
  store_expect(store, "a/b", bytes_str("replaced, longer"));
  assert_ok(store_put(store, "a/b", bytes_str("short"), PUT_REPLACE, NULL));
  store_expect(store, "a/b", bytes_str("short"));
  assert_ok(store_put(store, "a/new", bytes_str("made"), PUT_REPLACE, NULL));
  store_expect(store, "a/new", bytes_str("made"));
  assert_int_equal(store_count(store, ""), 2);
}

static void check_get_bounds(Store *store) {
  uint8_t out[16];
  put_text(store, "ten", "0123456789");
  assert_ok(store_get(store, "ten", 9, 1, out, NULL));
  assert_int_equal(out[0], '9');
  assert_ok(store_get(store, "ten", 10, 0, out, NULL));
  assert_err(store_get(store, "ten", 0, 11, out, NULL), ERR_CORRUPT);
  assert_err(store_get(store, "ten", 9, 2, out, NULL), ERR_CORRUPT);
  assert_err(store_get(store, "ten", 10, 1, out, NULL), ERR_CORRUPT);
  assert_err(store_get(store, "ten", 11, 0, out, NULL), ERR_CORRUPT);
  assert_err(store_get(store, "ten", UINT64_MAX, 1, out, NULL), ERR_CORRUPT);
  assert_err(store_get(store, "ten", UINT64_MAX - 3, 8, out, NULL), ERR_CORRUPT);
  assert_err(store_get(store, "ten", 5, UINT64_MAX, out, NULL), ERR_CORRUPT);
  Error *err = store_get(store, "ten", 8, 5, out, NULL);
  assert_non_null(strstr(err_text(err), "shorter than expected"));
  assert_non_null(strstr(err_text(err), "ten"));
  err_free(err);
  expect_absent(store, "eleven");
  expect_absent(store, "not/there/at/all");
  AUTO_BUF Buf all = {0};
  assert_err(store_get_all(store, "ten", 9, &all, NULL), ERR_LIMIT);
  assert_int_equal(all.len, 0);
}

static void expect_bad_key(Store *store, const char *key) {
  StorePut *put;
  StoreStat st;
  uint8_t byte;
  assert_err(store_put(store, key, bytes_str("x"), PUT_NEW, NULL), ERR_USAGE);
  assert_err(store_put_begin(store, key, PUT_NEW, &put, NULL), ERR_USAGE);
  assert_err(store_get(store, key, 0, 1, &byte, NULL), ERR_USAGE);
  assert_err(store_stat(store, key, &st, NULL), ERR_USAGE);
  assert_err(store_remove(store, key, NULL), ERR_USAGE);
}

static void check_keys(Store *store) {
  static const char *const bad[] = {"",      "/",    "/a",    "a/",  "a//b", ".",    "..",         "../a",  "a/../b",
                                    "a/.",   "a/.b", ".tmp",  "a b", "a\n",  "a\\b", "a:b",        "a*",    "\xc3\xa4",
                                    "a\x01", "tmp",  "tmp/x", "a+b", "~a",   "a/b/", "lost+found", "%2e%2e"};
  for (size_t i = 0; i < NELEMS(bad); i++) expect_bad_key(store, bad[i]);
  assert_int_equal(store_count(store, ""), 0);
  /* 512 bytes of components at most 255 long are allowed, one byte more is not. */
  char longest[514];
  memset(longest, 'k', sizeof longest);
  longest[255] = '/';
  longest[511 - 255] = 'x';
  longest[510] = '/';
  longest[512] = '\0';
  longest[256 + 200] = '/';
  put_text(store, longest, "long");
  store_expect(store, longest, bytes_str("long"));
  longest[512] = 'k';
  longest[513] = '\0';
  expect_bad_key(store, longest);
  longest[255] = 'k'; /* a component of 456 bytes */
  longest[512] = '\0';
  expect_bad_key(store, longest);
  static const char *const good[] = {"A-Z_a.z-0", "-", "_", "x.", "x..y", "0/1/2/3/4/5/6/7/8/9", "temp/x", "tmp-x"};
  for (size_t i = 0; i < NELEMS(good); i++) {
    put_text(store, good[i], good[i]);
    store_expect(store, good[i], bytes_str(good[i]));
  }
  assert_int_equal(store_count(store, ""), NELEMS(good) + 1);
}

static int compare_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void expect_listing(Store *store, const char *prefix, const char *const *sorted, size_t len) {
  __attribute__((cleanup(keys_free))) Keys keys = {0};
  assert_ok(store_list(store, prefix, collect, &keys, NULL));
  size_t at = 0;
  for (size_t i = 0; i < len; i++) {
    if (!str_starts(sorted[i], prefix)) continue;
    assert_true(at < keys.list.len);
    assert_string_equal(keys.list.items[at], sorted[i]);
    at++;
  }
  assert_int_equal(at, keys.list.len);
}

/* Every prefix of every key, and neighbours of it, against the sorted list. */
static void check_list(Store *store) {
  static const char *keys[] = {
      "a.b",           "a/b",           "a/c/d",          "a-b/c",         "a0",         "a_b/x",   "aa/b/c/d",
      "holdfast.json", "packs/00/x",    "packs/00/y",     "packs/0a/x",    "packs/ff/z", "packs.x", "packs-old/x",
      "packs0/x",      "snapshots/s/1", "snapshots/s/10", "snapshots/s/2", "Z",          "b/c.d",   "b/c/d",
      "b/c-d",         "b/c0"};
  expect_listing(store, "", NULL, 0);
  for (size_t i = 0; i < NELEMS(keys); i++) put_text(store, keys[(i * 7) % NELEMS(keys)], "x");
  const char *sorted[NELEMS(keys)];
  memcpy(sorted, keys, sizeof sorted);
  qsort(sorted, NELEMS(sorted), sizeof *sorted, compare_text);
  expect_listing(store, "", sorted, NELEMS(sorted));
  for (size_t i = 0; i < NELEMS(keys); i++) {
    for (size_t len = 1; len <= strlen(keys[i]); len++) {
      AUTO_FREE char *prefix = mem_strndup(keys[i], len);
      expect_listing(store, prefix, sorted, NELEMS(sorted));
      prefix[len - 1]++;
      expect_listing(store, prefix, sorted, NELEMS(sorted));
    }
    AUTO_FREE char *below = mem_printf("%s/", keys[i]);
    expect_listing(store, below, sorted, NELEMS(sorted));
  }
  static const char *const none[] = {"/", "//", "../", "a/../a/", ".", "./a", "a//", "nowhere/at/all/", "tmp/", "tmp"};
  for (size_t i = 0; i < NELEMS(none); i++) expect_listing(store, none[i], sorted, NELEMS(sorted));
  AUTO_FREE char *endless = (char *)mem_alloc(2001);
  memset(endless, 'a', 2000);
  expect_listing(store, endless, sorted, NELEMS(sorted));
}

static void check_list_sizes(Store *store) {
  put_text(store, "x/1", "1");
  put_text(store, "x/2", "22");
  put_text(store, "x/4", "4444");
  __attribute__((cleanup(keys_free))) Keys keys = {0};
  assert_ok(store_list(store, "x/", collect, &keys, NULL));
  assert_int_equal(keys.size_bytes, 7);
}

typedef struct Meddler {
  Store *store;
  size_t visits;
  size_t stop_at;
} Meddler;

static Error *meddle(void *ctx, const char *key, const StoreStat *st UNUSED) {
  Meddler *m = (Meddler *)ctx;
  m->visits++;
  if (m->visits == m->stop_at) return err_new(ERR_REFUSED, "enough");
  TRY(store_remove(m->store, key, NULL));
  return store_put(m->store, "another/place", bytes_str(key), PUT_REPLACE, NULL);
}

static void check_list_visitor(Store *store) {
  for (int i = 0; i < 20; i++) {
    char key[32];
    snprintf(key, sizeof key, "v/%02d", i);
    put_text(store, key, key);
  }
  Meddler m = {.store = store, .stop_at = 5};
  Error *err = store_list(store, "v/", meddle, &m, NULL);
  assert_true(err_is(err, ERR_REFUSED));
  assert_string_equal(err_text(err), "enough"); /* the visitor's own error, as it was */
  err_free(err);
  assert_int_equal(m.visits, 5);
  assert_int_equal(store_count(store, "v/"), 16);
  m = (Meddler){.store = store};
  assert_ok(store_list(store, "v/", meddle, &m, NULL)); /* the visitor may use the store */
  assert_int_equal(m.visits, 16);
  assert_int_equal(store_count(store, "v/"), 0);
  store_expect(store, "another/place", bytes_str("v/19"));
}

static void check_remove(Store *store) {
  assert_ok(store_remove(store, "absent", NULL));
  assert_ok(store_remove(store, "absent/too", NULL));
  put_text(store, "r/1", "one");
  put_text(store, "r/2", "two");
  store_expect(store, "r/1", bytes_str("one")); /* what was read is as gone as what was not */
  assert_ok(store_remove(store, "r/1", NULL));
  expect_absent(store, "r/1");
  assert_ok(store_remove(store, "r/1", NULL));
  assert_int_equal(store_count(store, "r/"), 1);
  put_text(store, "r/1", "again, and longer");
  store_expect(store, "r/1", bytes_str("again, and longer"));
  store_expect(store, "r/2", bytes_str("two"));
}

/* ---- streamed puts ---- */

static void stream(StorePut *put, Bytes body, uint64_t seed) {
  for (size_t at = 0; at < body.len;) {
    size_t n = test_random(&seed) % (3 << 20) + 1;
    if (n > body.len - at) n = body.len - at;
    AUTO_FREE uint8_t *part = (uint8_t *)mem_dup(body.data + at, n);
    assert_ok(store_put_write(put, bytes(part, n), NULL));
    memset(part, 0, n); /* the store has taken its copy */
    at += n;
  }
}

static void check_streamed(Store *store) {
  enum { LEN = 21000001 };
  AUTO_FREE uint8_t *data = store_sample(3, LEN);
  StorePut *put;
  assert_ok(store_put_begin(store, "packs/aa/big", PUT_NEW, &put, NULL));
  assert_ok(store_put_write(put, bytes(NULL, 0), NULL));
  stream(put, bytes(data, LEN), 4);
  expect_absent(store, "packs/aa/big");
  assert_int_equal(store_count(store, ""), 0);
  assert_ok(store_put_commit(put, NULL));
  store_expect(store, "packs/aa/big", bytes(data, LEN));
  AUTO_FREE uint8_t *out = (uint8_t *)mem_alloc(LEN);
  assert_ok(store_get(store, "packs/aa/big", LEN - 1000, 1000, out, NULL));
  assert_memory_equal(out, data + LEN - 1000, 1000);
  assert_err(store_get(store, "packs/aa/big", 1, LEN, out, NULL), ERR_CORRUPT);
  assert_int_equal(store_count(store, ""), 1);
}

static void check_streamed_abort(Store *store) {
  StorePut *put;
  assert_ok(store_put_begin(store, "s/1", PUT_NEW, &put, NULL));
  store_put_abort(put);
  assert_ok(store_put_begin(store, "s/1", PUT_NEW, &put, NULL));
  assert_ok(store_put_write(put, bytes_str("half"), NULL));
  store_put_abort(put);
  store_put_abort(NULL);
  expect_absent(store, "s/1");
  assert_int_equal(store_count(store, ""), 0);
  put_text(store, "s/1", "whole");
  store_expect(store, "s/1", bytes_str("whole"));
}

/* A store may refuse a taken key at the beginning or at the end. */
static Error *put_streamed(Store *store, const char *key, const char *text, PutMode mode) {
  StorePut *put;
  TRY(store_put_begin(store, key, mode, &put, NULL));
  Error *err = store_put_write(put, bytes_str(text), NULL);
  if (!err) return store_put_commit(put, NULL);
  store_put_abort(put);
  return err;
}

static void check_streamed_modes(Store *store) {
  assert_ok(put_streamed(store, "m", "first", PUT_NEW));
  assert_err(put_streamed(store, "m", "second", PUT_NEW), ERR_EXISTS);
  store_expect(store, "m", bytes_str("first"));
  assert_ok(put_streamed(store, "m", "third", PUT_REPLACE));
  store_expect(store, "m", bytes_str("third"));
  StorePut *a, *b;
  assert_ok(store_put_begin(store, "n", PUT_NEW, &a, NULL));
  assert_ok(store_put_begin(store, "n", PUT_NEW, &b, NULL));
  assert_ok(store_put_write(a, bytes_str("from a"), NULL));
  assert_ok(store_put_write(b, bytes_str("from b"), NULL));
  assert_ok(store_put_commit(b, NULL));
  assert_err(store_put_commit(a, NULL), ERR_EXISTS);
  store_expect(store, "n", bytes_str("from b"));
}

static void check_cancel(Store *store) {
  Cancel cancel = {0};
  put_text(store, "c/1", "one");
  StorePut *open_put, *put;
  assert_ok(store_put_begin(store, "c/2", PUT_NEW, &open_put, &cancel));
  assert_ok(store_put_write(open_put, bytes_str("x"), &cancel));
  cancel_set(&cancel, -1);
  uint8_t byte;
  StoreStat st;
  Keys keys = {0};
  assert_err(store_put(store, "c/3", bytes_str("x"), PUT_NEW, &cancel), ERR_CANCELLED);
  assert_err(store_put_begin(store, "c/3", PUT_NEW, &put, &cancel), ERR_CANCELLED);
  assert_err(store_put_write(open_put, bytes_str("y"), &cancel), ERR_CANCELLED);
  assert_err(store_put_commit(open_put, &cancel), ERR_CANCELLED);
  assert_err(store_get(store, "c/1", 0, 1, &byte, &cancel), ERR_CANCELLED);
  assert_err(store_stat(store, "c/1", &st, &cancel), ERR_CANCELLED);
  assert_err(store_list(store, "", collect, &keys, &cancel), ERR_CANCELLED);
  assert_err(store_remove(store, "c/1", &cancel), ERR_CANCELLED);
  assert_int_equal(keys.list.len, 0);
  store_expect(store, "c/1", bytes_str("one"));
  assert_int_equal(store_count(store, ""), 1);
}

static Error *cancel_at_second(void *ctx, const char *key UNUSED, const StoreStat *st) {
  static const uint64_t second = 2; /* objects are as long as their place in the list */
  if (st->size_bytes == second) cancel_set((Cancel *)ctx, -1);
  return NULL;
}

static void check_cancel_within_list(Store *store) {
  put_text(store, "1", "1");
  put_text(store, "2", "22");
  put_text(store, "3", "333");
  Cancel cancel = {0};
  assert_err(store_list(store, "", cancel_at_second, &cancel, &cancel), ERR_CANCELLED);
}

static void check_probe(Store *store) {
  store->append_only = true;
  assert_ok(store_probe(store, sys_real(), NULL));
  assert_false(store->append_only);
  assert_int_equal(store_count(store, ""), 0);
}

/* ---- several threads ---- */

enum { THREADS = 4, CONTESTS = 25 };

typedef struct Worker {
  Store *store;
  Error *err;
  uint64_t won; /* a bit per contest */
  unsigned wins;
  unsigned number;
} Worker;

static void run_workers(Store *store, void (*run)(void *), Worker workers[THREADS]) {
  Thread *threads[THREADS];
  for (unsigned i = 0; i < THREADS; i++) {
    workers[i] = (Worker){.store = store, .number = i};
    assert_ok(thread_start(sys_real(), "worker", run, &workers[i], &threads[i]));
  }
  for (unsigned i = 0; i < THREADS; i++) thread_join(threads[i]);
  for (unsigned i = 0; i < THREADS; i++) assert_ok(workers[i].err);
}

static Error *contest(Worker *w) {
  for (unsigned i = 0; i < CONTESTS; i++) {
    char key[32], text[32];
    snprintf(key, sizeof key, "contest/%u", i);
    snprintf(text, sizeof text, "won by %u", w->number);
    Error *err = (i + w->number) % 2 ? put_streamed(w->store, key, text, PUT_NEW)
                                     : store_put(w->store, key, bytes_str(text), PUT_NEW, NULL);
    if (!err) {
      w->wins++;
      w->won |= UINT64_C(1) << i;
    } else if (err_code(err) != ERR_EXISTS) {
      return err;
    }
    err_free(err);
    /* Won or lost, the object is there and whole. */
    AUTO_BUF Buf there = {0};
    TRY(store_get_all(w->store, key, 100, &there, NULL));
    if (there.len != strlen(text)) return err_new(ERR_INTERNAL, "%s: torn", key);
  }
  return NULL;
}

static void run_contest(void *arg) {
  Worker *w = (Worker *)arg;
  w->err = contest(w);
}

static void check_one_winner(Store *store) {
  Worker workers[THREADS];
  run_workers(store, run_contest, workers);
  unsigned wins = 0;
  for (unsigned i = 0; i < THREADS; i++) wins += workers[i].wins;
  assert_int_equal(wins, CONTESTS);
  for (unsigned c = 0; c < CONTESTS; c++) {
    char key[32], text[32];
    snprintf(key, sizeof key, "contest/%u", c);
    for (unsigned i = 0; i < THREADS; i++) {
      if (!(workers[i].won >> c & 1)) continue;
      snprintf(text, sizeof text, "won by %u", i);
      store_expect(store, key, bytes_str(text));
    }
  }
  assert_int_equal(store_count(store, ""), CONTESTS);
}

enum { STEADY = 30, ROUNDS = 60 };

static Error *check_steady(Worker *w) {
  __attribute__((cleanup(keys_free))) Keys keys = {0};
  TRY(store_list(w->store, "", collect, &keys, NULL));
  if (keys.unordered) return err_new(ERR_INTERNAL, "a listing does not ascend");
  unsigned steady = 0;
  for (size_t i = 0; i < keys.list.len; i++) steady += str_starts(keys.list.items[i], "steady/");
  return steady == STEADY ? NULL : err_new(ERR_INTERNAL, "%u of %u old objects listed", steady, (unsigned)STEADY);
}

static Error *read_steady(Worker *w, uint64_t *seed) {
  char key[32];
  snprintf(key, sizeof key, "steady/%02u", (unsigned)(test_random(seed) % STEADY));
  uint8_t got[9];
  TRY(store_get(w->store, key, 0, sizeof got, got, NULL));
  return memcmp(got, key, sizeof got) == 0 ? NULL : err_new(ERR_INTERNAL, "%s: wrong bytes", key);
}

static Error *own_object(Worker *w, unsigned round) {
  char key[40];
  snprintf(key, sizeof key, "moving/%u/%u", round % 3, w->number);
  TRY(store_put(w->store, key, bytes_str(key), PUT_NEW, NULL));
  AUTO_BUF Buf there = {0};
  TRY(store_get_all(w->store, key, 100, &there, NULL));
  if (!bytes_equal(buf_bytes(&there), bytes_str(key))) return err_new(ERR_INTERNAL, "%s: wrong bytes", key);
  TRY(store_remove(w->store, key, NULL));
  StoreStat st;
  Error *err = store_stat(w->store, key, &st, NULL);
  if (!err) return err_new(ERR_INTERNAL, "%s: still there", key);
  if (err_code(err) != ERR_NOT_FOUND) return err;
  err_free(err);
  return NULL;
}

/* All write and replace one key: what is read is always one of the whole bodies. */
static Error *shared_object(Worker *w) {
  uint8_t body[4096], got[4096];
  memset(body, (int)('a' + w->number), sizeof body);
  TRY(store_put(w->store, "shared", bytes(body, sizeof body), PUT_REPLACE, NULL));
  TRY(store_get(w->store, "shared", 0, sizeof got, got, NULL));
  for (size_t i = 1; i < sizeof got; i++)
    if (got[i] != got[0]) return err_new(ERR_INTERNAL, "shared: torn at %zu", i);
  return NULL;
}

static void run_mixed(void *arg) {
  Worker *w = (Worker *)arg;
  uint64_t seed = w->number + 77;
  for (unsigned round = 0; round < ROUNDS && !w->err; round++) {
    switch ((round + w->number) % 4) {
      case 0: w->err = check_steady(w); break;
      case 1: w->err = own_object(w, round); break;
      case 2: w->err = shared_object(w); break;
      default:
        for (int i = 0; i < 20 && !w->err; i++) w->err = read_steady(w, &seed);
    }
  }
}

static void check_many_threads(Store *store) {
  for (unsigned i = 0; i < STEADY; i++) {
    char key[32];
    snprintf(key, sizeof key, "steady/%02u", i);
    put_text(store, key, key);
  }
  Worker workers[THREADS];
  run_workers(store, run_mixed, workers);
  assert_int_equal(store_count(store, "moving/"), 0);
  assert_int_equal(store_count(store, ""), STEADY + 1);
}

/* More objects than any cache of descriptors holds, read by all threads, some of them removed meanwhile. */
static void run_readers(void *arg) {
  Worker *w = (Worker *)arg;
  uint64_t seed = w->number;
  for (int i = 0; i < 600 && !w->err; i++) {
    char key[32];
    unsigned n = (unsigned)(test_random(&seed) % 200);
    snprintf(key, sizeof key, "many/%03u", n);
    uint8_t got[8];
    Error *err = store_get(w->store, key, 0, sizeof got, got, NULL);
    if (!err && memcmp(got, key, sizeof got) != 0) w->err = err_new(ERR_INTERNAL, "%s: wrong bytes", key);
    if (err && (n % 10 || err_code(err) != ERR_NOT_FOUND))
      w->err = err;
    else
      err_free(err);
    if (i == 100 && !w->err) {
      snprintf(key, sizeof key, "many/%03u", w->number * 10);
      w->err = store_remove(w->store, key, NULL);
    }
  }
}

static void check_many_readers(Store *store) {
  for (unsigned i = 0; i < 200; i++) {
    char key[32];
    snprintf(key, sizeof key, "many/%03u", i);
    put_text(store, key, key);
  }
  Worker workers[THREADS];
  run_workers(store, run_readers, workers);
  assert_int_equal(store_count(store, ""), 200 - THREADS);
}

void store_conformance(Store *(*fresh)(void *ctx), void *ctx) {
  static const struct {
    const char *name;
    void (*check)(Store *);
  } parts[] = {
      {"round trip", check_round_trip},
      {"empty object", check_empty_object},
      {"put modes", check_put_modes},
      {"get bounds", check_get_bounds},
      {"keys", check_keys},
      {"list", check_list},
      {"list sizes", check_list_sizes},
      {"list visitor", check_list_visitor},
      {"remove", check_remove},
      {"streamed", check_streamed},
      {"streamed abort", check_streamed_abort},
      {"streamed modes", check_streamed_modes},
      {"cancel", check_cancel},
      {"cancel within list", check_cancel_within_list},
      {"probe", check_probe},
      {"one winner", check_one_winner},
      {"many threads", check_many_threads},
      {"many readers", check_many_readers},
  };
  for (size_t i = 0; i < NELEMS(parts); i++) {
    Store *store = fresh(ctx);
    print_message("  %s: %s\n", store->name, parts[i].name);
    parts[i].check(store);
    store_free(store);
  }
}
