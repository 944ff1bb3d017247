/* ops.h: what every operation works in: the machine, how to be stopped, where to report. Filled by the command line
 * (and later the service); borrowed by everything in ops/ for as long as an operation runs. */
#ifndef HF_OPS_OPS_H
#define HF_OPS_OPS_H

#include "base/progress.h"
#include "engine/engine.h"
#include "sys/cancel.h"

/* Of a limit this much is left for the program itself, its libraries and engines. */
enum { OPS_MEMORY_OWN = 16 * 1024 * 1024, OPS_MEMORY_MIN = 64 * 1024 * 1024 };

typedef struct Ops {
  Sys *sys;
  Cancel *cancel;
  Progress *progress;             /* may be NULL */
  const char *cache_dir;          /* STATE/cache */
  const char *scratch_dir;        /* STATE/scratch: exists, 0700 */
  const char *host;               /* host name */
  const char *host_id;            /* what makes this machine the same one tomorrow */
  unsigned cpus;                  /* 0: all */
  uint64_t memory_bytes;          /* 0: no limit; else OPS_MEMORY_MIN or more */
  uint64_t read_bytes_per_second; /* 0: no limit */
  /* Every notice as it arrives (not NULL); thread-safe. The result of the operation holds them too. `path` is what it
   * is about, any bytes, may be empty. */
  void (*notice)(void *ctx, NoticeLevel level, Bytes path, const char *message);
  void *notice_ctx;
} Ops;

/* Collects notices for a result, up to a limit, and passes them on. */
enum { NOTICES_KEPT = 1000 };
typedef struct NoticeList {
  Notices base; /* what engines get */
  const Ops *ops;
  Mutex lock;
  char **texts; /* of warnings and worse, the first NOTICES_KEPT */
  size_t len;
  uint64_t warnings, partial; /* counts, also of those not kept */
} NoticeList;
void notice_list_init(NoticeList *list, const Ops *ops);
void notice_list_free(NoticeList *list);

#endif
