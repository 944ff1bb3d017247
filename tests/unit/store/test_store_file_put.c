#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/store_file.h"
#include "sys/fs.h"

#include "store_conformance.h"
#include "testing.h"

/* A directory for one test. */
static char *scratch(void) {
  char *dir = mem_strdup("/tmp/holdfast-store-XXXXXX");
  assert_non_null(mkdtemp(dir));
  return dir;
}

static void discard(char *take_dir) {
  assert_ok(fs_remove_tree(take_dir));
  free(take_dir);
}

static Store *open_store(const char *dir) {
  Store *store;
  assert_ok(store_file_open(sys_real(), dir, true, &store));
  return store;
}

/* ---- killed at some moment, for many objects ---- */

enum { CRASHES = 40, CRASH_BODY = 200000 };

/* An object's body follows from its number; every third is streamed. */
static Error *put_number(Store *store, uint64_t round, uint32_t number) {
  char key[64];
  snprintf(key, sizeof key, "packs/%02x/%llu-%u", number % 7, (unsigned long long)round, number);
  size_t len = number * 7919u % CRASH_BODY;
  AUTO_FREE uint8_t *body = store_sample(round * 1000003 + number, len);
  if (number % 3) return store_put(store, key, bytes(body, len), PUT_NEW, NULL);
  StorePut *put;
  TRY(store_put_begin(store, key, PUT_NEW, &put, NULL));
  for (size_t at = 0; at < len; at += 30000) {
    Error *err = store_put_write(put, bytes(body + at, len - at < 30000 ? len - at : 30000), NULL);
    if (!err) continue;
    store_put_abort(put);
    return err;
  }
  return store_put_commit(put, NULL);
}

_Noreturn static void write_until_killed(const char *dir, uint64_t round, int acks) {
  Store *store;
  Error *err = store_file_open(sys_real(), dir, true, &store);
  for (uint32_t number = 0; !err && number < 100000; number++) {
    err = put_number(store, round, number);
    if (!err && write(acks, &number, sizeof number) != sizeof number) _exit(2);
  }
  _exit(3); /* should have been killed */
}

typedef struct Survivors {
  Store *store;
  uint64_t round;
  uint32_t next; /* numbers below are acknowledged */
  uint32_t seen;
} Survivors;

static Error *check_survivor(void *ctx, const char *key, const StoreStat *st) {
  Survivors *s = (Survivors *)ctx;
  char *end;
  uint64_t round = strtoull(key + strlen("packs/00/"), &end, 10);
  uint32_t number = (uint32_t)strtoul(end + 1, NULL, 10);
  if (round == s->round && number < s->next) s->seen++;
  size_t len = number * 7919u % CRASH_BODY;
  AUTO_FREE uint8_t *body = store_sample(round * 1000003 + number, len);
  AUTO_BUF Buf there = {0};
  TRY(store_get_all(s->store, key, CRASH_BODY, &there, NULL));
  if (st->size_bytes != len || !bytes_equal(buf_bytes(&there), bytes(body, len)))
    return err_new(ERR_INTERNAL, "%s: half an object is visible", key);
  return NULL;
}

static void crash_once(const char *dir, uint64_t round, uint32_t kill_after) {
  int acks[2];
  assert_int_equal(pipe2(acks, O_CLOEXEC), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) write_until_killed(dir, round, acks[1]);
  close(acks[1]);
  uint32_t next = 0, number;
  while (next < kill_after && read(acks[0], &number, sizeof number) == sizeof number) next = number + 1;
  kill(child, SIGKILL);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status));
  /* What it confirmed between our decision and its death counts too. */
  while (read(acks[0], &number, sizeof number) == sizeof number) next = number + 1;
  close(acks[0]);
  Survivors s = {.store = open_store(dir), .round = round, .next = next};
  assert_ok(store_list(s.store, "", check_survivor, &s, NULL));
  assert_int_equal(s.seen, next);
  store_free(s.store);
}

static void test_kill(void **state UNUSED) {
  char *dir = scratch();
  uint64_t seed = 5;
  for (uint64_t round = 0; round < CRASHES; round++) {
    AUTO_FREE char *root = mem_printf("%s/%llu", dir, (unsigned long long)round / 8);
    crash_once(root, round, (uint32_t)(test_random(&seed) % 12));
  }
  discard(dir);
}

/* ---- killed before every single system call ---- */

enum { TRACED_EXIT = 7 };

static Error *put_in_parts(Store *store, const char *key, const char *one, const char *two) {
  StorePut *put;
  TRY(store_put_begin(store, key, PUT_NEW, &put, NULL));
  Error *err = store_put_write(put, bytes_str(one), NULL);
  if (!err) err = store_put_write(put, bytes_str(two), NULL);
  if (!err) return store_put_commit(put, NULL);
  store_put_abort(put);
  return err;
}

/* What the traced process does; the second object shares its directory with the first. */
static Error *traced_work(const char *dir) {
  Store *store;
  TRY(store_file_open(sys_real(), dir, true, &store));
  TRY(store_put(store, "packs/aa/1", bytes_str("whole"), PUT_NEW, NULL));
  TRY(put_in_parts(store, "packs/aa/2", "in two ", "parts"));
  TRY(store_put(store, "marker", bytes_str("after"), PUT_REPLACE, NULL));
  TRY(store_remove(store, "packs/aa/1", NULL));
  store_free(store);
  return NULL;
}

