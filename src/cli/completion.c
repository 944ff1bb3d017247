#include "base/mem.h"
#include "cli/reference.h"

/* Texts of the table hold no newline; quotes, backslashes and, for zsh, brackets and colons need care. */
static void add_single_quoted(Buf *out, const char *text) {
  buf_add_str(out, "'");
  for (const char *p = text; *p; p++) {
    if (*p == '\'')
      buf_add_str(out, "'\\''");
    else
      buf_add(out, p, 1);
  }
  buf_add_str(out, "'");
}

/* The option as a command sees it: one entry for each name, command's own first. */
typedef void OptionVisit(const OptionSpec *option, void *ctx);
static void each_option(const CommandSpec *command, OptionVisit *visit, void *ctx) {
  for (size_t i = 0; command && i < COMMAND_OPTIONS_MAX && command->options[i] != OPT_END; i++)
    visit(option_spec(command->options[i]), ctx);
  for (OptionId id = OPT_END + 1; id <= OPT_GLOBAL_LAST; id++) visit(option_spec(id), ctx);
}

static void add_members(Buf *out, const CommandSpec *group) {
  const char *between = "";
  for (size_t i = 0; i < command_count(); i++) {
    if (!reference_is_member(command_at(i), group)) continue;
    buf_printf(out, "%s%s", between, command_last_word(command_at(i)));
    between = " ";
  }
}

static void add_choices(Buf *out, const char *const *choice) {
  for (size_t i = 0; choice[i]; i++) buf_printf(out, "%s%s", i ? " " : "", choice[i]);
}

/* The shell's case branch that adds $word to $command while more of it is expected. */
static void add_command_case(Buf *out) {
  buf_add_str(out, "      *) case $command in\n        '') command=$word ;;\n        ");
  const char *between = "";
  for (size_t i = 0; i < command_count(); i++) {
    if (!command_at(i)->group) continue;
    buf_printf(out, "%s%s", between, command_at(i)->name);
    between = "|";
  }
  buf_add_str(out, ") command=\"$command $word\" ;;\n      esac ;;\n");
}

/* ---- bash ----------------------------------------------------------------------------------------------------------
 */

static void bash_option(const OptionSpec *o, void *ctx) {
  Buf *out = (Buf *)ctx;
  buf_printf(out, " --%s%s", o->name, o->optional ? " --" : "");
  if (o->optional) buf_printf(out, "%s=", o->name);
}

/* Options whose value follows, and how it is completed. */
static void bash_values(Buf *out) {
  for (OptionId id = OPT_END + 1; id < OPT_COUNT; id++) {
    const OptionSpec *o = option_spec(id);
    if (o->kind == VALUE_FLAG || option_find(NULL, o->name, strlen(o->name)) != id) continue;
    buf_printf(out, "    --%s", o->name);
    if (o->letter) buf_printf(out, "|-%c", o->letter);
    buf_add_str(out, ") ");
    if (o->kind == VALUE_CHOICE) {
      buf_add_str(out, "COMPREPLY=($(compgen -W '");
      add_choices(out, o->choice);
      buf_add_str(out, "' -- \"$value\")) ;;\n");
    } else if (o->kind == VALUE_FILE) {
      buf_add_str(out, "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$value\")) ;;\n");
    } else if (o->kind == VALUE_DIR) {
      buf_add_str(out, "compopt -o filenames; COMPREPLY=($(compgen -d -- \"$value\")) ;;\n");
    } else {
      buf_add_str(out, ":;;\n");
    }
  }
}

static void bash_takes_next(Buf *out) {
  const char *between = "";
  for (OptionId id = OPT_END + 1; id < OPT_COUNT; id++) {
    const OptionSpec *o = option_spec(id);
    if (o->kind == VALUE_FLAG || o->optional || option_find(NULL, o->name, strlen(o->name)) != id) continue;
    buf_printf(out, "%s--%s", between, o->name);
    between = "|";
    if (o->letter) buf_printf(out, "|-%c", o->letter);
  }
}

static void bash_commands(Buf *out) {
  for (size_t i = 0; i < command_count(); i++) {
    const CommandSpec *c = command_at(i);
    buf_printf(out, "    '%s') options='", c->name);
    each_option(c->group ? NULL : c, bash_option, out);
    buf_add_str(out, "'; words='");
    if (c->group) add_members(out, c);
    if (c->operands[0].choice) add_choices(out, c->operands[0].choice);
    buf_add_str(out, "' ;;\n");
  }
}

