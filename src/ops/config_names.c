#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/suggest.h"
#include "ops/config_internal.h"

/* The names of one list ("sources") over all files: name to the member that says it. */
typedef struct Names {
  const char *list;
  Map *map;
} Names;

static const YamlNode *list_of(const LoadedFile *file, const char *key) {
  const YamlNode *list = yaml_get(file->tree, key);
  return list && list->kind == YAML_SEQUENCE ? list : NULL;
}

static const char *scalar(const YamlNode *node) { return node && node->kind == YAML_SCALAR ? node->text : NULL; }

typedef struct Said {
  const char *file;
  const YamlNode *name;
} Said;

static void names_free(Names *names) {
  size_t pos = 0;
  Bytes key;
  void *value;
  while (map_next(names->map, &pos, &key, &value)) free(value);
  map_free(names->map);
}
#define AUTO_NAMES __attribute__((cleanup(names_free)))

static void collect(const Config *config, const char *list_name, Names *out, Problems *problems) {
  *out = (Names){.list = list_name, .map = map_new()};
  for (size_t f = 0; f < config->files_len; f++) {
    const LoadedFile *file = &config->files[f];
    const YamlNode *list = list_of(file, list_name);
    problems[f].file = file->name;
    for (size_t i = 0; list && i < list->len; i++) {
      const YamlNode *name = yaml_get(list->items[i], "name");
      if (!scalar(name)) continue;
      const Said *before = (const Said *)map_get(out->map, bytes_str(name->text));
      if (before) {
        problem_add(&problems[f], name->line, "%s[%zu].name: \"%s\" is there already, in %s:%u", list_name, i,
                    name->text, before->file, before->name->line);
        continue;
      }
      Said *said = NEW(Said);
      *said = (Said){.file = file->name, .name = name};
      map_set(out->map, bytes_str(name->text), said);
    }
  }
}

static void check_reference(const Names *names, const YamlNode *node, const char *path, Problems *problems) {
  const char *name = scalar(node);
  /* A glob names whatever matches it, now or later. */
  if (!name || strpbrk(name, "*?[") || map_get(names->map, bytes_str(name))) return;
  Suggestion s = {0};
  size_t pos = 0;
  Bytes key;
  void *value;
  while (map_next(names->map, &pos, &key, &value)) suggest(&s, bytes_str(name), ((const Said *)value)->name->text);
  AUTO_FREE char *shown = str_printable(bytes_str(name));
  if (s.best)
    problem_add(problems, node->line, "%s: there is no \"%s\" among the %s; did you mean \"%s\"?", path, shown,
                names->list, s.best);
  else
    problem_add(problems, node->line, "%s: there is no \"%s\" among the %s", path, shown, names->list);
}

/* A scalar, or each of a list. */
static void check_references(const Names *names, const YamlNode *parent, const char *key, const char *path,
                             Problems *problems) {
  const YamlNode *node = yaml_get(parent, key);
  if (!node) return;
  AUTO_FREE char *where = mem_printf("%s.%s", path, key);
  if (node->kind == YAML_SEQUENCE)
    for (size_t i = 0; i < node->len; i++) check_reference(names, node->items[i], where, problems);
  else
    check_reference(names, node, where, problems);
}

typedef struct AllNames {
  const Names *sources, *repositories, *alerts;
} AllNames;

static void check_file(const LoadedFile *file, const AllNames *names, Problems *problems) {
  static const char *const lists[] = {"sources", "schedules", "routes", "retention"};
  for (size_t l = 0; l < NELEMS(lists); l++) {
    const YamlNode *list = list_of(file, lists[l]);
    for (size_t i = 0; list && i < list->len; i++) {
      const YamlNode *item = list->items[i];
      AUTO_FREE char *path = mem_printf("%s[%zu]", lists[l], i);
      if (l != 2) check_references(names->repositories, item, "repositories", path, problems);
      if (l == 1) check_references(names->sources, item, "source", path, problems);
      if (l == 2) check_references(names->alerts, item, "to", path, problems);
      const YamlNode *targets = l == 3 ? yaml_get(item, "for") : NULL;
      for (size_t t = 0; targets && t < targets->len; t++) {
        check_references(names->sources, targets->items[t], "source", path, problems);
        check_references(names->repositories, targets->items[t], "repository", path, problems);
      }
    }
  }
}

/* One policy for each (source, repository): the same pair named twice is a contradiction. */
static void check_policies(const Config *config, Problems *problems) {
  Map *seen = map_new();
  for (size_t f = 0; f < config->files_len; f++) {
    const YamlNode *list = list_of(&config->files[f], "retention");
    for (size_t i = 0; list && i < list->len; i++) {
      const YamlNode *targets = yaml_get(list->items[i], "for");
      for (size_t t = 0; targets && t < targets->len; t++) {
        const YamlNode *item = targets->items[t];
        const char *source = scalar(yaml_get(item, "source")), *repository = scalar(yaml_get(item, "repository"));
        AUTO_FREE char *pair = mem_printf("%s\n%s", source ? source : "*", repository ? repository : "*");
        if (map_set(seen, bytes_str(pair), config->files))
          problem_add(&problems[f], item->line,
                      "retention[%zu].for: source \"%s\" in repository \"%s\" has a policy already", i,
                      source ? source : "*", repository ? repository : "*");
      }
    }
  }
  map_free(seen);
}

Error *config_check_names(const Config *config) {
  if (config->files_len == 0) return NULL;
  AUTO_FREE Problems *problems = NEW_ARRAY(Problems, config->files_len);
  AUTO_NAMES Names sources, repositories, alerts, policies;
  collect(config, "sources", &sources, problems);
  collect(config, "repositories", &repositories, problems);
  collect(config, "alerts", &alerts, problems);
  collect(config, "retention", &policies, problems);
  AllNames names = {.sources = &sources, .repositories = &repositories, .alerts = &alerts};
  for (size_t f = 0; f < config->files_len; f++) check_file(&config->files[f], &names, &problems[f]);
  check_policies(config, problems);
  Error *err = NULL;
  for (size_t f = 0; f < config->files_len; f++) err = err_first(err, problems_finish(&problems[f]));
  return err;
}
