#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "catalog/catalog_impl.h"
#include "sys/fs.h"

enum { PROC_FILE_MAX = 4096, START_TIME_FIELD = 22, BOOT_ID_LEN = 36 };

/* The machine's boot, 36 characters: process numbers and start times begin again with it. */
static bool read_boot_id(char out[BOOT_ID_LEN + 1]) {
  AUTO_BUF Buf body = {0};
  Error *err = fs_read_file("/proc/sys/kernel/random/boot_id", PROC_FILE_MAX, &body);
  bool good = !err && body.len >= BOOT_ID_LEN;
  err_free(err);
  if (good) memcpy(out, body.data, BOOT_ID_LEN);
  out[good ? BOOT_ID_LEN : 0] = '\0';
  return good;
}

/* proc(5): state is field 3 and starttime field 22, both after the name in parentheses, which may hold anything. */
static bool read_stat(pid_t pid, char *out_state, uint64_t *out_start) {
  char path[64];
  AUTO_BUF Buf body = {0};
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  Error *err = fs_read_file(path, PROC_FILE_MAX, &body);
  bool good = !err;
  err_free(err);
  if (!good) return false;
  AUTO_FREE char *text = buf_steal_str(&body);
  const char *at = strrchr(text, ')');
  if (!at || at[1] != ' ' || !at[2]) return false;
  *out_state = at[2];
  at += 2;
  for (int field = 3; field < START_TIME_FIELD; field++) {
    at = strchr(at, ' ');
    if (!at) return false;
    at++;
  }
  if (!isdigit((unsigned char)*at)) return false;
  *out_start = strtoull(at, NULL, 10);
  return true;
}

void liveness_mark(pid_t pid, char out[LIVENESS_LEN]) {
  char boot[BOOT_ID_LEN + 1], state;
  uint64_t start;
  out[0] = '\0';
  if (read_boot_id(boot) && read_stat(pid, &state, &start)) snprintf(out, LIVENESS_LEN, "%s/%" PRIu64, boot, start);
}

bool liveness_check(pid_t pid, const char *mark) {
  char boot[BOOT_ID_LEN + 1], state = 0;
  uint64_t start = 0;
  if (pid <= 0) return false;
  bool booted_since = *mark && read_boot_id(boot) && strncmp(mark, boot, BOOT_ID_LEN) != 0;
  if (booted_since) return false;
  if (kill(pid, 0) != 0 && errno == ESRCH) return false;
  /* /proc may be absent or hide the processes of others (hidepid): the number alone has to do. */
  if (!read_stat(pid, &state, &start)) return true;
  if (state == 'Z' || state == 'X') return false;
  const char *started = strchr(mark, '/');
  return !started || strtoull(started + 1, NULL, 10) == start;
}
