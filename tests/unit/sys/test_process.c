#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "sys/fs.h"
#include "sys/process.h"

#include "testing.h"

static Error *run_shell(const char *script, Buf *out) {
  const char *argv[] = {"sh", "-c", script, NULL};
  return process_output(sys_real(), argv, 1 << 20, out, NULL);
}

static Process *start_shell(const char *script, ProcessSpec spec) {
  const char *argv[] = {"sh", "-c", script, NULL};
  Process *process = NULL;
  spec.argv = argv;
  assert_ok(process_start(sys_real(), &spec, &process));
  return process;
}

static void assert_says(Buf *buf, const char *expected) {
  if (!bytes_equal(buf_bytes(buf), bytes_str(expected))) fail_msg("got: %.*s", (int)buf->len, (const char *)buf->data);
}

static void output_is_read(void **state) {
  (void)state;
  AUTO_BUF Buf out = {0};
  assert_ok(run_shell("printf hello; printf noise >&2", &out));
  assert_says(&out, "hello");
}

static void large_output_has_a_limit(void **state) {
  (void)state;
  AUTO_BUF Buf out = {0};
  const char *argv[] = {"head", "-c", "1000000", "/dev/zero", NULL};
  assert_ok(process_output(sys_real(), argv, 1000000, &out, NULL));
  assert_int_equal(out.len, 1000000);
  assert_err(process_output(sys_real(), argv, 999999, &out, NULL), ERR_LIMIT);
  assert_int_equal(out.len, 1000000);
}

static void failures_say_why(void **state) {
  (void)state;
  AUTO_BUF Buf out = {0};
  AUTO_ERR Error *status = run_shell("echo first >&2; echo the reason >&2; exit 3", &out);
  assert_true(err_is(status, ERR_IO));
  assert_string_equal(err_text(status), "sh: exit status 3: the reason");
  AUTO_ERR Error *quiet = run_shell("exit 1", &out);
  assert_string_equal(err_text(quiet), "sh: exit status 1");
  AUTO_ERR Error *killed = run_shell("kill -9 $$", &out);
  assert_string_equal(err_text(killed), "sh: ended by SIGKILL");
  assert_int_equal(out.len, 0);
}

static void missing_programs_are_named(void **state) {
  (void)state;
  const char *argv[] = {"no-such-program-here", NULL};
  ProcessSpec spec = {.argv = argv, .pipe_stdin = true, .pipe_stdout = true, .stderr_keep_bytes = 10};
  Process *process = NULL;
  AUTO_ERR Error *err = process_start(sys_real(), &spec, &process);
  assert_true(err_is(err, ERR_NOT_FOUND));
  assert_non_null(strstr(err_text(err), "no-such-program-here"));
  assert_null(process);
}

static void both_ends_are_piped(void **state) {
  (void)state;
  Process *process = start_shell("tr a-z A-Z", (ProcessSpec){.pipe_stdin = true, .pipe_stdout = true});
  assert_ok(fs_write(process_stdin(process), "tr", "quiet", 5));
  process_close_stdin(process);
  assert_int_equal(process_stdin(process), -1);
  char got[6] = {0};
  size_t len = 0;
  ssize_t n;
  while ((n = read(process_stdout(process), got + len, sizeof got - len)) > 0) len += (size_t)n;
  assert_string_equal(got, "QUIET");
  assert_ok(process_wait(process, NULL));
  process_free(process);
}

static void waiting_closes_standard_input(void **state) {
  (void)state;
  Process *process = start_shell("cat >/dev/null", (ProcessSpec){.pipe_stdin = true});
  assert_ok(process_wait(process, NULL)); /* cat would read for ever */
  process_free(process);
  Process *second = start_shell("read x && exit 5; exit 0", (ProcessSpec){0});
  assert_ok(process_wait(second, NULL)); /* /dev/null */
  process_free(second);
}

static void the_end_of_stderr_is_kept(void **state) {
  (void)state;
  static const char script[] = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done >&2; exit 1";
  Process *process = start_shell(script, (ProcessSpec){.stderr_keep_bytes = 100});
  AUTO_ERR Error *err = process_wait(process, NULL);
  assert_string_equal(err_text(err), "sh: exit status 1: line 19999");
  assert_int_equal(strlen(process_stderr(process)), 100);
  assert_true(str_ends(process_stderr(process), "line 19998\nline 19999\n"));
  process_free(process);
}

static void a_grandchild_that_keeps_stderr_open_does_not_matter(void **state) {
  (void)state;
  /* setsid takes it out of the group, as daemons do. */
  Process *process = start_shell("setsid sleep 30 & echo $! >&2; exit 0", (ProcessSpec){.stderr_keep_bytes = 100});
  assert_ok(process_wait(process, NULL));
  int pid = atoi(process_stderr(process));
  assert_true(pid > 1);
  kill(pid, SIGKILL);
  process_free(process);
}

