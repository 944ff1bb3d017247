#include "cli/sources.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/suggest.h"
#include "cli/args.h"
#include "ops/address.h"
#include "sys/fs.h"

void cli_source_free(CliSource *source) {
  free(source->name);
  free(source->address);
  strlist_free(&source->spec.paths);
  strlist_free(&source->spec.include);
  strlist_free(&source->spec.exclude);
  strlist_free(&source->spec.avoid);
  *source = (CliSource){0};
}

static void add_texts(StrList *list, char *const *texts, size_t len) {
  for (size_t i = 0; i < len; i++) strlist_add(list, texts[i]);
}

static Error *not_configured(const Workspace *w, const char *name) {
  Suggestion near = {0};
  for (size_t i = 0; i < config_source_count(w->config); i++)
    suggest(&near, bytes_str(name), config_source_at(w->config, i)->name);
  Error *err = err_new(ERR_USAGE, "no source named %s is configured", name);
  if (near.best) return err_hint(err, "did you mean %s?", near.best);
  return err_hint(err,
                  "give its address (sqlite:/path, files:/path, command:'…'), or remember it under that name: "
                  "`holdfast source add %s ADDRESS`",
                  name);
}

/* "sqlite:/srv/a.db", "sqlite:/srv/a.db,/srv/b.db", "command:pg_dump" */
static char *configured_address(const CliSource *s) {
  if (strcmp(s->spec.type, "command") == 0 && s->spec.paths.len) return source_command_address(s->spec.paths.items[0]);
  AUTO_BUF Buf text = {0};
  buf_printf(&text, "%s:", s->spec.type);
  for (size_t i = 0; i < s->spec.paths.len; i++) buf_printf(&text, "%s%s", i ? "," : "", s->spec.paths.items[i]);
  return buf_steal_str(&text);
}

static Error *fill_configured(const ConfigSource *c, CliSource *out) {
  out->config = c;
  out->spec.type = c->type;
  out->spec.named = true;
  for (uint32_t i = 0; i < c->paths_count; i++) {
    AUTO_FREE char *path = NULL;
    TRY(fs_absolute(c->paths[i], &path));
    strlist_add(&out->spec.paths, path);
  }
  if (c->command) strlist_add(&out->spec.paths, c->command);
  add_texts(&out->spec.include, c->include, c->include_count);
  add_texts(&out->spec.exclude, c->exclude, c->exclude_count);
  out->spec.preset = c->preset;
  out->spec.one_file_system = c->one_file_system;
  out->spec.recover_copy = c->recover_copy;
  out->spec.restore_command = c->restore_command;
  out->name = mem_strdup(c->name);
  out->address = configured_address(out);
  return NULL;
}

/* The type's text must outlive the address. */
static const char *type_name(const char *type) {
  for (const char *const *t = engine_types(); *t; t++)
    if (strcmp(*t, type) == 0) return *t;
  return NULL;
}

static Error *fill_address(const Workspace *w, const SourceAddress *address, CliSource *out) {
  out->spec.type = type_name(address->type);
  if (!out->spec.type)
    return err_new(ERR_UNSUPPORTED, "%s: this build cannot back up sources of this type", address->type);
  strlist_add(&out->spec.paths, address->rest);
  out->address = source_address_text(address);
  out->name = source_address_name(w->host, address);
  return NULL;
}

/* What an engine would not look at is not taken silently. Of several sources it may be meant for another one. */
static Error *check_options(const Args *args, const char *type) {
  static const struct {
    OptionId option;
    const char *type;
  } needs[] = {{OPT_EXCLUDE, "files"},         {OPT_INCLUDE, "files"},       {OPT_PRESET, "files"},
               {OPT_ONE_FILE_SYSTEM, "files"}, {OPT_RECOVER_COPY, "sqlite"}, {OPT_RESTORE_COMMAND, "command"}};
  const CommandSpec *command = args_command(args);
  bool several = strcmp(command->name, "backup") == 0 && args_operand_count(args) > 1;
  if (several || !command_has_option(command, OPT_EXCLUDE)) return NULL;
  for (size_t i = 0; i < NELEMS(needs); i++)
    if (args_given(args, needs[i].option) && strcmp(needs[i].type, type) != 0)
      return err_new(ERR_USAGE, "--%s is for sources of type %s, this one is of type %s",
                     option_spec(needs[i].option)->name, needs[i].type, type);
  return NULL;
}

static void apply_options(const Workspace *w, CliSource *out) {
  const Args *args = w->ctx->args;
  const StrList *include = args_list(args, OPT_INCLUDE), *exclude = args_list(args, OPT_EXCLUDE);
  add_texts(&out->spec.include, include->items, include->len);
  add_texts(&out->spec.exclude, exclude->items, exclude->len);
  if (args_given(args, OPT_PRESET)) out->spec.preset = args_text(args, OPT_PRESET);
  if (args_given(args, OPT_ONE_FILE_SYSTEM)) out->spec.one_file_system = true;
  if (args_given(args, OPT_RECOVER_COPY)) out->spec.recover_copy = true;
  if (args_given(args, OPT_RESTORE_COMMAND)) out->spec.restore_command = args_text(args, OPT_RESTORE_COMMAND);
  out->spec.scratch_dir = w->ops.scratch_dir;
  const char *name = args_text(args, OPT_NAME);
  if (!name) return;
  out->spec.named = true;
  free(out->name);
  out->name = str_printable(bytes_str(name));
}

static Error *resolve(Workspace *w, const char *text, CliSource *out) {
  SourceAddress address AUTO_ADDRESS = {0};
  TRY(source_address_parse(text, &address));
  if (address.type) {
    TRY(fill_address(w, &address, out));
  } else {
    const ConfigSource *config = config_source_find(w->config, address.rest);
    if (!config) return not_configured(w, address.rest);
    TRY(fill_configured(config, out));
  }
  TRY(check_options(w->ctx->args, out->spec.type));
  apply_options(w, out);
  return NULL;
}

Error *cli_source_resolve(Workspace *w, const char *text, CliSource *out) {
  *out = (CliSource){0};
  Error *err = resolve(w, text, out);
  if (err) cli_source_free(out);
  return err;
}

Error *cli_source_selector(Workspace *w, const char *text, char **out) {
  const char *name = args_text(w->ctx->args, OPT_SOURCE_NAME);
  AUTO_FREE char *source = NULL;
  When when;
  TRY(source_when_split(text, sys_now_ns(w->ctx->sys), &source, &when, NULL));
  const char *moment = text + strlen(source); /* "" or "@…" */
  if (name) {
    *out = mem_printf("%s%s", name, moment);
    return NULL;
  }
  SourceAddress address AUTO_ADDRESS = {0};
  Error *err = source_address_parse(source, &address);
  if (err || !address.type) { /* a name as the repository knows it, or a snapshot's id */
    err_free(err);
    *out = mem_strdup(text);
    return NULL;
  }
  AUTO_FREE char *whole = source_address_text(&address);
  *out = mem_printf("%s%s", whole, moment);
  return NULL;
}
