/* secret.h: memory for keys: guard pages around it, locked where allowed, left out of core dumps, wiped when freed. */
#ifndef HF_CODEC_SECRET_H
#define HF_CODEC_SECRET_H

#include "base/error.h"

/* Once at start, before threads: initialises libsodium, turns core dumps off for the process. Idempotent. */
void secret_init(void);
void *secret_alloc(size_t len); /* zeroed */
void secret_free(void *take);
void secret_wipe(void *data, size_t len);
bool secret_equal(const void *a, const void *b, size_t len); /* constant time */
/* Reads a secret from a file: at most 64 KiB, one trailing newline dropped (`keep_newline` false); refuses an empty
 * file. Warns through *out_mode_open when others may read it. *out is secret memory, *out_len its length. */
Error *secret_read_file(const char *path, bool keep_newline, uint8_t **out, size_t *out_len,
                        bool *out_mode_open) NODISCARD;

#endif
