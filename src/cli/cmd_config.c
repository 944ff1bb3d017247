#include "base/mem.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/context.h"

/* The file named by the operand, or the one that would be used. */
static Error *load(CliContext *ctx, const Args *args, const Config **out) {
  const char *given = args_operand(args, 0);
  if (!given) return context_config(ctx, out);
  TRY(config_load(given, ctx->state_dir, &ctx->config));
  *out = ctx->config;
  return NULL;
}

Error *cmd_config_check(CliContext *ctx, const Args *args) {
  const Config *config;
  TRY(load(ctx, args, &config));
  const char *path = config_path(config);
  size_t sources = config_source_count(config), repositories = config_repository_count(config);
  if (output_json_mode(ctx->output)) {
    json_t *doc = output_document("config_check");
    json_object_set_new(doc, "file", path ? output_json_name(bytes_str(path)) : json_null());
    json_object_set_new(doc, "sources", json_integer((json_int_t)sources));
    json_object_set_new(doc, "repositories", json_integer((json_int_t)repositories));
    output_json(ctx->output, doc);
    return NULL;
  }
  if (!path && sources + repositories == 0) {
    output_text(ctx->output, "there is no configuration file, and none is needed\n");
    return NULL;
  }
  AUTO_FREE char *shown = str_printable(bytes_str(path ? path : "conf.d"));
  output_text(ctx->output, "%s: good (%zu source%s, %zu repositor%s)\n", shown, sources, sources == 1 ? "" : "s",
              repositories, repositories == 1 ? "y" : "ies");
  return NULL;
}

/* What the command line and the environment say goes before the file. */
static void add_given(CliContext *ctx, json_t *doc) {
  static const OptionId shown[] = {OPT_REPO,   OPT_KEY_FILE,   OPT_PASSPHRASE_FILE, OPT_CPUS,
                                   OPT_MEMORY, OPT_LIMIT_READ, OPT_LIMIT_UPLOAD};
  json_t *given = json_object();
  for (size_t i = 0; i < NELEMS(shown); i++) {
    const char *text = args_text(ctx->args, shown[i]);
    if (text) json_object_set_new(given, option_spec(shown[i])->name, output_json_name(bytes_str(text)));
  }
  json_object_set_new(given, "state-dir", output_json_name(bytes_str(ctx->state_dir)));
  json_object_set_new(given, "passphrase", ctx->passphrase ? json_string("variable HOLDFAST_PASSPHRASE") : json_null());
  json_object_set_new(doc, "options", given);
}

static void show_text(CliContext *ctx, const Config *config, json_t *options) {
  const char *name;
  json_t *value;
  json_object_foreach(options, name, value) {
    if (json_is_string(value)) output_text(ctx->output, "# %s: %s\n", name, json_string_value(value));
  }
  AUTO_BUF Buf text = {0};
  config_show(config, &text);
  output_bytes(ctx->output, buf_bytes(&text));
}

Error *cmd_config_show(CliContext *ctx, const Args *args) {
  const Config *config;
  TRY(load(ctx, args, &config));
  json_t *doc = output_document("config");
  add_given(ctx, doc);
  json_t *shown = config_show_json(config);
  json_object_update(doc, shown);
  json_decref(shown);
  if (output_json_mode(ctx->output)) {
    output_json(ctx->output, doc);
    return NULL;
  }
  show_text(ctx, config, json_object_get(doc, "options"));
  json_decref(doc);
  return NULL;
}
