/* The tree (specification, section 2.1 and 5.1) over the kernels.
 *
 * Chaining values of one level stand in an array; reducing a level pairs neighbours and carries an odd last one over.
 * That is the left-complete tree of the specification, so the array after two reductions holds the subtrees of four
 * chunks: the page fingerprints cost nothing.
 *
 * The root is the one node that must not be compressed before it is known to be the root, so every path ends in a
 * `Node`: the input of a compression that has not happened yet.
 */
#include "codec/blake3.h"

#include <stdatomic.h>

#include "codec/blake3_impl.h"

/* Chunks hashed level by level in one go; the chaining values (8 KiB) stay in the first-level cache. */
enum { GROUP_CHUNKS = 256, PAGE_CHUNKS = 4 };

typedef struct Node {
  uint32_t cv[8];
  uint8_t block[BLAKE3_BLOCK_LEN];
  uint32_t block_len;
  uint64_t counter;
  uint32_t flags;
} Node;

/* ---- the choice of a kernel ---- */

/* Written with the same value by every thread that finds it empty; only tests set another. */
static _Atomic(const Blake3Kernel *) chosen_kernel;

static const Blake3Kernel *best_kernel(void) {
#ifdef __x86_64__
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) return &BLAKE3_AVX512;
  if (__builtin_cpu_supports("avx2")) return &BLAKE3_AVX2;
#endif
  return &BLAKE3_PORTABLE;
}

static inline const Blake3Kernel *kernel(void) {
  const Blake3Kernel *k = atomic_load_explicit(&chosen_kernel, memory_order_relaxed);
  if (__builtin_expect(k == NULL, 0)) {
    k = best_kernel();
    atomic_store_explicit(&chosen_kernel, k, memory_order_relaxed);
  }
  return k;
}

const char *blake3_backend(void) { return kernel()->name; }

bool blake3_force_backend(const char *name) {
  const Blake3Kernel *best = best_kernel();
  const Blake3Kernel *k = NULL;
  if (!name)
    k = best;
  else if (strcmp(name, BLAKE3_PORTABLE.name) == 0)
    k = &BLAKE3_PORTABLE;
#ifdef __x86_64__
  else if (strcmp(name, BLAKE3_AVX2.name) == 0 && best != &BLAKE3_PORTABLE)
    k = &BLAKE3_AVX2;
  else if (strcmp(name, BLAKE3_AVX512.name) == 0 && best == &BLAKE3_AVX512)
    k = &BLAKE3_AVX512;
#endif
  if (!k) return false;
  atomic_store_explicit(&chosen_kernel, k, memory_order_relaxed);
  return true;
}

/* ---- nodes ---- */

static void node_cv(const Node *node, uint32_t out[8]) {
  uint32_t state[16];
  blake3_compress(node->cv, node->block, node->block_len, node->counter, node->flags, state);
  memcpy(out, state, 32);
}

static void node_root(const Node *node, uint8_t *out, size_t out_len) {
  for (uint64_t counter = 0; out_len > 0; counter++) {
    uint32_t state[16];
    blake3_compress(node->cv, node->block, node->block_len, counter, node->flags | BLAKE3_ROOT, state);
    size_t n = out_len < sizeof(state) ? out_len : sizeof(state);
    memcpy(out, state, n);
    out += n;
    out_len -= n;
  }
}

static Node parent_node(const uint32_t left[8], const uint32_t right[8], const uint32_t key[8], uint32_t flags) {
  Node node = {.block_len = BLAKE3_BLOCK_LEN, .flags = flags | BLAKE3_PARENT};
  memcpy(node.cv, key, 32);
  memcpy(node.block, left, 32);
  memcpy(node.block + 32, right, 32);
  return node;
}

/* A chunk of 0 … 1024 bytes, up to its last block. */
static Node chunk_node(const uint8_t *data, size_t len, const uint32_t key[8], uint64_t counter, uint32_t flags) {
  Node node = {.counter = counter};
  uint32_t state[16];
  uint32_t start = BLAKE3_CHUNK_START;
  memcpy(state, key, 32);
  while (len > BLAKE3_BLOCK_LEN) {
    blake3_compress(state, data, BLAKE3_BLOCK_LEN, counter, flags | start, state);
    start = 0;
    data += BLAKE3_BLOCK_LEN;
    len -= BLAKE3_BLOCK_LEN;
  }
  memcpy(node.cv, state, 32);
  if (len > 0) memcpy(node.block, data, len); /* the rest of the block is zero */
  node.block_len = (uint32_t)len;
  node.flags = flags | start | BLAKE3_CHUNK_END;
  return node;
}

/* ---- levels ---- */

/* Pairs neighbours; returns how many are left. */
static size_t reduce_level(uint32_t (*cvs)[8], size_t count, const uint32_t key[8], uint32_t flags) {
  kernel()->parents(cvs, count / 2, key, flags, cvs);
  if (count % 2) memcpy(cvs[count / 2], cvs[count - 1], 32);
  return count / 2 + count % 2;
}

