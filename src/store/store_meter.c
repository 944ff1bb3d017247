#include "store/store_meter.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "codec/blake3.h"

typedef enum MeterOp {
  OP_PUT,
  OP_PUT_BEGIN,
  OP_PUT_WRITE,
  OP_PUT_COMMIT,
  OP_GET,
  OP_STAT,
  OP_LIST,
  OP_REMOVE,
} MeterOp;

enum {
  FIRST_WAIT_MS = 100,
  LONGEST_WAIT_MS = 30000,
  BURST_MS = 100, /* what may go at once after a pause */
  COMPARE_BYTES = 1 << 20,
};

/* A token bucket, kept as the moment at which everything promised so far will have been paid for. */
typedef struct Bucket {
  uint64_t bytes_per_second; /* 0: no limit */
  uint64_t paid_ns;          /* monotonic */
} Bucket;

typedef struct MeterStore {
  Store base;
  Sys *sys;
  Store *inner;
  uint64_t patience_ms;
  Mutex lock; /* guards what follows */
  Bucket read;
  Bucket write;
  MeterStats stats;
} MeterStore;

typedef struct MeterPut {
  StorePut base;
  StorePut *inner;
  char *key;
  PutMode mode;
  uint64_t len;
  Blake3 hash; /* of what was written; only kept when commits may be looked for */
} MeterPut;

/* One operation's tries. */
typedef struct Retry {
  MeterStore *meter;
  Cancel *cancel;
  uint64_t start_ns;
  uint64_t wait_ms;
  unsigned tries;
} Retry;

static MeterStore *meter_of(Store *store) { return (MeterStore *)store; }

static Retry retry_begin(Store *store, Cancel *cancel) {
  MeterStore *m = meter_of(store);
  return (Retry){.meter = m, .cancel = cancel, .start_ns = sys_mono_ns(m->sys), .wait_ms = FIRST_WAIT_MS};
}

static bool worth_retrying(const Error *err) { return err_is(err, ERR_TEMPORARY) || err_is(err, ERR_TIMEOUT); }

/* Half of the wait is fixed, half random, so that many clients that failed together do not come back together. */
static uint64_t with_jitter(Sys *sys, uint64_t wait_ms) {
  uint64_t r;
  sys_random(sys, &r, sizeof r);
  return wait_ms / 2 + r % (wait_ms / 2 + 1);
}

/* Looks at one try's outcome. True: wait is over, try again (*err was freed). False: *err is the answer. */
static bool retry_again(Retry *r, Error **err) {
  r->tries++;
  if (!worth_retrying(*err) || r->meter->patience_ms == 0) return false;
  Sys *sys = r->meter->sys;
  uint64_t spent_ms = (sys_mono_ns(sys) - r->start_ns) / (NS_PER_SECOND / 1000);
  if (spent_ms >= r->meter->patience_ms) {
    *err = err_wrap(*err, "after %u tries in %llu s", r->tries, (unsigned long long)(spent_ms / 1000));
    *err = err_hint(*err, "see whether %s can be reached, then run this again", r->meter->base.name);
    return false;
  }
  uint64_t left_ms = r->meter->patience_ms - spent_ms, wait_ms = with_jitter(sys, r->wait_ms);
  Error *stopped = cancel_sleep_ms(sys, wait_ms < left_ms ? wait_ms : left_ms, r->cancel);
  err_free(*err);
  *err = stopped;
  if (stopped) return false;
  r->wait_ms = r->wait_ms * 2 < LONGEST_WAIT_MS ? r->wait_ms * 2 : LONGEST_WAIT_MS;
  LOCKED(&r->meter->lock);
  r->meter->stats.retries++;
  return true;
}

static void tally(MeterStore *m, MeterOp op, uint64_t read_bytes, uint64_t written_bytes, const Error *err) {
  LOCKED(&m->lock);
  m->stats.requests[op]++;
  bool is_answer = !err || err_is(err, ERR_EXISTS) || err_is(err, ERR_NOT_FOUND) || err_is(err, ERR_CANCELLED);
  if (!is_answer) m->stats.failures[op]++;
  if (!err) {
    m->stats.read_bytes += read_bytes;
    m->stats.written_bytes += written_bytes;
  }
}

/* Counts one request and its outcome; passes the outcome through. */
static Error *count(MeterStore *m, MeterOp op, uint64_t read_bytes, uint64_t written_bytes, Error *err) {
  tally(m, op, read_bytes, written_bytes, err);
  return err;
}

/* Waits until the bucket allows so many bytes. */
static Error *pay(MeterStore *m, Bucket *bucket, uint64_t len, const Cancel *cancel) {
  __extension__ typedef unsigned __int128 Wide;
  if (bucket->bytes_per_second == 0) return NULL; /* never changes */
  uint64_t now = sys_mono_ns(m->sys), burst = BURST_MS * (NS_PER_SECOND / 1000);
  mutex_lock(&m->lock);
  uint64_t from = bucket->paid_ns + burst < now ? now - burst : bucket->paid_ns;
  Wide until = from + (Wide)len * NS_PER_SECOND / bucket->bytes_per_second;
  bucket->paid_ns = until < UINT64_MAX / 2 ? (uint64_t)until : UINT64_MAX / 2;
  uint64_t wait_ns = bucket->paid_ns > now ? bucket->paid_ns - now : 0;
  mutex_unlock(&m->lock);
  if (wait_ns == 0) return NULL;
  uint64_t ns_per_ms = NS_PER_SECOND / 1000;
  return cancel_sleep_ms(m->sys, (wait_ns + ns_per_ms - 1) / ns_per_ms, cancel);
}

