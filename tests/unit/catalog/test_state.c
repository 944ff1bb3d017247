#include "catalog_testing.h"

static mode_t mode_of(const char *path) {
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  return st.st_mode & 07777;
}

/* ---- where it is ------------------------------------------------------------------------------------------------- */

enum { NOBODY = 65534 };

static bool default_is(const char *expected) {
  AUTO_FREE char *dir = state_dir_default();
  return strcmp(dir, expected) == 0;
}

static int check_defaults(const Place *place UNUSED, unsigned number UNUSED) {
  if (geteuid() == 0) {
    setenv("XDG_STATE_HOME", "/srv/xdg", 1);
    if (!default_is("/var/lib/holdfast")) return 1;
    if (setresuid(NOBODY, NOBODY, NOBODY) != 0) return 2;
  }
  setenv("XDG_STATE_HOME", "/srv/xdg", 1);
  setenv("HOME", "/home/someone", 1);
  if (!default_is("/srv/xdg/holdfast")) return 3;
  setenv("XDG_STATE_HOME", "relative", 1);
  if (!default_is("/home/someone/.local/state/holdfast")) return 4;
  unsetenv("XDG_STATE_HOME");
  unsetenv("HOME");
  return default_is("/var/lib/holdfast") ? 0 : 5;
}

static void test_default_directory(void **unused UNUSED) {
  assert_int_equal(child_wait(child_start(check_defaults, NULL, 0)), 0);
}

/* ---- what is in it ----------------------------------------------------------------------------------------------- */

static void test_everything_is_private(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = fs_join(place.dir, "deeper/state");
  AUTO_FREE char *host_id = fs_join(path, "host_id");
  mode_t before = umask(0);
  State *state;
  assert_ok(state_open(sys_real(), path, &state));
  umask(before);
  assert_string_equal(state_path(state), path);
  const char *dirs[] = {state_path(state), state_cache_dir(state), state_spool_dir(state), state_scratch_dir(state),
                        state_conf_dir(state)};
  for (size_t i = 0; i < NELEMS(dirs); i++) assert_int_equal(mode_of(dirs[i]), 0700);
  assert_int_equal(mode_of(host_id), 0600);
  assert_true(strstr(state_conf_dir(state), "/deeper/state/conf.d") != NULL);
  state_free(state);
  place_discard(&place);
}

static void test_open_tightens_only_its_own(void **unused UNUSED) {
  Place place = place_make();
  State *state;
  assert_int_equal(chmod(place.dir, 0755), 0);
  assert_int_equal(chmod(state_cache_dir(place.state), 0755), 0);
  assert_ok(state_open(sys_real(), place.dir, &state));
  assert_int_equal(mode_of(place.dir), 0755);
  assert_int_equal(mode_of(state_cache_dir(state)), 0700);
  state_free(state);
  place_discard(&place);
}

static int open_as_nobody(const Place *place, unsigned number UNUSED) {
  State *state;
  if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0) return 255;
  AUTO_FREE char *path = fs_join(place->dir, "sub");
  return child_report(state_open(sys_real(), path, &state));
}

static void test_directory_that_cannot_be_written(void **unused UNUSED) {
  Place place = place_make();
  assert_int_equal(chmod(place.dir, 0555), 0);
  assert_int_equal(child_wait(child_start(open_as_nobody, &place, 0)), ERR_DENIED);
  assert_int_equal(chmod(place.dir, 0700), 0);
  place_discard(&place);
}

static void test_file_in_the_way(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = fs_join(place.dir, "file");
  State *state;
  assert_ok(fs_replace_file(path, bytes_str("x"), 0600));
  assert_err(state_open(sys_real(), path, &state), ERR_IO);
  place_discard(&place);
}

/* ---- who this machine is ----------------------------------------------------------------------------------------- */

static void test_host_id_stays(void **unused UNUSED) {
  Place place = place_make(), other = place_make();
  State *again;
  assert_ok(state_open(sys_real(), place.dir, &again));
  assert_int_equal(strlen(state_host_id(again)), HOST_ID_TEXT_LEN - 1);
  assert_string_equal(state_host_id(again), state_host_id(place.state));
  assert_string_not_equal(state_host_id(other.state), state_host_id(place.state));
  state_free(again);
  place_discard(&place);
  place_discard(&other);
}

static void test_machine_ids_are_recognised(void **unused UNUSED) {
  const uint8_t random[HOST_ID_RANDOM_LEN] = {1, 2, 3};
  char none[HOST_ID_TEXT_LEN], one[HOST_ID_TEXT_LEN], two[HOST_ID_TEXT_LEN], other[HOST_ID_TEXT_LEN];
  state_host_id_derive(random, bytes(NULL, 0), none);
  state_host_id_derive(random, bytes_str("0123456789abcdef0123456789abcdef\n"), one);
  state_host_id_derive(random, bytes_str("1123456789abcdef0123456789abcdef\n"), two);
  assert_string_not_equal(none, one);
  assert_string_not_equal(one, two);
  assert_null(strstr(one, "0123456789abcdef")); /* never shown as it is */
  state_host_id_derive(random, bytes_str("0123456789abcdef0123456789abcdef"), other);
  assert_string_equal(one, other);
  /* What an image holds before its first start names no machine. */
  state_host_id_derive(random, bytes_str("uninitialized\n"), other);
  assert_string_equal(none, other);
  state_host_id_derive(random, bytes_str("0123456789abcdef0123456789abcdex\n"), other);
  assert_string_equal(none, other);
}

