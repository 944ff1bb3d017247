/* Slots, the keyring and epochs: who can open what, before and after. */
#include "base/mem.h"
#include "codec/secret.h"
#include "repo/grant.h"
#include "repo/uuid.h"
#include "store/store_fault.h"
#include "store/store_memory.h"

#include "repo_tools.h"
#include "testing.h"

static const char key_a[] = "key file A, long enough for a key";
static const char key_b[] = "key file B, long enough for a key";
static const char key_c[] = "key file C, long enough for a key";

static Unlock key_file(const char *secret) { return (Unlock){.kind = SLOT_KEY_FILE, .secret = bytes_str(secret)}; }

static Error *open_with(Store *store, const Unlock *unlock, Repo **out) {
  return repo_open(sys_real(), tools_store_borrow(store), unlock, 1, NULL, out, NULL);
}

static Repo *must_open(Store *store, const char *secret) {
  Unlock unlock = key_file(secret);
  Repo *repo = NULL;
  assert_ok(open_with(store, &unlock, &repo));
  return repo;
}

static Repo *init_with(Store *store, const Unlock *unlocks, size_t len, char *recovery) {
  RepoInit init = {.unlocks = unlocks, .unlocks_len = len, .recovery = recovery != NULL};
  Repo *repo = NULL;
  assert_ok(repo_init(sys_real(), tools_store_borrow(store), &init, NULL, recovery, &repo, NULL));
  return repo;
}

static void test_kinds(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  char recovery[RECOVERY_CODE_LEN];
  Unlock unlocks[] = {key_file(key_a), {.kind = SLOT_PASSPHRASE, .secret = bytes_str("correct horse battery")}};
  Repo *repo = init_with(store, unlocks, 2, recovery);
  uint8_t root[KEY_LEN];
  memcpy(root, repo->keys->root, KEY_LEN);
  repo_free(repo);
  assert_int_equal(tools_count(store, "keys/"), 3);
  Unlock code = {.kind = SLOT_RECOVERY, .secret = bytes_str(recovery)};
  const Unlock *const good[] = {&unlocks[0], &unlocks[1], &code};
  for (size_t i = 0; i < NELEMS(good); i++) {
    assert_ok(open_with(store, good[i], &repo));
    assert_memory_equal(repo->keys->root, root, KEY_LEN);
    repo_free(repo);
  }
  /* The right secret of the wrong kind, and wrong ones. */
  Unlock bad[] = {key_file("correct horse battery"),
                  {.kind = SLOT_PASSPHRASE, .secret = bytes_str("correct horse batterz")},
                  {.kind = SLOT_PASSPHRASE, .secret = bytes_str("")},
                  {.kind = SLOT_RECOVERY, .secret = bytes_str(key_a)}};
  for (size_t i = 0; i < NELEMS(bad); i++) assert_err(open_with(store, &bad[i], &repo), ERR_WRONG_KEY);
  store_free(store);
}

static void test_recovery_code(void **state UNUSED) {
  char code[RECOVERY_CODE_LEN], again[RECOVERY_CODE_LEN], typed[2 * RECOVERY_CODE_LEN];
  for (int round = 0; round < 50; round++) {
    recovery_code_new(sys_real(), code);
    assert_ok(recovery_code_normalize(code, again));
    assert_string_equal(code, again);
    size_t n = 0;
    for (const char *c = code; *c; c++) {
      if (*c == '-') continue;
      char lower = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
      typed[n++] = *c == '0' ? 'o' : *c == '1' ? 'l' : lower;
      if (n % 7 == 0) typed[n++] = ' ';
    }
    typed[n] = 0;
    assert_ok(recovery_code_normalize(typed, again));
    assert_string_equal(code, again);
    /* Any one character mistyped is found. */
    size_t at = (size_t)round * 7 % strlen(code);
    if (code[at] == '-') at++;
    memcpy(typed, code, sizeof code);
    typed[at] = code[at] == 'Z' ? 'Y' : 'Z';
    assert_err(recovery_code_normalize(typed, again), ERR_USAGE);
    typed[at] = 0;
    assert_err(recovery_code_normalize(typed, again), ERR_USAGE);
  }
  assert_err(recovery_code_normalize("", again), ERR_USAGE);
  assert_err(recovery_code_normalize("U!", again), ERR_USAGE);
}