static Error *try_get(MeterStore *m, const char *key, uint64_t off, uint64_t len, uint8_t *out, Cancel *cancel) {
  TRY(pay(m, &m->read, len, cancel));
  return count(m, OP_GET, len, 0, m->inner->ops->get(m->inner, key, off, len, out, cancel));
}

static Error *get_retrying(Retry *r, const char *key, uint64_t off, uint64_t len, uint8_t *out) {
  Error *err;
  do err = try_get(r->meter, key, off, len, out, r->cancel);
  while (retry_again(r, &err));
  return err;
}

static Error *stat_retrying(Retry *r, const char *key, StoreStat *out) {
  Store *inner = r->meter->inner;
  Error *err;
  do err = count(r->meter, OP_STAT, 0, 0, inner->ops->stat(inner, key, out, r->cancel));
  while (retry_again(r, &err));
  return err;
}

/* What a lost answer was about: a body that is at hand, or only its hash. */
typedef struct Sent {
  uint64_t len;
  const uint8_t *body; /* NULL: compare by hash */
  uint8_t hash[BLAKE3_OUT_LEN];
} Sent;

typedef enum Found { FOUND_NOTHING, FOUND_OURS, FOUND_ANOTHER } Found;

static Error *compare_bytes(Retry *r, const char *key, const Sent *sent, Found *out) {
  AUTO_BUF Buf there = {0};
  buf_reserve(&there, COMPARE_BYTES);
  Blake3 hash;
  blake3_init(&hash);
  *out = FOUND_ANOTHER;
  for (uint64_t at = 0; at < sent->len;) {
    uint64_t n = sent->len - at < COMPARE_BYTES ? sent->len - at : COMPARE_BYTES;
    TRY(get_retrying(r, key, at, n, there.data));
    if (!sent->body)
      blake3_update(&hash, there.data, (size_t)n);
    else if (memcmp(there.data, sent->body + at, (size_t)n) != 0)
      return NULL;
    at += n;
  }
  uint8_t digest[BLAKE3_OUT_LEN];
  blake3_final(&hash, digest);
  if (sent->body || memcmp(digest, sent->hash, sizeof digest) == 0) *out = FOUND_OURS;
  return NULL;
}

/* What is under the key, beside what was sent there? */
static Error *look(Retry *r, const char *key, const Sent *sent, Found *out) {
  StoreStat st = {0};
  Error *err = stat_retrying(r, key, &st);
  if (err_is(err, ERR_NOT_FOUND)) {
    err_free(err);
    *out = FOUND_NOTHING;
    return NULL;
  }
  TRY(err);
  *out = FOUND_ANOTHER;
  return st.size_bytes == sent->len ? compare_bytes(r, key, sent, out) : NULL;
}

/* `take` left open whether the object is there: NULL when what was sent is, ERR_EXISTS when a PUT_NEW lost to another
 * object, `take` itself when nothing is there. */
static Error *settle(Retry *r, const char *key, PutMode mode, const Sent *sent, Error *take) {
  Found found = FOUND_NOTHING;
  Error *failed = err_wrap(look(r, key, sent, &found), "finding out whose object is there");
  if (!failed && found == FOUND_ANOTHER && mode == PUT_NEW) failed = err_new(ERR_EXISTS, "the key is taken");
  if (!failed && found != FOUND_OURS) return take;
  err_free(take);
  return failed;
}

static Error *meter_put(Store *store, const char *key, Bytes body, PutMode mode, Cancel *cancel) {
  static const uint8_t nothing[1];
  MeterStore *m = meter_of(store);
  Retry r = retry_begin(store, cancel);
  Error *err;
  do {
    err = pay(m, &m->write, body.len, cancel);
    if (!err) err = count(m, OP_PUT, 0, body.len, m->inner->ops->put(m->inner, key, body, mode, cancel));
  } while (retry_again(&r, &err));
  if (mode != PUT_NEW || r.tries < 2 || !err_is(err, ERR_EXISTS)) return err;
  Sent sent = {.len = body.len, .body = body.len ? body.data : nothing};
  return settle(&r, key, mode, &sent, err);
}

static Error *meter_put_begin(Store *store, const char *key, PutMode mode, StorePut **out, Cancel *cancel) {
  MeterStore *m = meter_of(store);
  Retry r = retry_begin(store, cancel);
  StorePut *inner = NULL;
  Error *err;
  do err = count(m, OP_PUT_BEGIN, 0, 0, m->inner->ops->put_begin(m->inner, key, mode, &inner, cancel));
  while (retry_again(&r, &err));
  TRY(err);
  MeterPut *put = NEW(MeterPut);
  put->base.store = store;
  put->inner = inner;
  put->key = mem_strdup(key);
  put->mode = mode;
  blake3_init(&put->hash);
  *out = &put->base;
  return NULL;
}

