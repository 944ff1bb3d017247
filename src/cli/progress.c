#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/timefmt.h"
#include "cli/signals.h"

static const uint64_t TICK_NS = NS_PER_SECOND / 5;
static const uint64_t SAMPLE_NS = NS_PER_SECOND / 2;
static const uint64_t LINE_NS = 30 * NS_PER_SECOND;

struct ProgressView {
  Sys *sys;
  Output *out;
  const Progress *progress;
  ProgressStyle style;
  Thread *thread;
  Mutex mutex; /* guards stopping */
  Cond cond;
  bool stopping;
  uint64_t started_ns, sampled_ns, shown_ns; /* the thread's own, as is all below */
  ProgressRate rate;
  uint64_t bytes_per_second;
};

/* ---- what is shown -------------------------------------------------------------------------------------------------
 */

uint64_t progress_rate(ProgressRate *rate, uint64_t at_ns, uint64_t bytes) {
  size_t oldest = rate->len < PROGRESS_SAMPLES ? 0 : rate->next;
  if (rate->len > 0 && bytes < rate->samples[(rate->next + PROGRESS_SAMPLES - 1) % PROGRESS_SAMPLES].bytes)
    *rate = (ProgressRate){0}; /* the counter began anew: another phase */
  uint64_t result = 0;
  if (rate->len > 0 && at_ns > rate->samples[oldest].at_ns) {
    double seconds = (double)(at_ns - rate->samples[oldest].at_ns) / (double)NS_PER_SECOND;
    result = (uint64_t)((double)(bytes - rate->samples[oldest].bytes) / seconds);
  }
  rate->samples[rate->next].at_ns = at_ns;
  rate->samples[rate->next].bytes = bytes;
  rate->next = (rate->next + 1) % PROGRESS_SAMPLES;
  if (rate->len < PROGRESS_SAMPLES) rate->len++;
  return result;
}

void progress_mend(ProgressShot *shot) {
  if (!shot->total_estimated || shot->done_bytes <= shot->total_bytes) return;
  shot->total_estimated = false;
  shot->total_bytes = 0;
}

static unsigned percent(uint64_t part, uint64_t whole) {
  if (whole == 0) return 0;
  if (part >= whole) return 100;
  return (unsigned)((double)part * 100 / (double)whole);
}

static void add_amounts(Buf *buf, const ProgressShot *s) {
  char done[16], total[16];
  if (s->total_bytes > 0)
    buf_printf(buf, "%s of %s%s", str_size(s->done_bytes, done), s->total_estimated ? "~" : "",
               str_size(s->total_bytes, total));
  else
    buf_printf(buf, "%s", str_size(s->done_bytes, done));
}

static void add_rest(Buf *buf, const ProgressShot *s) {
  char text[16];
  if (s->bytes_per_second > 0) buf_printf(buf, ", %s/s", str_size(s->bytes_per_second, text));
  if (s->bytes_per_second > 0 && s->total_bytes > s->done_bytes) {
    uint64_t seconds = (s->total_bytes - s->done_bytes) / s->bytes_per_second;
    if (seconds < 100 * 86400) buf_printf(buf, ", %s left", str_duration(seconds * NS_PER_SECOND, text));
  }
  bool is_backup = s->new_bytes > 0 || s->stored_bytes > 0;
  if (is_backup && s->done_bytes > 0) buf_printf(buf, ", %u %% known", 100 - percent(s->new_bytes, s->done_bytes));
  if (s->files_total > 0)
    buf_printf(buf, ", %llu of %llu files", (unsigned long long)s->files_done, (unsigned long long)s->files_total);
  else if (s->files_done > 1)
    buf_printf(buf, ", %llu files", (unsigned long long)s->files_done);
}

char *progress_line(const ProgressShot *shot) {
  AUTO_BUF Buf buf = {0};
  buf_printf(&buf, "%s: ", shot->phase ? shot->phase : "working");
  add_amounts(&buf, shot);
  if (shot->total_bytes > 0)
    buf_printf(&buf, " (%s%u %%)", shot->total_estimated ? "~" : "", percent(shot->done_bytes, shot->total_bytes));
  add_rest(&buf, shot);
  return buf_steal_str(&buf);
}

char *progress_bar(const ProgressShot *shot, size_t columns) {
  enum { BAR = 20, NARROW_BAR = 10, WIDE = 100 };
  AUTO_BUF Buf buf = {0};
  buf_printf(&buf, "%s ", shot->phase ? shot->phase : "working");
  if (shot->total_bytes > 0) {
    unsigned part = percent(shot->done_bytes, shot->total_bytes);
    unsigned width = columns < WIDE ? NARROW_BAR : BAR; /* the time that is left shall be seen */
    unsigned filled = part * width / 100;
    char bar[BAR + 1];
    for (unsigned i = 0; i < width; i++) bar[i] = i < filled ? '=' : i == filled ? '>' : ' ';
    bar[width] = '\0';
    buf_printf(&buf, "[%s] %s%u %% ", bar, shot->total_estimated ? "~" : "", part);
  }
  add_amounts(&buf, shot);
  add_rest(&buf, shot);
  /* Everything here is ASCII but perhaps the phase, which is ours and short: bytes are columns. */
  size_t room = columns > 1 ? columns - 1 : 1;
  if (buf.len > room) buf.len = room;
  return buf_steal_str(&buf);
}

