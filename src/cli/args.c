#include "cli/args.h"

#include "base/mem.h"
#include "base/suggest.h"

typedef struct Value {
  StrList texts;
  uint64_t number; /* of the last one */
  unsigned times;
} Value;

struct Args {
  const CommandSpec *command;
  StrList operands; /* without the command's words */
  Value values[OPT_COUNT];
};

/* An option as written, before it is known which command it belongs to. */
typedef struct RawOption {
  const char *name; /* borrowed from argv; not terminated when a value is attached */
  size_t name_len;
  bool letter;
  const char *value; /* NULL: none */
} RawOption;

typedef struct Raw {
  RawOption *options;
  size_t options_len;
  const char **operands;
  size_t operands_len;
} Raw;

static void raw_free(Raw *raw) {
  free(raw->options);
  free(raw->operands);
}
#define AUTO_RAW __attribute__((cleanup(raw_free)))

/* ---- reading argv --------------------------------------------------------------------------------------------------
 */

static bool takes_next(OptionId id) {
  if (id == OPT_END) return false;
  const OptionSpec *o = option_spec(id);
  return o->kind != VALUE_FLAG && !o->optional;
}

static Error *missing_value(const char *argument) {
  return err_hint(err_new(ERR_USAGE, "%s: a value is missing", argument), "see `holdfast --help`");
}

/* --name, --name=value, --name value. */
static Error *read_long(Raw *raw, const char *const *argv, int argc, int *i) {
  const char *name = argv[*i] + 2;
  const char *equals = strchr(name, '=');
  RawOption o = {.name = name, .name_len = equals ? (size_t)(equals - name) : strlen(name)};
  if (equals) {
    o.value = equals + 1;
  } else if (takes_next(option_find(NULL, name, o.name_len))) {
    if (*i + 1 >= argc) return missing_value(argv[*i]);
    o.value = argv[++*i];
  }
  raw->options[raw->options_len++] = o;
  return NULL;
}

/* -q, -qv, -r value, -rvalue. */
static Error *read_letters(Raw *raw, const char *const *argv, int argc, int *i) {
  const char *argument = argv[*i];
  for (const char *at = argument + 1; *at; at++) {
    RawOption o = {.name = at, .name_len = 1, .letter = true};
    bool value = takes_next(option_find_letter(NULL, *at));
    if (value && at[1]) {
      o.value = at[1] == '=' ? at + 2 : at + 1;
    } else if (value) {
      if (*i + 1 >= argc) return missing_value(argument);
      o.value = argv[++*i];
    }
    raw->options[raw->options_len++] = o;
    if (value) return NULL;
  }
  return NULL;
}

static Error *read_argv(int argc, const char *const *argv, Raw *raw) {
  size_t room = 1;
  for (int i = 1; i < argc; i++) room += strlen(argv[i]) + 1; /* a cluster holds an option a letter */
  raw->options = NEW_ARRAY(RawOption, room);
  raw->operands = NEW_ARRAY(const char *, room);
  bool only_operands = false;
  for (int i = 1; i < argc; i++) {
    const char *a = argv[i];
    if (only_operands || a[0] != '-' || a[1] == '\0') {
      raw->operands[raw->operands_len++] = a;
    } else if (strcmp(a, "--") == 0) {
      only_operands = true;
    } else if (a[1] == '-') {
      TRY(read_long(raw, argv, argc, &i));
    } else {
      TRY(read_letters(raw, argv, argc, &i));
    }
  }
  return NULL;
}

/* ---- which command -------------------------------------------------------------------------------------------------
 */

/* What users of other programs type first. */
static const char *foreign_word(const char *word) {
  static const struct {
    const char *word, *ours;
  } words[] = {
      {"snapshots", "ls"},    {"list", "ls"},          {"check", "verify"},
      {"dump", "export"},     {"stats", "repo stats"}, {"create", "init"},
      {"extract", "restore"}, {"help", "--help"},      {"version", "--version"},
  };
  for (size_t i = 0; i < NELEMS(words); i++)
    if (strcmp(words[i].word, word) == 0) return words[i].ours;
  return NULL;
}

