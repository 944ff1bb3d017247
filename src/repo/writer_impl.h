/* writer_impl.h: what the files of the writer share. writer.c: session and commit; writer_stream.c: from bytes to jobs;
 * writer_work.c: the workers, from jobs to frames, and back into each stream's order. */
#ifndef HF_REPO_WRITER_IMPL_H
#define HF_REPO_WRITER_IMPL_H

#include <stdatomic.h>

#include "codec/chunker.h"
#include "repo/frames.h"
#include "repo/packer.h"
#include "repo/pagemap.h"
#include "repo/writer.h"
#include "sys/queue.h"

typedef enum JobKind { JOB_PIECE, JOB_PAGES, JOB_HOLE, JOB_END, JOB_BUNDLE } JobKind;

typedef enum FrameFate {
  FATE_WHOLE,     /* stored (or known) as a frame of its own */
  FATE_UNCHANGED, /* page files: inherited from the parent */
  FATE_DELTA,     /* page files: some pages changed */
} FrameFate;

/* One frame on its way. Lives in its block; the block is free again when all its jobs are done and taken in order. */
typedef struct Job {
  JobKind kind;
  WriterStream *stream; /* NULL: a bundle */
  struct Block *block;
  struct Bundle *bundle;
  uint8_t *data;
  uint32_t len;
  uint64_t frame;    /* JOB_PAGES: number in the file */
  uint64_t hole_len; /* JOB_HOLE */
  bool has_parent;
  FrameView parent;
  /* results */
  FrameFate fate;
  bool hole;
  FrameId id;
  uint64_t prints[PAGES_PER_FRAME];
  uint8_t changed[PAGES_PER_FRAME];
  uint32_t changed_len;
  bool done;
  struct Job *next; /* in the stream's order */
} Job;

enum { BLOCK_JOBS = WRITER_BLOCK_SIZE / (64 * 1024) + 2 };

typedef struct Block {
  uint8_t *data;
  Job jobs[BLOCK_JOBS];
  unsigned jobs_len;
  atomic_uint refs; /* unfinished jobs, and one while a stream fills it */
  struct Block *next;
} Block;

/* Small files gathered into one frame. */
typedef struct BundleFile {
  Entry *entry;
  uint32_t offset, len;
  uint8_t hash[16];
  uint64_t read_ns;
} BundleFile;

typedef struct Bundle {
  uint8_t *data; /* BUNDLE_SIZE */
  uint32_t len;
  BundleFile *files;
  size_t files_len, files_cap;
  Job job;
  struct Bundle *next;
} Bundle;

/* A page is stored again for every so many that changed, at most. */
enum { AGAIN_SHARE = 20 };

/* Pages on their way into a delta frame. */
typedef struct Gather {
  uint8_t data[DELTA_PAGES_MAX * PAGE_SIZE];
  uint32_t pages;
  uint64_t delta; /* its number in the new layer */
  struct Gather *next;
} Gather;

struct WriterStream {
  Writer *writer;
  bool pages;
  uint64_t size_hint, read_ns;
  char *path_text; /* printable, for messages */
  uint8_t *path;
  size_t path_len;
  /* the reading side: one thread */
  Block *block;   /* being filled */
  size_t used;    /* bytes of the block that jobs cover or that wait for a cut */
  size_t pending; /* of these, at the end: not yet cut into a piece */
  uint64_t position;
  bool has_parent_content;
  Content parent_content;
  PageMap *parent_map;
  PageMapLive *parent_live;
  PageMapPrints *parent_prints;
  /* the order side: under lock */
  Mutex lock;
  Job *head, *tail;
  bool ended;   /* the last job was taken */
  bool aborted; /* nothing of it will be in the tree */
  Entry *final;
  ContentBuilder *content;
  PageMapBuilder *map;
  Gather *gather, *gather_again; /* of changed pages, and of those stored again: they change at different times */
  Gather *free_gathers, *full_gathers;
  uint64_t deltas;
  unsigned deltas_out;             /* gathers being stored */
  uint64_t new_pages, again_pages; /* changed so far, and stored again */
  uint64_t again_first;            /* as many may be before anything that changed was seen */
};

struct Writer {
  Repo *repo;
  WriterOptions options;
  Cancel *cancel;
  Session session;
  uint64_t started_mono_ns;
  Index *index;
  FrameReader *reader;
  Chunker chunker;
  uint64_t zero_prints[PAGES_PER_FRAME];

  Mutex parent_lock;
  TreeCursor *parent;

  Mutex lock; /* blocks, bundles, counters below */
  Cond free_block;
  Cond idle;
  Block *blocks, *free_blocks;
  unsigned blocks_len;
  unsigned data_parts, meta_parts;
  size_t tree_bytes;
  Bundle *free_bundles;
  unsigned bundles_out;
  unsigned streams_open; /* opened and not finished */
  Error *failed;

  Mutex bundle_lock; /* bundle; taken before lock */
  Bundle *bundle;

  Mutex tree_lock;
  TreeBuilder *tree;
  uint64_t files;

  Queue *jobs;
  Thread **threads;
  unsigned threads_len;

  Mutex packers_lock;
  Packer *data, *meta;
  Mutex segment_lock;
  SegmentBuilder *segment;
  bool finishing; /* nothing more comes but what is open */
  unsigned packs_waiting, packs_published;
  uint64_t index_bytes;
  Mutex beat_lock;
  uint64_t last_beat_ns;

  FrameSink sink; /* metadata frames */
  Mutex metas_lock;
  struct MetaContext *metas;

  _Atomic uint64_t read_bytes, new_bytes;
  atomic_int auto_level;
  int auto_level_max;
};

/* A thread's own contexts. */
typedef struct WorkContext {
  Writer *writer;
  Sealer *sealer;
  Compressor *compressor;
  uint8_t *packed;
  size_t packed_cap;
} WorkContext;

void work_context_init(WorkContext *ctx, Writer *w, size_t largest);
void work_context_free(WorkContext *ctx);
/* Hashes, and stores unless known. */
Error *work_store(WorkContext *ctx, FrameType type, Bytes raw, const FrameId *id);

void writer_fail(Writer *w, Error *take);
Error *writer_failure(Writer *w) NODISCARD; /* a copy, or NULL */
Error *writer_packer(Writer *w, FrameType type, Packer **out) NODISCARD;
Error *writer_tree_add(Writer *w, const Entry *entry, const Content *content, uint64_t read_ns) NODISCARD;
Block *writer_block_take(Writer *w); /* NULL when the writer failed */
void block_release(Writer *w, Block *block);
Error *writer_beat(Writer *w) NODISCARD;

/* writer_prove.c: ERR_CORRUPT when the tree names a frame that is in no present pack. */
Error *writer_prove(Writer *w, const TreeRoot *root) NODISCARD;

/* writer_work.c */
Error *work_start(Writer *w) NODISCARD;
void work_stop(Writer *w);
Error *writer_bundle_flush(Writer *w) NODISCARD;
Error *writer_bundle_add(Writer *w, const Entry *entry, Bytes data, const uint8_t hash[16], uint64_t read_ns) NODISCARD;
void stream_free(WriterStream *s);
Error *meta_sink_put(FrameSink *sink, FrameType type, Bytes raw, FrameId *out) NODISCARD;
void metas_free(Writer *w);

#endif
