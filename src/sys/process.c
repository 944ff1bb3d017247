#include "sys/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/timefmt.h"

enum {
  NOTICE_MS = 40,   /* how late a cancellation may be noticed */
  FALLBACK_MS = 10, /* between two looks at a child where the kernel gives no pidfd */
  KILL_AFTER_MS = 5000,
};

struct Process {
  pid_t pid;
  int pid_fd; /* readable when the child has ended; -1 where there is no such thing */
  char *name; /* for messages */
  int in;
  int out;
  bool reaped; /* `status` says how it ended */
  int status;
  /* Standard error is collected by a thread of the real machine, also under a simulation: its pipe is as real as the
   * child, and a simulated thread that blocks in a read would stop all others. */
  Thread *collector;
  int err;      /* the pipe's end the collector reads */
  int stop_in;  /* closed to tell the collector that the child has ended */
  int stop_out; /* what the collector sees of it */
  size_t keep;
  Buf tail;   /* the collector's until it is joined */
  char *kept; /* after that */
};

static void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

/* Keeps the last p->keep bytes; lets the buffer double before it moves them, so that each byte is moved about once. */
static void keep_tail(Process *p, size_t limit) {
  if (p->tail.len <= limit) return;
  size_t extra = p->tail.len - p->keep;
  memmove(p->tail.data, p->tail.data + extra, p->keep);
  p->tail.len = p->keep;
}

/* Reads what is there. False at the end of the file. */
static bool collect_some(Process *p) {
  enum { STEP = 4096 };
  buf_reserve(&p->tail, STEP);
  ssize_t n = read(p->err, p->tail.data + p->tail.len, STEP);
  if (n < 0) return errno == EINTR;
  p->tail.len += (size_t)n;
  keep_tail(p, 2 * p->keep + STEP);
  return n > 0;
}

/* A grandchild may hold the pipe open for ever: after the child's end only what is in the pipe already is read. */
static void collect(void *arg) {
  Process *p = (Process *)arg;
  struct pollfd fds[2] = {{.fd = p->err, .events = POLLIN}, {.fd = p->stop_out, .events = POLLIN}};
  bool more = true;
  while (more) {
    bool stopping = fds[1].revents != 0;
    int n = poll(fds, 2, stopping ? 0 : -1);
    if (n < 0 && errno == EINTR) continue;
    if (fds[0].revents)
      more = collect_some(p);
    else if (stopping || n < 0)
      more = false;
  }
  keep_tail(p, p->keep);
}

static bool env_is_secret(const char *variable) {
  /* Everything of ours but what is known to be harmless: a secret added later is covered. */
  return str_starts(variable, "HOLDFAST_") && !str_starts(variable, "HOLDFAST_CONFIG=") &&
         !str_starts(variable, "HOLDFAST_REPO=");
}

/* Our environment without secrets; the array is owned, the strings are not. */
static const char **clean_env(void) {
  size_t count = 0;
  while (environ[count]) count++;
  const char **env = NEW_ARRAY(const char *, count + 1);
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    if (!env_is_secret(environ[i])) env[kept++] = environ[i];
  }
  return env;
}

/* The child's ends of the pipes; -1 where there is none. */
typedef struct ChildFds {
  int in, out, err;
} ChildFds;

static Error *make_pipe(const char *name, int *out_read, int *out_write) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return err_errno(errno, "starting %s: making a pipe", name);
  *out_read = fds[0];
  *out_write = fds[1];
  return NULL;
}

static Error *open_pipes(Process *p, const ProcessSpec *spec, ChildFds *child) {
  if (spec->pipe_stdin) TRY(make_pipe(p->name, &child->in, &p->in));
  if (spec->pipe_stdout) TRY(make_pipe(p->name, &p->out, &child->out));
  if (spec->stderr_keep_bytes) {
    TRY(make_pipe(p->name, &p->err, &child->err));
    TRY(make_pipe(p->name, &p->stop_out, &p->stop_in));
  }
  return NULL;
}

