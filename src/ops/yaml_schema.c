#include "ops/yaml_schema.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/suggest.h"

typedef struct Checker {
  const cyaml_schema_field_t *const *secrets;
  Problems *problems;
} Checker;

static const char *kind_name(const YamlNode *node) {
  switch (node->kind) {
    case YAML_MAPPING: return "a mapping";
    case YAML_SEQUENCE: return "a list";
    case YAML_SCALAR: return node->text[0] == '\0' && !node->quoted ? "nothing" : "a value";
  }
  return "";
}

static const cyaml_schema_field_t *find_field(const cyaml_schema_field_t *fields, const char *key) {
  for (const cyaml_schema_field_t *f = fields; f->key; f++)
    if (strcmp(f->key, key) == 0) return f;
  return NULL;
}

static void unknown_key(const Checker *c, const YamlNode *member, const cyaml_schema_field_t *fields,
                        const char *where) {
  Suggestion s = {0};
  for (const cyaml_schema_field_t *f = fields; f->key; f++) suggest(&s, bytes_str(member->key), f->key);
  AUTO_FREE char *shown = str_printable(bytes_str(member->key));
  if (s.best)
    problem_add(c->problems, member->line, "%s%s: there is no such key; did you mean \"%s\"?", where, shown, s.best);
  else
    problem_add(c->problems, member->line, "%s%s: there is no such key", where, shown);
}

bool yaml_bool_parse(const char *text, bool *out) {
  /* Of YAML 1.1's many words those that libcyaml reads the same way: it takes "off" for true. */
  static const char *const yes[] = {"true", "yes"}, *const no[] = {"false", "no"};
  for (size_t i = 0; i < NELEMS(yes); i++) {
    if (strcmp(text, yes[i]) == 0) return *out = true;
    if (strcmp(text, no[i]) == 0) return !(*out = false);
  }
  return false;
}

static void check_enum(const Checker *c, const YamlNode *node, const cyaml_schema_value_t *schema, const char *path) {
  AUTO_BUF Buf all = {0};
  Suggestion s = {0};
  for (uint32_t i = 0; i < schema->enumeration.count; i++) {
    const char *name = schema->enumeration.strings[i].str;
    if (strcmp(name, node->text) == 0) return;
    suggest(&s, bytes_str(node->text), name);
    buf_printf(&all, "%s%s", i ? ", " : "", name);
  }
  AUTO_FREE char *shown = str_printable(bytes_str(node->text));
  AUTO_FREE char *names = buf_steal_str(&all);
  if (s.best)
    problem_add(c->problems, node->line, "%s: \"%s\" is none of %s; did you mean \"%s\"?", path, shown, names, s.best);
  else
    problem_add(c->problems, node->line, "%s: \"%s\" is none of %s", path, shown, names);
}

static void check_number(const Checker *c, const YamlNode *node, const cyaml_schema_value_t *schema, const char *path) {
  const char *digits = node->text;
  uint64_t max = schema->data_size >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * schema->data_size)) - 1;
  if (schema->type == CYAML_INT) {
    max >>= 1;
    if (*digits == '-') digits++;
  }
  uint64_t ignored;
  Error *err = str_parse_u64(digits, max, &ignored);
  bool octal = digits[0] == '0' && digits[1] != '\0'; /* libcyaml would read it in base 8 */
  if (!err && !octal) return;
  err_free(err);
  AUTO_FREE char *shown = str_printable(bytes_str(node->text));
  problem_add(c->problems, node->line, "%s: \"%s\" is not a whole number%s", path, shown,
              schema->type == CYAML_INT ? "" : " of 0 or more");
}

