#include "cli/secrets.h"

#include "base/mem.h"
#include "cli/args.h"
#include "codec/secret.h"

void secrets_free(CliSecrets *secrets) {
  for (size_t i = 0; i < secrets->len; i++) secret_free(secrets->list[i].data);
  secrets->len = 0;
}

static Error *add_from(CliContext *ctx, CliSecretKind kind, const SecretSource *source, CliSecret *out) {
  bool open_to_others = false;
  uint8_t *data = NULL;
  size_t len = 0;
  bool raw = kind == CLI_SECRET_KEY_FILE;
  TRY(secret_source_read(ctx->sys, source, raw, ctx->cancel, &data, &len, &open_to_others));
  if (open_to_others) {
    AUTO_FREE char *shown = str_printable(bytes_str(source->file));
    output_warning(ctx->output, "%s can be read by others; chmod 600 it", shown);
  }
  *out = (CliSecret){.kind = kind, .data = data, .len = len};
  return NULL;
}

Error *secret_from_file(CliContext *ctx, CliSecretKind kind, const char *path, CliSecret *out) {
  AUTO_FREE char *owned = mem_strdup(path);
  SecretSource source = {.file = owned};
  return add_from(ctx, kind, &source, out);
}

static Error *add_option(CliContext *ctx, OptionId id, CliSecretKind kind, CliSecrets *out) {
  const char *path = args_text(ctx->args, id);
  if (!path) return NULL;
  TRY(err_wrap(secret_from_file(ctx, kind, path, &out->list[out->len]), "--%s", option_spec(id)->name));
  out->len++;
  return NULL;
}

static void add_environment(const CliContext *ctx, CliSecrets *out) {
  if (!ctx->passphrase) return;
  uint8_t *copy = (uint8_t *)secret_alloc(ctx->passphrase_len);
  memcpy(copy, ctx->passphrase, ctx->passphrase_len);
  out->list[out->len++] = (CliSecret){.kind = CLI_SECRET_PASSPHRASE, .data = copy, .len = ctx->passphrase_len};
}

static Error *add_configured(CliContext *ctx, const ConfigRepository *repo, CliSecrets *out) {
  if (repo->passphrase) {
    TRY(add_from(ctx, CLI_SECRET_PASSPHRASE, repo->passphrase, &out->list[out->len]));
    out->len++;
  }
  if (repo->key && repo->key->kms)
    return err_new(ERR_UNSUPPORTED, "repository %s: this build has no key management service", repo->name);
  if (repo->key) {
    SecretSource source = config_key_source(repo->key);
    TRY(add_from(ctx, CLI_SECRET_KEY_FILE, &source, &out->list[out->len]));
    out->len++;
  }
  return NULL;
}

static Error *collect(CliContext *ctx, const ConfigRepository *configured, bool new_one, CliSecrets *out) {
  TRY(add_option(ctx, OPT_KEY_FILE, CLI_SECRET_KEY_FILE, out));
  TRY(add_option(ctx, OPT_PASSPHRASE_FILE, CLI_SECRET_PASSPHRASE, out));
  add_environment(ctx, out);
  if (configured) TRY(add_configured(ctx, configured, out));
  if (out->len > 0) return NULL;
  CliSecret *secret = &out->list[0];
  TRY(context_ask_secret(ctx, new_one ? "New passphrase" : "Passphrase", new_one, &secret->data, &secret->len));
  secret->kind = CLI_SECRET_PASSPHRASE;
  out->len = 1;
  return NULL;
}

Error *secrets_collect(CliContext *ctx, const ConfigRepository *configured, bool new_one, CliSecrets *out) {
  *out = (CliSecrets){0};
  Error *err = collect(ctx, configured, new_one, out);
  if (err) secrets_free(out);
  if (!err_is(err, ERR_NOT_FOUND)) return err;
  if (new_one) return err_hint(err, "--create-key-file FILE makes a new key file");
  return err_hint(
      err,
      "is the path right, and its disk mounted? When the key is lost, the recovery code opens the repository: "
      "`holdfast key recover --new-key-file FILE`");
}