static void test_bad_secrets(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Unlock unlock = key_file(key_a);
  Repo *repo = init_with(store, &unlock, 1, NULL);
  Slot slot;
  size_t before = tools_count(store, "");
  assert_err(repo_slot_add(repo, SLOT_KEY_FILE, bytes_str("too short"), "", &slot, NULL), ERR_USAGE);
  assert_err(repo_slot_add(repo, SLOT_PASSPHRASE, bytes_str(""), "", &slot, NULL), ERR_USAGE);
  assert_int_equal(tools_count(store, ""), before);
  repo_free(repo);
  store_free(store);
}

/* Labels of any bytes and length: the slot can be read and opens. */
static void test_labels(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Unlock unlock = key_file(key_a);
  Repo *repo = init_with(store, &unlock, 1, NULL);
  char longest[600], cut[260];
  memset(longest, 'x', sizeof longest - 1);
  longest[sizeof longest - 1] = 0;
  memset(cut, 'y', 199);
  memcpy(cut + 199, "\xc3\xa4\xc3\xb6", 5);
  char bad[190];
  memset(bad, 0xff, sizeof bad - 1);
  bad[sizeof bad - 1] = 0;
  const char *const labels[] = {"", NULL, "Grüße", longest, cut, bad, "a\nb\tc\x01", "\"quotes\" \\ and {json}"};
  for (size_t i = 0; i < NELEMS(labels); i++) {
    Slot slot;
    AUTO_FREE char *secret = mem_printf("the secret of label %zu", i);
    assert_ok(repo_slot_add(repo, SLOT_KEY_FILE, bytes_str(secret), labels[i], &slot, NULL));
    repo_free(must_open(store, secret));
  }
  tools_expect_clean(repo);
  repo_free(repo);
  store_free(store);
}

static void add_slot(Repo *repo, const char *secret, Uuid *id) {
  Slot slot;
  assert_ok(repo_slot_add(repo, SLOT_KEY_FILE, bytes_str(secret), "added", &slot, NULL));
  *id = slot.id;
}

static Error *compare_all(Repo *repo, const Model *moments, size_t len) {
  SnapshotList list;
  TRY(snapshot_list(repo, NULL, &list, NULL, NULL, NULL));
  Error *err = list.len == len ? NULL : err_new(ERR_CHECK_FAILED, "%zu snapshots", list.len);
  for (size_t i = 0; i < list.len && !err; i++) err = model_compare(repo, &list.items[i], &moments[i], NULL);
  snapshot_list_free(&list);
  return err;
}

/* A removed slot opens nothing, not even with a copy of its slot object; what was written after it went is closed to
 * it for good; all others read everything. */
