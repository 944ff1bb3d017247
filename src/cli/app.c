#include "cli/app.h"

#include <jansson.h>
#include <unistd.h>

#include "base/mem.h"
#include "catalog/state.h"
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

static char *state_dir_of(const Args *args) {
  const char *given = args_text(args, OPT_STATE_DIR);
  return given ? mem_strdup(given) : state_dir_default();
}

static Error *run_command(CliContext *ctx) {
  const CommandSpec *command = args_command(ctx->args);
  if (!command->run) return err_new(ERR_UNSUPPORTED, "%s: this build does not have the command yet", command->name);
  Error *err = command->run(ctx, ctx->args);
  context_progress_stop(ctx);
  return err;
}

static Error *out_of_time(const CliContext *ctx, Error *take) {
  if (!err_is(take, ERR_CANCELLED) || cancel_reason(ctx->cancel) != CANCEL_TIMEOUT) return take;
  return err_hint(take, "limits.timeout is %s; what is stored stays, and the same command continues",
                  config_main(ctx->config)->limits->timeout);
}

static Error *run_in_context(const AppIo *io, const Args *args, Output *output, int *exit_code) {
  CliContext ctx = {
      .sys = sys_real(),
      .cancel = io->cancel,
      .output = output,
      .log = log_new(fileno(io->notes), LOG_WARN, LOG_TEXT), /* until the configuration is read */
      .log_fd = -1,
      .args = args,
      .state_dir = state_dir_of(args),
      .passphrase = io->passphrase,
      .passphrase_len = io->passphrase_len,
  };
  Error *err = out_of_time(&ctx, run_command(&ctx));
  *exit_code = ctx.exit_code;
  config_free(ctx.config);
  free(ctx.state_dir);
  log_free(ctx.log);
  if (ctx.log_fd >= 0) close(ctx.log_fd);
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