static pid_t start_traced(const char *dir) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 || raise(SIGSTOP) != 0) _exit(1);
    _exit(traced_work(dir) ? 1 : TRACED_EXIT);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  if (!WIFSTOPPED(status)) return -1; /* tracing is forbidden here */
  assert_int_equal(ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)PTRACE_O_TRACESYSGOOD), 0);
  return child;
}

/* Runs to the next entry into the system; false when the child has ended instead. */
static bool next_call(pid_t child, uint64_t *out_number) {
  for (;;) {
    int status;
    struct __ptrace_syscall_info info;
    assert_int_equal(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
      assert_int_equal(WEXITSTATUS(status), TRACED_EXIT);
      return false;
    }
    assert_true(WIFSTOPPED(status));
    if (ptrace(PTRACE_GET_SYSCALL_INFO, child, (void *)sizeof info, &info) < 0) continue;
    if (info.op != PTRACE_SYSCALL_INFO_ENTRY) continue;
    *out_number = info.entry.nr;
    return true;
  }
}

/* Kills the child before its n-th call. False when it made fewer or, *out_traced unset, cannot be traced. */
static bool kill_before(const char *dir, unsigned n, bool *out_traced) {
  pid_t child = start_traced(dir);
  *out_traced = child >= 0;
  if (child < 0) return false;
  uint64_t number;
  for (unsigned i = 0; i < n; i++)
    if (!next_call(child, &number)) return false;
  int status;
  assert_int_equal(kill(child, SIGKILL), 0);
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status));
  return true;
}

static bool is_there(Store *store, const char *key) {
  StoreStat st;
  Error *err = store_stat(store, key, &st, NULL);
  assert_true(!err || err_code(err) == ERR_NOT_FOUND);
  bool there = !err;
  err_free(err);
  return there;
}

/* Whatever is visible is whole, and a new process works as if nothing had been. */
static void check_after_kill(const char *dir) {
  Store *store = open_store(dir);
  bool first = is_there(store, "packs/aa/1"), second = is_there(store, "packs/aa/2"),
       marker = is_there(store, "marker");
  assert_int_equal(store_count(store, ""), first + second + marker);
  assert_true(second || !marker);
  assert_true(first || marker || !second);
  if (first) store_expect(store, "packs/aa/1", bytes_str("whole"));
  if (second) store_expect(store, "packs/aa/2", bytes_str("in two parts"));
  if (marker) {
    AUTO_BUF Buf text = {0};
    assert_ok(store_get_all(store, "marker", 10, &text, NULL));
    assert_true(bytes_equal(buf_bytes(&text), bytes_str("after")) ||
                bytes_equal(buf_bytes(&text), bytes_str("before")));
  }
  Error *err = store_put(store, "packs/aa/1", bytes_str("whole"), PUT_NEW, NULL);
  assert_int_equal(err ? (int)err_code(err) : 0, first ? (int)ERR_EXISTS : 0);
  err_free(err);
  store_free(store);
}

static void test_kill_before_every_call(void **state UNUSED) {
  bool more = true, traced = true;
  unsigned n = 0;
  for (; more; n++) {
    char *dir = scratch();
    AUTO_FREE char *root = fs_join(dir, "root");
    more = kill_before(root, n, &traced);
    if (traced) check_after_kill(root);
    discard(dir);
  }
  if (!traced) skip();
  assert_true(n > 40); /* it did walk through the calls */
}

/* ---- the order of what makes an object durable ---- */

static char letter_of(uint64_t number) {
  switch (number) {
    case SYS_pwrite64: return 'w';
    case SYS_fdatasync: return 'd';
    case SYS_mkdirat: return 'm';
    case SYS_fsync: return 'f';
    case SYS_linkat: return 'l';
    case SYS_unlinkat: return 'u';
#ifdef SYS_renameat
    case SYS_renameat:
#endif
    case SYS_renameat2: return 'r';
    default: return 0;
  }
}

/* The letters of all that the traced work does in `dir`; false where tracing is forbidden. */
static bool trace_calls(const char *dir, Buf *out) {
  uint64_t number;
  pid_t child = start_traced(dir);
  while (child >= 0 && next_call(child, &number))
    if (letter_of(number)) buf_put_u8(out, (uint8_t)letter_of(number));
  buf_put_u8(out, 0);
  return child >= 0;
}

static void test_durable_order(void **state UNUSED) {
  char *dir = scratch();
  AUTO_BUF Buf calls = {0};
  bool traced = trace_calls(dir, &calls);
  discard(dir);
  if (!traced) skip();
  assert_string_equal((const char *)calls.data,
                      "m"      /* tmp */
                      "wdmfmf" /* the bytes; packs and its name; packs/aa and its name */
                      "luf"    /* 1: published, its directory synced */
                      "wwdluf" /* 2: the directories are known to be durable */
                      "wdrf"   /* marker: renamed over */
                      "uf");   /* 1 removed */
}

/* Directories that another process made, and may not have synced, are synced once as well. */
static void test_durable_order_again(void **state UNUSED) {
  char *dir = scratch();
  AUTO_FREE char *aa = fs_join(dir, "packs/aa");
  assert_ok(fs_make_dirs(aa, 0700));
  AUTO_BUF Buf calls = {0};
  bool traced = trace_calls(dir, &calls);
  discard(dir);
  if (!traced) skip();
  assert_string_equal((const char *)calls.data,
                      "mwdffluf"
                      "wwdluf"
                      "wdrf"
                      "uf");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_kill),
      cmocka_unit_test(test_kill_before_every_call),
      cmocka_unit_test(test_durable_order),
      cmocka_unit_test(test_durable_order_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
