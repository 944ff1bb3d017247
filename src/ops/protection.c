#include "ops/protection.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/timefmt.h"
#include "ops/calendar.h"

static const uint64_t HOUR_NS = 3600 * NS_PER_SECOND;
static const uint64_t DEFAULT_HOURS = 26;

const char *protection_state_name(ProtectionState state) {
  switch (state) {
    case PROTECTED: return "protected";
    case PROTECTION_FAILING: return "failing";
    case PROTECTION_OVERDUE: return "overdue";
    case PROTECTION_NEVER: return "never";
  }
  return "unknown";
}

/* ---- what is asked -------------------------------------------------------------------------------------------------
 */

/* Names and globs: "*" is every source. */
static bool schedule_is_of(const ConfigSchedule *s, const char *source) {
  return s->source && (strcmp(s->source, source) == 0 || glob_match(bytes_str(s->source), bytes_str(source)));
}

/* Of several schedules the one that comes most often. */
static uint64_t scheduled_ns(const Config *config, const char *source) {
  const ConfigFile *file = config_main(config);
  uint64_t least = 0;
  for (uint32_t i = 0; i < file->schedules_count; i++) {
    const ConfigSchedule *s = &file->schedules[i];
    if (!s->at || !schedule_is_of(s, source)) continue;
    uint64_t gap = calendar_longest_gap_ns(s->at);
    if (gap && (!least || gap < least)) least = gap;
  }
  return least;
}

static uint64_t allowed_ns(const Config *config, const ConfigSource *configured, const char *source) {
  if (configured && configured->rpo_ns) return configured->rpo_ns;
  uint64_t gap = scheduled_ns(config, source);
  if (!gap) return DEFAULT_HOURS * HOUR_NS;
  return gap + (gap / 10 > HOUR_NS ? gap / 10 : HOUR_NS);
}

static void add_names(StrList *list, char *const *names, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    bool known = false;
    for (size_t k = 0; k < list->len && !known; k++) known = strcmp(list->items[k], names[i]) == 0;
    if (!known) strlist_add(list, names[i]);
  }
}

static void required_repositories(const Config *config, const ConfigSource *configured, const char *source,
                                  StrList *out) {
  const ConfigFile *file = config_main(config);
  if (configured) add_names(out, configured->repositories, configured->repositories_count);
  for (uint32_t i = 0; i < file->schedules_count; i++)
    if (schedule_is_of(&file->schedules[i], source))
      add_names(out, file->schedules[i].repositories, file->schedules[i].repositories_count);
}

/* ---- how it stands -------------------------------------------------------------------------------------------------
 */

static ProtectionState state_of(const SourceStatus *s, uint64_t allowed, uint64_t now_ns) {
  uint64_t last = s ? (s->last_success_ns > s->last_snapshot_ns ? s->last_success_ns : s->last_snapshot_ns) : 0;
  if (last == 0) return PROTECTION_NEVER;
  if (now_ns > last && now_ns - last > allowed) return PROTECTION_OVERDUE;
  bool failed = (s->last_result == JOB_FAILED || s->last_result == JOB_DIED) && s->last_attempt_ns > last;
  return failed || s->last_result == JOB_PARTIAL ? PROTECTION_FAILING : PROTECTED;
}

static void add_row(Protection *p, const SourceStatus *status, const char *repository, bool required, uint64_t now_ns) {
  p->rows = (ProtectionRow *)mem_resize(p->rows, p->rows_len + 1, sizeof *p->rows);
  p->rows[p->rows_len++] = (ProtectionRow){.status = status,
                                           .repository = repository,
                                           .required = required,
                                           .state = state_of(status, p->allowed_ns, now_ns)};
}

/* The worst of what is required; when nothing is in particular, the best there is. */
static const ProtectionRow *deciding_row(const Protection *p) {
  const ProtectionRow *row = NULL;
  for (size_t i = 0; i < p->rows_len; i++) {
    const ProtectionRow *r = &p->rows[i];
    bool first = !row || r->required > row->required;
    bool better = row && r->required == row->required && (r->required ? r->state > row->state : r->state < row->state);
    if (first || better) row = r;
  }
  return row;
}

