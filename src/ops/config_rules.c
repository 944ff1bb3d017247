#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/suggest.h"
#include "ops/calendar.h"
#include "ops/config_internal.h"
#include "ops/ops.h"

typedef enum RuleKind {
  RULE_MEMORY,
  RULE_RATE,
  RULE_DURATION,
  RULE_CALENDAR,
  RULE_COMPRESSION,
  RULE_NAME,
  RULE_PATH,    /* absolute: a service's working directory is nobody's idea of a place */
  RULE_ADDRESS, /* holds no password */
  RULE_LISTEN,
  RULE_NICE,
  RULE_CHOICE,
  RULE_SECRET, /* a mapping with exactly one of its keys */
} RuleKind;

typedef struct Rule {
  const char *path; /* "sources[].rpo" */
  RuleKind kind;
  const char *const *choice; /* NULL-terminated */
} Rule;

static const char *const source_types[] = {"sqlite", "files", "command", "postgresql", "mysql", NULL};
static const char *const source_presets[] = {"configuration", "logs", "application", NULL};
static const char *const source_modes[] = {"physical", "logical", NULL};
static const char *const source_logs[] = {"none", "stream", NULL};
static const char *const check_levels[] = {"none", "quick", "standard", "comprehensive", NULL};
static const char *const alert_types[] = {"email", "webhook", "slack",        "discord",      "telegram", "teams",
                                          "ntfy",  "exec",    "healthchecks", "alertmanager", NULL};
static const char *const severities[] = {"info", "warning", "critical", NULL};
static const char *const alert_events[] = {"failure", "success", "resolved", NULL};

static const Rule rules[] = {
    {"catalog", RULE_ADDRESS, NULL},
    {"server.listen", RULE_LISTEN, NULL},
    {"server.tls.cert", RULE_PATH, NULL},
    {"server.tls.key", RULE_PATH, NULL},
    {"limits.memory", RULE_MEMORY, NULL},
    {"limits.read", RULE_RATE, NULL},
    {"limits.upload", RULE_RATE, NULL},
    {"limits.timeout", RULE_DURATION, NULL},
    {"limits.nice", RULE_NICE, NULL},
    {"log.file", RULE_PATH, NULL},
    {"compression", RULE_COMPRESSION, NULL},
    {"verify.coverage", RULE_DURATION, NULL},
    {"maintenance.prune", RULE_CALENDAR, NULL},
    {"maintenance.verify", RULE_CALENDAR, NULL},
    {"maintenance.copy", RULE_CALENDAR, NULL},
    {"monitoring.interval", RULE_DURATION, NULL},
    {"keys.rotate", RULE_DURATION, NULL},
    {"repositories[].name", RULE_NAME, NULL},
    {"repositories[].url", RULE_ADDRESS, NULL},
    {"repositories[].key", RULE_SECRET, NULL},
    {"repositories[].key.file", RULE_PATH, NULL},
    {"repositories[].passphrase", RULE_SECRET, NULL},
    {"repositories[].passphrase.file", RULE_PATH, NULL},
    {"repositories[].object_lock", RULE_DURATION, NULL},
    {"retention[].name", RULE_NAME, NULL},
    {"retention[].keep_within", RULE_DURATION, NULL},
    {"retention[].pitr", RULE_DURATION, NULL},
    {"sources[].name", RULE_NAME, NULL},
    {"sources[].type", RULE_CHOICE, source_types},
    {"sources[].paths[]", RULE_PATH, NULL},
    {"sources[].preset", RULE_CHOICE, source_presets},
    {"sources[].compression", RULE_COMPRESSION, NULL},
    {"sources[].dsn", RULE_ADDRESS, NULL},
    {"sources[].mode", RULE_CHOICE, source_modes},
    {"sources[].log", RULE_CHOICE, source_logs},
    {"sources[].rpo", RULE_DURATION, NULL},
    {"sources[].rto", RULE_DURATION, NULL},
    {"sources[].password", RULE_SECRET, NULL},
    {"sources[].password.file", RULE_PATH, NULL},
    {"sources[].hooks.before_backup.timeout", RULE_DURATION, NULL},
    {"sources[].hooks.after_backup.timeout", RULE_DURATION, NULL},
    {"sources[].hooks.before_restore.timeout", RULE_DURATION, NULL},
    {"sources[].hooks.after_restore.timeout", RULE_DURATION, NULL},
    {"schedules[].at", RULE_CALENDAR, NULL},
    {"schedules[].drill", RULE_CALENDAR, NULL},
    {"schedules[].verify", RULE_CHOICE, check_levels},
    {"alerts[].name", RULE_NAME, NULL},
    {"alerts[].type", RULE_CHOICE, alert_types},
    {"alerts[].smtp.url", RULE_ADDRESS, NULL},
    {"alerts[].smtp.password", RULE_SECRET, NULL},
    {"alerts[].smtp.password.file", RULE_PATH, NULL},
    {"alerts[].url", RULE_SECRET, NULL},
    {"alerts[].url.file", RULE_PATH, NULL},
    {"alerts[].token", RULE_SECRET, NULL},
    {"alerts[].token.file", RULE_PATH, NULL},
    {"routes[].match.severity[]", RULE_CHOICE, severities},
    {"routes[].on[]", RULE_CHOICE, alert_events},
    {"routes[].repeat", RULE_DURATION, NULL},
};

