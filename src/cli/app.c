#include "cli/app.h"

#include <jansson.h>

#include "base/mem.h"
#include "cli/context.h"
#include "cli/exit_code.h"
#include "cli/reference.h"
#include "cli/version.h"

static Verbosity verbosity_of(const Args *args) {
  if (args_given(args, OPT_QUIET)) return VERBOSITY_QUIET;
  unsigned times = args_times(args, OPT_VERBOSE);
  return times == 0 ? VERBOSITY_NORMAL : times == 1 ? VERBOSITY_VERBOSE : VERBOSITY_DEBUG;
}

static Output *open_output(const AppIo *io, bool json, Verbosity verbosity) {
  return output_new(&(OutputOptions){.data = io->data, .notes = io->notes, .json = json, .verbosity = verbosity});
}

/* ---- without a command ---------------------------------------------------------------------------------------------
 */

static void show_help(Output *out, const CommandSpec *command) {
  AUTO_BUF Buf text = {0};
  reference_help(command, &text);
  output_bytes(out, buf_bytes(&text));
}

static void add_version(void *ctx, const char *name, const char *version) {
  json_object_set_new((json_t *)ctx, name, json_string(version));
}

static void show_version(Output *out) {
  if (output_json_mode(out)) {
    json_t *doc = output_document("version");
    version_each(add_version, doc);
    output_json(out, doc);
    return;
  }
  AUTO_BUF Buf text = {0};
  version_describe(output_verbosity(out) >= VERBOSITY_VERBOSE, &text);
  output_bytes(out, buf_bytes(&text));
}

/* ---- with one ------------------------------------------------------------------------------------------------------
 */

static LogLevel log_level_of(Verbosity verbosity) {
  switch (verbosity) {
    case VERBOSITY_QUIET: return LOG_ERROR;
    case VERBOSITY_NORMAL: return LOG_WARN; /* a person sees the command's own words, not events */
    case VERBOSITY_VERBOSE: return LOG_INFO;
    case VERBOSITY_DEBUG: return LOG_DEBUG;
  }
  return LOG_WARN;
}

static char *state_dir_of(const Args *args) {
  const char *given = args_text(args, OPT_STATE_DIR);
  return given ? mem_strdup(given) : config_default_state_dir();
}

static Error *run_command(CliContext *ctx) {
  const CommandSpec *command = args_command(ctx->args);
  if (!command->run) return err_new(ERR_UNSUPPORTED, "%s: this build does not have the command yet", command->name);
  Error *err = command->run(ctx, ctx->args);
  context_progress_stop(ctx);
  return err;
}

static Error *run_in_context(const AppIo *io, const Args *args, Output *output, int *exit_code) {
  LogFormat format = (LogFormat)args_number(args, OPT_LOG_FORMAT, LOG_TEXT);
  CliContext ctx = {
      .sys = sys_real(),
      .cancel = io->cancel,
      .output = output,
      .log = log_new(fileno(io->notes), log_level_of(output_verbosity(output)), format),
      .args = args,
      .state_dir = state_dir_of(args),
      .passphrase = io->passphrase,
      .passphrase_len = io->passphrase_len,
  };
  Error *err = run_command(&ctx);
  *exit_code = ctx.exit_code;
  config_free(ctx.config);
  free(ctx.state_dir);
  log_free(ctx.log);
  return err;
}

static Error *run_args(const AppIo *io, const Args *args, Output *output, int *exit_code) {
  if (args_given(args, OPT_VERSION)) {
    show_version(output);
  } else if (args_given(args, OPT_HELP)) {
    show_help(output, args_command(args));
  } else if (!args_command(args)) {
    return err_hint(err_new(ERR_USAGE, "a command is missing"), "`holdfast --help` lists what there is");
  } else {
    return run_in_context(io, args, output, exit_code);
  }
  return NULL;
}

int app_run(const AppIo *io, int argc, const char *const *argv) {
  Args *args = NULL;
  Error *err = args_parse(argc, argv, io->env, io->env_ctx, &args);
  bool json = args ? args_given(args, OPT_JSON) : args_wants_json(argc, argv);
  Output *output = open_output(io, json, args ? verbosity_of(args) : VERBOSITY_NORMAL);
  int exit_code = EXIT_DONE;
  if (!err) err = run_args(io, args, output, &exit_code);
  err = err_first(err, output_finish(output)); /* a result that was not written is none */
  if (err) {
    exit_code = exit_code_of(err, io->cancel);
    output_error(output, err, exit_code);
    err_free(err);
  }
  output_free(output);
  args_free(args);
  return exit_code;
}
