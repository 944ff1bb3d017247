/* repo_model.h: a repository under test and what it should hold: files kept in memory, backed up and restored through
 * the real writer and restore, over any store. Tests of the engine are histories of these few calls. */
#ifndef HF_TESTS_REPO_MODEL_H
#define HF_TESTS_REPO_MODEL_H

#include "repo/verify.h"
#include "repo/writer.h"

typedef struct ModelFile {
  char *path;
  uint8_t *data;
  size_t len;
  bool pages;
} ModelFile;

typedef struct Model {
  ModelFile *files; /* by path */
  size_t len;
} Model;

void model_free(Model *model);
/* Replaces or adds; data is copied. */
void model_set(Model *model, const char *path, bool pages, const uint8_t *data, size_t len);
Model model_copy(const Model *model);
/* Text-like bytes: compressible, no two blocks equal. */
void model_fill(uint8_t *out, size_t len, uint64_t *seed);

#define MODEL_PASSPHRASE "correct horse"
/* Key file slots: no stretching, so tests are fast. Takes the store. */
Error *model_repo_init(Sys *sys, Store *take_store, const char *cache_dir, Repo **out);
Error *model_repo_open(Sys *sys, Store *take_store, const char *cache_dir, Repo **out);

typedef struct ModelBackup {
  const char *source;      /* series name */
  bool full;               /* no parent */
  unsigned workers;        /* 0: 2 */
  uint64_t pack_size;      /* 0: 64 KiB, so that tests have many packs */
  const char *compression; /* NULL: zstd:1 */
} ModelBackup;

/* Backs the model up; NULL and *out on success. */
Error *model_backup(Repo *repo, const Model *model, const ModelBackup *how, Snapshot *out, Cancel *cancel);
/* Restores every file of the snapshot into memory and compares with the model: ERR_CHECK_FAILED names the first
 * difference. */
Error *model_compare(Repo *repo, const Snapshot *snapshot, const Model *model, Cancel *cancel);
/* repo_verify at a level; the number of damaged objects in *damaged, the first one's key and reason in *first (owned,
 * may be NULL). */
Error *model_verify(Repo *repo, unsigned level, uint64_t *damaged, char **first);

#endif
