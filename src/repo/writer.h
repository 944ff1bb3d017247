/* writer.h: one backup into one repository: the session, the pipeline that turns bytes into frames, and the commit.
 *
 * An engine's threads fill blocks (writer_stream_buffer) and hand them over (writer_stream_write); worker threads hash,
 * look up, compress and seal; packs are written by threads of their own. All queues are bounded and all blocks
 * allocated at the start.
 *
 *   writer_begin → (writer_add | writer_keep | stream …)* → writer_commit | writer_abort
 *
 * Nothing exists until writer_commit returned. Dropping a Writer leaves at worst packs that nobody references, and what
 * was published in index segments is found again by the next backup: that is all there is to resuming.
 */
#ifndef HF_REPO_WRITER_H
#define HF_REPO_WRITER_H

#include "base/progress.h"
#include "codec/compress.h"
#include "repo/snapshot.h"

typedef struct Writer Writer;
typedef struct WriterStream WriterStream;

enum { WRITER_MEMORY_MIN = 48 * 1024 * 1024 }; /* what one worker and one reader need, with a light compressor */
/* The same with this one. */
uint64_t writer_memory_min(Compression c);
enum { WRITER_BLOCK_SIZE = 2 * 1024 * 1024, SMALL_FILE_MAX = 64 * 1024, BUNDLE_SIZE = 256 * 1024 };

typedef struct WriterOptions {
  const Series *series;   /* borrowed until begin returns */
  const Snapshot *parent; /* NULL: nothing is known unchanged; borrowed until the writer ends */
  Compression compression;
  unsigned workers;      /* threads that hash, compress and seal; 0: one a processor */
  unsigned readers;      /* streams open at the same time, at most */
  uint64_t pack_size;    /* 0: 64 MiB */
  uint64_t memory_bytes; /* buffers together; fewer workers where they do not fit; 0: no limit, >= writer_memory_min */
  const char *scratch_dir; /* for sorted runs; borrowed until the writer ends */
  const char *host;
  Progress *progress; /* may be NULL */
} WriterOptions;

Error *writer_begin(Repo *repo, const WriterOptions *options, Writer **out, Cancel *cancel) NODISCARD;
/* False also when the parent given needs something that is lost in the repository: everything is read then, and what
 * was lost is stored again. */
bool writer_has_parent(const Writer *w);

typedef struct ParentFile {
  EntryType type;
  uint32_t mode;
  int64_t mtime_ns, ctime_ns;
  uint64_t inode, device, size;
  uint64_t read_ns;
  bool has_pages; /* its content is a page map */
  Entry *holder;  /* its extended attributes, in an entry with nothing else; NULL: none. Owned: entry_free */
} ParentFile;
/* Thread-safe. *found false without a (trustworthy) parent. */
Error *writer_parent(Writer *w, Bytes path, ParentFile *out, bool *found) NODISCARD;

/* Thread-safe. */
Error *writer_add(Writer *w, const Entry *entry) NODISCARD;
/* The parent's content under entry's attributes. ERR_REFUSED when the parent has none there. */
Error *writer_keep(Writer *w, const Entry *entry) NODISCARD;

typedef struct WriterStreamSpec {
  Bytes path;
  bool pages;         /* a page file */
  uint64_t size_hint; /* UINT64_MAX: unknown */
  uint64_t read_ns;   /* when reading began */
} WriterStreamSpec;
/* A stream belongs to one thread. Contracts of the calls as in engine.h's SinkOps. */
Error *writer_stream_open(Writer *w, const WriterStreamSpec *spec, WriterStream **out) NODISCARD;
Error *writer_stream_buffer(WriterStream *s, uint8_t **out, size_t *out_cap) NODISCARD;
Error *writer_stream_write(WriterStream *s, size_t len) NODISCARD;
Error *writer_stream_hole(WriterStream *s, uint64_t len) NODISCARD;
Error *writer_stream_keep(WriterStream *s, uint64_t len) NODISCARD;
Error *writer_stream_end(WriterStream *take, const Entry *final) NODISCARD;
void writer_stream_abort(WriterStream *take);

/* Finishes everything and commits. `fields` gives what the caller knows of the snapshot (source, engine, host, address,
 * kind, facts, …); id, series, times, root, parent and stats are filled in. *out owned. Consumes the writer, also on
 * failure. */
Error *writer_commit(Writer *take, const Snapshot *fields, Snapshot *out) NODISCARD;
/* Stops. What is already sealed is published, so that the next backup finds it. NULL is fine. */
void writer_abort(Writer *take, const char *outcome);

#endif