/* ---- one value -----------------------------------------------------------------------------------------------------
 */

bool config_name_valid(const char *name) {
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  size_t len = strlen(name);
  return len > 0 && len <= 64 && strspn(name, allowed) == len && !strchr("._-", name[0]);
}

static Error *check_name(const char *text) {
  if (config_name_valid(text)) return NULL;
  return err_new(ERR_USAGE,
                 "a name has letters, digits, '.', '_' and '-', begins with a letter or digit, and is at "
                 "most 64 long");
}

static Error *check_memory(const char *text) {
  uint64_t bytes;
  char least[16];
  TRY(str_parse_size(text, &bytes));
  if (bytes >= OPS_MEMORY_MIN) return NULL;
  return err_new(ERR_USAGE, "it must be %s at least", str_size(OPS_MEMORY_MIN, least));
}

static Error *check_rate(const char *text) {
  AUTO_FREE char *size = mem_strdup(text);
  if (str_ends(size, "/s")) size[strlen(size) - 2] = '\0';
  uint64_t ignored;
  return str_parse_size(size, &ignored);
}

/* "user:secret@host" in a URL, or "password=…" in a connection string. */
static bool holds_password(const char *text) {
  if (strcasestr(text, "password=") || strcasestr(text, "passwd=")) return true;
  const char *authority = strstr(text, "://");
  if (!authority) return false;
  authority += 3;
  size_t len = strcspn(authority, "/?#");
  const char *at = (const char *)memrchr(authority, '@', len);
  return at && memchr(authority, ':', (size_t)(at - authority));
}

static Error *check_address(const char *text) {
  if (!holds_password(text)) return NULL;
  return err_new(ERR_USAGE,
                 "a password does not stand in this file; leave it out of the address and name "
                 "where it is read from: password: { file: PATH } (or env, command)");
}

static Error *check_listen(const char *text) {
  const char *colon = strrchr(text, ':');
  uint64_t port = 0;
  Error *err = colon ? str_parse_u64(colon + 1, 65535, &port) : NULL;
  bool good = colon && colon > text && !err && port > 0;
  err_free(err);
  return good ? NULL : err_new(ERR_USAGE, "an address and a port are expected, like 127.0.0.1:8710");
}

static Error *check_nice(const char *text) {
  uint64_t n = 0;
  bool negative = text[0] == '-';
  Error *err = str_parse_u64(text + negative, 20, &n);
  bool good = !err && (negative || n <= 19);
  err_free(err);
  return good ? NULL : err_new(ERR_USAGE, "a number from -20 to 19 is expected");
}

static Error *check_choice(const char *const *choice, const char *text) {
  AUTO_BUF Buf all = {0};
  Suggestion s = {0};
  for (size_t i = 0; choice[i]; i++) {
    if (strcmp(choice[i], text) == 0) return NULL;
    suggest(&s, bytes_str(text), choice[i]);
    buf_printf(&all, "%s%s", i ? ", " : "", choice[i]);
  }
  AUTO_FREE char *names = buf_steal_str(&all);
  AUTO_FREE char *shown = str_printable(bytes_str(text));
  Error *err = err_new(ERR_USAGE, "\"%s\" is none of %s", shown, names);
  return s.best ? err_hint(err, "did you mean \"%s\"?", s.best) : err;
}

static Error *check_text(const Rule *rule, const char *text) {
  uint64_t ignored;
  Compression compression;
  switch (rule->kind) {
    case RULE_MEMORY: return check_memory(text);
    case RULE_RATE: return check_rate(text);
    case RULE_DURATION: return str_parse_duration(text, &ignored);
    case RULE_CALENDAR: return calendar_check(text);
    case RULE_COMPRESSION: return compression_parse(text, &compression);
    case RULE_NAME: return check_name(text);
    case RULE_PATH: return text[0] == '/' ? NULL : err_new(ERR_USAGE, "the path must begin with /");
    case RULE_ADDRESS: return check_address(text);
    case RULE_LISTEN: return check_listen(text);
    case RULE_NICE: return check_nice(text);
    case RULE_CHOICE: return check_choice(rule->choice, text);
    case RULE_SECRET: break;
  }
  return NULL;
}