static Error *unknown_command(const CommandSpec *group, const char *word) {
  AUTO_FREE char *shown = str_printable(bytes_str(word));
  Suggestion s = {0};
  for (size_t i = 0; i < command_count(); i++) {
    const CommandSpec *c = command_at(i);
    if (command_group(c) == group) suggest(&s, bytes_str(word), command_last_word(c));
  }
  const char *between = group ? " " : "";
  const char *first = group ? group->name : "";
  Error *err = err_new(ERR_USAGE, "%s%s%s: there is no such command", first, between, shown);
  const char *ours = group ? NULL : foreign_word(word);
  if (ours) return err_hint(err, "here it is `holdfast %s`", ours);
  if (s.best) return err_hint(err, "did you mean `holdfast %s%s%s`?", first, between, s.best);
  return err_hint(err, "`holdfast %s%s--help` lists what there is", first, group ? " " : "");
}

/* *used: how many operands name the command. A group alone is the command when help is asked for. */
static Error *find_command(const Raw *raw, bool help, const CommandSpec **out, size_t *used) {
  *out = NULL;
  *used = 0;
  if (raw->operands_len == 0) return NULL;
  const CommandSpec *c = strchr(raw->operands[0], ' ') ? NULL : command_find(raw->operands[0]);
  if (!c) return unknown_command(NULL, raw->operands[0]);
  *used = 1;
  if (c->group && raw->operands_len > 1) {
    AUTO_FREE char *name = mem_printf("%s %s", raw->operands[0], raw->operands[1]);
    const CommandSpec *member = command_find(name);
    if (!member) return unknown_command(c, raw->operands[1]);
    c = member;
    *used = 2;
  }
  if (c->group && !help)
    return err_hint(err_new(ERR_USAGE, "%s: a word is missing", c->name), "`holdfast %s --help` lists what there is",
                    c->name);
  *out = c;
  return NULL;
}

/* ---- options and their values --------------------------------------------------------------------------------------
 */

static Error *option_elsewhere(const CommandSpec *command, OptionId id) {
  AUTO_BUF Buf where = {0};
  for (size_t i = 0; i < command_count(); i++)
    if (command_has_option(command_at(i), id)) buf_printf(&where, "%s%s", where.len ? ", " : "", command_at(i)->name);
  return err_hint(err_new(ERR_USAGE, "--%s: not an option of `%s`", option_spec(id)->name, command->name),
                  "it belongs to: %.*s", (int)where.len, (const char *)where.data);
}

static Error *unknown_option(const CommandSpec *command, const RawOption *raw) {
  OptionId elsewhere = raw->letter ? option_find_letter(NULL, *raw->name) : option_find(NULL, raw->name, raw->name_len);
  if (command && elsewhere != OPT_END) return option_elsewhere(command, elsewhere);
  AUTO_FREE char *shown = str_printable(bytes(raw->name, raw->name_len));
  Error *err = err_new(ERR_USAGE, "%s%s: there is no such option", raw->letter ? "-" : "--", shown);
  Suggestion s = {0};
  for (OptionId id = OPT_END + 1; id < OPT_COUNT && !raw->letter; id++) {
    if (command && !command_has_option(command, id)) continue;
    suggest(&s, bytes(raw->name, raw->name_len), option_spec(id)->name);
  }
  if (s.best) return err_hint(err, "did you mean --%s?", s.best);
  return err_hint(err, "`holdfast %s%s--help` lists the options", command ? command->name : "", command ? " " : "");
}

static Error *parse_choice(const OptionSpec *o, const char *text, uint64_t *out) {
  AUTO_BUF Buf all = {0};
  Suggestion s = {0};
  for (uint64_t i = 0; o->choice[i]; i++) {
    if (strcmp(o->choice[i], text) == 0) {
      *out = i;
      return NULL;
    }
    buf_printf(&all, "%s%s", i ? ", " : "", o->choice[i]);
    suggest(&s, bytes_str(text), o->choice[i]);
  }
  AUTO_FREE char *shown = str_printable(bytes_str(text));
  Error *err = err_new(ERR_USAGE, "\"%s\" is none of %.*s", shown, (int)all.len, (const char *)all.data);
  return s.best ? err_hint(err, "did you mean \"%s\"?", s.best) : err;
}

