#include "base/mem.h"
#include "codec/secret.h"
#include "repo/snapshot.h"
#include "store/store_memory.h"

#include "repo_tools.h"
#include "testing.h"

static Snapshot full_snapshot(void) {
  Snapshot s = {.id = {{1, 2}},
                .series = {{3}},
                .source = mem_strdup("host:/srv/app.db"),
                .engine = mem_strdup("sqlite"),
                .host = mem_strdup("host"),
                .address = mem_strdup("sqlite:/srv/app.db"),
                .kind = SNAPSHOT_DIFFERENTIAL,
                .time_ns = UINT64_C(1790000000000000000),
                .end_ns = UINT64_C(1790000001000000000),
                .zone_minutes = -210,
                .root = {.id = {{9, 9}}, .entries = 7, .bytes = 1000},
                .facts_json = mem_strdup("{\"pages\":12,\"name\":\"\\u00e4\"}"),
                .log_position = mem_strdup("0/16B3748"),
                .description = mem_strdup("before the \"migration\"\n\ttwo"),
                .damaged = true,
                .partial = true,
                .has_parent = true,
                .parent = {{8}},
                .tool_version = mem_strdup("0.1.0"),
                .stats = {1, 2, 3, 4, 5, 6, 7}};
  s.labels = NEW_ARRAY(Label, 2);
  s.labels_len = 2;
  s.labels[0] = (Label){.key = mem_strdup("a"), .value = mem_strdup("1")};
  s.labels[1] = (Label){.key = mem_strdup("release"), .value = mem_strdup("")};
  s.notices = NEW_ARRAY(char *, 1);
  s.notices_len = 1;
  s.notices[0] = mem_strdup("x.log changed while it was read");
  return s;
}

static void test_round_trip(void **state UNUSED) {
  Snapshot s = full_snapshot(), t;
  AUTO_BUF Buf body = {0}, again = {0};
  snapshot_encode(&s, &body);
  assert_ok(snapshot_decode(buf_bytes(&body), &t));
  snapshot_encode(&t, &again);
  assert_int_equal(body.len, again.len);
  assert_memory_equal(body.data, again.data, body.len);
  assert_string_equal(t.description, s.description);
  assert_string_equal(t.facts_json, s.facts_json);
  assert_int_equal(t.zone_minutes, -210);
  assert_int_equal(t.kind, SNAPSHOT_DIFFERENTIAL);
  assert_true(t.has_parent && uuid_equal(&t.parent, &s.parent));
  assert_int_equal(t.labels_len, 2);
  assert_int_equal(t.notices_len, 1);
  assert_int_equal(t.stats.duration_ns, 7);
  snapshot_free(&t);
  /* What may be absent is absent again. */
  Snapshot least = {.source = s.source, .engine = s.engine};
  buf_clear(&body);
  snapshot_encode(&least, &body);
  assert_ok(snapshot_decode(buf_bytes(&body), &t));
  assert_null(t.description);
  assert_null(t.host);
  assert_false(t.has_parent);
  assert_string_equal(t.facts_json, "{}");
  snapshot_free(&t);
  snapshot_free(&s);
}

static void test_truncated(void **state UNUSED) {
  Snapshot s = full_snapshot(), t;
  AUTO_BUF Buf body = {0};
  snapshot_encode(&s, &body);
  for (size_t len = 0; len < body.len; len++) assert_err(snapshot_decode(bytes(body.data, len), &t), ERR_CORRUPT);
  uint64_t seed = 1;
  for (int i = 0; i < 3000; i++) {
    size_t at = test_random(&seed) % body.len;
    uint8_t was = body.data[at];
    body.data[at] = (uint8_t)test_random(&seed);
    Error *err = snapshot_decode(buf_bytes(&body), &t);
    if (!err) snapshot_free(&t);
    err_free(err);
    body.data[at] = was;
  }
  snapshot_free(&s);
}

static void test_newer_version(void **state UNUSED) {
  Snapshot s;
  assert_err(snapshot_decode(bytes_str("{\"v\":2}"), &s), ERR_UNSUPPORTED);
  assert_err(snapshot_decode(bytes_str("{}"), &s), ERR_CORRUPT);
}

/* A snapshot that could not be read again is refused before it is committed; text of any bytes is not. */
static void test_commit_limits(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Uuid series = {{3}};
  for (int which = 0; which < 4; which++) {
    Session session;
    assert_ok(session_begin(repo, &series, "h", &session, NULL));
    Snapshot s = full_snapshot();
    s.id = session.snapshot;
    size_t before = tools_count(store, "snapshots/");
    char **texts[] = {&s.description, &s.labels[0].value, &s.source, &s.host};
    size_t len = which < 3 ? 64 * 1024 + 1 : 1000;
    free(*texts[which]);
    *texts[which] = (char *)mem_alloc(len + 1);
    memset(*texts[which], which < 3 ? 'x' : 0xfe, len);
    (*texts[which])[len] = 0;
    Error *err = snapshot_commit(repo, &session, &s, NULL);
    assert_int_equal(err == NULL, which == 3);
    assert_int_equal(tools_count(store, "snapshots/"), before + (which == 3));
    err_free(err);
    snapshot_free(&s);
  }
  SnapshotList list;
  assert_ok(snapshot_list(repo, NULL, &list, NULL, NULL, NULL));
  assert_int_equal(list.len, 1);
  snapshot_list_free(&list);
  repo_free(repo);
  store_free(store);
}