static int set_actions(posix_spawn_file_actions_t *actions, const ChildFds *child) {
  int failed = child->in >= 0 ? posix_spawn_file_actions_adddup2(actions, child->in, 0)
                              : posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
  if (!failed && child->err >= 0) failed = posix_spawn_file_actions_adddup2(actions, child->err, 2);
  if (!failed) failed = posix_spawn_file_actions_adddup2(actions, child->out >= 0 ? child->out : 2, 1);
  /* Descriptors of libraries may lack O_CLOEXEC. */
  if (!failed) failed = posix_spawn_file_actions_addclosefrom_np(actions, 3);
  return failed;
}

static int set_attributes(posix_spawnattr_t *attr) {
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  int failed = posix_spawnattr_setsigmask(attr, &none);
  if (!failed) failed = posix_spawnattr_setsigdefault(attr, &all);
  /* A group of its own, so that ending it ends what it started too. */
  if (!failed) failed = posix_spawnattr_setpgroup(attr, 0);
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP;
  if (!failed) failed = posix_spawnattr_setflags(attr, flags);
  return failed;
}

/* posix_spawn takes `char *const *` for history's sake and changes nothing. */
static char *const *spawn_list(const char *const *list) {
  union {
    const char *const *from;
    char *const *to;
  } cast = {.from = list};
  return cast.to;
}

static Error *spawn(Process *p, const ProcessSpec *spec, const ChildFds *child) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attr;
  CHECK(posix_spawn_file_actions_init(&actions) == 0 && posix_spawnattr_init(&attr) == 0);
  AUTO_FREE const char **cleaned = spec->env ? NULL : clean_env();
  const char *const *env = spec->env ? spec->env : cleaned;
  int failed = set_actions(&actions, child);
  if (!failed) failed = set_attributes(&attr);
  if (!failed) failed = posix_spawnp(&p->pid, spec->argv[0], &actions, &attr, spawn_list(spec->argv), spawn_list(env));
  posix_spawnattr_destroy(&attr);
  posix_spawn_file_actions_destroy(&actions);
  if (!failed) {
    p->reaped = false;
    p->pid_fd = pidfd_open(p->pid, 0);
    return NULL;
  }
  Error *err = err_errno(failed, "starting %s", p->name);
  return failed == ENOENT ? err_hint(err, "install the package that has it, or correct PATH") : err;
}

Error *process_start(Sys *sys, const ProcessSpec *spec, Process **out) {
  (void)sys; /* a child lives in the real machine's time */
  Process *p = NEW(Process);
  p->pid_fd = p->in = p->out = p->err = p->stop_in = p->stop_out = -1;
  p->reaped = true;
  p->name = str_printable(bytes_str(spec->argv[0]));
  p->keep = spec->stderr_keep_bytes;
  ChildFds child = {-1, -1, -1};
  Error *err = open_pipes(p, spec, &child);
  if (!err) err = spawn(p, spec, &child);
  close_fd(&child.in);
  close_fd(&child.out);
  close_fd(&child.err);
  if (!err && p->keep) err = thread_start(sys_real(), "stderr", collect, p, &p->collector);
  if (err) {
    process_free(p);
    return err;
  }
  *out = p;
  return NULL;
}

int process_stdin(Process *process) { return process->in; }

int process_stdout(Process *process) { return process->out; }

void process_close_stdin(Process *process) { close_fd(&process->in); }

static bool has_ended(const Process *p) {
  if (p->reaped) return true;
  siginfo_t info = {0};
  if (waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0) return errno != EINTR;
  return info.si_pid != 0;
}

/* Waits a moment, less when the child ends meanwhile. */
static void wait_a_moment(const Process *p) {
  struct pollfd fd = {.fd = p->pid_fd, .events = POLLIN};
  if (p->pid_fd >= 0)
    poll(&fd, 1, NOTICE_MS);
  else
    poll(NULL, 0, FALLBACK_MS);
}

/* The child and what it started. Not after reaping: the number may be another's by then. */
static void signal_group(const Process *p, int signal_number) {
  if (p->reaped) return;
  kill(-p->pid, signal_number);
}