static Error *parse_rate(const char *text, uint64_t *out) {
  AUTO_FREE char *size = mem_strdup(text);
  if (str_ends(size, "/s")) size[strlen(size) - 2] = '\0';
  return str_parse_size(size, out);
}

static Error *parse_value(const OptionSpec *o, const char *text, uint64_t *out) {
  switch (o->kind) {
    case VALUE_SIZE: return str_parse_size(text, out);
    case VALUE_RATE: return parse_rate(text, out);
    case VALUE_DURATION: return str_parse_duration(text, out);
    case VALUE_CHOICE: return parse_choice(o, text, out);
    case VALUE_COUNT: break;
    case VALUE_FLAG:
    case VALUE_TEXT:
    case VALUE_FILE:
    case VALUE_DIR: return text[0] ? NULL : err_new(ERR_USAGE, "the value is empty");
  }
  uint64_t n = 0;
  Error *err = str_parse_u64(text, o->max, &n);
  if (err || n < o->min) {
    err_free(err);
    AUTO_FREE char *shown = str_printable(bytes_str(text));
    return err_new(ERR_USAGE, "\"%s\" is not a whole number from %llu to %llu", shown, (unsigned long long)o->min,
                   (unsigned long long)o->max);
  }
  *out = n;
  return NULL;
}

static Error *take_value(Args *args, OptionId id, const char *text) {
  const OptionSpec *o = option_spec(id);
  Value *v = &args->values[id];
  v->times++;
  if (!text) return NULL;
  TRY(parse_value(o, text, &v->number));
  if (!o->repeatable) strlist_free(&v->texts);
  strlist_add(&v->texts, text);
  return NULL;
}

static Error *take_options(Args *args, const Raw *raw) {
  for (size_t i = 0; i < raw->options_len; i++) {
    const RawOption *r = &raw->options[i];
    OptionId id =
        r->letter ? option_find_letter(args->command, *r->name) : option_find(args->command, r->name, r->name_len);
    if (id == OPT_END || (!args->command && id > OPT_GLOBAL_LAST)) return unknown_option(args->command, r);
    const OptionSpec *o = option_spec(id);
    if (o->kind == VALUE_FLAG && r->value) return err_new(ERR_USAGE, "--%s: takes no value", o->name);
    TRY(err_wrap(take_value(args, id, r->value), "--%s", o->name));
  }
  return NULL;
}

static Error *take_environment(Args *args, EnvLookup *env, void *env_ctx) {
  for (OptionId id = OPT_END + 1; id < OPT_COUNT; id++) {
    const OptionSpec *o = option_spec(id);
    if (!o->env || args->values[id].times > 0) continue;
    if (args->command ? !command_has_option(args->command, id) : id > OPT_GLOBAL_LAST) continue;
    const char *text = env(env_ctx, o->env);
    if (text && *text) TRY(err_wrap(take_value(args, id, text), "%s in the environment", o->env));
  }
  return NULL;
}

/* ---- what must fit together ----------------------------------------------------------------------------------------
 */

static Error *check_groups(const Args *args) {
  for (OptionId a = OPT_END + 1; a < OPT_COUNT; a++) {
    char group = option_spec(a)->group;
    if (!group || args->values[a].times == 0) continue;
    for (OptionId b = (OptionId)(a + 1); b < OPT_COUNT; b++)
      if (option_spec(b)->group == group && args->values[b].times > 0)
        return err_new(ERR_USAGE, "--%s and --%s exclude each other", option_spec(a)->name, option_spec(b)->name);
  }
  return NULL;
}

static Error *check_required(const Args *args) {
  const CommandSpec *c = args->command;
  for (size_t i = 0; i < NELEMS(c->required) && c->required[i] != OPT_END; i++) {
    const OptionSpec *o = option_spec(c->required[i]);
    if (args->values[c->required[i]].times == 0)
      return err_hint(err_new(ERR_USAGE, "%s: --%s is missing", c->name, o->name), "--%s %s: %s", o->name, o->metavar,
                      o->help);
  }
  return NULL;
}

