#include "cli/key_secret.h"

#include <unistd.h>

#include "cli/args.h"
#include "cli/repositories.h"
#include "codec/secret.h"
#include "sys/fs.h"

static Error *read_file(CliContext *ctx, OptionId option, CliSecretKind kind, NewSecret *out) {
  CliSecret secret;
  TRY(err_wrap(secret_from_file(ctx, kind, args_text(ctx->args, option), &secret), "--%s", option_spec(option)->name));
  out->data = secret.data;
  out->len = secret.len;
  out->kind = kind == CLI_SECRET_KEY_FILE ? SLOT_KEY_FILE : SLOT_PASSPHRASE;
  return NULL;
}

void new_secret_code(Sys *sys, NewSecret *out) {
  char code[RECOVERY_CODE_LEN];
  recovery_code_new(sys, code);
  out->kind = SLOT_RECOVERY;
  out->len = strlen(code);
  out->data = (uint8_t *)secret_alloc(out->len + 1);
  memcpy(out->data, code, out->len);
  secret_wipe(code, sizeof code);
}

Error *new_secret_read(CliContext *ctx, NewSecret *out) {
  const char *key_file = args_text(ctx->args, OPT_NEW_KEY_FILE);
  if (key_file) {
    if (!fs_exists(key_file)) {
      TRY(key_file_make(ctx, key_file));
      out->made = key_file;
      output_note(ctx->output, VERBOSITY_NORMAL, "made the key file %s: keep a copy of it away from this machine",
                  key_file);
    }
    return read_file(ctx, OPT_NEW_KEY_FILE, CLI_SECRET_KEY_FILE, out);
  }
  if (args_given(ctx->args, OPT_NEW_PASSPHRASE_FILE))
    return read_file(ctx, OPT_NEW_PASSPHRASE_FILE, CLI_SECRET_PASSPHRASE, out);
  if (args_given(ctx->args, OPT_NEW_RECOVERY_CODE)) {
    new_secret_code(ctx->sys, out);
    return NULL;
  }
  if (!context_has_terminal())
    return err_hint(err_new(ERR_USAGE, "it is not said what the new slot opens with"),
                    "give --new-key-file FILE or --new-passphrase-file FILE");
  out->kind = SLOT_PASSPHRASE;
  return context_ask_secret(ctx, "New passphrase", true, &out->data, &out->len);
}

void new_secret_free(NewSecret *secret, bool unused) {
  if (unused && secret->made) unlink(secret->made);
  secret_free(secret->data);
  *secret = (NewSecret){0};
}

static Error *read_typed(CliContext *ctx, uint8_t **out, size_t *out_len) {
  if (!args_given(ctx->args, OPT_RECOVERY_CODE_FILE) && !context_has_terminal())
    return err_hint(err_new(ERR_USAGE, "there is no terminal to type the recovery code on"),
                    "put it into a file: --recovery-code-file FILE");
  if (!args_given(ctx->args, OPT_RECOVERY_CODE_FILE))
    return context_ask_secret(ctx, "Recovery code", false, out, out_len);
  CliSecret secret;
  TRY(err_wrap(secret_from_file(ctx, CLI_SECRET_PASSPHRASE, args_text(ctx->args, OPT_RECOVERY_CODE_FILE), &secret),
               "--recovery-code-file"));
  *out = secret.data;
  *out_len = secret.len;
  return NULL;
}

enum { TYPED_MAX = 1024 };

Error *recovery_code_read(CliContext *ctx, uint8_t **out, size_t *out_len) {
  uint8_t *typed = NULL;
  size_t len = 0;
  TRY(read_typed(ctx, &typed, &len));
  char text[TYPED_MAX] = "", code[RECOVERY_CODE_LEN] = "";
  Error *err = len < sizeof text ? NULL : err_new(ERR_USAGE, "this is no recovery code: it is too long");
  if (!err) memcpy(text, typed, len);
  secret_free(typed);
  if (!err) err = recovery_code_normalize(text, code);
  if (!err) {
    *out_len = strlen(code);
    *out = (uint8_t *)secret_alloc(*out_len);
    memcpy(*out, code, *out_len);
  }
  secret_wipe(text, sizeof text);
  secret_wipe(code, sizeof code);
  return err;
}

void recovery_code_wipe(uint8_t *take) { secret_free(take); }