/* The chaining values of all chunks of data (0 < len <= GROUP_CHUNKS KiB); the last chunk may be short. */
static size_t hash_leaves(const uint8_t *data, size_t len, const uint32_t key[8], uint64_t counter, uint32_t flags,
                          uint32_t (*cvs)[8]) {
  size_t whole = len / BLAKE3_CHUNK_LEN;
  size_t rest = len % BLAKE3_CHUNK_LEN;
  kernel()->chunks(data, whole, key, counter, flags, cvs);
  if (rest == 0) return whole;
  Node last = chunk_node(data + whole * BLAKE3_CHUNK_LEN, rest, key, counter + whole, flags);
  node_cv(&last, cvs[whole]);
  return whole + 1;
}

static void page_fingerprints(uint32_t (*const cvs)[8], size_t pages, uint64_t *out) {
  for (size_t i = 0; i < pages; i++) out[i] = (uint64_t)cvs[i][1] << 32 | cvs[i][0];
}

/* The top node of the group that ends the input, with the fingerprints when asked for. `counter` is the number of its
 * first chunk; it is empty only when the whole input is. */
static Node hash_last_group(const uint8_t *data, size_t len, const uint32_t key[8], uint64_t counter, uint32_t flags,
                            uint64_t *fingerprints) {
  uint32_t cvs[GROUP_CHUNKS][8];
  if (len <= BLAKE3_CHUNK_LEN) {
    Node only = chunk_node(data, len, key, counter, flags);
    if (fingerprints) {
      node_cv(&only, cvs[0]);
      page_fingerprints(cvs, 1, fingerprints);
    }
    return only;
  }
  size_t count = hash_leaves(data, len, key, counter, flags, cvs);
  for (size_t span = 1; count > 2; span *= 2) {
    if (span == PAGE_CHUNKS && fingerprints) page_fingerprints(cvs, count, fingerprints);
    count = reduce_level(cvs, count, key, flags);
  }
  Node top = parent_node(cvs[0], cvs[1], key, flags);
  if (fingerprints && len <= PAGE_CHUNKS * BLAKE3_CHUNK_LEN) {
    node_cv(&top, cvs[0]);
    page_fingerprints(cvs, 1, fingerprints);
  } else if (fingerprints && len <= 2 * PAGE_CHUNKS * BLAKE3_CHUNK_LEN) {
    page_fingerprints(cvs, 2, fingerprints); /* the two subtrees under the root are the pages themselves */
  }
  return top;
}

static void hash_group_cv(const uint8_t *data, size_t len, const uint32_t key[8], uint64_t counter, uint32_t flags,
                          uint32_t out[8]) {
  uint32_t cvs[GROUP_CHUNKS][8];
  size_t count = hash_leaves(data, len, key, counter, flags, cvs);
  while (count > 1) count = reduce_level(cvs, count, key, flags);
  memcpy(out, cvs[0], 32);
}

/* ---- the stack of finished subtrees ---- */

/* Adds a subtree that is not the whole input; `index` is its number among subtrees of its size. Each trailing one bit
 * of it is a left sibling that waits for this. */
static size_t stack_push(uint32_t (*stack)[8], size_t len, const uint32_t cv[8], uint64_t index, const uint32_t key[8],
                         uint32_t flags) {
  uint32_t top[8];
  memcpy(top, cv, 32);
  for (; index & 1; index >>= 1) {
    Node parent = parent_node(stack[--len], top, key, flags);
    node_cv(&parent, top);
  }
  memcpy(stack[len], top, 32);
  return len + 1;
}

/* Joins the last subtree with everything that waits, from right to left. */
static Node stack_finish(uint32_t (*const stack)[8], size_t len, Node last, const uint32_t key[8], uint32_t flags) {
  while (len > 0) {
    uint32_t cv[8];
    node_cv(&last, cv);
    last = parent_node(stack[--len], cv, key, flags);
  }
  return last;
}

static void hash_all(const void *data, size_t len, const uint32_t key[8], uint32_t flags, uint8_t *out) {
  const size_t group_len = (size_t)GROUP_CHUNKS * BLAKE3_CHUNK_LEN;
  const uint8_t *at = data;
  uint32_t stack[54][8];
  size_t stack_len = 0;
  uint64_t group = 0;
  for (; len > group_len; group++) {
    uint32_t cv[8];
    hash_group_cv(at, group_len, key, group * GROUP_CHUNKS, flags, cv);
    stack_len = stack_push(stack, stack_len, cv, group, key, flags);
    at += group_len;
    len -= group_len;
  }
  Node last = hash_last_group(at, len, key, group * GROUP_CHUNKS, flags, NULL);
  Node top = stack_finish(stack, stack_len, last, key, flags);
  node_root(&top, out, BLAKE3_OUT_LEN);
}

/* ---- whole inputs ---- */

