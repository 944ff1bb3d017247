/* What the files engine reads back from a repository: its facts and the record of a compressed rotation; and globs of
 * includes and excludes, on names of any bytes. */
#include "base/mem.h"
#include "engine/files/files.h"
#include "engine/files/rotate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_filter(const char *pattern, Bytes path) {
  StrList none = {0}, list = {0};
  strlist_add(&list, pattern);
  Filter *filter = NULL;
  AUTO_ERR Error *err = filter_new(&none, &list, "application", &filter);
  if (!err) {
    FilterItem item = {.path = path, .absolute = path, .type = ENTRY_DIR};
    bool first = filter_excludes(filter, &item);
    CHECK(first == filter_excludes(filter, &item));
  }
  filter_free(filter);
  strlist_free(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  RotateRecord record;
  if (rotate_record_parse(bytes(data, size), &record)) CHECK(record.name.len <= size);
  if (size > 4096) return 0;
  AUTO_FREE char *text = mem_strndup((const char *)data, size);
  FilesFacts facts;
  AUTO_ERR Error *err = files_facts_parse(text, &facts);
  if (!err) CHECK(facts.layout <= LAYOUT_PATHS);
  size_t half = strlen(text);
  if (half < size && size - half < 512 && half < 128) check_filter(text, bytes(data + half + 1, size - half - 1));
  return 0;
}
