#include "base/mem.h"
#include "cli/reference.h"

/* Text as roff sees no commands in it: backslashes and dashes escaped, no line starting with a control character. */
static void add_text(Buf *out, const char *text) {
  bool line_start = out->len == 0 || out->data[out->len - 1] == '\n';
  for (const char *p = text; *p; p++) {
    if (line_start && (*p == '.' || *p == '\'')) buf_add_str(out, "\\&");
    line_start = *p == '\n';
    if (*p == '\\')
      buf_add_str(out, "\\e");
    else if (*p == '-')
      buf_add_str(out, "\\-");
    else if (*p == '\'')
      buf_add_str(out, "\\(aq");
    else if (*p == '`')
      buf_add_str(out, "\\(ga");
    else
      buf_add(out, p, 1);
  }
}

/* An argument of a macro: as above, between quotes. */
static void add_quoted(Buf *out, const char *text) {
  buf_add_str(out, "\"");
  AUTO_BUF Buf escaped = {0};
  buf_add_str(&escaped, "x"); /* never at the start of a line */
  add_text(&escaped, text);
  for (size_t i = 1; i < escaped.len; i++) {
    if (escaped.data[i] == '"')
      buf_add_str(out, "\\(dq");
    else
      buf_add(out, &escaped.data[i], 1);
  }
  buf_add_str(out, "\"");
}

static void add_paragraphs(Buf *out, const char *text) {
  while (*text) {
    const char *end = strstr(text, "\n\n");
    AUTO_FREE char *paragraph = mem_strndup(text, end ? (size_t)(end - text) : strlen(text));
    buf_add_str(out, ".PP\n");
    add_text(out, paragraph);
    buf_add_str(out, "\n");
    text += strlen(paragraph) + (end ? 2 : 0);
  }
}

static void add_entry(Buf *out, const char *term, const char *help) {
  buf_add_str(out, ".TP\n.B ");
  add_quoted(out, term);
  buf_add_str(out, "\n");
  add_text(out, help);
  buf_add_str(out, "\n");
}

static void add_option(Buf *out, const OptionSpec *o) {
  AUTO_BUF Buf term = {0};
  reference_option(o, &term);
  AUTO_FREE char *name = buf_steal_str(&term);
  AUTO_FREE char *help = o->env ? mem_printf("%s. Environment: %s.", o->help, o->env) : mem_printf("%s.", o->help);
  add_entry(out, name, help);
}

static void add_global_options(Buf *out) {
  for (OptionId id = OPT_END + 1; id <= OPT_GLOBAL_LAST; id++) add_option(out, option_spec(id));
}

static void add_title(Buf *out, const char *page, const char *summary, const char *version) {
  buf_add_str(out, ".TH ");
  add_quoted(out, page);
  buf_add_str(out, " 1 \"\" ");
  AUTO_FREE char *source = mem_printf("holdfast %s", version);
  add_quoted(out, source);
  buf_add_str(out, " \"holdfast\"\n.SH NAME\n");
  add_text(out, page);
  buf_add_str(out, " \\- ");
  add_text(out, summary);
  buf_add_str(out, "\n.SH SYNOPSIS\n");
}

static void man_commands(Buf *out) {
  buf_add_str(out, ".SH COMMANDS\n");
  for (size_t i = 0; i < command_count(); i++)
    if (!command_at(i)->group) add_entry(out, command_at(i)->name, command_at(i)->summary);
}

static void man_exit_codes(Buf *out) {
  buf_add_str(out, ".SH EXIT STATUS\n");
  for (int code = 0; code < 128; code++) {
    if (!exit_code_text(code)) continue;
    AUTO_FREE char *number = mem_printf("%d", code);
    add_entry(out, number, exit_code_text(code));
  }
  add_entry(out, "128+n", "stopped by signal n");
}

static void man_program(const char *version, Buf *out) {
  add_title(out, "holdfast", "back databases and files up, and bring them back", version);
  buf_add_str(out, ".B holdfast\n.I COMMAND\n[\\fIOPTION\\fR]...\n.SH DESCRIPTION\n");
  add_text(
      out,
      "holdfast backs databases and the files around them up into deduplicated, encrypted repositories, brings them "
      "back, and proves that it can. Data goes to standard output, everything else to standard error; with --json "
      "every command prints JSON.\n");
  man_commands(out);
  buf_add_str(out, ".SH OPTIONS\n");
  add_global_options(out);
  man_exit_codes(out);
  buf_add_str(out, ".SH ENVIRONMENT\n");
  add_entry(out, "HOLDFAST_PASSPHRASE", "the passphrase that opens the repository; children do not see it.");
  for (OptionId id = OPT_END + 1; id <= OPT_GLOBAL_LAST; id++)
    if (option_spec(id)->env) add_entry(out, option_spec(id)->env, option_spec(id)->help);
  buf_add_str(out, ".SH SIGNALS\n");
  add_text(
      out,
      "The first SIGINT or SIGTERM stops the work so that it can be resumed, the second at once. SIGUSR1 prints how "
      "far the work is.\n");
}

static void man_examples(const CommandSpec *command, Buf *out) {
  if (!command->examples) return;
  buf_add_str(out, ".SH EXAMPLES\n.nf\n");
  add_text(out, command->examples);
  buf_add_str(out, "\n.fi\n");
}

static void man_description(const CommandSpec *command, Buf *out) {
  buf_add_str(out, ".SH DESCRIPTION\n");
  for (size_t i = 0; i < OPERANDS_MAX && command->operands[i].metavar; i++)
    add_entry(out, command->operands[i].metavar, command->operands[i].help);
  if (command->details)
    add_paragraphs(out, command->details);
  else if (!command->operands[0].metavar)
    add_text(out, "See the options below.\n");
}

static void man_command(const CommandSpec *command, const char *version, Buf *out) {
  AUTO_FREE char *page = mem_printf("holdfast-%s", command->name);
  for (char *p = page; *p; p++)
    if (*p == ' ') *p = '-';
  add_title(out, page, command->summary, version);
  AUTO_BUF Buf usage = {0};
  reference_usage(command, &usage);
  AUTO_FREE char *text = buf_steal_str(&usage);
  buf_add_str(out, ".B holdfast\n");
  add_text(out, text);
  buf_add_str(out, "\n");
  if (command->group) {
    buf_add_str(out, ".SH COMMANDS\n");
    for (size_t i = 0; i < command_count(); i++)
      if (reference_is_member(command_at(i), command)) add_entry(out, command_at(i)->name, command_at(i)->summary);
    return;
  }
  man_description(command, out);
  buf_add_str(out, ".SH OPTIONS\n");
  for (size_t i = 0; i < COMMAND_OPTIONS_MAX && command->options[i] != OPT_END; i++)
    add_option(out, option_spec(command->options[i]));
  buf_add_str(out, ".SS \"Options of every command\"\n");
  add_global_options(out);
  man_exit_codes(out);
  man_examples(command, out);
  buf_add_str(out, ".SH SEE ALSO\n.BR holdfast (1)\n");
}

void reference_man(const CommandSpec *command, const char *version, Buf *out) {
  if (command)
    man_command(command, version, out);
  else
    man_program(version, out);
}