static void secrets_stay_here(void **state) {
  (void)state;
  setenv("HOLDFAST_PASSPHRASE", "one", 1);
  setenv("HOLDFAST_KEY_FILE", "two", 1);
  setenv("HOLDFAST_SOMETHING_NEW", "three", 1);
  setenv("HOLDFAST_REPO", "/backup", 1);
  setenv("OTHER", "kept", 1);
  AUTO_BUF Buf out = {0};
  assert_ok(run_shell("env | grep -E '^(HOLDFAST_|OTHER)' | sort", &out));
  assert_says(&out, "HOLDFAST_REPO=/backup\nOTHER=kept\n");
  const char *argv[] = {"env", NULL}, *env[] = {"ONLY=this", NULL};
  ProcessSpec spec = {.argv = argv, .env = env, .pipe_stdout = true};
  Process *process;
  assert_ok(process_start(sys_real(), &spec, &process));
  char text[100] = {0};
  assert_true(read(process_stdout(process), text, sizeof text - 1) > 0);
  assert_string_equal(text, "ONLY=this\n");
  assert_ok(process_wait(process, NULL));
  process_free(process);
}

static void children_get_no_other_descriptors(void **state) {
  (void)state;
  int leaky = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as a careless library would */
  int high = dup2(leaky, 200);
  AUTO_BUF Buf out = {0};
  assert_ok(run_shell("ls /proc/$$/fd", &out));
  assert_says(&out, "0\n1\n2\n");
  close(leaky);
  close(high);
}

static void children_start_with_plain_signals(void **state) {
  (void)state;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  signal(SIGPIPE, SIG_IGN);
  AUTO_BUF Buf out = {0};
  assert_ok(run_shell("grep -E '^Sig(Blk|Ign)' /proc/self/status | tr -d '\\t\\n'", &out));
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  signal(SIGPIPE, SIG_DFL);
  AUTO_FREE char *text = buf_steal_str(&out);
  unsigned long long blocked = 1, ignored = 1;
  assert_int_equal(sscanf(text, "SigBlk:%llxSigIgn:%llx", &blocked, &ignored), 2);
  assert_true(blocked == 0);
  assert_true((ignored & 0x7fffffff) == 0); /* 32 and 33 belong to the C library and cannot be set */
}

/* Waits until the process writes something: then it is where the test wants it. */
static void await_ready(Process *process) {
  char byte;
  assert_int_equal(read(process_stdout(process), &byte, 1), 1);
}

static void cancelling_ends_it(void **state) {
  (void)state;
  Cancel cancel = {0};
  Process *process = start_shell("echo; exec sleep 1000", (ProcessSpec){.pipe_stdout = true});
  await_ready(process);
  cancel_set(&cancel, SIGINT);
  AUTO_ERR Error *err = process_wait(process, &cancel);
  assert_true(err_is(err, ERR_CANCELLED));
  assert_string_equal(err_text(err), "sh: stopped by SIGINT");
  process_free(process);
  AUTO_BUF Buf out = {0};
  const char *argv[] = {"sleep", "1000", NULL};
  assert_err(process_output(sys_real(), argv, 10, &out, &cancel), ERR_CANCELLED);
}

static void cancelling_is_polite_first(void **state) {
  (void)state;
  Cancel cancel = {0};
  static const char script[] = "trap 'echo cleaned up >&2; exit 0' TERM; echo; while :; do sleep 0.01; done";
  Process *process = start_shell(script, (ProcessSpec){.pipe_stdout = true, .stderr_keep_bytes = 100});
  await_ready(process);
  cancel_set(&cancel, -1);
  assert_err(process_wait(process, &cancel), ERR_CANCELLED);
  assert_non_null(strstr(process_stderr(process), "cleaned up"));
  process_free(process);
}

/* Takes the five seconds of grace. The stubborn child has a child, which must not survive either: its end closes the
 * pipe. */
static void the_stubborn_are_killed(void **state) {
  (void)state;
  Cancel cancel = {0};
  Process *process = start_shell("trap '' TERM; echo; sleep 1000; sleep 1000", (ProcessSpec){.pipe_stdout = true});
  await_ready(process);
  cancel_set(&cancel, -1);
  assert_err(process_wait(process, &cancel), ERR_CANCELLED);
  char byte;
  assert_int_equal(read(process_stdout(process), &byte, 1), 0);
  process_free(process);
}

static void freeing_kills(void **state) {
  (void)state;
  Process *process = start_shell("echo; exec sleep 1000", (ProcessSpec){.pipe_stdout = true, .stderr_keep_bytes = 10});
  await_ready(process);
  process_free(process);
  int status;
  assert_int_equal(waitpid(-1, &status, WNOHANG), -1); /* no child, no zombie */
  process_free(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(output_is_read),
      cmocka_unit_test(large_output_has_a_limit),
      cmocka_unit_test(failures_say_why),
      cmocka_unit_test(missing_programs_are_named),
      cmocka_unit_test(both_ends_are_piped),
      cmocka_unit_test(waiting_closes_standard_input),
      cmocka_unit_test(the_end_of_stderr_is_kept),
      cmocka_unit_test(a_grandchild_that_keeps_stderr_open_does_not_matter),
      cmocka_unit_test(secrets_stay_here),
      cmocka_unit_test(children_get_no_other_descriptors),
      cmocka_unit_test(children_start_with_plain_signals),
      cmocka_unit_test(cancelling_ends_it),
      cmocka_unit_test(cancelling_is_polite_first),
      cmocka_unit_test(the_stubborn_are_killed),
      cmocka_unit_test(freeing_kills),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
