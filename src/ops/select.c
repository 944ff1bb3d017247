#include "ops/select.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/timefmt.h"
#include "ops/address.h"
#include "repo/uuid.h"

/* `keys`: of all snapshots, ascending. */
static bool has_snapshots(const StrList *keys, const Series *series) {
  char id[UUID_TEXT_LEN];
  AUTO_FREE char *prefix = mem_printf("snapshots/%s/", uuid_text(&series->id, id));
  for (size_t i = 0; i < keys->len; i++)
    if (str_starts(keys->items[i], prefix)) return true;
  return false;
}

/* A source whose first backup failed is nothing to restore from, so it is not named. */
static Error *no_such_series(const Ops *ops, Repo *repo, const SeriesList *list, const char *text) {
  enum { SHOWN = 20 };
  AUTO_STRLIST StrList keys = {0};
  AUTO_BUF Buf names = {0};
  TRY(repo_list_keys(repo, "snapshots/", &keys, ops->cancel));
  size_t count = 0;
  for (size_t i = 0; i < list->len; i++)
    if (has_snapshots(&keys, &list->items[i]) && count++ < SHOWN)
      buf_printf(&names, "%s%s", count > 1 ? ", " : "", list->items[i].name);
  if (count > SHOWN) buf_printf(&names, ", … (%zu)", count);
  AUTO_FREE char *known = buf_steal_str(&names);
  return err_hint(err_new(ERR_NOT_FOUND, "no source named %s in the repository", text), "%s%s",
                  count ? "it has: " : "it has no snapshots yet: `holdfast backup`", known);
}

Error *ops_find_series(const Ops *ops, Repo *repo, const SeriesList *list, const char *name, const Series **out) {
  AUTO_FREE char *text = str_printable(bytes_str(name)); /* as the records have it */
  const Series *found = series_by_name(list, text);
  if (!found) {
    AUTO_FREE char *local = mem_printf("%s:%s", ops->host, text);
    found = series_by_name(list, local);
  }
  for (size_t i = 0; i < list->len && !found; i++) {
    if (strcmp(list->items[i].address, text) != 0) continue;
    for (size_t k = i + 1; k < list->len; k++)
      if (strcmp(list->items[k].address, text) == 0)
        return err_hint(err_new(ERR_USAGE, "%s is ambiguous", text), "say %s or %s", list->items[i].name,
                        list->items[k].name);
    found = &list->items[i];
  }
  if (!found) TRY(series_maybe_broken(list, text));
  if (!found) return no_such_series(ops, repo, list, text);
  *out = found;
  return NULL;
}

static void broken(void *ctx, const char *key, const Error *err) {
  const Ops *ops = (const Ops *)ctx;
  AUTO_FREE char *text = mem_printf("snapshot %s does not open: %s", key, err_text(err));
  ops->notice(ops->notice_ctx, NOTICE_PARTIAL, bytes(NULL, 0), text);
}

static Error *list_of(const Ops *ops, Repo *repo, const Uuid *series, SnapshotList *out) {
  return snapshot_list(repo, series, out, broken, (void *)(uintptr_t)ops, ops->cancel);
}

static int by_age(const void *a, const void *b) {
  const Snapshot *x = (const Snapshot *)a, *y = (const Snapshot *)b;
  return x->time_ns < y->time_ns ? -1 : x->time_ns > y->time_ns;
}

static void append(SnapshotList *list, SnapshotList *more) {
  if (more->len == 0) return;
  list->items = (Snapshot *)mem_resize(list->items, list->len + more->len, sizeof *list->items);
  memcpy(list->items + list->len, more->items, more->len * sizeof *more->items);
  list->len += more->len;
  list->cap = list->len;
  more->len = 0; /* moved */
  qsort(list->items, list->len, sizeof *list->items, by_age);
}

/* First backups of one source that ran at the same time have each made a series: they are one source all the same. */
static Error *list_named(const Ops *ops, Repo *repo, const SeriesList *series, const Series *found, SnapshotList *out) {
  TRY(list_of(ops, repo, &found->id, out));
  for (size_t i = 0; i < series->len; i++) {
    if (&series->items[i] == found || strcmp(series->items[i].name, found->name) != 0) continue;
    SnapshotList more = {0};
    Error *err = list_of(ops, repo, &series->items[i].id, &more);
    append(out, &more);
    snapshot_list_free(&more);
    if (!err) continue;
    snapshot_list_free(out);
    return err;
  }
  return NULL;
}

Error *ops_list_snapshots(const Ops *ops, Repo *repo, const char *text, SnapshotList *out) {
  if (!text) return list_of(ops, repo, NULL, out);
  SeriesList series = {0};
  TRY(series_list_readable(repo, &series, ops->cancel));
  const Series *found = NULL;
  Error *err = ops_find_series(ops, repo, &series, text, &found);
  if (found) err = list_named(ops, repo, &series, found, out);
  series_list_free(&series);
  return err;
}

static void take_item(SnapshotList *list, size_t i, Snapshot *out) {
  *out = list->items[i];
  list->items[i] = (Snapshot){0};
}

static Error *by_id(SnapshotList *list, const char *prefix, Snapshot *out) {
  size_t matches = 0, at = 0;
  for (size_t i = 0; i < list->len; i++) {
    char id[UUID_TEXT_LEN];
    if (!str_starts(uuid_text(&list->items[i].id, id), prefix)) continue;
    matches++;
    at = i;
  }
  if (matches == 0)
    return err_hint(err_new(ERR_NOT_FOUND, "no snapshot %s", prefix), "`holdfast ls` shows what there is");
  if (matches > 1)
    return err_hint(err_new(ERR_USAGE, "%zu snapshots begin with %s", matches, prefix), "give more digits of the id");
  take_item(list, at, out);
  return NULL;
}

