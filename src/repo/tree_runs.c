#include "repo/tree_runs.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/entry.h"
#include "base/mem.h"
#include "sys/fs.h"

enum {
  MEMORY_MIN = 4096,
  SPILL_CHUNK = 256 * 1024,
  READ_CHUNK_MIN = 4096,
  READ_CHUNK_MAX = 1024 * 1024,
  RECORD_HEAD = 8, /* u32 path length, u32 body length, in the scratch file */
};

typedef struct Record {
  size_t at; /* in the arena: path, then body */
  uint32_t path_len, body_len;
} Record;

/* A sorted run: a range of the scratch file, or (the last one) the arena. */
typedef struct Run {
  bool in_memory;
  uint64_t at, end; /* scratch file: not yet read */
  size_t next;      /* arena: the next record */
  Buf buf;
  size_t buf_at;
  Bytes path, body; /* the record it stands at */
} Run;

struct TreeRuns {
  const char *scratch_dir;
  size_t memory_bytes;
  Buf arena;
  Record *records;
  size_t records_len, records_cap;
  bool ascending; /* the records in the arena are in order */
  int fd;         /* -1: nothing spilled */
  uint64_t file_len;
  Run *runs;
  size_t runs_len, runs_cap;
  size_t *heap; /* runs by the path they stand at */
  size_t heap_len;
  bool started; /* heap[0] has been given out */
};

TreeRuns *tree_runs_new(const char *scratch_dir, size_t memory_bytes) {
  TreeRuns *r = NEW(TreeRuns);
  r->scratch_dir = scratch_dir;
  r->memory_bytes = memory_bytes < MEMORY_MIN ? MEMORY_MIN : memory_bytes;
  r->ascending = true;
  r->fd = -1;
  return r;
}

void tree_runs_free(TreeRuns *take) {
  if (!take) return;
  if (take->fd >= 0) close(take->fd);
  for (size_t i = 0; i < take->runs_len; i++) buf_free(&take->runs[i].buf);
  buf_free(&take->arena);
  free(take->records);
  free(take->runs);
  free(take->heap);
  free(take);
}

/* ---- collecting ---------------------------------------------------------------------------------------------------
 */

static Bytes record_path(const TreeRuns *r, const Record *record) {
  return bytes(r->arena.data + record->at, record->path_len);
}

static int record_compare(const void *a, const void *b, void *ctx) {
  const TreeRuns *r = (const TreeRuns *)ctx;
  return entry_path_compare(record_path(r, (const Record *)a), record_path(r, (const Record *)b));
}

static void runs_sort_arena(TreeRuns *r) {
  if (!r->ascending) qsort_r(r->records, r->records_len, sizeof r->records[0], record_compare, r);
  r->ascending = true;
}

static Run *runs_append(TreeRuns *r) {
  if (r->runs_len == r->runs_cap) {
    r->runs_cap = r->runs_cap ? r->runs_cap * 2 : 8;
    r->runs = (Run *)mem_resize(r->runs, r->runs_cap, sizeof r->runs[0]);
  }
  Run *run = &r->runs[r->runs_len++];
  *run = (Run){0};
  return run;
}

static Error *scratch_open(TreeRuns *r) {
  if (r->fd >= 0) return NULL;
  Error *unnamed AUTO_ERR = fs_open(r->scratch_dir, O_TMPFILE | O_RDWR, 0600, &r->fd);
  if (!unnamed) return NULL;
  /* Not every file system can do that: a name, then, removed at once. */
  char *path AUTO_FREE = fs_join(r->scratch_dir, "tree-XXXXXX");
  r->fd = mkostemp(path, O_CLOEXEC);
  if (r->fd < 0) return err_wrap(STEAL(unnamed), "creating a scratch file in %s", r->scratch_dir);
  unlink(path);
  return NULL;
}

static Error *scratch_write(TreeRuns *r, Buf *chunk) {
  Error *err = fs_write_at(r->fd, r->scratch_dir, chunk->data, chunk->len, r->file_len);
  if (err) {
    err = err_wrap(err, "writing a scratch file");
    return err_hint(err, "free some space there, or name another scratch folder");
  }
  r->file_len += chunk->len;
  buf_clear(chunk);
  return NULL;
}

static Error *runs_spill(TreeRuns *r) {
  TRY(scratch_open(r));
  runs_sort_arena(r);
  uint64_t start = r->file_len;
  Buf chunk AUTO_BUF = {0};
  for (size_t i = 0; i < r->records_len; i++) {
    const Record *record = &r->records[i];
    buf_put_u32(&chunk, record->path_len);
    buf_put_u32(&chunk, record->body_len);
    buf_add(&chunk, r->arena.data + record->at, (size_t)record->path_len + record->body_len);
    if (chunk.len >= SPILL_CHUNK) TRY(scratch_write(r, &chunk));
  }
  if (chunk.len) TRY(scratch_write(r, &chunk));
  Run *run = runs_append(r);
  run->at = start;
  run->end = r->file_len;
  buf_clear(&r->arena);
  r->records_len = 0;
  return NULL;
}