void blake3_hash(const void *data, size_t len, uint8_t out[BLAKE3_OUT_LEN]) { hash_all(data, len, BLAKE3_IV, 0, out); }

void blake3_keyed(const uint8_t key[BLAKE3_KEY_LEN], const void *data, size_t len, uint8_t out[BLAKE3_OUT_LEN]) {
  uint32_t words[8];
  memcpy(words, key, sizeof(words));
  hash_all(data, len, words, BLAKE3_KEYED_HASH, out);
}

static void context_key(const char *context, uint32_t out[8]) {
  uint8_t key[BLAKE3_KEY_LEN];
  hash_all(context, strlen(context), BLAKE3_IV, BLAKE3_DERIVE_KEY_CONTEXT, key);
  memcpy(out, key, sizeof(key));
}

void blake3_derive_key(const char *context, const void *material, size_t len, uint8_t out[BLAKE3_OUT_LEN]) {
  uint32_t words[8];
  context_key(context, words);
  hash_all(material, len, words, BLAKE3_DERIVE_KEY_MATERIAL, out);
}

void blake3_keyed_pages(const uint8_t key[BLAKE3_KEY_LEN], const void *data, size_t len, uint8_t out[BLAKE3_OUT_LEN],
                        uint64_t *fingerprints) {
  CHECK(len > 0 && len <= (size_t)GROUP_CHUNKS * BLAKE3_CHUNK_LEN);
  uint32_t words[8];
  memcpy(words, key, sizeof(words));
  Node top = hash_last_group(data, len, words, 0, BLAKE3_KEYED_HASH, fingerprints);
  node_root(&top, out, BLAKE3_OUT_LEN);
}

/* ---- in pieces ---- */

static void init_with(Blake3 *h, const uint32_t key[8], uint32_t flags) {
  memcpy(h->key, key, sizeof(h->key));
  h->flags = flags;
  h->chunk_len = 0;
  h->chunks = 0;
  h->stack_len = 0;
}

void blake3_init(Blake3 *h) { init_with(h, BLAKE3_IV, 0); }

void blake3_init_keyed(Blake3 *h, const uint8_t key[BLAKE3_KEY_LEN]) {
  uint32_t words[8];
  memcpy(words, key, sizeof(words));
  init_with(h, words, BLAKE3_KEYED_HASH);
}

void blake3_init_derive_key(Blake3 *h, const char *context) {
  uint32_t words[8];
  context_key(context, words);
  init_with(h, words, BLAKE3_DERIVE_KEY_MATERIAL);
}

/* Takes a complete subtree of `span` chunks (a power of two that divides h->chunks), not the end of the input. */
static void add_subtree(Blake3 *h, const uint8_t *data, size_t span) {
  uint32_t cv[8];
  hash_group_cv(data, span * BLAKE3_CHUNK_LEN, h->key, h->chunks, h->flags, cv);
  h->stack_len = stack_push(h->stack, h->stack_len, cv, h->chunks / span, h->key, h->flags);
  h->chunks += span;
}

/* The largest subtree that may start at chunk number `chunks` and leaves at least one byte of `len`. */
static size_t subtree_span(uint64_t chunks, size_t len) {
  size_t span = GROUP_CHUNKS;
  while (chunks % span != 0 || span * BLAKE3_CHUNK_LEN >= len) span /= 2;
  return span;
}

void blake3_update(Blake3 *h, const void *data, size_t len) {
  const uint8_t *at = data;
  if (len == 0) return;
  if (h->chunk_len > 0) { /* a chunk begun earlier comes first; a full one waits until it is known not to be the last */
    size_t room = BLAKE3_CHUNK_LEN - h->chunk_len;
    size_t n = len < room ? len : room;
    memcpy(h->chunk + h->chunk_len, at, n);
    h->chunk_len += n;
    at += n;
    len -= n;
    if (len == 0) return;
    add_subtree(h, h->chunk, 1);
    h->chunk_len = 0;
  }
  while (len > BLAKE3_CHUNK_LEN) {
    size_t span = subtree_span(h->chunks, len);
    add_subtree(h, at, span);
    at += span * BLAKE3_CHUNK_LEN;
    len -= span * BLAKE3_CHUNK_LEN;
  }
  memcpy(h->chunk, at, len);
  h->chunk_len = len;
}

void blake3_final_xof(const Blake3 *h, uint8_t *out, size_t out_len) {
  uint32_t stack[NELEMS(h->stack)][8];
  memcpy(stack, h->stack, h->stack_len * sizeof(stack[0]));
  Node last = chunk_node(h->chunk, h->chunk_len, h->key, h->chunks, h->flags);
  Node top = stack_finish(stack, h->stack_len, last, h->key, h->flags);
  node_root(&top, out, out_len);
}

void blake3_final(const Blake3 *h, uint8_t out[BLAKE3_OUT_LEN]) { blake3_final_xof(h, out, BLAKE3_OUT_LEN); }
