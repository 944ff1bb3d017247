/* rotate.h: the logs preset's `x.log` -> `x.log.1` -> `x.log.2.gz`, so that a log is not stored twice.
 *
 * A gzip file whose content the parent snapshot already holds under a name of the same log (`app.log.2.gz` holds what
 * `app.log.1` held) is stored as that content, under its name without ".gz", and costs nothing new. What is needed to
 * make the gzip file again is recorded beside it, and a restore does so: the content is the same to the bit, the
 * compressed bytes may differ. A gzip file that is not recognised is stored as it is.
 */
#ifndef HF_ENGINE_FILES_ROTATE_H
#define HF_ENGINE_FILES_ROTATE_H

#include "engine/files/read.h"

/* *handled false: store the file as any other. The other results are as of reader_store, under the shorter name. */
Error *rotate_store(Reader *reader, const ReadItem *item, bool *handled) NODISCARD;

/* The record of a recognised rotation, as the attribute ROTATE_XATTR of its entry. */
#define ROTATE_XATTR ATTR_OWN_PREFIX "gzip"

typedef struct RotateRecord {
  uint64_t size;  /* of the gzip file */
  uint32_t mtime; /* as in its header */
  uint8_t level;  /* the header's XFL: 2 best, 4 fastest, 0 neither */
  uint8_t os;     /* the header's OS */
  Bytes name;     /* the original's name in the header, empty when there is none; borrowed */
} RotateRecord;

/* False when the entry is none, or the record is malformed. Pure. */
bool rotate_record_parse(Bytes value, RotateRecord *out);
bool rotate_record_of(const Entry *entry, RotateRecord *out);

/* Compresses `from` (its whole content) into `to`, an empty file, as the record says. */
Error *rotate_pack(int from_fd, int to_fd, const RotateRecord *record, const char *name) NODISCARD;

/* CRC-32 and length of what a gzip file (or any other: as it is) holds. False when it cannot be read. */
bool rotate_content_sum(int fd, uint32_t *out_crc, uint64_t *out_len);

#endif