static void test_remove(void **state UNUSED) {
  uint64_t seed = 1;
  Store *store = store_memory_new(sys_real());
  Unlock unlock = key_file(key_a);
  Repo *repo = init_with(store, &unlock, 1, NULL);
  Uuid b, c;
  add_slot(repo, key_b, &b);
  Model moments[2] = {tools_model(&seed)};
  tools_backup(repo, &moments[0], NULL);
  char name[64] = "keys/", id[UUID_TEXT_LEN];
  strcat(name, uuid_text(&b, id));
  AUTO_BUF Buf kept = tools_get(store, name);

  assert_ok(repo_slot_remove(repo, &b, NULL));
  add_slot(repo, key_c, &c);
  moments[1] = model_copy(&moments[0]);
  tools_change(&moments[1], &seed);
  tools_add_random(&moments[1], "later", false, 100 * 1000, &seed);
  tools_backup(repo, &moments[1], NULL);
  assert_ok(compare_all(repo, moments, 2));
  repo_free(repo);

  Repo *others;
  Unlock removed = key_file(key_b);
  assert_err(open_with(store, &removed, &others), ERR_WRONG_KEY);
  const char *const allowed[] = {key_a, key_c};
  for (size_t i = 0; i < NELEMS(allowed); i++) {
    others = must_open(store, allowed[i]);
    assert_int_equal(others->keys->epochs, 2);
    assert_ok(compare_all(others, moments, 2));
    tools_expect_clean(others);
    repo_free(others);
  }
  /* The copy put back: old things open, new ones do not. */
  assert_ok(store_put(store, name, buf_bytes(&kept), PUT_NEW, NULL));
  assert_ok(open_with(store, &removed, &others));
  assert_int_equal(others->keys->epochs, 1);
  assert_err(compare_all(others, moments, 2), ERR_CORRUPT);
  repo_free(others);
  store_free(store);
  model_free(&moments[0]);
  model_free(&moments[1]);
}

static void test_last_slot(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Unlock unlock = key_file(key_a);
  Repo *repo = init_with(store, &unlock, 1, NULL);
  Uuid own = repo->slot, b, nobody = {{1}};
  assert_err(repo_slot_remove(repo, &own, NULL), ERR_REFUSED);
  assert_err(repo_slot_remove(repo, &nobody, NULL), ERR_NOT_FOUND);
  assert_int_equal(repo->keys->epochs, 1);
  add_slot(repo, key_b, &b);
  assert_ok(repo_slot_remove(repo, &own, NULL)); /* its own is fine while there is another */
  repo_free(repo);
  Repo *none;
  assert_err(open_with(store, &unlock, &none), ERR_WRONG_KEY);
  repo_free(must_open(store, key_b));
  store_free(store);
}

static void test_epochs(void **state UNUSED) {
  uint64_t seed = 2;
  Store *store = store_memory_new(sys_real());
  Unlock unlock = key_file(key_a);
  Repo *repo = init_with(store, &unlock, 1, NULL);
  Uuid b;
  Model moments[5] = {{0}};
  for (int i = 0; i < 5; i++) {
    if (i == 2) add_slot(repo, key_b, &b);
    tools_add_random(&moments[i], "f", false, 90 * 1000 + (size_t)i, &seed);
    tools_backup(repo, &moments[i], NULL);
    assert_ok(repo_epoch_new(repo, NULL));
  }
  repo_free(repo);
  const char *const secrets[] = {key_a, key_b};
  for (size_t i = 0; i < NELEMS(secrets); i++) {
    repo = must_open(store, secrets[i]);
    assert_int_equal(repo->keys->epochs, 6);
    assert_ok(compare_all(repo, moments, 5));
    tools_expect_clean(repo);
    repo_free(repo);
  }
  for (int i = 0; i < 5; i++) model_free(&moments[i]);
  store_free(store);
}

/* Two processes that begin an epoch at once: one wins, the other is told, everybody can read everything. */
static void test_epoch_race(void **state UNUSED) {
  uint64_t seed = 3;
  Store *store = store_memory_new(sys_real());
  Unlock unlock = key_file(key_a);
  Repo *a = init_with(store, &unlock, 1, NULL);
  Uuid id, late;
  add_slot(a, key_b, &id);
  Repo *b = must_open(store, key_b);
  assert_ok(repo_epoch_new(a, NULL));
  assert_err(repo_epoch_new(b, NULL), ERR_REFUSED);
  assert_int_equal(b->keys->epochs, 1);
  Slot slot;
  assert_err(repo_slot_add(b, SLOT_KEY_FILE, bytes_str(key_c), "", &slot, NULL), ERR_REFUSED);
  Model moment = tools_model(&seed);
  tools_backup(a, &moment, NULL);
  repo_free(b);
  b = must_open(store, key_b);
  assert_ok(compare_all(b, &moment, 1));
  add_slot(b, key_c, &late);
  Repo *c = must_open(store, key_c);
  assert_ok(compare_all(c, &moment, 1));
  tools_expect_clean(c);
  repo_free(a);
  repo_free(b);
  repo_free(c);
  model_free(&moment);
  store_free(store);
}

