/* Keys are nowhere in memory but where they are guarded, and nowhere at all once the repository is closed: after a
 * backup, a verification and a restore all of this process's memory is searched for them. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "codec/secret.h"
#include "store/store_memory.h"

#include "repo_tools.h"
#include "seeds.h"
#include "testing.h"

enum { MASK = 0xa5, WINDOW = 1 << 20 };

/* Kept under a mask, so that the list itself is not found. */
typedef struct Hidden {
  const char *name;
  uint8_t bytes[KEY_LEN];
} Hidden;

typedef struct Search {
  Hidden keys[16];
  size_t len;
  const uint8_t *guarded; /* where they may be */
  size_t guarded_len;
  uint8_t *window;
} Search;

static void hide(Search *s, const char *name, const uint8_t key[KEY_LEN]) {
  assert_true(s->len < NELEMS(s->keys));
  Hidden *h = &s->keys[s->len++];
  h->name = name;
  for (size_t i = 0; i < KEY_LEN; i++) h->bytes[i] = key[i] ^ MASK;
}

static bool is_here(const uint8_t *at, const Hidden *h) {
  for (size_t i = 0; i < KEY_LEN; i++)
    if ((at[i] ^ MASK) != h->bytes[i]) return false;
  return true;
}

static unsigned search_window(const Search *s, uintptr_t from, size_t len) {
  unsigned found = 0;
  for (size_t at = 0; at + KEY_LEN <= len; at++)
    for (size_t k = 0; k < s->len; k++) {
      if (s->window[at] != (s->keys[k].bytes[0] ^ MASK) || !is_here(s->window + at, &s->keys[k])) continue;
      uintptr_t place = from + at, guarded = (uintptr_t)s->guarded;
      if (s->guarded && place >= guarded && place < guarded + s->guarded_len) continue;
      print_message("%s lies at %#zx\n", s->keys[k].name, (size_t)place);
      found++;
    }
  return found;
}

/* Every readable and writable mapping, the window itself excepted. */
static unsigned search_memory(const Search *s) {
  FILE *maps = fopen("/proc/self/maps", "re");
  int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  assert_true(maps && mem >= 0);
  unsigned found = 0;
  char line[512];
  while (fgets(line, sizeof line, maps)) {
    unsigned long from, to;
    char rights[8];
    if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 || strncmp(rights, "rw", 2) != 0) continue;
    if (to - from > (1ul << 30)) continue; /* a sanitizer's own */
    for (uintptr_t at = from; at < to; at += WINDOW - KEY_LEN) {
      size_t len = to - at < WINDOW ? to - at : WINDOW;
      if (at < (uintptr_t)s->window + WINDOW && at + len > (uintptr_t)s->window) continue;
      if (pread(mem, s->window, len, (off_t)at) == (ssize_t)len) found += search_window(s, at, len);
    }
  }
  fclose(maps);
  close(mem);
  return found;
}

static void hide_all(Search *s, const Repo *repo) {
  const Keys *keys = repo->keys;
  hide(s, "the root key", keys->root);
  hide(s, "the mac key", keys->mac);
  hide(s, "the chunker key", keys->chunker);
  hide(s, "the first epoch's secret", keys->epoch_secret[0]);
  hide(s, "the second epoch's secret", keys->epoch_secret[1]);
  size_t pos = 0;
  Bytes id;
  void *key;
  while (map_next(repo->data_keys, &pos, &id, &key)) hide(s, "a data key", (const uint8_t *)key);
  assert_true(s->len >= 6);
}

/* AddressSanitizer keeps the stacks of functions that have returned, and what lay there, to find who uses it still. */
static void skip_where_stacks_are_kept(void) {
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
  skip();
#endif
#endif
}

static void test_closed(void **state UNUSED) {
  skip_where_stacks_are_kept();
  uint64_t seed = seeds_begin(5);
  Search s = {.window = (uint8_t *)mem_pages(WINDOW)};
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  Model model = tools_model(&seed);
  Slot slot;
  Snapshot snapshot;
  assert_ok(repo_slot_add(repo, SLOT_PASSPHRASE, bytes_str("a phrase"), "p", &slot, NULL));
  assert_ok(repo_epoch_new(repo, NULL));
  tools_backup(repo, &model, &snapshot);
  tools_expect_clean(repo);
  assert_ok(model_compare(repo, &snapshot, &model, NULL));
  hide_all(&s, repo);
  assert_true(search_memory(&s) >= 6); /* the search finds them: they are where they belong */
  repo_free(repo);
  repo = tools_open(sys_real(), store, NULL);
  tools_backup(repo, &model, NULL);
  repo_free(repo);
  assert_int_equal(search_memory(&s), 0);
  snapshot_free(&snapshot);
  model_free(&model);
  store_free(store);
  mem_free_pages(s.window, WINDOW);
}

/* While it is open: the long-lived keys in their guarded block only. */
static void test_open(void **state UNUSED) {
  skip_where_stacks_are_kept();
  uint64_t seed = seeds_begin(6);
  Search s = {.window = (uint8_t *)mem_pages(WINDOW)};
  Store *store = store_memory_new(sys_real());
  repo_free(tools_init(sys_real(), store, NULL));
  Repo *repo = tools_open(sys_real(), store, NULL);
  Model model = tools_model(&seed);
  tools_backup(repo, &model, NULL);
  tools_expect_clean(repo);
  hide(&s, "the root key", repo->keys->root);
  hide(&s, "the mac key", repo->keys->mac);
  hide(&s, "the epoch's secret", repo->keys->epoch_secret[0]);
  assert_int_equal(search_memory(&s), 3);
  s.guarded = (const uint8_t *)repo->keys;
  s.guarded_len = sizeof *repo->keys;
  assert_int_equal(search_memory(&s), 0);
  model_free(&model);
  repo_free(repo);
  store_free(store);
  mem_free_pages(s.window, WINDOW);
}

/* The guarded block is left out of a core file, and locked if the limits allow it. */
static void test_guarded_block(void **state UNUSED) {
  Store *store = store_memory_new(sys_real());
  Repo *repo = tools_init(sys_real(), store, NULL);
  FILE *smaps = fopen("/proc/self/smaps", "re");
  assert_non_null(smaps);
  char line[512];
  bool inside = false, seen = false;
  while (fgets(line, sizeof line, smaps)) {
    unsigned long from, to;
    if (sscanf(line, "%lx-%lx", &from, &to) == 2)
      inside = (uintptr_t)repo->keys >= from && (uintptr_t)repo->keys < to;
    else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
      seen = true;
      assert_non_null(strstr(line, " dd")); /* MADV_DONTDUMP */
    }
  }
  fclose(smaps);
  assert_true(seen);
  repo_free(repo);
  store_free(store);
}

int main(void) {
  seeds_say();
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_closed),
      cmocka_unit_test(test_open),
      cmocka_unit_test(test_guarded_block),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
