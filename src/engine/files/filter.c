#include "engine/files/filter.h"

#include "base/mem.h"
#include "engine/files/dircache.h"

/* Lists are the patterns an operator would write; docs/files.md gives the reasons. */
typedef struct Preset {
  const char *name;
  bool skip_sockets;
  bool skip_tagged_caches;
  const char *exclude[16]; /* NULL-terminated */
} Preset;

static const Preset presets[] = {
    {.name = "configuration",
     .skip_sockets = true,
     .exclude = {"*~", "*.tmp", ".*.sw[a-p]", "*.dpkg-new", "*.dpkg-tmp", "*.rpmnew", "*.ucf-new", ".#*", "#*#"}},
    {.name = "logs", .skip_sockets = true, .exclude = {"*.tmp", "*.pid", "*.lock"}},
    {.name = "application",
     .skip_sockets = true,
     .skip_tagged_caches = true,
     .exclude = {"*~", "*.tmp", ".*.sw[a-p]", "*.pid", ".cache/", "__pycache__/", "*.pyc", ".pytest_cache/",
                 ".mypy_cache/", ".sass-cache/", ".eslintcache", "lost+found/"}},
};

static const char *const preset_names[] = {"configuration", "logs", "application", NULL};
_Static_assert(NELEMS(presets) + 1 == NELEMS(preset_names), "every preset has a name in the list");

struct Filter {
  StrList include;
  StrList exclude;
  const Preset *preset; /* NULL: none */
};

const char *const *filter_presets(void) { return preset_names; }

static Error *copy_patterns(const StrList *from, StrList *to, const char *what) {
  for (size_t i = 0; i < from->len; i++) {
    const char *text = from->items[i];
    if (text[0] == 0 || strcmp(text, "/") == 0) {
      return err_hint(err_new(ERR_USAGE, "files: %s: a pattern is empty", what),
                      "write a glob such as '*.tmp', 'cache/' or '/srv/app/tmp'");
    }
    strlist_add(to, text);
  }
  return NULL;
}

Error *filter_new(const StrList *include, const StrList *exclude, const char *preset, Filter **out) {
  Filter *filter = NEW(Filter);
  Error *err = copy_patterns(include, &filter->include, "include");
  if (!err) err = copy_patterns(exclude, &filter->exclude, "exclude");
  for (size_t i = 0; preset && i < NELEMS(presets); i++) {
    if (strcmp(presets[i].name, preset) == 0) filter->preset = &presets[i];
  }
  if (!err && preset && !filter->preset) {
    err = err_hint(err_new(ERR_USAGE, "files: no preset is called '%s'", preset),
                   "the presets are configuration, logs and application");
  }
  if (err) {
    filter_free(filter);
    return err;
  }
  for (size_t i = 0; filter->preset && filter->preset->exclude[i]; i++) {
    strlist_add(&filter->exclude, filter->preset->exclude[i]);
  }
  *out = filter;
  return NULL;
}

void filter_free(Filter *take) {
  if (!take) return;
  strlist_free(&take->include);
  strlist_free(&take->exclude);
  free(take);
}

/* "**" at the start stands for no directory at all as well. */
static bool glob_anywhere(Bytes pattern, Bytes path) {
  if (glob_match(pattern, path)) return true;
  bool leading = pattern.len > 3 && memcmp(pattern.data, "**/", 3) == 0;
  return leading && glob_match(bytes(pattern.data + 3, pattern.len - 3), path);
}

static bool pattern_matches(const char *text, const FilterItem *item) {
  Bytes pattern = bytes_str(text);
  if (pattern.data[pattern.len - 1] == '/') {
    if (item->type != ENTRY_DIR) return false;
    pattern.len--;
  }
  if (pattern.len && pattern.data[0] == '/') return glob_match(pattern, item->absolute);
  if (!memchr(pattern.data, '/', pattern.len)) return glob_match(pattern, path_name(item->path));
  return glob_anywhere(pattern, item->path);
}

bool patterns_match(const StrList *patterns, const FilterItem *item) {
  for (size_t i = 0; i < patterns->len; i++) {
    if (pattern_matches(patterns->items[i], item)) return true;
  }
  return false;
}

bool filter_excludes(const Filter *filter, const FilterItem *item) {
  if (item->type == ENTRY_SOCKET && filter->preset && filter->preset->skip_sockets) return true;
  return patterns_match(&filter->exclude, item);
}

bool filter_is_selective(const Filter *filter) { return filter->include.len > 0; }

bool filter_includes(const Filter *filter, const FilterItem *item) { return patterns_match(&filter->include, item); }

bool filter_skips_tagged_caches(const Filter *filter) { return filter->preset && filter->preset->skip_tagged_caches; }

bool filter_is_logs(const Filter *filter) { return filter->preset && strcmp(filter->preset->name, "logs") == 0; }
