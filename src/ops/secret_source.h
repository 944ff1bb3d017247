/* secret_source.h: where a secret is read from. Configuration names places, never secrets. */
#ifndef HF_OPS_SECRET_SOURCE_H
#define HF_OPS_SECRET_SOURCE_H

#include "sys/cancel.h"

typedef struct SecretSource { /* owned by the configuration; exactly one is set */
  char *file;                 /* a path */
  char *env;                  /* a variable of this process */
  char *command;              /* run by /bin/sh; its standard output is the secret */
} SecretSource;

enum { SECRET_SOURCE_MAX = 64 * 1024 };

/* *out is secret memory of *out_len bytes, to be freed with secret_free. One newline at the end is dropped unless
 * `raw` (a key file's bytes are taken as they are). *out_open (may be NULL) is set when others may read the file.
 * ERR_USAGE when nothing or an empty secret is there; never the secret in a text. */
Error *secret_source_read(Sys *sys, const SecretSource *source, bool raw, const Cancel *cancel, uint8_t **out,
                          size_t *out_len, bool *out_open) NODISCARD;

/* Takes a variable that holds a secret out of the environment, so that no child sees it; secret_source_read still finds
 * it. For the time before threads and children. NULL, and sources that are no variable, are fine. */
void secret_source_hide(const SecretSource *source);

/* "file /etc/holdfast/key", "variable NAME", "command pass …" (arguments may be secrets, so only the program). Owned.
 */
char *secret_source_describe(const SecretSource *source);

#endif
