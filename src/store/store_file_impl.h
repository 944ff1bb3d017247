/* store_file_impl.h: what the parts of the file store share: store_file.c (opening, reading, removing),
 * store_file_dir.c (directories), store_file_put.c (writing), store_file_list.c (listing). Private to them. */
#ifndef HF_STORE_STORE_FILE_IMPL_H
#define HF_STORE_STORE_FILE_IMPL_H

#include <sys/stat.h>

#include "base/map.h"
#include "store/store.h"
#include "store/store_fdcache.h"

enum { FILE_DIR_MODE = 0700, FILE_MODE = 0600 };

typedef struct FileStore {
  Store base;
  Sys *sys;
  int root_fd;
  FdCache *readers;
  Mutex lock;   /* guards what follows */
  Map *durable; /* directories whose own name this process has seen synced to disk */
  bool cleaned; /* tmp/ was looked through for what crashed writers left */
} FileStore;

static inline FileStore *file_store_of(Store *store) { return (FileStore *)store; }

/* ENOENT and what a foreign file in the way looks like: ERR_NOT_FOUND "no such object"; else as err_errno. */
Error *file_errno(int errno_value, const char *doing) NODISCARD;

/* The directory that holds `key`, opened component by component so that no symbolic link is followed. */
Error *file_open_dir(FileStore *store, const char *key, int *out_fd) NODISCARD;
/* The same, making what is missing; every directory on the way is durable when it returns. */
Error *file_make_dir(FileStore *store, const char *key, int *out_fd) NODISCARD;
Error *file_open_tmp(FileStore *store, int *out_fd) NODISCARD; /* made when missing */
Error *file_sync_dir(int fd) NODISCARD;
/* Some file systems (FAT, shares of other machines) keep no modes of their own and refuse to change them: what they
 * show is the mounter's choice. Any other error counts. */
bool file_mode_matters(int errno_value);
/* The last component. */
const char *file_leaf(const char *key);

Error *file_put(Store *store, const char *key, Bytes body, PutMode mode, Cancel *cancel) NODISCARD;
Error *file_put_begin(Store *store, const char *key, PutMode mode, StorePut **out, Cancel *cancel) NODISCARD;
Error *file_put_write(StorePut *put, Bytes part, Cancel *cancel) NODISCARD;
Error *file_put_commit(StorePut *take, Cancel *cancel) NODISCARD;
void file_put_abort(StorePut *take);
Error *file_list(Store *store, const char *prefix, StoreVisit *visit, void *ctx, Cancel *cancel) NODISCARD;

static inline uint64_t file_modified_ns(const struct stat *st) {
  if (st->st_mtim.tv_sec < 0) return 0;
  return (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
}

#endif