static Error *meter_put_write(StorePut *base, Bytes part, Cancel *cancel) {
  MeterPut *put = (MeterPut *)base;
  MeterStore *m = meter_of(base->store);
  Retry r = retry_begin(base->store, cancel);
  Error *err;
  do {
    err = pay(m, &m->write, part.len, cancel);
    if (!err) err = count(m, OP_PUT_WRITE, 0, part.len, m->inner->ops->put_write(put->inner, part, cancel));
  } while (retry_again(&r, &err));
  TRY(err);
  put->len += part.len;
  if (m->patience_ms > 0) blake3_update(&put->hash, part.data, part.len);
  return NULL;
}

static void put_destroy(MeterPut *put) {
  free(put->key);
  free(put);
}

static void meter_put_abort(StorePut *take) {
  MeterPut *put = (MeterPut *)take;
  store_put_abort(put->inner);
  put_destroy(put);
}

static Error *meter_put_commit(StorePut *take, Cancel *cancel) {
  MeterPut *put = (MeterPut *)take;
  MeterStore *m = meter_of(take->store);
  Retry r = retry_begin(take->store, cancel);
  Error *err = count(m, OP_PUT_COMMIT, 0, 0, m->inner->ops->put_commit(put->inner, cancel));
  if (worth_retrying(err) && m->patience_ms > 0) {
    Sent sent = {.len = put->len};
    blake3_final(&put->hash, sent.hash);
    err = err_wrap(settle(&r, put->key, put->mode, &sent, err), "storing %s in %s", put->key, m->base.name);
  }
  put_destroy(put);
  return err;
}

static Error *meter_get(Store *store, const char *key, uint64_t off, uint64_t len, uint8_t *out, Cancel *cancel) {
  Retry r = retry_begin(store, cancel);
  return get_retrying(&r, key, off, len, out);
}

static Error *meter_stat(Store *store, const char *key, StoreStat *out, Cancel *cancel) {
  Retry r = retry_begin(store, cancel);
  return stat_retrying(&r, key, out);
}

/* A listing that broke off goes on behind the last key that was visited. */
typedef struct Resume {
  StoreVisit *visit;
  void *ctx;
  char *last;
  bool stopped; /* by the visitor: its error is not the store's and is not retried */
} Resume;

static Error *visit_once(void *ctx, const char *key, const StoreStat *stat) {
  Resume *resume = (Resume *)ctx;
  if (resume->last && strcmp(key, resume->last) <= 0) return NULL;
  free(resume->last);
  resume->last = mem_strdup(key);
  Error *err = resume->visit(resume->ctx, key, stat);
  resume->stopped = err != NULL;
  return err;
}

static Error *meter_list(Store *store, const char *prefix, StoreVisit *visit, void *ctx, Cancel *cancel) {
  MeterStore *m = meter_of(store);
  Retry r = retry_begin(store, cancel);
  Resume resume = {.visit = visit, .ctx = ctx};
  Error *err;
  do {
    err = m->inner->ops->list(m->inner, prefix, visit_once, &resume, cancel);
    tally(m, OP_LIST, 0, 0, resume.stopped ? NULL : err);
  } while (!resume.stopped && retry_again(&r, &err));
  free(resume.last);
  return err;
}

static Error *meter_remove(Store *store, const char *key, Cancel *cancel) {
  MeterStore *m = meter_of(store);
  Retry r = retry_begin(store, cancel);
  Error *err;
  do err = count(m, OP_REMOVE, 0, 0, m->inner->ops->remove(m->inner, key, cancel));
  while (retry_again(&r, &err));
  return err;
}

static void meter_free(Store *take) {
  MeterStore *m = meter_of(take);
  store_free(m->inner);
  mutex_free(&m->lock);
  free(m->base.name);
  free(m);
}

static const StoreOps meter_ops = {
    .put = meter_put,
    .put_begin = meter_put_begin,
    .put_write = meter_put_write,
    .put_commit = meter_put_commit,
    .put_abort = meter_put_abort,
    .get = meter_get,
    .stat = meter_stat,
    .list = meter_list,
    .remove = meter_remove,
    .free = meter_free,
};

Store *store_meter_new(Sys *sys, Store *take_inner, const MeterOptions *options) {
  MeterStore *m = NEW(MeterStore);
  m->base.ops = &meter_ops;
  m->base.name = mem_strdup(take_inner->name);
  m->base.append_only = take_inner->append_only;
  m->sys = sys;
  m->inner = take_inner;
  m->patience_ms = options->patience_ms;
  m->read.bytes_per_second = options->read_bytes_per_second;
  m->write.bytes_per_second = options->write_bytes_per_second;
  mutex_init(&m->lock, sys);
  return &m->base;
}

void store_meter_stats(Store *store, MeterStats *out) {
  CHECK(store->ops == &meter_ops);
  MeterStore *m = meter_of(store);
  LOCKED(&m->lock);
  *out = m->stats;
}
