/* data_db.h: a shop's database in SQLite, filled to a size, written to, changed at random places, and summed up.
 *
 * Every transaction of data_db_step and data_db_touch writes one row of the table `ledger` with the next sequence
 * number, and keeps a digest over all rows of all tables that does not depend on their order. So a copy that was made
 * while somebody wrote can be proven equal to the state after one transaction: data_db_digest of the copy gives a
 * sequence number and a digest, and the writer has noted which digest belongs to that number.
 *
 * Failures end the process with a message: these are tools of tests and benchmarks.
 */
#ifndef HF_BENCH_DATA_DB_H
#define HF_BENCH_DATA_DB_H

#include <stdbool.h>
#include <stdint.h>

typedef struct DataDigest {
  uint64_t sequence; /* the newest row of `ledger` */
  uint64_t rows;
  uint64_t sum[2];
} DataDigest;

typedef struct DataDb DataDb;

/* A new database of about size_bytes. `journal` is "wal" or "delete". */
void data_db_create(const char *path, uint64_t size_bytes, uint64_t seed, const char *journal);
/* For changes; computes the digest of what is there. */
DataDb *data_db_open(const char *path, uint64_t seed);
void data_db_close(DataDb *take);
/* One transaction of an application: a few new rows, a few changed ones. */
DataDigest data_db_step(DataDb *db);
/* One transaction that changes about `percent` of the pages, one row in each, chosen at random; returns their number
 * through *rows. */
DataDigest data_db_touch(DataDb *db, double percent, uint64_t seed, uint64_t *rows);
/* Of a database nobody is asked to change; `check` runs integrity_check first. */
DataDigest data_db_digest(const char *path, bool check);

#endif
