/* Entries stand in an array in the order they came; a table of indices finds them. So iteration does not depend on the
 * hash, whose key is drawn per map: names from a hostile disk cannot be chosen to collide, and a run under the seeded
 * scheduler still repeats exactly. */
#include "base/map.h"

#include <sys/random.h>

#include "base/mem.h"

typedef struct Slot {
  uint64_t hash;
  uint8_t *key;
  size_t key_len;
  void *value; /* NULL: removed */
} Slot;

struct Map {
  Slot *slots;
  size_t slots_len; /* removed ones included */
  size_t slots_cap;
  size_t count;
  uint32_t *table; /* index + 1 into slots, 0 free; linear probing; a power of two, at least twice slots_cap */
  size_t table_len;
  uint64_t secret[2];
};

enum { FIRST_CAP = 16 };

static uint64_t rotate(uint64_t v, unsigned n) { return v << n | v >> (64 - n); }

static void sip_round(uint64_t v[4]) {
  v[0] += v[1];
  v[1] = rotate(v[1], 13) ^ v[0];
  v[0] = rotate(v[0], 32);
  v[2] += v[3];
  v[3] = rotate(v[3], 16) ^ v[2];
  v[0] += v[3];
  v[3] = rotate(v[3], 21) ^ v[0];
  v[2] += v[1];
  v[1] = rotate(v[1], 17) ^ v[2];
  v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF"). */
static uint64_t hash_key(const Map *map, Bytes key) {
  uint64_t v[4] = {map->secret[0] ^ UINT64_C(0x736f6d6570736575), map->secret[1] ^ UINT64_C(0x646f72616e646f6d),
                   map->secret[0] ^ UINT64_C(0x6c7967656e657261), map->secret[1] ^ UINT64_C(0x7465646279746573)};
  for (size_t i = 0; i <= key.len; i += 8) {
    size_t n = key.len - i < 8 ? key.len - i : 8;
    uint64_t word = 0;
    if (n) memcpy(&word, key.data + i, n);
    if (n < 8) word |= (uint64_t)key.len << 56;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
  }
  v[2] ^= 0xff;
  for (int i = 0; i < 3; i++) sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void table_add(Map *map, uint64_t hash, size_t index) {
  size_t at = (size_t)hash & (map->table_len - 1);
  while (map->table[at]) at = (at + 1) & (map->table_len - 1);
  map->table[at] = (uint32_t)(index + 1);
}

/* Drops removed slots and makes room for at least as many again. */
static void rebuild(Map *map) {
  size_t kept = 0;
  for (size_t i = 0; i < map->slots_len; i++) {
    if (map->slots[i].value) map->slots[kept++] = map->slots[i];
  }
  map->slots_len = kept;
  CHECK(kept <= UINT32_MAX / 4);
  size_t cap = FIRST_CAP;
  while (cap < 2 * kept) cap *= 2;
  map->slots = (Slot *)mem_resize(map->slots, cap, sizeof *map->slots);
  map->slots_cap = cap;
  free(map->table);
  map->table_len = 2 * cap;
  map->table = NEW_ARRAY(uint32_t, map->table_len);
  for (size_t i = 0; i < kept; i++) table_add(map, map->slots[i].hash, i);
}

Map *map_new(void) {
  Map *map = NEW(Map);
  CHECK(getrandom(map->secret, sizeof map->secret, 0) == (ssize_t)sizeof map->secret);
  rebuild(map);
  return map;
}

void map_free(Map *take) {
  if (!take) return;
  for (size_t i = 0; i < take->slots_len; i++) free(take->slots[i].key);
  free(take->slots);
  free(take->table);
  free(take);
}

size_t map_count(const Map *map) { return map->count; }

/* The slot that holds key, NULL when there is none. Removed slots keep their place in the table until a rebuild. */
static Slot *find(const Map *map, uint64_t hash, Bytes key) {
  for (size_t at = (size_t)hash & (map->table_len - 1); map->table[at]; at = (at + 1) & (map->table_len - 1)) {
    Slot *slot = &map->slots[map->table[at] - 1];
    if (slot->value && slot->hash == hash && bytes_equal(bytes(slot->key, slot->key_len), key)) return slot;
  }
  return NULL;
}

void *map_get(const Map *map, Bytes key) {
  const Slot *slot = find(map, hash_key(map, key), key);
  return slot ? slot->value : NULL;
}

void *map_set(Map *map, Bytes key, void *value) {
  CHECK(value);
  uint64_t hash = hash_key(map, key);
  Slot *slot = find(map, hash, key);
  if (slot) {
    void *old = slot->value;
    slot->value = value;
    return old;
  }
  if (map->slots_len == map->slots_cap) rebuild(map);
  map->slots[map->slots_len] =
      (Slot){.hash = hash, .key = (uint8_t *)mem_dup(key.data, key.len), .key_len = key.len, .value = value};
  table_add(map, hash, map->slots_len++);
  map->count++;
  return NULL;
}

void *map_remove(Map *map, Bytes key) {
  Slot *slot = find(map, hash_key(map, key), key);
  if (!slot) return NULL;
  void *old = slot->value;
  free(slot->key);
  slot->key = NULL;
  slot->key_len = 0;
  slot->value = NULL;
  map->count--;
  return old;
}

bool map_next(const Map *map, size_t *pos, Bytes *key, void **value) {
  while (*pos < map->slots_len) {
    const Slot *slot = &map->slots[(*pos)++];
    if (!slot->value) continue;
    *key = bytes(slot->key, slot->key_len);
    *value = slot->value;
    return true;
  }
  return false;
}