/* A host that was backed up before, and one that comes now: machine id, state directory and name of each. */
typedef struct Host {
  char machine;  /* 0: none */
  uint8_t state; /* 0: none */
  const char *name;
} Host;

static bool is_same(Host before, Host now) {
  Host hosts[] = {before, now};
  char ids[2][HOST_ID_TEXT_LEN];
  for (size_t i = 0; i < 2; i++) {
    uint8_t random[HOST_ID_RANDOM_LEN] = {hosts[i].state};
    char machine[] = "x123456789abcdef0123456789abcdef";
    machine[0] = hosts[i].machine;
    state_host_id_derive(hosts[i].state ? random : NULL, bytes_str(hosts[i].machine ? machine : ""), ids[i]);
  }
  return state_host_is_same((HostIdentity){.id = ids[0], .name = before.name},
                            (HostIdentity){.id = ids[1], .name = now.name});
}

static void test_which_host_is_the_same(void **unused UNUSED) {
  const Host a = {'a', 1, "db1"};
  assert_true(is_same(a, a));
  assert_true(is_same(a, (Host){'a', 2, "db1"}));  /* its state directory was lost */
  assert_true(is_same(a, (Host){'a', 0, "db1"}));  /* or cannot be written today */
  assert_true(is_same(a, (Host){'a', 1, "db2"}));  /* it was renamed */
  assert_false(is_same(a, (Host){'b', 1, "db1"})); /* a copy of the state directory on another machine */
  assert_false(is_same(a, (Host){'b', 2, "db1"}));
  assert_false(is_same(a, (Host){'a', 2, "db2"})); /* a clone of the machine, with a name and a state of its own */
  assert_false(is_same(a, (Host){0, 1, "db1"}));
  const Host bare = {0, 1, "db1"}; /* no machine id: the state directory alone tells */
  assert_true(is_same(bare, bare));
  assert_true(is_same(bare, (Host){0, 1, "db2"}));
  assert_false(is_same(bare, (Host){0, 2, "db1"}));
  const Host nothing = {0, 0, "db1"}; /* neither: its name is all there is */
  assert_true(is_same(nothing, nothing));
  assert_false(is_same(nothing, (Host){0, 0, "db2"}));
  assert_false(state_host_is_same((HostIdentity){"", "db1"}, (HostIdentity){"", "db1"}));
}

static void test_damaged_host_id_is_reported(void **unused UNUSED) {
  Place place = place_make();
  AUTO_FREE char *path = fs_join(place.dir, "host_id");
  static const char *const bad[] = {"", "0123", "0123456789abcdef0123456789abcdef",
                                    "0123456789abcdef0123456789abcdeX\n", "0123456789abcdef0123456789abcdef\n\n"};
  State *state;
  for (size_t i = 0; i < NELEMS(bad); i++) {
    assert_ok(fs_replace_file(path, bytes_str(bad[i]), 0600));
    Error *err = state_open(sys_real(), place.dir, &state);
    assert_true(err_is(err, ERR_CORRUPT));
    assert_non_null(err_hint_text(err));
    err_free(err);
  }
  place_discard(&place);
}

static int write_host_id(const Place *place, unsigned number) {
  State *state;
  AUTO_FREE char *dir = fs_join(place->dir, "shared");
  AUTO_FREE char *mine = mem_printf("%s/seen-%u", place->dir, number);
  Error *err = state_open(sys_real(), dir, &state);
  if (!err) err = fs_replace_file(mine, bytes_str(state_host_id(state)), 0600);
  return child_report(err);
}

static void test_processes_agree_on_a_new_host_id(void **unused UNUSED) {
  enum { PROCESSES = 12 };
  Place place = place_make();
  pid_t pids[PROCESSES];
  for (unsigned i = 0; i < PROCESSES; i++) pids[i] = child_start(write_host_id, &place, i);
  for (unsigned i = 0; i < PROCESSES; i++) assert_int_equal(child_wait(pids[i]), 0);
  AUTO_BUF Buf first = {0};
  for (unsigned i = 0; i < PROCESSES; i++) {
    AUTO_FREE char *path = mem_printf("%s/seen-%u", place.dir, i);
    AUTO_BUF Buf seen = {0};
    assert_ok(fs_read_file(path, 100, &seen));
    if (i == 0) buf_add(&first, seen.data, seen.len);
    assert_true(bytes_equal(buf_bytes(&first), buf_bytes(&seen)));
  }
  place_discard(&place);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_default_directory),
      cmocka_unit_test(test_everything_is_private),
      cmocka_unit_test(test_open_tightens_only_its_own),
      cmocka_unit_test(test_directory_that_cannot_be_written),
      cmocka_unit_test(test_file_in_the_way),
      cmocka_unit_test(test_host_id_stays),
      cmocka_unit_test(test_machine_ids_are_recognised),
      cmocka_unit_test(test_which_host_is_the_same),
      cmocka_unit_test(test_damaged_host_id_is_reported),
      cmocka_unit_test(test_processes_agree_on_a_new_host_id),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
