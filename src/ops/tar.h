/* tar.h: a tar archive (POSIX pax format) of entries, written as a stream that GNU tar, bsdtar and Python read.
 *
 * What an old tar header cannot hold goes into a pax record before it: paths and link targets beyond 100 bytes or not
 * ASCII, sizes from 8 GiB, times with fractions, large ids, extended attributes (SCHILY.xattr.*, ACLs among them). A
 * path or target with a NUL cannot occur; any other bytes are written as they are.
 */
#ifndef HF_OPS_TAR_H
#define HF_OPS_TAR_H

#include "base/entry.h"
#include "base/error.h"

typedef struct TarWriter TarWriter;
typedef Error *TarWrite(void *ctx, Bytes part);

TarWriter *tar_new(TarWrite *write, void *ctx);
void tar_free(TarWriter *take);
/* Begins an entry: its headers. Of files entry->size bytes of content must follow by tar_data. The root (empty path)
 * becomes ".". Sockets have no place in a tar: ERR_UNSUPPORTED, nothing is written. */
Error *tar_begin(TarWriter *tar, const Entry *entry) NODISCARD;
/* ERR_CORRUPT when it is more than the entry's size. */
Error *tar_data(TarWriter *tar, Bytes part) NODISCARD;
/* Ends an entry. ERR_CORRUPT when content is missing. */
Error *tar_end(TarWriter *tar) NODISCARD;
/* The end of the archive. */
Error *tar_finish(TarWriter *tar) NODISCARD;

#endif
