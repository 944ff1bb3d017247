/* store_meter.h: a decorator that counts requests and bytes, keeps to a rate, and retries what is worth retrying
 * (ERR_TEMPORARY, ERR_TIMEOUT) with exponential back-off and jitter until `patience_ms` has passed.
 *
 * A retried PUT_NEW that meets ERR_EXISTS compares what is there with what it sent (whole puts: byte for byte; streamed
 * puts: by size and unkeyed BLAKE3): its own write whose answer was lost is success. A streamed put is retried per
 * call; a failed commit is not repeated, its key is looked at.
 */
#ifndef HF_STORE_STORE_METER_H
#define HF_STORE_STORE_METER_H

#include "store/store.h"

typedef struct MeterOptions {
  uint64_t read_bytes_per_second;  /* 0: no limit */
  uint64_t write_bytes_per_second; /* 0: no limit */
  uint64_t patience_ms;            /* 0: no retry */
} MeterOptions;

typedef struct MeterStats {
  uint64_t requests[8]; /* put, put_begin, put_write, put_commit, get, stat, list, remove */
  uint64_t failures[8];
  uint64_t retries;
  uint64_t read_bytes;
  uint64_t written_bytes;
} MeterStats;

Store *store_meter_new(Sys *sys, Store *take_inner, const MeterOptions *options);
void store_meter_stats(Store *store, MeterStats *out);

#endif
