/* secrets.h: what may open a repository, from wherever it was given. */
#ifndef HF_CLI_SECRETS_H
#define HF_CLI_SECRETS_H

#include "cli/context.h"

typedef enum CliSecretKind { CLI_SECRET_PASSPHRASE, CLI_SECRET_KEY_FILE } CliSecretKind;

typedef struct CliSecret {
  CliSecretKind kind;
  uint8_t *data; /* secret memory */
  size_t len;
} CliSecret;

enum { CLI_SECRETS_MAX = 5 };
typedef struct CliSecrets { /* owned; free with secrets_free */
  CliSecret list[CLI_SECRETS_MAX];
  size_t len;
} CliSecrets;

/* Everything that is at hand: --key-file, --passphrase-file, HOLDFAST_PASSPHRASE, what the configuration says of this
 * repository (NULL: nothing). With none of them the terminal is asked for a passphrase, twice when `new_one`. A key
 * file is taken byte by byte; of a passphrase one newline at the end is dropped. */
Error *secrets_collect(CliContext *ctx, const ConfigRepository *configured, bool new_one, CliSecrets *out) NODISCARD;
void secrets_free(CliSecrets *secrets);
#define AUTO_SECRETS __attribute__((cleanup(secrets_free)))

/* One passphrase or key file named by an option (--new-key-file, …). */
Error *secret_from_file(CliContext *ctx, CliSecretKind kind, const char *path, CliSecret *out) NODISCARD;

#endif