/* A thousand notices, each with a path as long as there are: they are cut, not what makes the backup fail. */
static void test_long_notices(void **state UNUSED) {
  enum { NOTICES = 1200, LEN = 300 * 1000 };
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Uuid series = {{3}};
  Session session;
  assert_ok(session_begin(repo, &series, "h", &session, NULL));
  AUTO_FREE char *text = (char *)mem_alloc(LEN + 1);
  for (size_t i = 0; i + 1 < LEN; i += 2) memcpy(text + i, "\xc3\xa4", 2); /* two bytes a character */
  text[LEN] = '\0';
  text[0] = 'x', text[1] = '\xff';
  char name[] = "m", engine[] = "files";
  Snapshot s = {.id = session.snapshot, .series = series, .source = name, .engine = engine, .notices_len = NOTICES};
  s.notices = NEW_ARRAY(char *, NOTICES);
  for (size_t i = 0; i < NOTICES; i++) s.notices[i] = text;
  assert_ok(snapshot_commit(repo, &session, &s, NULL));
  SnapshotList list;
  assert_ok(snapshot_list(repo, NULL, &list, NULL, NULL, NULL));
  assert_int_equal(list.len, 1);
  assert_int_equal(list.items[0].notices_len, 1000);
  for (size_t i = 0; i < 1000; i++) {
    const char *kept = list.items[0].notices[i];
    assert_true(strlen(kept) > 4000 && strlen(kept) < 64 * 1024);
    assert_true(str_starts(kept, "x\\xff\xc3\xa4"));
  }
  snapshot_list_free(&list);
  free(s.notices);
  repo_free(repo);
  store_free(store);
}

/* Text that would become a hundred times as large in memory; the same inside a text is nothing unusual. */
static void test_many_values(void **state UNUSED) {
  Snapshot s = full_snapshot(), t;
  AUTO_BUF Buf body = {0}, many = {0};
  free(s.facts_json);
  s.facts_json = (char *)mem_alloc(300001);
  memset(s.facts_json, ',', 300000);
  memcpy(s.facts_json, "{\"\\\\\":[", 8);
  s.facts_json[300000] = '\0';
  snapshot_encode(&s, &body);
  assert_ok(snapshot_decode(buf_bytes(&body), &t));
  assert_string_equal(t.facts_json, s.facts_json);
  snapshot_free(&t);
  for (int list = 0; list < 3; list++) {
    buf_clear(&many);
    buf_add_str(&many, list == 0 ? "{\"a\":[0" : list == 1 ? "{\"a\":0" : "{\"\\\"\":[{}");
    for (int i = 0; i < 70000; i++) buf_printf(&many, list == 0 ? ",0" : list == 1 ? ",\"%d\":0" : ",{}", i);
    buf_printf(&many, list == 1 ? "," : "],");
    buf_add(&many, body.data + 1, body.len - 1);
    Error *err = snapshot_decode(buf_bytes(&many), &t);
    assert_true(err_is(err, ERR_CORRUPT));
    assert_non_null(strstr(err_text(err), "values"));
    err_free(err);
  }
  snapshot_free(&s);
}

typedef struct Broken {
  unsigned n;
  char key[256];
} Broken;

static void note_broken(void *ctx, const char *key, const Error *err) {
  Broken *b = (Broken *)ctx;
  assert_non_null(err);
  b->n++;
  snprintf(b->key, sizeof b->key, "%s", key);
}

/* Two series, clocks that go backwards, one that does not open. */
static void test_list(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Uuid series[2] = {{{1}}, {{2}}};
  char keys[6][COMMIT_KEY_LEN];
  for (uint64_t i = 0; i < 6; i++) {
    Session session;
    assert_ok(session_begin(repo, &series[i % 2], "h", &session, NULL));
    Snapshot s = full_snapshot();
    s.id = session.snapshot;
    s.series = series[i % 2];
    s.time_ns = (10 - i) * 1000;
    assert_ok(snapshot_commit(repo, &session, &s, NULL));
    memcpy(keys[i], session.commit_key, COMMIT_KEY_LEN);
    snapshot_free(&s);
  }
  SnapshotList list;
  assert_ok(snapshot_list(repo, NULL, &list, NULL, NULL, NULL));
  assert_int_equal(list.len, 6);
  for (size_t i = 1; i < 6; i++) assert_true(list.items[i - 1].time_ns <= list.items[i].time_ns);
  snapshot_list_free(&list);
  assert_ok(snapshot_list(repo, &series[1], &list, NULL, NULL, NULL));
  assert_int_equal(list.len, 3);
  snapshot_list_free(&list);
  size_t len;
  store_memory_bytes(store, keys[3], &len)[200] ^= 4;
  assert_err(snapshot_list(repo, NULL, &list, NULL, NULL, NULL), ERR_CORRUPT);
  Broken broken = {0};
  assert_ok(snapshot_list(repo, NULL, &list, note_broken, &broken, NULL));
  assert_int_equal(list.len, 5);
  assert_int_equal(broken.n, 1);
  assert_string_equal(broken.key, keys[3]);
  snapshot_list_free(&list);
  repo_free(repo);
  store_free(store);
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_truncated), cmocka_unit_test(test_newer_version),
      cmocka_unit_test(test_commit_limits), cmocka_unit_test(test_list),      cmocka_unit_test(test_long_notices),
      cmocka_unit_test(test_many_values),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