void reference_completion_bash(Buf *out) {
  buf_add_str(out,
              "# bash completion for holdfast, made by `holdfast completion bash`\n"
              "_holdfast_value() {\n"
              "  local value=$2\n"
              "  case $1 in\n");
  bash_values(out);
  buf_add_str(out,
              "    *) return 1 ;;\n"
              "  esac\n"
              "}\n"
              "_holdfast() {\n"
              "  local cur=${COMP_WORDS[COMP_CWORD]} prev='' command='' options='' words='' i word\n"
              "  COMPREPLY=()\n"
              "  [ \"$COMP_CWORD\" -gt 0 ] && prev=${COMP_WORDS[COMP_CWORD-1]}\n"
              "  if [ \"$cur\" = '=' ]; then _holdfast_value \"$prev\" ''; return; fi\n"
              "  if [ \"$prev\" = '=' ]; then _holdfast_value \"${COMP_WORDS[COMP_CWORD-2]}\" \"$cur\"; return; fi\n"
              "  case $prev in\n    ");
  bash_takes_next(out);
  buf_add_str(out,
              ") _holdfast_value \"$prev\" \"$cur\"; return ;;\n"
              "  esac\n"
              "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
              "    word=${COMP_WORDS[i]}\n"
              "    case $word in\n      ");
  bash_takes_next(out);
  buf_add_str(out,
              ") i=$((i + 1)); [ \"${COMP_WORDS[i]}\" = '=' ] && i=$((i + 1)) ;;\n"
              "      -*|=) ;;\n");
  add_command_case(out);
  buf_add_str(out,
              "    esac\n"
              "  done\n"
              "  case $command in\n"
              "    '') options='");
  each_option(NULL, bash_option, out);
  buf_add_str(out, "'; words='");
  add_members(out, NULL);
  buf_add_str(out, "' ;;\n");
  bash_commands(out);
  buf_add_str(out,
              "  esac\n"
              "  if [ \"${cur:0:1}\" = '-' ]; then\n"
              "    COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
              "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n"
              "  elif [ -n \"$words\" ]; then\n"
              "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
              "  else\n"
              "    compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\"))\n"
              "  fi\n"
              "}\n"
              "complete -F _holdfast holdfast\n");
}

/* ---- zsh -----------------------------------------------------------------------------------------------------------
 */

/* One specification of _arguments: '*--name=[help]:metavar:action'. */
static void zsh_spec(Buf *out, const OptionSpec *o, const char *flag) {
  AUTO_BUF Buf spec = {0};
  if (o->repeatable || o->kind == VALUE_FLAG) buf_add_str(&spec, "*");
  buf_printf(&spec, "%s%s[", flag, o->kind == VALUE_FLAG ? "" : o->optional ? "=-" : flag[1] == '-' ? "=" : "+");
  for (const char *p = o->help; *p; p++) {
    if (*p == '[' || *p == ']' || *p == ':' || *p == '\\') buf_add_str(&spec, "\\");
    buf_add(&spec, p, 1);
  }
  buf_add_str(&spec, "]");
  if (o->kind != VALUE_FLAG) {
    buf_add_str(&spec, o->optional ? "::value:" : ":value:");
    if (o->kind == VALUE_CHOICE) {
      buf_add_str(&spec, "(");
      add_choices(&spec, o->choice);
      buf_add_str(&spec, ")");
    }
    if (o->kind == VALUE_FILE) buf_add_str(&spec, "_files");
    if (o->kind == VALUE_DIR) buf_add_str(&spec, "_files -/");
  }
  AUTO_FREE char *text = buf_steal_str(&spec);
  buf_add_str(out, " ");
  add_single_quoted(out, text);
}

static void zsh_option(const OptionSpec *o, void *ctx) {
  Buf *out = (Buf *)ctx;
  AUTO_FREE char *name = mem_printf("--%s", o->name);
  zsh_spec(out, o, name);
  char letter[3] = {'-', o->letter, '\0'};
  if (o->letter) zsh_spec(out, o, letter);
}

static void zsh_describe(Buf *out, const CommandSpec *group) {
  buf_add_str(out, "_values command");
  for (size_t i = 0; i < command_count(); i++) {
    const CommandSpec *c = command_at(i);
    if (!reference_is_member(c, group)) continue;
    AUTO_FREE char *entry = mem_printf("%s[%s]", command_last_word(c), c->summary);
    buf_add_str(out, " ");
    add_single_quoted(out, entry);
  }
  buf_add_str(out, " ;;\n");
}

