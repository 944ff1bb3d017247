/* export_file.h: where an export goes: a new file that appears whole or not at all, or a descriptor (standard output);
 * compressed on the way. */
#ifndef HF_OPS_EXPORT_FILE_H
#define HF_OPS_EXPORT_FILE_H

#include "codec/compress.h"
#include "sys/sys.h"

typedef struct ExportFile ExportFile;

/* `path` is absolute. ERR_NOT_EMPTY when it exists; the folders above it are made. Until it is finished the content
 * stands beside it under a temporary name, readable by its owner only, as it stays. */
Error *export_file_create(Sys *sys, const char *path, Compression compression, ExportFile **out) NODISCARD;
/* An open descriptor (borrowed); `name` is for messages. */
ExportFile *export_file_to(int fd, const char *name, Compression compression);
/* Every byte arrives or the call fails: ERR_NO_SPACE, ERR_IO for a reader that left. */
Error *export_file_write(ExportFile *file, Bytes part) NODISCARD;
/* Completes, makes durable and names the file. Consumes it, also on failure. */
Error *export_file_finish(ExportFile *take, uint64_t *out_written) NODISCARD;
void export_file_abort(ExportFile *take); /* nothing is left; NULL is fine */

#endif
