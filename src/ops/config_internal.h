/* config_internal.h: shared by the files of the configuration only. */
#ifndef HF_OPS_CONFIG_INTERNAL_H
#define HF_OPS_CONFIG_INTERNAL_H

#include <cyaml/cyaml.h>

#include "ops/config.h"
#include "ops/yaml_tree.h"

/* A file with its tree, which knows the lines and which keys are there. */
typedef struct LoadedFile {
  char *name;
  ConfigFile *data; /* never NULL; libcyaml's memory */
  YamlNode *tree;   /* NULL: an empty file */
  bool extra;       /* of conf.d */
} LoadedFile;

struct Config {
  LoadedFile *files; /* the main file first, when there is one */
  size_t files_len;
  ConfigFile *empty; /* stands for the main file when there is none */
  const ConfigRepository **repositories;
  size_t repositories_len;
  const ConfigSource **sources;
  size_t sources_len;
};

extern const cyaml_schema_value_t config_schema;              /* of a whole file */
extern const cyaml_schema_value_t config_schema_sources;      /* of a file that holds only sources */
extern const cyaml_schema_value_t config_schema_repositories; /* … only repositories */
extern const cyaml_schema_field_t config_secret_fields[];     /* of a SecretSource */
extern const cyaml_schema_field_t config_key_fields[];        /* of a ConfigKey */

/* What the schema cannot say, of one file: durations, sizes, schedules, names, choices, secrets in addresses. */
void config_check_values(const YamlNode *root, Problems *problems);
/* What the files say of each other: names used twice, names that point nowhere. One error for all files. */
Error *config_check_names(const Config *config) NODISCARD;
/* The numbers beside the texts, which have been checked. */
void config_fill(ConfigFile *file);

#endif
