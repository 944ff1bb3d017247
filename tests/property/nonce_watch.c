#include "nonce_watch.h"

#include <pthread.h>

#include "base/map.h"
#include "base/mem.h"
#include "codec/aead.h"

/* Names that the linker makes. */
void __wrap_aead_set_key(Aead *a, const uint8_t key[AEAD_KEY_LEN]);
void __real_aead_set_key(Aead *a, const uint8_t key[AEAD_KEY_LEN]);
void __wrap_aead_seal(Aead *a, uint64_t number, Bytes aad, const uint8_t *in, size_t len, uint8_t *out);
void __real_aead_seal(Aead *a, uint64_t number, Bytes aad, const uint8_t *in, size_t len, uint8_t *out);

/* A plain lock: simulated threads never wait while they hold it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Map *keys; /* cipher -> the key it has; NULL: not looking */
static Map *used; /* key and number */
static size_t sealed, again;

static void free_keys(void) {
  size_t at = 0;
  Bytes name;
  void *key;
  while (map_next(keys, &at, &name, &key)) free(key);
  map_free(keys);
  keys = NULL;
}

void nonce_watch_begin(void) {
  pthread_mutex_lock(&lock);
  keys = map_new();
  used = map_new();
  sealed = again = 0;
  pthread_mutex_unlock(&lock);
}

size_t nonce_watch_end(size_t *repeated) {
  pthread_mutex_lock(&lock);
  free_keys();
  map_free(used);
  used = NULL;
  *repeated = again;
  pthread_mutex_unlock(&lock);
  return sealed;
}

void __wrap_aead_set_key(Aead *a, const uint8_t key[AEAD_KEY_LEN]) {
  pthread_mutex_lock(&lock);
  if (keys) free(map_set(keys, bytes(&a, sizeof a), mem_dup(key, AEAD_KEY_LEN)));
  pthread_mutex_unlock(&lock);
  __real_aead_set_key(a, key);
}

void __wrap_aead_seal(Aead *a, uint64_t number, Bytes aad, const uint8_t *in, size_t len, uint8_t *out) {
  pthread_mutex_lock(&lock);
  if (keys) {
    const uint8_t *key = (const uint8_t *)map_get(keys, bytes(&a, sizeof a));
    CHECK(key != NULL); /* a cipher from before the watch began */
    uint8_t pair[AEAD_KEY_LEN + sizeof number];
    memcpy(pair, key, AEAD_KEY_LEN);
    memcpy(pair + AEAD_KEY_LEN, &number, sizeof number);
    sealed++;
    if (map_set(used, bytes(pair, sizeof pair), used)) again++;
  }
  pthread_mutex_unlock(&lock);
  __real_aead_seal(a, number, aad, in, len, out);
}