typedef struct LateSlot {
  Store *store;
  bool added;
} LateSlot;

/* Another process adds a slot after the epoch's own list of slots was read, and before the epoch is there. */
static void add_late(void *ctx, const char *op, const char *key, Bytes body UNUSED) {
  LateSlot *late = (LateSlot *)ctx;
  if (late->added || strcmp(op, "put") != 0 || !str_ends(key, "/grant")) return;
  late->added = true;
  Uuid id;
  Repo *other = must_open(late->store, key_a);
  add_slot(other, key_c, &id);
  repo_free(other);
}

static void test_slot_added_while_an_epoch_begins(void **state UNUSED) {
  uint64_t seed = 5;
  Store *store = store_memory_new(sys_real());
  Unlock unlock = key_file(key_a);
  repo_free(init_with(store, &unlock, 1, NULL));
  Store *watched = store_fault_new(sys_real(), tools_store_borrow(store));
  Repo *repo;
  assert_ok(repo_open(sys_real(), watched, &unlock, 1, NULL, &repo, NULL));
  LateSlot late = {.store = store};
  store_fault_watch(watched, add_late, &late);
  assert_ok(repo_epoch_new(repo, NULL));
  assert_true(late.added);
  Model moment = tools_model(&seed);
  tools_backup(repo, &moment, NULL);
  Repo *c = must_open(store, key_c); /* has the new epoch, or could not read what was just written */
  assert_int_equal(c->keys->epochs, 2);
  assert_ok(compare_all(c, &moment, 1));
  tools_expect_clean(c);
  repo_free(c);
  repo_free(repo);
  model_free(&moment);
  store_free(store);
}

/* A fault at every operation of adding and removing slots: nobody who should have access ever loses it, and the command
 * can be repeated. */
static bool slot_commands_with_fault(uint64_t n, FaultKind kind) {
  uint64_t seed = 4;
  Store *store = store_memory_new(sys_real());
  Unlock unlock = key_file(key_a);
  Repo *repo = init_with(store, &unlock, 1, NULL);
  Uuid b;
  add_slot(repo, key_b, &b);
  Model moment = {0};
  tools_add_random(&moment, "f", false, 5000, &seed);
  repo_free(repo);

  Store *fault = store_fault_new(sys_real(), tools_store_borrow(store));
  assert_ok(repo_open(sys_real(), fault, &unlock, 1, NULL, &repo, NULL));
  store_fault_at(fault, n, kind);
  Slot slot;
  Error *added = repo_slot_add(repo, SLOT_KEY_FILE, bytes_str(key_c), "", &slot, NULL);
  Error *removed = repo_slot_remove(repo, &b, NULL);
  bool hit = n <= store_fault_count(fault);
  store_fault_at(fault, 0, FAULT_NONE);
  tools_backup(repo, &moment, NULL);
  repo_free(repo);

  repo = must_open(store, key_a);
  assert_ok(compare_all(repo, &moment, 1));
  uint64_t damaged;
  assert_ok(model_verify(repo, 3, &damaged, NULL));
  assert_int_equal(damaged, 0);
  if (added) {
    Uuid c;
    add_slot(repo, key_c, &c);
  }
  char name[64] = "keys/", id[UUID_TEXT_LEN];
  strcat(name, uuid_text(&b, id));
  StoreStat stat;
  Error *gone = store_stat(store, name, &stat, NULL);
  if (!gone) assert_ok(repo_slot_remove(repo, &b, NULL));
  if (!removed) assert_non_null(gone);
  err_free(gone);
  repo_free(repo);
  repo = must_open(store, key_c);
  assert_ok(compare_all(repo, &moment, 1));
  repo_free(repo);
  err_free(added);
  err_free(removed);
  model_free(&moment);
  store_free(store);
  return hit;
}

