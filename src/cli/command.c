#include "cli/command.h"

const CommandSpec *command_find(const char *name) {
  for (size_t i = 0; i < command_count(); i++)
    if (strcmp(command_at(i)->name, name) == 0) return command_at(i);
  return NULL;
}

const CommandSpec *command_group(const CommandSpec *c) {
  const char *blank = strchr(c->name, ' ');
  if (!blank) return NULL;
  size_t len = (size_t)(blank - c->name);
  for (size_t i = 0; i < command_count(); i++) {
    const CommandSpec *g = command_at(i);
    if (g->group && strlen(g->name) == len && memcmp(g->name, c->name, len) == 0) return g;
  }
  return NULL;
}

const char *command_last_word(const CommandSpec *command) {
  const char *blank = strchr(command->name, ' ');
  return blank ? blank + 1 : command->name;
}

bool command_has_option(const CommandSpec *command, OptionId id) {
  if (id <= OPT_GLOBAL_LAST) return true;
  for (size_t i = 0; i < COMMAND_OPTIONS_MAX && command->options[i] != OPT_END; i++)
    if (command->options[i] == id) return true;
  return false;
}

static bool name_is(const char *candidate, const char *name, size_t len) {
  return candidate && strlen(candidate) == len && memcmp(candidate, name, len) == 0;
}

OptionId option_find(const CommandSpec *command, const char *name, size_t len) {
  for (OptionId id = OPT_END + 1; id < OPT_COUNT; id++) {
    const OptionSpec *o = option_spec(id);
    if (command && !command_has_option(command, id)) continue;
    if (name_is(o->name, name, len) || name_is(o->alias, name, len)) return id;
  }
  return OPT_END;
}

OptionId option_find_letter(const CommandSpec *command, char letter) {
  for (OptionId id = OPT_END + 1; id < OPT_COUNT; id++) {
    const OptionSpec *o = option_spec(id);
    if (o->letter == letter && (!command || command_has_option(command, id))) return id;
  }
  return OPT_END;
}

const char *exit_code_text(int code) {
  switch (code) {
    case 0: return "done";
    case 1: return "an error";
    case 2: return "the command line or the configuration is wrong";
    case 3: return "done, but something was left out or damaged, and reported";
    case 10: return "there is no repository at that address";
    case 11: return "refused: the state of the source or the repository forbids it";
    case 12: return "nothing that was given opens the repository";
    case 13: return "something is corrupt";
    case 14: return "the target is not empty";
    case 15: return "the source cannot be reached";
    case 16: return "a backup is overdue or a recovery point objective is not met";
    case 17: return "a restored copy is not what was backed up";
    default: return NULL;
  }
}