void reference_completion_zsh(Buf *out) {
  buf_add_str(out,
              "#compdef holdfast\n"
              "# zsh completion for holdfast, made by `holdfast completion zsh`\n"
              "_holdfast() {\n"
              "  local command='' word\n"
              "  local -i i\n"
              "  for ((i = 2; i < CURRENT; i++)); do\n"
              "    word=${words[i]}\n"
              "    case $word in\n      ");
  bash_takes_next(out);
  buf_add_str(out,
              ") i+=1 ;;\n"
              "      -*) ;;\n");
  add_command_case(out);
  buf_add_str(out,
              "    esac\n"
              "  done\n"
              "  case $command in\n"
              "    '') if [[ ${words[CURRENT]} == -* ]]; then _arguments -S");
  each_option(NULL, zsh_option, out);
  buf_add_str(out, "; else ");
  zsh_describe(out, NULL);
  /* The branch above ends inside an if. */
  out->len -= strlen(" ;;\n");
  buf_add_str(out, "; fi ;;\n");
  for (size_t i = 0; i < command_count(); i++) {
    const CommandSpec *c = command_at(i);
    buf_printf(out, "    '%s') ", c->name);
    if (c->group) {
      zsh_describe(out, c);
      continue;
    }
    buf_add_str(out, "_arguments -S");
    each_option(c, zsh_option, out);
    buf_add_str(out, " '*:operand:");
    if (c->operands[0].choice) {
      buf_add_str(out, "(");
      add_choices(out, c->operands[0].choice);
      buf_add_str(out, ")' ;;\n");
    } else {
      buf_add_str(out, "_files' ;;\n");
    }
  }
  buf_add_str(out,
              "  esac\n"
              "}\n"
              "if [ \"$funcstack[1]\" = '_holdfast' ]; then _holdfast \"$@\"; else compdef _holdfast holdfast; fi\n");
}

/* ---- fish ----------------------------------------------------------------------------------------------------------
 */

typedef struct FishScope {
  Buf *out;
  const char *condition;
} FishScope;

static void fish_option(const OptionSpec *o, void *ctx) {
  const FishScope *scope = (const FishScope *)ctx;
  Buf *out = scope->out;
  buf_add_str(out, "complete -c holdfast");
  if (scope->condition) buf_printf(out, " -n '%s'", scope->condition);
  buf_printf(out, " -l %s", o->name);
  if (o->letter) buf_printf(out, " -s %c", o->letter);
  if (o->kind != VALUE_FLAG && !o->optional) buf_add_str(out, " -r");
  if (o->kind == VALUE_FILE || o->kind == VALUE_DIR) buf_add_str(out, " -F");
  if (o->kind == VALUE_CHOICE) {
    buf_add_str(out, " -f -a '");
    add_choices(out, o->choice);
    buf_add_str(out, "'");
  }
  buf_add_str(out, " -d ");
  add_single_quoted(out, o->help);
  buf_add_str(out, "\n");
}

/* fish sees words, not "key add": the second word of a command is asked for with the first. */
static char *fish_condition(const CommandSpec *c) {
  const CommandSpec *group = command_group(c);
  if (!group) return mem_printf("__fish_seen_subcommand_from %s", c->name);
  return mem_printf("__fish_seen_subcommand_from %s; and __fish_seen_subcommand_from %s", group->name,
                    command_last_word(c));
}

static void fish_word(Buf *out, const CommandSpec *c) {
  const CommandSpec *group = command_group(c);
  buf_add_str(out, "complete -c holdfast -f -n '");
  if (group) {
    buf_printf(out, "__fish_seen_subcommand_from %s; and not __fish_seen_subcommand_from ", group->name);
    add_members(out, group);
  } else {
    buf_add_str(out, "__fish_use_subcommand");
  }
  buf_printf(out, "' -a %s -d ", command_last_word(c));
  add_single_quoted(out, c->summary);
  buf_add_str(out, "\n");
}

void reference_completion_fish(Buf *out) {
  buf_add_str(out, "# fish completion for holdfast, made by `holdfast completion fish`\n");
  FishScope everywhere = {.out = out};
  each_option(NULL, fish_option, &everywhere);
  for (size_t i = 0; i < command_count(); i++) {
    const CommandSpec *c = command_at(i);
    fish_word(out, c);
    AUTO_FREE char *condition = fish_condition(c);
    FishScope scope = {.out = out, .condition = condition};
    for (size_t k = 0; k < COMMAND_OPTIONS_MAX && c->options[k] != OPT_END; k++)
      fish_option(option_spec(c->options[k]), &scope);
    if (!c->operands[0].choice) continue;
    buf_printf(out, "complete -c holdfast -f -n '%s' -a '", condition);
    add_choices(out, c->operands[0].choice);
    buf_add_str(out, "'\n");
  }
}
