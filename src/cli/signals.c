#include "cli/signals.h"

#include <signal.h>
#include <unistd.h>

/* A handler has no argument to carry state: these two are the program's only mutable globals. */
static Cancel stop;
static atomic_bool state_asked;

static void on_stop(int number) {
  if (cancel_is_set(&stop)) _exit(128 + number);
  cancel_set(&stop, number);
  static const char text[] =
      "\nholdfast: stopping; what is stored stays, the same command continues. Again: stop at once\n";
  ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
  (void)ignored;
}

static void on_state(int number UNUSED) { atomic_store_explicit(&state_asked, true, memory_order_relaxed); }

static void install(int number, void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  CHECK(sigaction(number, &action, NULL) == 0);
}

void signals_install(void) {
  install(SIGINT, on_stop);
  install(SIGTERM, on_stop);
  /* `nohup` ignores SIGHUP; that stays so. */
  struct sigaction before;
  CHECK(sigaction(SIGHUP, NULL, &before) == 0);
  if (before.sa_handler != SIG_IGN) install(SIGHUP, on_stop);
  install(SIGUSR1, on_state);
  install(SIGPIPE, SIG_IGN);
  install(SIGXFSZ, SIG_IGN); /* a file that may not grow any more is an error of that file */
}

Cancel *signals_cancel(void) { return &stop; }

bool signals_take_state_request(void) { return atomic_exchange_explicit(&state_asked, false, memory_order_relaxed); }
