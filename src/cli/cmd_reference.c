#include "base/mem.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/context.h"
#include "cli/reference.h"
#include "cli/version.h"

/* completion and man: documents about the program. With --json one document that holds the text. */

static void print_document(Output *out, const char *type, const Buf *text) {
  if (!output_json_mode(out)) {
    output_bytes(out, buf_bytes(text));
    return;
  }
  json_t *doc = output_document(type);
  json_object_set_new(doc, "text", json_stringn((const char *)text->data, text->len));
  output_json(out, doc);
}

Error *cmd_completion(CliContext *ctx, const Args *args) {
  AUTO_BUF Buf text = {0};
  const char *shell = args_operand(args, 0);
  if (strcmp(shell, "bash") == 0)
    reference_completion_bash(&text);
  else if (strcmp(shell, "zsh") == 0)
    reference_completion_zsh(&text);
  else
    reference_completion_fish(&text);
  print_document(ctx->output, "completion", &text);
  return NULL;
}

Error *cmd_man(CliContext *ctx, const Args *args) {
  const CommandSpec *command = NULL;
  if (args_operand_count(args) > 0) {
    const char *second = args_operand(args, 1);
    AUTO_FREE char *name = mem_printf("%s%s%s", args_operand(args, 0), second ? " " : "", second ? second : "");
    command = command_find(name);
    if (!command) {
      AUTO_FREE char *shown = str_printable(bytes_str(name));
      return err_hint(err_new(ERR_USAGE, "%s: there is no such command", shown),
                      "`holdfast --help` lists what there is");
    }
  }
  AUTO_BUF Buf text = {0};
  reference_man(command, version_text(), &text);
  print_document(ctx->output, "man", &text);
  return NULL;
}