static void test_faults(void **state UNUSED) {
  const FaultKind kinds[] = {FAULT_IO, FAULT_AFTER, FAULT_DEAD, FAULT_NO_SPACE};
  for (size_t k = 0; k < NELEMS(kinds); k++) {
    uint64_t n = 1;
    while (slot_commands_with_fault(n, kinds[k])) n++;
    assert_true(n > 8);
  }
}

/* One slot of many is damaged, or the keyring's part of it: the others still open. */
static void test_damaged_slot(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Unlock unlocks[] = {key_file(key_a), key_file(key_b)};
  Repo *repo = init_with(store, unlocks, 2, NULL);
  Uuid b = repo->slot; /* the last one made */
  repo_free(repo);
  char name[96] = "keys/", id[UUID_TEXT_LEN];
  strcat(name, uuid_text(&b, id));
  size_t len;
  uint8_t *data = store_memory_bytes(store, name, &len);
  for (size_t at = 0; at < len; at++) {
    data[at] ^= 1;
    repo_free(must_open(store, key_a));
    Error *err = open_with(store, &unlocks[1], &repo);
    assert_true(err_is(err, ERR_CORRUPT) || err_is(err, ERR_WRONG_KEY) || err_is(err, ERR_UNSUPPORTED));
    err_free(err);
    data[at] ^= 1;
  }
  snprintf(name, sizeof name, "keyring/00000000/slots/%s", id);
  data = store_memory_bytes(store, name, &len);
  data[len / 2] ^= 1;
  repo_free(must_open(store, key_a));
  assert_err(open_with(store, &unlocks[1], &repo), ERR_CORRUPT);
  store_free(store);
}

static void test_grant_parser(void **state UNUSED) {
  Uuid id = {{3}};
  uint8_t root[KEY_LEN] = {5};
  Keys *keys = keys_new(&id, root);
  keys->epochs = 3;
  Slot slots[3];
  for (int i = 0; i < 3; i++) assert_ok(slot_create(sys_real(), keys, SLOT_KEY_FILE, bytes_str(key_a), "x", &slots[i]));
  AUTO_BUF Buf body = {0};
  grant_encode(keys, "keyring/00000002/grant", slots, 3, &body);
  assert_ok(grant_verify(keys, "keyring/00000002/grant", buf_bytes(&body)));
  assert_err(grant_verify(keys, "keyring/00000003/grant", buf_bytes(&body)), ERR_CORRUPT);
  Bytes sealed;
  for (int i = 0; i < 3; i++) {
    assert_ok(grant_find(buf_bytes(&body), &slots[i].id, &sealed));
    assert_true(sealed.len > 3 * KEY_LEN);
  }
  assert_ok(grant_find(buf_bytes(&body), &id, &sealed));
  assert_int_equal(sealed.len, 0);
  for (size_t len = 0; len < body.len; len++)
    assert_err(grant_find(bytes(body.data, len), &slots[0].id, &sealed), ERR_CORRUPT);
  buf_put_u8(&body, 0);
  assert_err(grant_find(buf_bytes(&body), &slots[0].id, &sealed), ERR_CORRUPT);
  keys_free(keys);
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_kinds),        cmocka_unit_test(test_recovery_code),
      cmocka_unit_test(test_bad_secrets),  cmocka_unit_test(test_labels),
      cmocka_unit_test(test_remove),       cmocka_unit_test(test_last_slot),
      cmocka_unit_test(test_epochs),       cmocka_unit_test(test_epoch_race),
      cmocka_unit_test(test_faults),       cmocka_unit_test(test_slot_added_while_an_epoch_begins),
      cmocka_unit_test(test_damaged_slot), cmocka_unit_test(test_grant_parser),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
