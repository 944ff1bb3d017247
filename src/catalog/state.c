#include "catalog/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "codec/blake3.h"
#include "sys/fs.h"

enum { PRIVATE_DIR = 0700, PRIVATE_FILE = 0600, HOST_ID_FILE_MAX = 256, MACHINE_ID_MAX = 256 };

struct State {
  char *path, *cache, *spool, *scratch, *conf;
  char host_id[HOST_ID_TEXT_LEN];
};

char *state_dir_default(void) {
  char *dir = geteuid() == 0 ? NULL : fs_user_dir("XDG_STATE_HOME", ".local/state");
  return dir ? dir : mem_strdup("/var/lib/holdfast");
}

/* ---- who this machine is ----------------------------------------------------------------------------------------- */

enum { PART_LEN = 32 };

static void derive_part(const char *context, const uint8_t *secret, char out[PART_LEN + 1]) {
  uint8_t id[BLAKE3_OUT_LEN];
  memset(out, '0', PART_LEN);
  out[PART_LEN] = '\0';
  if (!secret) return;
  blake3_derive_key(context, secret, HOST_ID_RANDOM_LEN, id);
  hex_encode(id, PART_LEN / 2, out);
}

void state_host_id_derive(const uint8_t *random, Bytes machine_id, char out[HOST_ID_TEXT_LEN]) {
  /* An image that was never started holds "uninitialized" or nothing: every copy of it has the same. */
  uint8_t machine[HOST_ID_RANDOM_LEN];
  char text[2 * HOST_ID_RANDOM_LEN + 1] = {0}, a[PART_LEN + 1], b[PART_LEN + 1];
  if (machine_id.len > 0 && machine_id.data[machine_id.len - 1] == '\n') machine_id.len--;
  if (machine_id.len == sizeof text - 1) memcpy(text, machine_id.data, machine_id.len);
  bool known = hex_decode(text, machine, sizeof machine);
  /* machine-id(5): never shown as it is, only hashed for each application by itself. */
  derive_part("holdfast 2026-11 machine identity", known ? machine : NULL, a);
  derive_part("holdfast 2026-11 state identity", random, b);
  snprintf(out, HOST_ID_TEXT_LEN, "%s.%s", a, b);
}

static bool is_known(const char *part) { return strspn(part, "0") < PART_LEN; }

bool state_host_is_same(HostIdentity before, HostIdentity now) {
  bool named_alike = strcmp(before.name, now.name) == 0;
  if (strlen(before.id) < HOST_ID_TEXT_LEN - 1 || strlen(now.id) < HOST_ID_TEXT_LEN - 1) return false;
  if (memcmp(before.id, now.id, PART_LEN) != 0) return false;
  const char *state_before = before.id + PART_LEN + 1, *state_now = now.id + PART_LEN + 1;
  if (strcmp(state_before, state_now) == 0) return is_known(state_now) || named_alike;
  return is_known(now.id) && named_alike;
}

static Error *read_host_random(const char *path, uint8_t out[HOST_ID_RANDOM_LEN]) {
  AUTO_BUF Buf body = {0};
  TRY(fs_read_file(path, HOST_ID_FILE_MAX, &body));
  char text[2 * HOST_ID_RANDOM_LEN + 1] = {0};
  bool good = body.len == sizeof text && body.data[body.len - 1] == '\n';
  if (good) memcpy(text, body.data, body.len - 1);
  if (!good || !hex_decode(text, out, HOST_ID_RANDOM_LEN))
    return err_new(ERR_CORRUPT, "reading %s: it is not one line of 32 hex digits", path);
  return NULL;
}