static Error *none(const char *source) { return err_new(ERR_NOT_FOUND, "%s has no snapshots", source); }

static Error *by_time(SnapshotList *list, const char *source, uint64_t time_ns, Snapshot *out) {
  char text[36];
  for (size_t i = list->len; i-- > 0;) {
    if (list->items[i].time_ns > time_ns) continue;
    take_item(list, i, out);
    return NULL;
  }
  if (list->len == 0) return none(source);
  return err_hint(err_new(ERR_NOT_FOUND, "%s has no snapshot at or before that moment", source), "the oldest is of %s",
                  time_format_local(list->items[0].time_ns, text));
}

static bool is_recovery_point(const Snapshot *snapshot) {
  for (size_t i = 0; i < snapshot->labels_len; i++)
    if (strcmp(snapshot->labels[i].key, RECOVERY_POINT_LABEL) == 0) return true;
  return false;
}

/* The newest of what was meant to be kept. A recovery point holds what somebody has decided to overwrite, and a damaged
 * database was stored for the sake of what can be saved of it: whoever repeats an interrupted restore, or asks for the
 * newest at three in the morning, means neither. They are had by id or moment, or when there is nothing else. */
static Error *newest(const Ops *ops, SnapshotList *list, const char *source, Snapshot *out) {
  if (list->len == 0) return none(source);
  size_t at = list->len - 1;
  for (size_t i = list->len; i-- > 0;) {
    if (list->items[i].damaged || is_recovery_point(&list->items[i])) continue;
    at = i;
    break;
  }
  const Snapshot *last = &list->items[list->len - 1];
  if (at != list->len - 1) {
    char id[UUID_TEXT_LEN], when[36];
    uuid_text(&last->id, id);
    AUTO_FREE char *text = mem_printf("passing over %.8s of %s, %s: name it by its id if it is meant", id,
                                      time_format_local(last->time_ns, when),
                                      is_recovery_point(last) ? "a recovery point" : "made of a damaged database");
    ops->notice(ops->notice_ctx, NOTICE_WARNING, bytes(NULL, 0), text);
  }
  take_item(list, at, out);
  return NULL;
}

static Error *pick(const Ops *ops, SnapshotList *list, const char *source, const When *when, Snapshot *out) {
  if (when->kind == WHEN_SNAPSHOT) return by_id(list, when->snapshot, out);
  return when->kind == WHEN_TIME ? by_time(list, source, when->time_ns, out) : newest(ops, list, source, out);
}

static Error *of_source(const Ops *ops, Repo *repo, const char *source, const When *when, Snapshot *out) {
  SnapshotList list = {0};
  TRY(ops_list_snapshots(ops, repo, source, &list));
  Error *err = pick(ops, &list, source, when, out);
  snapshot_list_free(&list);
  return err;
}

/* "latest" alone: the newest of all, as long as they are one source's. */
static Error *latest_of_all(const Ops *ops, Repo *repo, Snapshot *out) {
  SnapshotList list = {0};
  TRY(list_of(ops, repo, NULL, &list));
  Error *err = NULL;
  for (size_t i = 1; i < list.len && !err; i++)
    if (!uuid_equal(&list.items[i].series, &list.items[0].series))
      err = err_hint(err_new(ERR_USAGE, "latest: of which source? The repository holds several"),
                     "say %s@latest or %s@latest", list.items[0].source, list.items[i].source);
  if (!err) err = newest(ops, &list, "the repository", out);
  snapshot_list_free(&list);
  return err;
}

Error *ops_suspect_moment(Error *take, const char *suspect) {
  if (!suspect || !err_is(take, ERR_NOT_FOUND)) return take;
  AUTO_FREE char *shown = str_printable(bytes_str(suspect));
  Error *err = err_new(ERR_NOT_FOUND, "%s", err_text(take));
  err_free(take);
  return err_hint(err, "\"%s\" is no moment: write an id, latest, a time like 2026-11-20T09:30, or -15m, -2h, -3d",
                  shown);
}

Error *ops_find_snapshot(const Ops *ops, Repo *repo, const char *text, Snapshot *out) {
  uint64_t now = sys_now_ns(ops->sys);
  When alone = {0};
  Error *not_when = when_parse(text, now, &alone);
  bool is_id = !not_when && alone.kind == WHEN_SNAPSHOT;
  bool is_latest = !not_when && alone.kind == WHEN_LATEST && strcmp(text, "latest") == 0;
  err_free(not_when);
  if (is_latest) return latest_of_all(ops, repo, out);
  if (is_id) {
    SnapshotList list = {0};
    TRY(list_of(ops, repo, NULL, &list));
    Error *err = by_id(&list, alone.snapshot, out);
    snapshot_list_free(&list);
    return err;
  }
  AUTO_FREE char *source = NULL;
  AUTO_FREE char *suspect = NULL;
  When when;
  TRY(source_when_split(text, now, &source, &when, &suspect));
  Error *err = of_source(ops, repo, source, &when, out);
  if (err_is(err, ERR_NOT_FOUND) && when.said) { /* a source's own name may end like a moment: /srv/photos@2024 */
    When latest = {.kind = WHEN_LATEST};
    Error *no_name = of_source(ops, repo, text, &latest, out);
    if (!no_name) {
      err_free(err);
      return NULL;
    }
    err_free(no_name);
  }
  return ops_suspect_moment(err, suspect);
}