static Error *check_operands(const Args *args) {
  const CommandSpec *c = args->command;
  size_t at = 0;
  for (size_t i = 0; i < OPERANDS_MAX && c->operands[i].metavar; i++) {
    const OperandSpec *o = &c->operands[i];
    size_t have = args->operands.len - at;
    if (have < o->min)
      return err_hint(err_new(ERR_USAGE, "%s: %s is missing", c->name, o->metavar), "%s: %s", o->metavar, o->help);
    size_t taken = have < o->max ? have : o->max;
    for (size_t k = at; o->choice && k < at + taken; k++) {
      uint64_t ignored;
      TRY(err_wrap(parse_choice(&(OptionSpec){.choice = o->choice}, args->operands.items[k], &ignored), "%s",
                   o->metavar));
    }
    at += taken;
  }
  if (at == args->operands.len) return NULL;
  AUTO_FREE char *shown = str_printable(bytes_str(args->operands.items[at]));
  return err_hint(err_new(ERR_USAGE, "%s: \"%s\" is one operand too many", c->name, shown), "see `holdfast %s --help`",
                  c->name);
}

/* ---- the whole -----------------------------------------------------------------------------------------------------
 */

static bool raw_asks(const Raw *raw, OptionId id) {
  const OptionSpec *o = option_spec(id);
  for (size_t i = 0; i < raw->options_len; i++) {
    const RawOption *r = &raw->options[i];
    if (r->letter ? *r->name == o->letter : bytes_equal(bytes(r->name, r->name_len), bytes_str(o->name))) return true;
  }
  return false;
}

static Error *parse_into(Args *args, int argc, const char *const *argv, EnvLookup *env, void *env_ctx) {
  AUTO_RAW Raw raw = {0};
  TRY(read_argv(argc, argv, &raw));
  bool help = raw_asks(&raw, OPT_HELP) || raw_asks(&raw, OPT_VERSION);
  size_t used;
  TRY(find_command(&raw, help, &args->command, &used));
  for (size_t i = used; i < raw.operands_len; i++) strlist_add(&args->operands, raw.operands[i]);
  TRY(take_options(args, &raw));
  if (help || !args->command) return NULL;
  if (env) TRY(take_environment(args, env, env_ctx));
  TRY(check_groups(args));
  TRY(check_operands(args));
  return check_required(args);
}

Error *args_parse(int argc, const char *const *argv, EnvLookup *env, void *env_ctx, Args **out) {
  Args *args = NEW(Args);
  Error *err = parse_into(args, argc, argv, env, env_ctx);
  if (err) {
    args_free(args);
    return err;
  }
  *out = args;
  return NULL;
}

void args_free(Args *take) {
  if (!take) return;
  strlist_free(&take->operands);
  for (size_t i = 0; i < OPT_COUNT; i++) strlist_free(&take->values[i].texts);
  free(take);
}

bool args_wants_json(int argc, const char *const *argv) {
  for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
    if (strcmp(argv[i], "--json") == 0) return true;
  return false;
}

const CommandSpec *args_command(const Args *args) { return args->command; }

bool args_given(const Args *args, OptionId id) { return args->values[id].times > 0; }

unsigned args_times(const Args *args, OptionId id) { return args->values[id].times; }

const char *args_text(const Args *args, OptionId id) {
  const StrList *texts = &args->values[id].texts;
  return texts->len > 0 ? texts->items[texts->len - 1] : NULL;
}

const StrList *args_list(const Args *args, OptionId id) { return &args->values[id].texts; }

uint64_t args_number(const Args *args, OptionId id, uint64_t otherwise) {
  return args->values[id].texts.len > 0 ? args->values[id].number : otherwise;
}

size_t args_operand_count(const Args *args) { return args->operands.len; }

const char *args_operand(const Args *args, size_t index) {
  return index < args->operands.len ? args->operands.items[index] : NULL;
}