Error *tree_runs_add(TreeRuns *r, Bytes path, Bytes body) {
  if (path.len > UINT32_MAX || body.len > UINT32_MAX) return err_new(ERR_LIMIT, "sorting the tree: a record too large");
  size_t used = r->arena.len + r->records_len * sizeof(Record) + path.len + body.len;
  if (r->records_len > 0 && used > r->memory_bytes) TRY(runs_spill(r));
  if (r->records_len == r->records_cap) {
    r->records_cap = r->records_cap ? r->records_cap * 2 : 64;
    r->records = (Record *)mem_resize(r->records, r->records_cap, sizeof r->records[0]);
  }
  if (r->records_len > 0 && r->ascending)
    r->ascending = entry_path_compare(record_path(r, &r->records[r->records_len - 1]), path) <= 0;
  r->records[r->records_len++] =
      (Record){.at = r->arena.len, .path_len = (uint32_t)path.len, .body_len = (uint32_t)body.len};
  buf_add(&r->arena, path.data, path.len);
  buf_add(&r->arena, body.data, body.len);
  return NULL;
}

/* ---- merging ------------------------------------------------------------------------------------------------------
 */

/* Makes `need` unread bytes available in the run's buffer. */
static Error *run_fill(TreeRuns *r, Run *run, size_t need) {
  size_t have = run->buf.len - run->buf_at;
  if (have >= need) return NULL;
  if (have) memmove(run->buf.data, run->buf.data + run->buf_at, have);
  run->buf.len = have;
  run->buf_at = 0;
  size_t chunk = r->memory_bytes / r->runs_len;
  if (chunk < READ_CHUNK_MIN) chunk = READ_CHUNK_MIN;
  if (chunk > READ_CHUNK_MAX) chunk = READ_CHUNK_MAX;
  if (chunk < need - have) chunk = need - have;
  if (chunk > run->end - run->at) chunk = (size_t)(run->end - run->at);
  if (chunk < need - have) return err_new(ERR_CORRUPT, "reading a scratch file: it ends too early");
  TRY(fs_read_at(r->fd, r->scratch_dir, buf_grow(&run->buf, chunk), chunk, run->at));
  run->at += chunk;
  return NULL;
}

/* Stands at the run's next record; *more is false behind the last. */
static Error *run_next(TreeRuns *r, Run *run, bool *more) {
  if (run->in_memory) {
    *more = run->next < r->records_len;
    if (!*more) return NULL;
    const Record *record = &r->records[run->next++];
    run->path = record_path(r, record);
    run->body = bytes(r->arena.data + record->at + record->path_len, record->body_len);
    return NULL;
  }
  *more = run->at < run->end || run->buf_at < run->buf.len;
  if (!*more) return NULL;
  TRY(run_fill(r, run, RECORD_HEAD));
  size_t path_len = load_u32(run->buf.data + run->buf_at);
  size_t body_len = load_u32(run->buf.data + run->buf_at + 4);
  TRY(run_fill(r, run, RECORD_HEAD + path_len + body_len));
  run->path = bytes(run->buf.data + run->buf_at + RECORD_HEAD, path_len);
  run->body = bytes(run->path.data + path_len, body_len);
  run->buf_at += RECORD_HEAD + path_len + body_len;
  return NULL;
}

static bool heap_less(const TreeRuns *r, size_t a, size_t b) {
  return entry_path_compare(r->runs[r->heap[a]].path, r->runs[r->heap[b]].path) < 0;
}

static void heap_swap(TreeRuns *r, size_t a, size_t b) {
  size_t run = r->heap[a];
  r->heap[a] = r->heap[b];
  r->heap[b] = run;
}

static void heap_sift_down(TreeRuns *r) {
  for (size_t at = 0;;) {
    size_t least = at;
    for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < r->heap_len; child++)
      if (heap_less(r, child, least)) least = child;
    if (least == at) return;
    heap_swap(r, at, least);
    at = least;
  }
}

static void heap_add(TreeRuns *r, size_t run) {
  size_t at = r->heap_len++;
  r->heap[at] = run;
  while (at > 0 && heap_less(r, at, (at - 1) / 2)) {
    heap_swap(r, at, (at - 1) / 2);
    at = (at - 1) / 2;
  }
}

Error *tree_runs_sort(TreeRuns *r) {
  runs_sort_arena(r);
  if (r->records_len > 0) runs_append(r)->in_memory = true;
  r->heap = NEW_ARRAY(size_t, r->runs_len);
  for (size_t i = 0; i < r->runs_len; i++) {
    bool more;
    TRY(run_next(r, &r->runs[i], &more));
    if (more) heap_add(r, i);
  }
  return NULL;
}

Error *tree_runs_next(TreeRuns *r, Bytes *path, Bytes *body, bool *found) {
  if (r->started && r->heap_len > 0) {
    bool more;
    TRY(run_next(r, &r->runs[r->heap[0]], &more));
    if (!more) r->heap[0] = r->heap[--r->heap_len];
    heap_sift_down(r);
  }
  r->started = true;
  *found = r->heap_len > 0;
  if (!*found) return NULL;
  const Run *run = &r->runs[r->heap[0]];
  *path = run->path;
  *body = run->body;
  return NULL;
}
