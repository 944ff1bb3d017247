/* files_testing.h: scratch directories, and a tree described as text, for the tests of the files engine. Static, since
 * every test is a program of its own. */
#ifndef HF_TESTS_FILES_TESTING_H
#define HF_TESTS_FILES_TESTING_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "sys/fs.h"

#include "engine_memory.h"
#include "testing.h"

/* ---- scratch ---- */

static inline char *scratch_new(void) {
  const char *base = getenv("TMPDIR");
  char *path = mem_printf("%s/holdfast-files-XXXXXX", base ? base : "/tmp");
  if (!mkdtemp(path)) fail_msg("mkdtemp: %s", strerror(errno));
  return path;
}

static inline void scratch_free(char *take) {
  assert_ok(fs_remove_tree(take));
  free(take);
}

/* "a/b" below the directory; freed with it? No: owned by the caller. */
static inline char *at(const char *dir, const char *name) { return mem_printf("%s/%s", dir, name); }

static inline void put_bytes(const char *dir, const char *name, const void *data, size_t len) {
  AUTO_FREE char *path = at(dir, name);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) fail_msg("%s: %s", path, strerror(errno));
  assert_ok(fs_write(fd, path, data, len));
  close(fd);
}

static inline void put(const char *dir, const char *name, const char *text) {
  put_bytes(dir, name, text, strlen(text));
}

static inline void make_dir(const char *dir, const char *name) {
  AUTO_FREE char *path = at(dir, name);
  assert_ok(fs_make_dirs(path, 0755));
}

static inline void put_random(const char *dir, const char *name, size_t len, uint64_t seed) {
  uint8_t *data = (uint8_t *)mem_alloc(len);
  for (size_t i = 0; i < len; i++) data[i] = (uint8_t)test_random(&seed);
  put_bytes(dir, name, data, len);
  free(data);
}

static inline char *get_text(const char *dir, const char *name) {
  AUTO_FREE char *path = at(dir, name);
  Buf text = {0};
  assert_ok(fs_read_file(path, 64 * MIB, &text));
  return buf_steal_str(&text);
}

static inline bool exists_at(const char *dir, const char *name) {
  AUTO_FREE char *path = at(dir, name);
  struct stat st;
  return lstat(path, &st) == 0;
}

/* ---- a tree as text: one line an item, everything that a restore must bring back ---- */

typedef struct Described {
  Buf text;
  struct {
    ino_t inode;
    char *path;
  } linked[256];
  size_t linked_len;
} Described;

static inline void describe_xattrs(Described *out, const char *path) {
  char names[4096];
  ssize_t n = llistxattr(path, names, sizeof names);
  for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
    uint8_t value[4096];
    ssize_t len = lgetxattr(path, name, value, sizeof value);
    buf_printf(&out->text, " %s=", name);
    for (ssize_t i = 0; i < len; i++) buf_printf(&out->text, "%02x", value[i]);
  }
}

static inline void describe_content(Described *out, const char *path) {
  uint64_t sum = UINT64_C(14695981039346656037);
  uint8_t block[65536];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    buf_add_str(&out->text, " unreadable");
    return;
  }
  for (ssize_t n; (n = read(fd, block, sizeof block)) > 0;) {
    for (ssize_t i = 0; i < n; i++) sum = (sum ^ block[i]) * UINT64_C(1099511628211);
  }
  close(fd);
  buf_printf(&out->text, " sum=%016" PRIx64, sum);
}

/* The first path of an inode with several names. */
static inline const char *describe_first(Described *out, const struct stat *st, const char *rel) {
  if (S_ISDIR(st->st_mode) || st->st_nlink < 2) return NULL;
  for (size_t i = 0; i < out->linked_len; i++) {
    if (out->linked[i].inode == st->st_ino) return out->linked[i].path;
  }
  assert_true(out->linked_len < NELEMS(out->linked));
  out->linked[out->linked_len].inode = st->st_ino;
  out->linked[out->linked_len++].path = mem_strdup(rel);
  return NULL;
}

static inline int describe_compare(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static inline void describe_below(Described *out, const char *root, const char *rel);

static inline void describe_one(Described *out, const char *root, const char *rel) {
  AUTO_FREE char *path = *rel ? at(root, rel) : mem_strdup(root);
  struct stat st;
  assert_int_equal(lstat(path, &st), 0);
  AUTO_FREE char *shown = str_printable(bytes_str(rel));
  buf_printf(&out->text, "%s|%06o %u:%u", shown, st.st_mode, st.st_uid, st.st_gid);
  buf_printf(&out->text, " %lld.%09ld", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  const char *first = describe_first(out, &st, rel);
  if (first) buf_printf(&out->text, " link=%s", first);
  describe_xattrs(out, path);
  if (S_ISREG(st.st_mode)) {
    buf_printf(&out->text, " size=%lld", (long long)st.st_size);
    describe_content(out, path);
  } else if (S_ISLNK(st.st_mode)) {
    char target[4096] = {0};
    assert_true(readlink(path, target, sizeof target - 1) >= 0);
    buf_printf(&out->text, " -> %s", target);
  } else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
    buf_printf(&out->text, " rdev=%llx", (unsigned long long)st.st_rdev);
  }
  buf_add_str(&out->text, "\n");
  if (S_ISDIR(st.st_mode)) describe_below(out, root, rel);
}

static inline void describe_below(Described *out, const char *root, const char *rel) {
  AUTO_FREE char *path = *rel ? at(root, rel) : mem_strdup(root);
  DIR *dir = opendir(path);
  if (!dir) return;
  char **names = NULL;
  size_t len = 0;
  for (struct dirent *entry; (entry = readdir(dir));) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    names = (char **)mem_resize(names, len + 1, sizeof *names);
    names[len++] = mem_strdup(entry->d_name);
  }
  closedir(dir);
  if (len) qsort(names, len, sizeof *names, describe_compare);
  for (size_t i = 0; i < len; i++) {
    AUTO_FREE char *below = *rel ? at(rel, names[i]) : mem_strdup(names[i]);
    describe_one(out, root, below);
    free(names[i]);
  }
  free(names);
}

