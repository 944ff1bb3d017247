#include "store/store.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "store/store_file.h"
#include "store/store_memory.h"

enum { KEY_MAX = 512, COMPONENT_MAX = 255 };

static bool component_valid(const char *at, size_t len) {
  if (len == 0 || len > COMPONENT_MAX || at[0] == '.') return false;
  for (size_t i = 0; i < len; i++) {
    char c = at[i];
    bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!alnum && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

bool store_key_valid(const char *key) {
  if (!key || strnlen(key, KEY_MAX + 1) > KEY_MAX) return false;
  if (strcmp(key, "tmp") == 0 || str_starts(key, "tmp/")) return false;
  for (const char *at = key;; at++) {
    size_t len = strcspn(at, "/");
    if (!component_valid(at, len)) return false;
    at += len;
    if (*at == '\0') return true;
  }
}

/* What every operation on one key begins with. */
static Error *check_call(const Store *store, const char *key, const Cancel *cancel) {
  if (store_key_valid(key)) return cancel_check(cancel);
  AUTO_FREE char *shown = str_printable(bytes(key, key ? strnlen(key, KEY_MAX + 1) : 0));
  return err_new(ERR_USAGE, "%s: \"%s\" is not a valid object key", store->name, shown);
}

Error *store_put(Store *store, const char *key, Bytes body, PutMode mode, Cancel *cancel) {
  TRY(check_call(store, key, cancel));
  return err_wrap(store->ops->put(store, key, body, mode, cancel), "storing %s in %s", key, store->name);
}

Error *store_put_begin(Store *store, const char *key, PutMode mode, StorePut **out, Cancel *cancel) {
  TRY(check_call(store, key, cancel));
  return err_wrap(store->ops->put_begin(store, key, mode, out, cancel), "storing %s in %s", key, store->name);
}

Error *store_put_write(StorePut *put, Bytes part, Cancel *cancel) {
  TRY(cancel_check(cancel));
  if (part.len == 0) return NULL;
  return put->store->ops->put_write(put, part, cancel);
}

Error *store_put_commit(StorePut *take, Cancel *cancel) {
  Error *err = cancel_check(cancel);
  if (!err) return take->store->ops->put_commit(take, cancel);
  store_put_abort(take);
  return err;
}

void store_put_abort(StorePut *take) {
  if (take) take->store->ops->put_abort(take);
}

Error *store_get(Store *store, const char *key, uint64_t off, uint64_t len, uint8_t *out, Cancel *cancel) {
  TRY(check_call(store, key, cancel));
  return err_wrap(store->ops->get(store, key, off, len, out, cancel), "reading %s in %s", key, store->name);
}

Error *store_get_all(Store *store, const char *key, uint64_t max, Buf *out, Cancel *cancel) {
  StoreStat st;
  TRY(store_stat(store, key, &st, cancel));
  if (st.size_bytes > max)
    return err_new(ERR_LIMIT, "reading %s in %s: %llu bytes, at most %llu are expected", key, store->name,
                   (unsigned long long)st.size_bytes, (unsigned long long)max);
  size_t before = out->len;
  uint8_t *at = buf_grow(out, (size_t)st.size_bytes);
  Error *err = store_get(store, key, 0, st.size_bytes, at, cancel);
  if (err) out->len = before;
  return err;
}

Error *store_stat(Store *store, const char *key, StoreStat *out, Cancel *cancel) {
  TRY(check_call(store, key, cancel));
  return err_wrap(store->ops->stat(store, key, out, cancel), "looking at %s in %s", key, store->name);
}

Error *store_list(Store *store, const char *prefix, StoreVisit *visit, void *ctx, Cancel *cancel) {
  TRY(cancel_check(cancel));
  /* Not wrapped here: the error may be the visitor's own. */
  return store->ops->list(store, prefix, visit, ctx, cancel);
}

Error *store_remove(Store *store, const char *key, Cancel *cancel) {
  TRY(check_call(store, key, cancel));
  return err_wrap(store->ops->remove(store, key, cancel), "removing %s in %s", key, store->name);
}

void store_free(Store *take) {
  if (take) take->ops->free(take);
}

/* True in *out_kept when the second put was refused and the first body is still there. */
static Error *probe_twice(Store *store, const char *key, bool *out_kept, Cancel *cancel) {
  /* The bodies differ, so that neither a retry layer nor a store takes the second for a repetition of the first. */
  static const char first[] = "probe 1", second[] = "probe 2";
  TRY(store_put(store, key, bytes_str(first), PUT_NEW, cancel));
  Error *err = store_put(store, key, bytes_str(second), PUT_NEW, cancel);
  *out_kept = false;
  if (!err) return NULL;
  if (err_code(err) != ERR_EXISTS) return err;
  err_free(err);
  uint8_t there[sizeof first - 1];
  TRY(store_get(store, key, 0, sizeof there, there, cancel));
  *out_kept = memcmp(there, first, sizeof there) == 0;
  return NULL;
}

Error *store_probe(Store *store, Sys *sys, Cancel *cancel) {
  uint8_t id[16];
  char hex[2 * sizeof id + 1], key[sizeof hex + 8];
  sys_random(sys, id, sizeof id);
  hex_encode(id, sizeof id, hex);
  snprintf(key, sizeof key, "probe-%s", hex);
  bool kept = false;
  Error *err = probe_twice(store, key, &kept, cancel);
  /* Even when cancelled: nothing of ours stays behind. */
  Error *removal = store_remove(store, key, NULL);
  if (err_is(removal, ERR_DENIED)) { /* a store that forbids deletion answers the question all the same */
    err_free(removal);
    removal = NULL;
  }
  err = err_first(err, removal);
  if (!err) store->append_only = !kept;
  return err_wrap(err, "testing whether %s keeps what is there", store->name);
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* The path of a file: address (RFC 8089: "file://" and an absolute path, %XX for a byte). */
static Error *path_of_url(const char *url, char **out) {
  const char *at = url + strlen("file://");
  if (!str_starts(url, "file://") || *at != '/')
    return err_hint(err_new(ERR_USAGE, "%s: not a local path", url), "write file:///absolute/path");
  AUTO_BUF Buf path = {0};
  for (; *at; at++) {
    if (*at != '%') {
      buf_put_u8(&path, (uint8_t)*at);
      continue;
    }
    int high = hex_digit(at[1]), low = high < 0 ? -1 : hex_digit(at[2]);
    if (low < 0 || high + low == 0)
      return err_hint(err_new(ERR_USAGE, "%s: a malformed %% escape", url), "write %%25 for a percent sign");
    buf_put_u8(&path, (uint8_t)(high * 16 + low));
    at += 2;
  }
  *out = buf_steal_str(&path);
  return NULL;
}

/* Bytes before the ':' of "scheme:…"; 0 when this is a path. */
static size_t scheme_len(const char *url) {
  size_t len = strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
  return url[len] == ':' ? len : 0;
}

Error *store_open(Sys *sys, const char *url, bool create, Store **out) {
  size_t scheme = scheme_len(url);
  if (*url == '\0') return err_hint(err_new(ERR_USAGE, "the store's address is empty"), "give a directory");
  if (scheme == 0) return store_file_open(sys, url, create, out);
  if (strcmp(url, "memory:") == 0) {
    *out = store_memory_new(sys);
    return NULL;
  }
  if (str_starts(url, "file:")) {
    AUTO_FREE char *path = NULL;
    TRY(path_of_url(url, &path));
    return store_file_open(sys, path, create, out);
  }
  /* Only the scheme is shown: an address may carry a password. */
  return err_hint(err_new(ERR_USAGE, "stores of kind \"%.*s:\" are not supported", (int)scheme, url),
                  "use a directory (/path or file:///path); write ./ before a relative path that has a colon");
}