json_t *progress_json(const ProgressShot *s) {
  json_t *doc = output_document("progress");
  json_object_set_new(doc, "phase", s->phase ? json_string(s->phase) : json_null());
  json_object_set_new(doc, "done_bytes", json_integer((json_int_t)s->done_bytes));
  json_object_set_new(doc, "total_bytes", s->total_bytes ? json_integer((json_int_t)s->total_bytes) : json_null());
  json_object_set_new(doc, "total_estimated", json_boolean(s->total_estimated));
  json_object_set_new(doc, "new_bytes", json_integer((json_int_t)s->new_bytes));
  json_object_set_new(doc, "stored_bytes", json_integer((json_int_t)s->stored_bytes));
  json_object_set_new(doc, "files_done", json_integer((json_int_t)s->files_done));
  json_object_set_new(doc, "files_total", s->files_total ? json_integer((json_int_t)s->files_total) : json_null());
  json_object_set_new(doc, "bytes_per_second", json_integer((json_int_t)s->bytes_per_second));
  json_object_set_new(doc, "elapsed_seconds", json_real((double)s->elapsed_ns / (double)NS_PER_SECOND));
  return doc;
}

/* ---- the thread that shows it --------------------------------------------------------------------------------------
 */

static ProgressShot take_shot(ProgressView *view, uint64_t now_ns) {
  const Progress *p = view->progress;
  ProgressShot shot = {
      .total_bytes = progress_get(&p->total_bytes),
      .done_bytes = progress_get(&p->done_bytes),
      .new_bytes = progress_get(&p->new_bytes),
      .stored_bytes = progress_get(&p->stored_bytes),
      .files_total = progress_get(&p->files_total),
      .files_done = progress_get(&p->files_done),
      .phase = atomic_load_explicit(&p->phase, memory_order_relaxed),
      .elapsed_ns = now_ns - view->started_ns,
  };
  shot.total_estimated = shot.total_bytes && atomic_load_explicit(&p->total_estimated, memory_order_relaxed);
  progress_mend(&shot);
  if (now_ns - view->sampled_ns >= SAMPLE_NS) {
    view->bytes_per_second = progress_rate(&view->rate, now_ns, shot.done_bytes);
    view->sampled_ns = now_ns;
  }
  shot.bytes_per_second = view->bytes_per_second;
  return shot;
}

static size_t terminal_columns(void) {
  struct winsize size;
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

static void show_line(ProgressView *view, const ProgressShot *shot) {
  AUTO_FREE char *line = progress_line(shot);
  output_note(view->out, VERBOSITY_QUIET, "%s", line);
}

static void show(ProgressView *view, uint64_t now_ns) {
  ProgressShot shot = take_shot(view, now_ns);
  if (signals_take_state_request()) show_line(view, &shot);
  uint64_t since_ns = now_ns - view->shown_ns;
  if (view->style == PROGRESS_SILENT) return;
  if (view->style == PROGRESS_BAR) {
    AUTO_FREE char *bar = progress_bar(&shot, terminal_columns());
    output_bar(view->out, bar);
  } else if (view->style == PROGRESS_LINES && since_ns >= LINE_NS) {
    show_line(view, &shot);
    view->shown_ns = now_ns;
  } else if (view->style == PROGRESS_JSON && since_ns >= NS_PER_SECOND) {
    output_json(view->out, progress_json(&shot));
    view->shown_ns = now_ns;
  }
}

static bool wait_tick(ProgressView *view) {
  LOCKED(&view->mutex);
  uint64_t until = sys_mono_ns(view->sys) + TICK_NS;
  while (!view->stopping && cond_wait_until(&view->cond, &view->mutex, until)) continue;
  return !view->stopping;
}

static void run_view(void *arg) {
  ProgressView *view = (ProgressView *)arg;
  while (wait_tick(view)) show(view, sys_mono_ns(view->sys));
  if (signals_take_state_request()) { /* asked in the last moment */
    ProgressShot shot = take_shot(view, sys_mono_ns(view->sys));
    show_line(view, &shot);
  }
  if (view->style == PROGRESS_BAR) output_bar(view->out, NULL);
}

static void view_free(ProgressView *take) {
  cond_free(&take->cond);
  mutex_free(&take->mutex);
  free(take);
}

Error *progress_view_start(Sys *sys, Output *out, const Progress *progress, ProgressStyle style,
                           ProgressView **out_view) {
  ProgressView *view = NEW(ProgressView);
  view->sys = sys;
  view->out = out;
  view->progress = progress;
  view->style = style;
  view->started_ns = view->sampled_ns = view->shown_ns = sys_mono_ns(sys);
  mutex_init(&view->mutex, sys);
  cond_init(&view->cond, sys);
  Error *err = thread_start(sys, "progress", run_view, view, &view->thread);
  if (err) {
    view_free(view);
    return err;
  }
  *out_view = view;
  return NULL;
}

void progress_view_stop(ProgressView *take) {
  if (!take) return;
  mutex_lock(&take->mutex);
  take->stopping = true;
  cond_signal(&take->cond);
  mutex_unlock(&take->mutex);
  thread_join(take->thread);
  view_free(take);
}
