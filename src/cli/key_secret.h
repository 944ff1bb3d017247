/* key_secret.h: the secret of a new key slot, from the options that name it or from the terminal; and the recovery code
 * as somebody types it. */
#ifndef HF_CLI_KEY_SECRET_H
#define HF_CLI_KEY_SECRET_H

#include "cli/context.h"
#include "repo/slot.h"

typedef struct NewSecret {
  SlotKind kind;
  uint8_t *data; /* secret memory; a recovery code is ended by NUL, which does not count */
  size_t len;
  const char *made; /* a key file that did not exist before; borrowed from the options */
} NewSecret;

/* --new-key-file (made when it is not there), --new-passphrase-file, --new-recovery-code; with none of them a
 * passphrase is asked for, twice. */
Error *new_secret_read(CliContext *ctx, NewSecret *out) NODISCARD;
/* `unused`: no slot came to use it, so a key file that was made is removed again. */
void new_secret_free(NewSecret *secret, bool unused);

/* A new recovery code, as NewSecret has it. */
void new_secret_code(Sys *sys, NewSecret *out);

/* --recovery-code-file, else the terminal; in its normal form. ERR_USAGE when it is mistyped. */
Error *recovery_code_read(CliContext *ctx, uint8_t **out, size_t *out_len) NODISCARD;
void recovery_code_wipe(uint8_t *take);

#endif
