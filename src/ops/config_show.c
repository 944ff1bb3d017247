#include <jansson.h>

#include "base/mem.h"
#include "base/str.h"
#include "ops/config_internal.h"
#include "ops/yaml_schema.h"

/* What is set, from the trees: they hold exactly the keys that are there, in their order. The schema beside them says
 * which values are secrets and which are numbers. */

/* The schema of one member of a node. */
static const cyaml_schema_value_t *member_schema(const cyaml_schema_value_t *schema, const YamlNode *member) {
  if (schema->type == CYAML_SEQUENCE) return schema->sequence.entry;
  for (const cyaml_schema_field_t *f = schema->mapping.fields; f->key; f++)
    if (strcmp(f->key, member->key) == 0) return &f->value;
  CHECK(false); /* unknown keys were refused */
  return NULL;
}

static bool is_secret(const cyaml_schema_value_t *schema) {
  return schema->type == CYAML_MAPPING &&
         (schema->mapping.fields == config_secret_fields || schema->mapping.fields == config_key_fields);
}

/* The text of a scalar as it may be shown: of a command that yields a secret, the program only. Owned. */
static char *shown_text(const YamlNode *node, bool in_secret) {
  if (!in_secret || strcmp(node->key, "command") != 0) return mem_strdup(node->text);
  SecretSource source = {.command = node->text};
  AUTO_FREE char *text = secret_source_describe(&source);
  return mem_strdup(text + strlen("command "));
}

/* ---- YAML ----------------------------------------------------------------------------------------------------------
 */

static bool is_plain(const char *text) {
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/+@";
  static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "null", "~"};
  size_t len = strlen(text);
  if (len == 0 || strspn(text, allowed) != len || strchr("-@.", text[0])) return false;
  for (size_t i = 0; i < NELEMS(words); i++)
    if (strcasecmp(words[i], text) == 0) return false;
  return true;
}

/* JSON's strings are YAML's double-quoted ones. */
static void add_scalar(Buf *out, const char *text, const cyaml_schema_value_t *schema) {
  bool word = schema->type != CYAML_STRING;
  json_t *string = word || is_plain(text) ? NULL : json_string(text);
  char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
  buf_add_str(out, quoted ? quoted : text);
  free(quoted);
  json_decref(string);
}

static void add_node(Buf *out, const YamlNode *node, const cyaml_schema_value_t *schema, int indent, bool in_secret);

static void add_members(Buf *out, const YamlNode *node, const cyaml_schema_value_t *schema, int indent,
                        bool after_dash) {
  for (size_t i = 0; i < node->len; i++) {
    const YamlNode *member = node->items[i];
    if (i > 0 || !after_dash) buf_printf(out, "%*s", indent, "");
    buf_printf(out, "%s:", member->key);
    add_node(out, member, member_schema(schema, member), indent + 2, is_secret(schema));
  }
}

static void add_items(Buf *out, const YamlNode *node, const cyaml_schema_value_t *schema, int indent) {
  for (size_t i = 0; i < node->len; i++) {
    const YamlNode *item = node->items[i];
    buf_printf(out, "%*s-", indent, "");
    if (item->kind == YAML_MAPPING && item->len > 0) {
      buf_add_str(out, " ");
      add_members(out, item, schema->sequence.entry, indent + 2, true);
    } else {
      add_node(out, item, schema->sequence.entry, indent + 2, false);
    }
  }
}

/* What follows "key:" or "-", with the line's end. */
static void add_node(Buf *out, const YamlNode *node, const cyaml_schema_value_t *schema, int indent, bool in_secret) {
  if (node->kind == YAML_SCALAR) {
    AUTO_FREE char *text = shown_text(node, in_secret);
    buf_add_str(out, " ");
    add_scalar(out, text, schema);
    buf_add_str(out, "\n");
  } else if (node->len == 0) {
    buf_add_str(out, node->kind == YAML_MAPPING ? " {}\n" : " []\n");
  } else if (node->kind == YAML_MAPPING) {
    buf_add_str(out, "\n");
    add_members(out, node, schema, indent, false);
  } else {
    buf_add_str(out, "\n");
    add_items(out, node, schema, indent);
  }
}

void config_show(const Config *config, Buf *out) {
  if (config->files_len == 0) buf_add_str(out, "# no configuration file\n");
  for (size_t f = 0; f < config->files_len; f++) {
    const LoadedFile *file = &config->files[f];
    AUTO_FREE char *name = str_printable(bytes_str(file->name));
    buf_printf(out, "%s# from %s\n", f > 0 ? "---\n" : "", name);
    if (file->tree) add_members(out, file->tree, &config_schema, 0, false);
  }
}

/* ---- JSON ----------------------------------------------------------------------------------------------------------
 */

static json_t *scalar_json(const YamlNode *node, const cyaml_schema_value_t *schema, bool in_secret) {
  bool yes;
  if (schema->type == CYAML_BOOL && yaml_bool_parse(node->text, &yes)) return json_boolean(yes);
  if (schema->type == CYAML_UINT || schema->type == CYAML_INT)
    return json_integer((json_int_t)strtoll(node->text, NULL, 10));
  AUTO_FREE char *text = shown_text(node, in_secret);
  return json_string(text);
}

static json_t *node_json(const YamlNode *node, const cyaml_schema_value_t *schema, bool in_secret) {
  if (node->kind == YAML_SCALAR) return scalar_json(node, schema, in_secret);
  json_t *result = node->kind == YAML_MAPPING ? json_object() : json_array();
  for (size_t i = 0; i < node->len; i++) {
    const YamlNode *item = node->items[i];
    json_t *value = node_json(item, member_schema(schema, item), is_secret(schema));
    if (node->kind == YAML_MAPPING)
      json_object_set_new(result, item->key, value);
    else
      json_array_append_new(result, value);
  }
  return result;
}

json_t *config_show_json(const Config *config) {
  json_t *files = json_array();
  for (size_t f = 0; f < config->files_len; f++) {
    const LoadedFile *file = &config->files[f];
    json_t *entry = json_object();
    AUTO_FREE char *name = str_printable(bytes_str(file->name));
    json_object_set_new(entry, "file", json_string(name));
    json_object_set_new(entry, "settings", file->tree ? node_json(file->tree, &config_schema, false) : json_object());
    json_array_append_new(files, entry);
  }
  json_t *result = json_object();
  json_object_set_new(result, "files", files);
  return result;
}
