#include "base/mem.h"
#include "cli/output.h"
#include "cli/reference.h"

enum { HELP_WIDTH = 100, HELP_INDENT_MAX = 32 };

bool reference_is_member(const CommandSpec *command, const CommandSpec *group) {
  return command_group(command) == group;
}

void reference_usage(const CommandSpec *command, Buf *out) {
  buf_add_str(out, command->name);
  if (command->group) {
    buf_add_str(out, " COMMAND");
    return;
  }
  buf_add_str(out, " [OPTION]…");
  for (size_t i = 0; i < NELEMS(command->required) && command->required[i] != OPT_END; i++) {
    const OptionSpec *o = option_spec(command->required[i]);
    buf_printf(out, " --%s %s", o->name, o->metavar);
  }
  for (size_t i = 0; i < OPERANDS_MAX && command->operands[i].metavar; i++) {
    const OperandSpec *o = &command->operands[i];
    buf_printf(out, o->min == 0 ? " [%s%s]" : " %s%s", o->metavar, o->max > 1 ? "…" : "");
  }
}

void reference_option(const OptionSpec *option, Buf *out) {
  if (option->letter) buf_printf(out, "-%c, ", option->letter);
  buf_printf(out, "--%s", option->name);
  if (option->kind != VALUE_FLAG) buf_printf(out, option->optional ? "[=%s]" : " %s", option->metavar);
}

/* Words of `text` from column `indent` on, wrapped; the cursor stands at column `at`. */
static void add_wrapped(Buf *out, const char *text, size_t at, size_t indent) {
  size_t column = at;
  while (column < indent) {
    buf_add_str(out, " ");
    column++;
  }
  bool first = true;
  while (*text) {
    size_t len = strcspn(text, " ");
    AUTO_FREE char *word = mem_strndup(text, len);
    size_t width = text_width(word);
    if (!first && column + 1 + width > HELP_WIDTH) {
      buf_printf(out, "\n%*s", (int)indent, "");
      column = indent;
      first = true;
    }
    buf_printf(out, "%s%s", first ? "" : " ", word);
    column += width + (first ? 0 : 1);
    first = false;
    text += len;
    while (*text == ' ') text++;
  }
  buf_add_str(out, "\n");
}

static void add_paragraphs(Buf *out, const char *text) {
  while (*text) {
    const char *end = strstr(text, "\n\n");
    AUTO_FREE char *paragraph = mem_strndup(text, end ? (size_t)(end - text) : strlen(text));
    add_wrapped(out, paragraph, 0, 0);
    text += strlen(paragraph);
    if (end) {
      buf_add_str(out, "\n");
      text += 2;
    }
  }
}

static void add_entry(Buf *out, const char *term, const char *help, size_t indent) {
  buf_printf(out, "  %s", term);
  size_t at = 2 + text_width(term);
  if (at + 2 > indent) {
    buf_add_str(out, "\n");
    at = 0;
  }
  add_wrapped(out, help, at, indent);
}

static void add_option(Buf *out, const OptionSpec *o) {
  AUTO_BUF Buf term = {0};
  if (!o->letter) buf_add_str(&term, "    ");
  reference_option(o, &term);
  AUTO_FREE char *name = buf_steal_str(&term);
  AUTO_FREE char *help = o->env ? mem_printf("%s [%s]", o->help, o->env) : mem_strdup(o->help);
  add_entry(out, name, help, HELP_INDENT_MAX);
}

static void add_global_options(Buf *out) {
  buf_add_str(out, "\nOptions of every command:\n");
  for (OptionId id = OPT_END + 1; id <= OPT_GLOBAL_LAST; id++) add_option(out, option_spec(id));
}

static void add_members(Buf *out, const CommandSpec *group) {
  for (size_t i = 0; i < command_count(); i++) {
    const CommandSpec *c = command_at(i);
    if (reference_is_member(c, group)) add_entry(out, command_last_word(c), c->summary, 16);
  }
}

static void help_program(Buf *out) {
  buf_add_str(out,
              "Usage: holdfast COMMAND [OPTION]…\n\n"
              "Backs databases and files up into encrypted, deduplicated repositories, and brings them back.\n\n"
              "Commands:\n");
  add_members(out, NULL);
  add_global_options(out);
  buf_add_str(out,
              "\nA first backup, with no configuration at all:\n"
              "  holdfast init --repo /backup\n"
              "  holdfast backup sqlite:/srv/app.db --repo /backup\n"
              "  holdfast restore sqlite:/srv/app.db --to /tmp/app.db --repo /backup\n\n"
              "`holdfast COMMAND --help` says more; `holdfast man` prints the manual page.\n");
}

static void help_operands(const CommandSpec *command, Buf *out) {
  buf_add_str(out, "\n");
  for (size_t i = 0; i < OPERANDS_MAX && command->operands[i].metavar; i++)
    add_entry(out, command->operands[i].metavar, command->operands[i].help, HELP_INDENT_MAX);
}

static void help_exits(const CommandSpec *command, Buf *out) {
  if (command->exits[0] == 0) return;
  buf_add_str(out, "\nExit codes besides 0, 1 (error) and 2 (usage):\n");
  for (size_t i = 0; i < COMMAND_EXITS_MAX && command->exits[i] != 0; i++) {
    AUTO_FREE char *code = mem_printf("%u", (unsigned)command->exits[i]);
    add_entry(out, code, exit_code_text(command->exits[i]), 6);
  }
}

static void help_examples(const CommandSpec *command, Buf *out) {
  if (!command->examples) return;
  buf_add_str(out, "\nExamples:\n");
  for (const char *at = command->examples; *at;) {
    size_t len = strcspn(at, "\n");
    buf_printf(out, "%s%.*s\n", len > 0 ? "  " : "", (int)len, at);
    at += len + (at[len] == '\n');
  }
}

void reference_help(const CommandSpec *command, Buf *out) {
  if (!command) {
    help_program(out);
    return;
  }
  buf_add_str(out, "Usage: holdfast ");
  reference_usage(command, out);
  buf_printf(out, "\n\nholdfast %s: %s.\n", command->name, command->summary);
  if (command->group) {
    buf_add_str(out, "\nCommands:\n");
    add_members(out, command);
    buf_printf(out, "\n`holdfast %s COMMAND --help` says more.\n", command->name);
    return;
  }
  if (command->operands[0].metavar) help_operands(command, out);
  if (command->details) {
    buf_add_str(out, "\n");
    add_paragraphs(out, command->details);
  }
  if (command->options[0] != OPT_END) buf_add_str(out, "\nOptions:\n");
  for (size_t i = 0; i < COMMAND_OPTIONS_MAX && command->options[i] != OPT_END; i++)
    add_option(out, option_spec(command->options[i]));
  add_global_options(out);
  help_exits(command, out);
  help_examples(command, out);
}
