#include "engine/engine.h"

#include "base/mem.h"

void engine_free(Engine *take) {
  if (take) take->ops->free(take);
}

void engine_facts_free(EngineFacts *facts) {
  free(facts->json);
  free(facts->log_position);
  *facts = (EngineFacts){0};
}

void server_info_free(ServerInfo *info) {
  free(info->version);
  free(info->identity);
  strlist_free(&info->possible);
  strlist_free(&info->missing);
  *info = (ServerInfo){0};
}

void check_report_add(CheckReport *report, bool passed, const char *name, const char *expected, const char *found) {
  MEM_ROOM(report->items, report->len, report->cap, 16);
  report->items[report->len++] = (CheckItem){
      .name = mem_strdup(name), .expected = mem_strdup(expected), .found = mem_strdup(found), .passed = passed};
}

void check_report_free(CheckReport *report) {
  for (size_t i = 0; i < report->len; i++) {
    free(report->items[i].name);
    free(report->items[i].expected);
    free(report->items[i].found);
  }
  free(report->items);
  *report = (CheckReport){0};
}

size_t check_report_passed(const CheckReport *report) {
  size_t passed = 0;
  for (size_t i = 0; i < report->len; i++) passed += report->items[i].passed;
  return passed;
}