/* Linked into place and not renamed: of several processes that start at once the first one's number counts for all. */
static Error *publish_host_random(Sys *sys, const char *dir, const char *path) {
  uint8_t random[HOST_ID_RANDOM_LEN], name[8];
  char hex[2 * HOST_ID_RANDOM_LEN + 2], name_hex[2 * sizeof name + 1];
  sys_random(sys, random, sizeof random);
  sys_random(sys, name, sizeof name);
  hex_encode(random, sizeof random, hex);
  hex[2 * HOST_ID_RANDOM_LEN] = '\n';
  hex_encode(name, sizeof name, name_hex);
  AUTO_FREE char *temporary = mem_printf("%s/.host_id-%s.tmp", dir, name_hex);
  TRY(fs_replace_file(temporary, bytes(hex, 2 * HOST_ID_RANDOM_LEN + 1), PRIVATE_FILE));
  Error *err = NULL;
  if (link(temporary, path) != 0 && errno != EEXIST) err = err_errno(errno, "making %s", path);
  unlink(temporary);
  return err ? err : fs_sync_dir(dir);
}

static Error *load_host_id(Sys *sys, State *state) {
  AUTO_FREE char *path = fs_join(state->path, "host_id");
  uint8_t random[HOST_ID_RANDOM_LEN];
  Error *err = read_host_random(path, random);
  if (err_is(err, ERR_NOT_FOUND)) {
    err_free(err);
    TRY(publish_host_random(sys, state->path, path));
    err = read_host_random(path, random);
  }
  if (err_is(err, ERR_CORRUPT) || err_is(err, ERR_LIMIT))
    return err_hint(err_recode(err, ERR_CORRUPT),
                    "put the file back from a copy, or remove it: this machine then counts as a new one");
  TRY(err);
  AUTO_BUF Buf machine = {0};
  err_ignore(fs_read_file("/etc/machine-id", MACHINE_ID_MAX, &machine));
  state_host_id_derive(random, buf_bytes(&machine), state->host_id);
  return NULL;
}

/* ---- the directory ----------------------------------------------------------------------------------------------- */

static Error *make_private_dir(const char *parent, const char *name, char **out) {
  AUTO_FREE char *path = fs_join(parent, name);
  struct stat st;
  TRY(fs_make_dirs(path, PRIVATE_DIR));
  if (stat(path, &st) != 0) return err_errno(errno, "looking at %s", path);
  if ((st.st_mode & 07777) != PRIVATE_DIR && st.st_uid == geteuid() && chmod(path, PRIVATE_DIR) != 0)
    return err_errno(errno, "making %s private", path);
  *out = STEAL(path);
  return NULL;
}

static Error *open_into(Sys *sys, const char *path, State *state) {
  TRY(fs_absolute(path, &state->path));
  TRY(fs_make_dirs(state->path, PRIVATE_DIR));
  TRY(make_private_dir(state->path, "cache", &state->cache));
  TRY(make_private_dir(state->path, "spool", &state->spool));
  TRY(make_private_dir(state->path, "scratch", &state->scratch));
  TRY(make_private_dir(state->path, "conf.d", &state->conf));
  return load_host_id(sys, state);
}

Error *state_open(Sys *sys, const char *path, State **out) {
  State *state = NEW(State);
  Error *err = open_into(sys, path, state);
  if (err_is(err, ERR_DENIED))
    err = err_hint(err, "holdfast needs a directory of its own that it can write: --state-dir DIR names another");
  if (err) {
    state_free(state);
    return err_wrap(err, "opening the state directory %s", path);
  }
  *out = state;
  return NULL;
}

void state_free(State *take) {
  if (!take) return;
  free(take->path);
  free(take->cache);
  free(take->spool);
  free(take->scratch);
  free(take->conf);
  free(take);
}

const char *state_path(const State *state) { return state->path; }
const char *state_cache_dir(const State *state) { return state->cache; }
const char *state_spool_dir(const State *state) { return state->spool; }
const char *state_scratch_dir(const State *state) { return state->scratch; }
const char *state_conf_dir(const State *state) { return state->conf; }
const char *state_host_id(const State *state) { return state->host_id; }