static void end_politely(const Process *p) {
  uint64_t deadline = sys_mono_ns(sys_real()) + KILL_AFTER_MS * (NS_PER_SECOND / 1000);
  signal_group(p, SIGTERM);
  signal_group(p, SIGCONT); /* a stopped child would not see it */
  while (!has_ended(p) && sys_mono_ns(sys_real()) < deadline) wait_a_moment(p);
}

static void take_status(Process *p) {
  while (!p->reaped && waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR) continue;
  p->reaped = true;
}

/* Waits for the child's end, which must be near, and collects what it leaves. Returns the wait status. */
static int reap(Process *p) {
  take_status(p);
  close_fd(&p->pid_fd);
  close_fd(&p->stop_in);
  thread_join(STEAL(p->collector));
  close_fd(&p->stop_out);
  close_fd(&p->err);
  if (!p->kept) p->kept = buf_steal_str(&p->tail);
  return p->status;
}

/* Owned; empty when there is none. */
static char *last_line(const char *text) {
  size_t end = strlen(text);
  while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == '\r' || text[end - 1] == ' ')) end--;
  size_t start = end;
  while (start > 0 && text[start - 1] != '\n') start--;
  return str_printable(bytes(text + start, end - start));
}

static Error *status_error(const Process *p, int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return NULL;
  AUTO_FREE char *line = last_line(p->kept);
  const char *colon = *line ? ": " : "";
  if (WIFEXITED(status)) return err_new(ERR_IO, "%s: exit status %d%s%s", p->name, WEXITSTATUS(status), colon, line);
  const char *signal_name = sigabbrev_np(WTERMSIG(status));
  return err_new(ERR_IO, "%s: ended by SIG%s%s%s", p->name, signal_name ? signal_name : "?", colon, line);
}

Error *process_wait(Process *process, const Cancel *cancel) {
  CHECK(!process->kept); /* once only */
  process_close_stdin(process);
  while (!has_ended(process) && !cancel_is_set(cancel)) wait_a_moment(process);
  /* A child that ended by itself is judged by its status even if the cancellation came at the same time. */
  if (has_ended(process)) return status_error(process, reap(process));
  end_politely(process);
  signal_group(process, SIGKILL);
  reap(process);
  return err_wrap(cancel_check(cancel), "%s", process->name);
}

bool process_is_over(Process *process) {
  if (!has_ended(process)) return false;
  take_status(process); /* else it would be found in its group itself */
  return kill(-process->pid, 0) != 0 && errno == ESRCH;
}

const char *process_stderr(Process *process) { return process->kept ? process->kept : ""; }

void process_free(Process *take) {
  if (!take) return;
  signal_group(take, SIGKILL);
  reap(take);
  close_fd(&take->in);
  close_fd(&take->out);
  free(take->kept);
  free(take->name);
  free(take);
}

static Error *read_output(Process *p, size_t max_bytes, Buf *out, const Cancel *cancel) {
  enum { STEP = 64 * 1024 };
  size_t start = out->len;
  for (;;) {
    TRY(cancel_check(cancel));
    struct pollfd fd = {.fd = p->out, .events = POLLIN};
    if (poll(&fd, 1, NOTICE_MS) <= 0) continue;
    buf_reserve(out, STEP);
    ssize_t n = read(p->out, out->data + out->len, STEP);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return err_errno(errno, "%s: reading its output", p->name);
    if (n == 0) return NULL;
    out->len += (size_t)n;
    if (out->len - start > max_bytes)
      return err_new(ERR_LIMIT, "%s: more than %zu bytes of output", p->name, max_bytes);
  }
}

Error *process_output(Sys *sys, const char *const *argv, size_t max_bytes, Buf *out, const Cancel *cancel) {
  ProcessSpec spec = {.argv = argv, .pipe_stdout = true, .stderr_keep_bytes = 4096};
  Process *process;
  AUTO_BUF Buf body = {0};
  TRY(process_start(sys, &spec, &process));
  Error *err = read_output(process, max_bytes, &body, cancel);
  if (!err || err_is(err, ERR_CANCELLED)) {
    err_free(err);
    err = process_wait(process, cancel);
  }
  process_free(process);
  if (!err) buf_add(out, body.data, body.len);
  return err;
}
