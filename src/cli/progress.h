/* progress.h: shows how far the work is, from the counters of base/progress.h: a bar on a terminal (at most five times
 * a second), else a line every 30 s, with --json and --verbose a JSON line every second, and a line on SIGUSR1. */
#ifndef HF_CLI_PROGRESS_H
#define HF_CLI_PROGRESS_H

#include "base/progress.h"
#include "cli/output.h"
#include "sys/sys.h"

typedef enum ProgressStyle {
  PROGRESS_SILENT, /* only on request */
  PROGRESS_BAR,
  PROGRESS_LINES,
  PROGRESS_JSON,
} ProgressStyle;

typedef struct ProgressView ProgressView;

/* A thread of its own shows `progress` (borrowed, as is `out`) until the view is stopped. */
Error *progress_view_start(Sys *sys, Output *out, const Progress *progress, ProgressStyle style,
                           ProgressView **out_view) NODISCARD;
/* Takes the bar away. NULL is fine. */
void progress_view_stop(ProgressView *take);

/* ---- the parts, for tests ------------------------------------------------------------------------------------------
 */

typedef struct ProgressShot {
  uint64_t total_bytes, done_bytes, new_bytes, stored_bytes, files_total, files_done;
  bool total_estimated;
  const char *phase;
  uint64_t elapsed_ns;
  uint64_t bytes_per_second; /* 0: not known yet */
} ProgressShot;

/* The rate over the last seconds, from samples a second or so apart. Zero-initialise. */
enum { PROGRESS_SAMPLES = 16 };
typedef struct ProgressRate {
  struct {
    uint64_t at_ns, bytes;
  } samples[PROGRESS_SAMPLES];
  size_t len, next;
} ProgressRate;
uint64_t progress_rate(ProgressRate *rate, uint64_t at_ns, uint64_t bytes);

/* There is more than was expected: then how much is not known. */
void progress_mend(ProgressShot *shot);

/* One line without line end, owned: "reading: 1.2 GiB of 2.9 GiB (41 %), 210.4 MiB/s, 8 s left, 97 % known"; with an
 * estimate "1.2 GiB of ~2.9 GiB (~41 %)", and when it was too low, without it. */
char *progress_line(const ProgressShot *shot);
/* The same with a bar, at most `columns` wide. */
char *progress_bar(const ProgressShot *shot, size_t columns);
json_t *progress_json(const ProgressShot *shot); /* owned */

#endif