static char *sentence(const Protection *p, const ProtectionRow *row, uint64_t now_ns) {
  char age[16], limit[16];
  const SourceStatus *s = row ? row->status : NULL;
  AUTO_FREE char *where = row && row->required ? mem_printf(" in %s", row->repository) : mem_strdup("");
  const char *error = s && s->last_error ? s->last_error : "no reason is recorded";
  if (p->state == PROTECTION_NEVER)
    return s && s->last_attempt_ns ? mem_printf("never backed up%s: the last attempt failed: %s", where, error)
                                   : mem_printf("never backed up%s", where);
  CHECK(s); /* no status: it was never backed up */
  uint64_t last = s->last_success_ns > s->last_snapshot_ns ? s->last_success_ns : s->last_snapshot_ns;
  str_duration(now_ns > last ? now_ns - last : 0, age);
  str_duration(p->allowed_ns, limit);
  if (p->state == PROTECTION_OVERDUE)
    return mem_printf("overdue%s: the last good backup is %s old, at most %s is allowed%s%s", where, age, limit,
                      s->last_error ? "; the last attempt failed: " : "", s->last_error ? s->last_error : "");
  if (p->state == PROTECTION_FAILING && s->last_result == JOB_PARTIAL)
    return mem_printf("the last backup%s left something out (it is %s old)", where, age);
  if (p->state == PROTECTION_FAILING)
    return mem_printf("the last attempt%s failed: %s (the last good backup is %s old)", where, error, age);
  return mem_printf("the last good backup is %s old, at most %s is allowed", age, limit);
}

static const SourceStatus *find_status(const SourceStatusList *list, const char *source, const char *repository) {
  for (size_t i = 0; i < list->len; i++)
    if (strcmp(list->items[i].source, source) == 0 && strcmp(list->items[i].repository, repository) == 0)
      return &list->items[i];
  return NULL;
}

/* The configuration's own text of a repository's name, or the status's. */
static const char *lasting_name(const Config *config, const SourceStatus *status, const char *name) {
  const ConfigRepository *r = config_repository_find(config, name);
  return r ? r->name : status ? status->repository : NULL;
}

static void judge(const Config *config, const SourceStatusList *statuses, uint64_t now_ns, Protection *p) {
  AUTO_STRLIST StrList required = {0};
  p->allowed_ns = allowed_ns(config, p->configured, p->source);
  required_repositories(config, p->configured, p->source, &required);
  for (size_t i = 0; i < required.len; i++) {
    const SourceStatus *s = find_status(statuses, p->source, required.items[i]);
    add_row(p, s, lasting_name(config, s, required.items[i]), true, now_ns);
  }
  for (size_t i = 0; i < statuses->len; i++) {
    const SourceStatus *s = &statuses->items[i];
    bool known = strcmp(s->source, p->source) != 0;
    for (size_t k = 0; k < p->rows_len && !known; k++) known = p->rows[k].status == s;
    if (!known) add_row(p, s, s->repository, false, now_ns);
  }
  const ProtectionRow *row = deciding_row(p);
  p->state = row ? row->state : PROTECTION_NEVER;
  p->why = sentence(p, row, now_ns);
}

static Protection *add(ProtectionList *list, const char *source, const ConfigSource *configured) {
  list->items = (Protection *)mem_resize(list->items, list->len + 1, sizeof *list->items);
  list->items[list->len] = (Protection){.source = source, .configured = configured};
  return &list->items[list->len++];
}

static bool is_listed(const ProtectionList *list, const char *source) {
  for (size_t i = 0; i < list->len; i++)
    if (strcmp(list->items[i].source, source) == 0) return true;
  return false;
}

void protection_judge(const Config *config, const SourceStatusList *statuses, uint64_t now_ns, ProtectionList *out) {
  *out = (ProtectionList){0};
  for (size_t i = 0; i < config_source_count(config); i++) {
    const ConfigSource *s = config_source_at(config, i);
    judge(config, statuses, now_ns, add(out, s->name, s));
  }
  for (size_t i = 0; i < statuses->len; i++) {
    const char *source = statuses->items[i].source;
    if (!is_listed(out, source)) judge(config, statuses, now_ns, add(out, source, NULL));
  }
}

void protection_list_free(ProtectionList *list) {
  for (size_t i = 0; i < list->len; i++) {
    free(list->items[i].why);
    free(list->items[i].rows);
  }
  free(list->items);
  *list = (ProtectionList){0};
}
