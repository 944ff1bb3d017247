/* yaml_schema.h: checks a YAML tree against libcyaml's schema, the one it is loaded with, and says what is wrong in
 * which line. libcyaml refuses the same documents, but names neither line nor remedy. */
#ifndef HF_OPS_YAML_SCHEMA_H
#define HF_OPS_YAML_SCHEMA_H

#include <cyaml/cyaml.h>

#include "ops/yaml_tree.h"

/* Adds what is wrong to *problems. `secrets` are the field lists of secrets, ended by NULL: where one is expected, a
 * plain value is reported as a secret written into the file (without repeating it). */
void yaml_schema_check(const YamlNode *root, const cyaml_schema_value_t *schema,
                       const cyaml_schema_field_t *const *secrets, Problems *problems);

/* Values as libcyaml reads them. */
bool yaml_bool_parse(const char *text, bool *out);

#endif