static inline char *describe(const char *root) {
  Described out = {0};
  describe_one(&out, root, "");
  for (size_t i = 0; i < out.linked_len; i++) free(out.linked[i].path);
  return buf_steal_str(&out.text);
}

/* ---- backup and restore in one call ---- */

typedef struct Job {
  SourceSpec spec;
  BackupPlan plan;
  RestorePlan restore;
  const MemoryTree *parent;
  void (*prepare)(struct Job *job, MemorySink *sink);
  void *ctx;
  unsigned threads; /* of the restore */
  /* results */
  MemoryTree *tree;
  EngineFacts facts;
  size_t info, warnings, partial; /* notices of the last backup or restore */
  size_t aborted;
  uint64_t written;          /* by the last restore */
  const char *expect_notice; /* must be among the partial ones when set */
} Job;

static inline Job job_new(const char *path) {
  Job job = {.spec = {.type = "files"},
             .plan = {.mode = BACKUP_INCREMENTAL, .readers = 1, .started_ns = sys_now_ns(sys_real())},
             .restore = {.owners = geteuid() == 0, .no_sync = true},
             .threads = 2};
  strlist_add(&job.spec.paths, path);
  return job;
}

static inline void job_reset(Job *job) {
  memory_tree_free(job->tree);
  job->tree = NULL;
  engine_facts_free(&job->facts);
}

static inline void job_free(Job *job) {
  job_reset(job);
  strlist_free(&job->spec.paths);
  strlist_free(&job->spec.include);
  strlist_free(&job->spec.exclude);
  strlist_free(&job->restore.only);
}

static inline Error *job_try_backup(Job *job) {
  Engine *engine = NULL;
  TRY(files_engine_open(sys_real(), &job->spec, &engine));
  MemorySink *sink = memory_sink_new(sys_real(), job->parent);
  if (job->prepare) job->prepare(job, sink);
  job_reset(job);
  Error *err = engine->ops->backup(engine, &job->plan, memory_sink(sink), &job->facts, NULL);
  job->info = memory_sink_notices(sink, NOTICE_INFO, NULL);
  job->warnings = memory_sink_notices(sink, NOTICE_WARNING, NULL);
  job->partial = memory_sink_notices(sink, NOTICE_PARTIAL, NULL);
  job->aborted = memory_sink_aborted(sink);
  if (job->expect_notice) assert_true(memory_sink_notices(sink, NOTICE_PARTIAL, job->expect_notice) > 0);
  job->tree = memory_sink_finish(sink);
  engine->ops->free(engine);
  return err;
}

static inline void job_backup(Job *job) { assert_ok(job_try_backup(job)); }

static inline Error *job_try_restore(Job *job, const char *target) {
  Engine *engine = NULL;
  SourceSpec spec = {.type = "files"};
  TRY(files_engine_open(sys_real(), &spec, &engine));
  MemorySource *source = memory_source_new(sys_real(), job->tree, job->facts.json, job->threads, 7);
  job->restore.target = target;
  Error *err = engine->ops->restore(engine, &job->restore, memory_source(source), NULL);
  job->info = memory_source_notices(source, NOTICE_INFO, NULL);
  job->warnings = memory_source_notices(source, NOTICE_WARNING, NULL);
  job->partial = memory_source_notices(source, NOTICE_PARTIAL, NULL);
  job->written = memory_source_written(source);
  if (!err && job->expect_notice) assert_true(memory_source_notices(source, NOTICE_PARTIAL, job->expect_notice) > 0);
  memory_source_free(source);
  engine->ops->free(engine);
  return err;
}

static inline void job_restore(Job *job, const char *target) { assert_ok(job_try_restore(job, target)); }

static inline uint64_t job_fact(const Job *job, const char *key) {
  AUTO_FREE char *quoted = mem_printf("\"%s\":", key);
  const char *at_key = strstr(job->facts.json, quoted);
  if (!at_key) fail_msg("no %s in %s", key, job->facts.json);
  return strtoull(at_key + strlen(quoted), NULL, 10);
}

#endif