/* ---- the whole tree ------------------------------------------------------------------------------------------------
 */

static void apply_rule(const Rule *rule, const YamlNode *node, const char *path, Problems *problems) {
  if (rule->kind == RULE_SECRET) {
    if (node->kind == YAML_MAPPING && node->len != 1)
      problem_add(problems, node->line, "%s: exactly one place is expected: file, env or command", path);
    return;
  }
  if (node->kind != YAML_SCALAR || node->text[0] == '\0') return; /* reported by the schema */
  Error *err = check_text(rule, node->text);
  if (!err) return;
  const char *hint = err_hint_text(err);
  if (hint)
    problem_add(problems, node->line, "%s: %s; %s", path, err_text(err), hint);
  else
    problem_add(problems, node->line, "%s: %s", path, err_text(err));
  err_free(err);
}

/* `pattern` is the path with [] for every index, `path` the one shown. */
static void walk(const YamlNode *node, const char *pattern, const char *path, Problems *problems) {
  for (size_t i = 0; i < NELEMS(rules); i++)
    if (strcmp(rules[i].path, pattern) == 0) apply_rule(&rules[i], node, path, problems);
  for (size_t i = 0; i < node->len; i++) {
    const YamlNode *item = node->items[i];
    bool top = pattern[0] == '\0';
    AUTO_FREE char *item_pattern = node->kind == YAML_SEQUENCE
                                       ? mem_printf("%s[]", pattern)
                                       : mem_printf("%s%s%s", pattern, top ? "" : ".", item->key);
    AUTO_FREE char *item_path = node->kind == YAML_SEQUENCE ? mem_printf("%s[%zu]", path, i)
                                                            : mem_printf("%s%s%s", path, top ? "" : ".", item->key);
    walk(item, item_pattern, item_path, problems);
  }
}

static const char *text_of(const YamlNode *node, const char *key) {
  const YamlNode *member = yaml_get(node, key);
  return member && member->kind == YAML_SCALAR ? member->text : NULL;
}

/* What an engine would not look at is a mistake: an `exclude` that excludes nothing, say. */
static void check_fit(const YamlNode *source, const char *type, size_t index, Problems *problems) {
  static const struct {
    const char *key, *type;
  } fits[] = {{"include", "files"},          {"exclude", "files"},       {"preset", "files"},
              {"one_file_system", "files"},  {"recover_copy", "sqlite"}, {"command", "command"},
              {"restore_command", "command"}};
  for (size_t i = 0; i < NELEMS(fits); i++) {
    const YamlNode *member = yaml_get(source, fits[i].key);
    bool off = member && member->kind == YAML_SCALAR && strcmp(member->text, "false") == 0;
    if (member && !off && strcmp(type, fits[i].type) != 0)
      problem_add(problems, member->line, "sources[%zu].%s: it is for sources of type %s", index, fits[i].key,
                  fits[i].type);
  }
  const YamlNode *paths = yaml_get(source, "paths");
  if (paths && strcmp(type, "sqlite") != 0 && strcmp(type, "files") != 0)
    problem_add(problems, paths->line, "sources[%zu].paths: it is for sources of type sqlite and files", index);
}

/* What a type of source needs. */
static void check_source(const YamlNode *source, size_t index, Problems *problems) {
  const char *type = text_of(source, "type");
  if (!type) return;
  const char *needs = NULL;
  if (strcmp(type, "sqlite") == 0 || strcmp(type, "files") == 0) needs = "paths";
  if (strcmp(type, "command") == 0) needs = "command";
  if (strcmp(type, "postgresql") == 0 || strcmp(type, "mysql") == 0) needs = "dsn";
  const YamlNode *needed = needs ? yaml_get(source, needs) : NULL;
  bool empty = needed && needed->kind == YAML_SEQUENCE && needed->len == 0;
  if (needs && (!needed || empty))
    problem_add(problems, source->line, "sources[%zu].%s: a source of type %s needs it", index, needs, type);
  if (needs) check_fit(source, type, index, problems);
}

void config_check_values(const YamlNode *root, Problems *problems) {
  walk(root, "", "", problems);
  const YamlNode *sources = yaml_get(root, "sources");
  for (size_t i = 0; sources && i < sources->len; i++) check_source(sources->items[i], i, problems);
}