static void check_scalar(const Checker *c, const YamlNode *node, const cyaml_schema_value_t *schema, const char *path) {
  bool ignored;
  if (node->kind != YAML_SCALAR) {
    problem_add(c->problems, node->line, "%s: a single value is expected, here is %s", path, kind_name(node));
  } else if (node->text[0] == '\0') {
    problem_add(c->problems, node->line, "%s: the value is missing", path);
  } else if (schema->type == CYAML_ENUM) {
    check_enum(c, node, schema, path);
  } else if (schema->type == CYAML_BOOL && !yaml_bool_parse(node->text, &ignored)) {
    problem_add(c->problems, node->line, "%s: true or false is expected", path);
  } else if (schema->type == CYAML_UINT || schema->type == CYAML_INT) {
    check_number(c, node, schema, path);
  } else if (schema->type == CYAML_STRING && strlen(node->text) > schema->string.max) {
    problem_add(c->problems, node->line, "%s: longer than %u characters", path, schema->string.max);
  }
}

static void check_value(const Checker *c, const YamlNode *node, const cyaml_schema_value_t *schema, const char *path);

static bool is_secret(const Checker *c, const cyaml_schema_field_t *fields) {
  for (size_t i = 0; c->secrets[i]; i++)
    if (c->secrets[i] == fields) return true;
  return false;
}

static void check_mapping(const Checker *c, const YamlNode *node, const cyaml_schema_value_t *schema,
                          const char *path) {
  const cyaml_schema_field_t *fields = schema->mapping.fields;
  if (node->kind != YAML_MAPPING) {
    /* The value itself is not repeated: it may be the secret. */
    if (is_secret(c, fields) && node->kind == YAML_SCALAR)
      problem_add(c->problems, node->line,
                  "%s: a secret does not stand in this file; write where it is read from: { file: PATH }, "
                  "{ env: VARIABLE } or { command: COMMAND }",
                  path);
    else
      problem_add(c->problems, node->line, "%s: keys and values are expected, here is %s", path, kind_name(node));
    return;
  }
  AUTO_FREE char *where = *path ? mem_printf("%s.", path) : mem_strdup("");
  for (size_t i = 0; i < node->len; i++) {
    const YamlNode *member = node->items[i];
    const cyaml_schema_field_t *f = find_field(fields, member->key);
    if (!f) {
      unknown_key(c, member, fields, where);
      continue;
    }
    AUTO_FREE char *member_path = mem_printf("%s%s", where, member->key);
    check_value(c, member, &f->value, member_path);
  }
  for (const cyaml_schema_field_t *f = fields; f->key; f++)
    if (!(f->value.flags & CYAML_FLAG_OPTIONAL) && !yaml_get(node, f->key))
      problem_add(c->problems, node->line, "%s%s: is missing", where, f->key);
}

static void check_sequence(const Checker *c, const YamlNode *node, const cyaml_schema_value_t *schema,
                           const char *path) {
  if (node->kind != YAML_SEQUENCE) {
    problem_add(c->problems, node->line, "%s: a list is expected, here is %s: write [a, b]", path, kind_name(node));
    return;
  }
  if (node->len > schema->sequence.max)
    problem_add(c->problems, node->line, "%s: more than %u entries", path, schema->sequence.max);
  for (size_t i = 0; i < node->len && i < schema->sequence.max; i++) {
    AUTO_FREE char *item_path = mem_printf("%s[%zu]", path, i);
    check_value(c, node->items[i], schema->sequence.entry, item_path);
  }
}

static void check_value(const Checker *c, const YamlNode *node, const cyaml_schema_value_t *schema, const char *path) {
  if (schema->type == CYAML_MAPPING)
    check_mapping(c, node, schema, path);
  else if (schema->type == CYAML_SEQUENCE)
    check_sequence(c, node, schema, path);
  else
    check_scalar(c, node, schema, path);
}

void yaml_schema_check(const YamlNode *root, const cyaml_schema_value_t *schema,
                       const cyaml_schema_field_t *const *secrets, Problems *problems) {
  Checker c = {.secrets = secrets, .problems = problems};
  check_value(&c, root, schema, "");
}
