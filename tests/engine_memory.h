/* engine_memory.h: a Sink and a Source that live in memory, for the tests of engines.
 *
 * A MemorySink captures what an engine writes and asserts the rules of engine.h while it does (buffer sizes, alignment,
 * every path once, sizes that add up). What it captured is a MemoryTree: the parent of the next backup, the content to
 * compare, and, behind a MemorySource, what a restore reads back, in pieces, out of order and from several threads.
 */
#ifndef HF_TESTS_ENGINE_MEMORY_H
#define HF_TESTS_ENGINE_MEMORY_H

#include "engine/engine.h"

typedef struct MemoryNode {
  Entry *entry; /* owned copy: as `end`, `add` or `keep` gave it */
  bool has_content;
  bool kept;           /* stored by `keep`: the data is the parent's */
  StreamKind kind;     /* with content */
  uint8_t *data;       /* entry->size bytes */
  uint64_t written;    /* bytes that came through `write` */
  uint64_t hole_bytes; /* bytes that came through `hole` */
  uint64_t kept_bytes; /* bytes that came through `keep_range` */
  uint64_t read_ns;    /* when `begin` was called (UTC) */
} MemoryNode;

/* Nodes in tree order. */
typedef struct MemoryTree {
  MemoryNode *nodes;
  size_t len;
} MemoryTree;

void memory_tree_free(MemoryTree *take);
/* NULL when absent. */
const MemoryNode *memory_tree_get(const MemoryTree *tree, const char *path);

typedef struct MemorySink MemorySink;

/* `parent` (may be NULL) is borrowed. `sys` gives the time. */
MemorySink *memory_sink_new(Sys *sys, const MemoryTree *parent);
Sink *memory_sink(MemorySink *sink);
/* Makes the n-th call of `write` (counted from 1, over all streams) fail with ERR_IO; 0: never. */
void memory_sink_fail_at(MemorySink *sink, uint64_t nth_write);
/* Called before each `buffer` hands out memory, from the engine's thread: a place to change the source meanwhile. */
void memory_sink_on_buffer(MemorySink *sink, void (*call)(void *ctx, Bytes path, uint64_t offset), void *ctx);
/* Bytes a buffer holds; the default is 1 MiB. A multiple of 128 KiB. */
void memory_sink_buffer_size(MemorySink *sink, size_t size);
/* Streams begun and given up. */
size_t memory_sink_aborted(MemorySink *sink);
/* How many notices of this level there are, and whether one holds `text` (NULL: any). */
size_t memory_sink_notices(MemorySink *sink, NoticeLevel level, const char *text);
/* What was captured, in tree order; asserts that no stream is open. The sink is gone. */
MemoryTree *memory_sink_finish(MemorySink *take);

typedef struct MemorySource MemorySource;

/* Both are borrowed. Fetches with `threads` threads, pieces of 128 KiB in an order shuffled by `seed`. */
MemorySource *memory_source_new(Sys *sys, const MemoryTree *tree, const char *facts_json, unsigned threads,
                                uint64_t seed);
Source *memory_source(MemorySource *source);
/* Flips the outcome of fetch: content of this path fails with ERR_CORRUPT in its middle. NULL: never. */
void memory_source_fail_path(MemorySource *source, const char *path);
/* Bytes given to FetchOps.write so far (zero and matching ranges not counted). */
uint64_t memory_source_written(MemorySource *source);
size_t memory_source_notices(MemorySource *source, NoticeLevel level, const char *text);
void memory_source_free(MemorySource *take);

#endif
