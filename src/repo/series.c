#include "repo/series.h"

#include <stdio.h>

#include "base/mem.h"
#include "codec/blake3.h"
#include "repo/json.h"
#include "repo/uuid.h"

enum { SERIES_NAME_MAX = 4096, SERIES_TEXT_MAX = 64 * 1024, SERIES_REVISIONS_MAX = 99999999 };

void series_free(Series *s) {
  free(s->name);
  free(s->engine);
  free(s->address);
  free(s->host);
  free(s->host_id);
  free(s->identity);
  *s = (Series){0};
}

void series_list_free(SeriesList *list) {
  for (size_t i = 0; i < list->len; i++) series_free(&list->items[i]);
  free(list->items);
  err_free(list->broken);
  *list = (SeriesList){0};
}

static void series_encode(const Series *s, Buf *out) {
  AUTO_JSON json_t *doc = json_object();
  char id[UUID_TEXT_LEN];
  json_set_str(doc, "series", uuid_text(&s->id, id));
  json_set_u64(doc, "revision", s->revision);
  json_set_str(doc, "name", s->name);
  json_set_str(doc, "engine", s->engine);
  json_set_str(doc, "address", s->address);
  json_set_str(doc, "host", s->host);
  json_set_str(doc, "host_id", s->host_id);
  json_set_str(doc, "identity", s->identity);
  json_set_u64(doc, "created_ns", s->created_ns);
  json_dump_sorted(doc, out);
}

Error *series_decode(Bytes body, Series *out) {
  AUTO_JSON json_t *doc = NULL;
  TRY(json_parse_object(body, "series", &doc));
  JsonReader r = {.object = doc, .what = "series"};
  Series s = {.id = json_get_uuid(&r, "series"),
              .revision = (uint32_t)json_get_u64(&r, "revision", SERIES_REVISIONS_MAX),
              .name = mem_strdup(json_get_str(&r, "name", SERIES_NAME_MAX)),
              .engine = mem_strdup(json_get_str(&r, "engine", 64)),
              .address = mem_strdup(json_get_str(&r, "address", SERIES_TEXT_MAX)),
              .host = mem_strdup(json_get_str(&r, "host", SERIES_NAME_MAX)),
              .host_id = mem_strdup(json_get_str(&r, "host_id", SERIES_NAME_MAX)),
              .identity = mem_strdup(json_get_str(&r, "identity", SERIES_TEXT_MAX)),
              .created_ns = json_get_u64(&r, "created_ns", INT64_MAX)};
  Error *err = json_reader_end(&r);
  if (err)
    series_free(&s);
  else
    *out = s;
  return err;
}

/* "series/<id>/<revision>" */
static bool name_parse(const char *name, Uuid *id) {
  char text[UUID_TEXT_LEN];
  if (strlen(name) != 7 + 32 + 1 + 8 || name[39] != '/') return false;
  memcpy(text, name + 7, 32);
  text[32] = 0;
  return uuid_parse(text, id);
}

static Error *read_series(Repo *repo, const char *name, const Uuid *id, SeriesList *list, Cancel *cancel) {
  AUTO_BUF Buf body = {0};
  TRY(repo_get_object(repo, OBJECT_SERIES, name, &body, NULL, cancel));
  Series s;
  TRY(err_wrap(series_decode(buf_bytes(&body), &s), "%s", name));
  if (!uuid_equal(&s.id, id)) {
    series_free(&s);
    return err_new(ERR_CORRUPT, "%s: holds another series", name);
  }
  if (list->len == list->cap) {
    list->cap = list->cap ? list->cap * 2 : 16;
    list->items = (Series *)mem_resize(list->items, list->cap, sizeof(Series));
  }
  list->items[list->len++] = s;
  return NULL;
}

/* Of several with one name the oldest comes first: that one goes on. */
static int series_order(const void *a, const void *b) {
  const Series *x = (const Series *)a, *y = (const Series *)b;
  int names = strcmp(x->name, y->name);
  if (names != 0) return names;
  if (x->created_ns != y->created_ns) return x->created_ns < y->created_ns ? -1 : 1;
  return memcmp(&x->id, &y->id, sizeof x->id);
}

Error *series_list_readable(Repo *repo, SeriesList *out, Cancel *cancel) {
  AUTO_STRLIST StrList names = {0};
  TRY(repo_list_keys(repo, "series/", &names, cancel));
  SeriesList list = {0};
  Error *err = NULL;
  for (size_t i = 0; i < names.len && !err; i++) {
    Uuid id, next;
    if (!name_parse(names.items[i], &id)) continue;
    bool newest = i + 1 == names.len || !name_parse(names.items[i + 1], &next) || !uuid_equal(&id, &next);
    if (newest) err = read_series(repo, names.items[i], &id, &list, cancel);
    if (err_is(err, ERR_CORRUPT)) list.broken = err_first(list.broken, STEAL(err));
  }
  if (err) {
    series_list_free(&list);
    return err;
  }
  if (list.len) qsort(list.items, list.len, sizeof *list.items, series_order);
  *out = list;
  return NULL;
}

Error *series_list(Repo *repo, SeriesList *out, Cancel *cancel) {
  SeriesList list = {0};
  TRY(series_list_readable(repo, &list, cancel));
  Error *err = STEAL(list.broken);
  if (err)
    series_list_free(&list);
  else
    *out = list;
  return err;
}

const Series *series_by_name(const SeriesList *list, const char *name) {
  for (size_t i = 0; i < list->len; i++)
    if (strcmp(list->items[i].name, name) == 0) return &list->items[i];
  return NULL;
}

Error *series_maybe_broken(const SeriesList *list, const char *name) {
  if (!list->broken) return NULL;
  Error *err = err_wrap(err_copy(list->broken), "%s may be the source whose record is damaged", name);
  return err_hint(err,
                  "restore it by a snapshot's id (`holdfast ls`); to go on backing it up, give it a --name of its own");
}

const Series *series_by_id(const SeriesList *list, const Uuid *id) {
  for (size_t i = 0; i < list->len; i++)
    if (uuid_equal(&list->items[i].id, id)) return &list->items[i];
  return NULL;
}

static Error *series_write(Repo *repo, const Series *s, Cancel *cancel) {
  TRY(repo_check_writable(repo));
  char name[64], id[UUID_TEXT_LEN];
  snprintf(name, sizeof name, "series/%s/%08u", uuid_text(&s->id, id), s->revision);
  AUTO_BUF Buf body = {0};
  series_encode(s, &body);
  /* A record beyond the limits must fail here, not whenever series are listed. */
  Series readable;
  TRY(err_recode(series_decode(buf_bytes(&body), &readable), ERR_LIMIT));
  series_free(&readable);
  return repo_put_object(repo, OBJECT_SERIES, &s->id, name, buf_bytes(&body), cancel);
}

/* The n-th id for this name: not random, so that of two programs that meet a new source at once only one makes its
 * series. */
static Uuid id_for(const Repo *repo, const char *name, uint32_t n) {
  static const char context[] = "holdfast/series"; /* with its end, so that no name runs into it */
  AUTO_BUF Buf text = {0};
  uint8_t hash[32];
  buf_add(&text, context, sizeof context);
  buf_put_u32(&text, n);
  buf_add_str(&text, name);
  blake3_keyed(repo->keys->mac, text.data, text.len, hash);
  Uuid id;
  memcpy(id.b, hash, sizeof id.b);
  return id;
}

/* Whether the series with this id, which exists, has this name now. */
static Error *has_name(Repo *repo, const Uuid *id, const char *name, bool *out, Cancel *cancel) {
  SeriesList list = {0};
  TRY(series_list_readable(repo, &list, cancel));
  const Series *found = series_by_id(&list, id);
  Error *err = found ? NULL : err_new(ERR_CORRUPT, "the record of source %s does not open", name);
  *out = found && strcmp(found->name, name) == 0;
  series_list_free(&list);
  return err;
}

Error *series_create(Repo *repo, Series *io, Cancel *cancel) {
  io->revision = 1;
  io->created_ns = sys_now_ns(repo->sys);
  for (uint32_t n = 0;; n++) { /* past series that had the name once and have another now */
    io->id = id_for(repo, io->name, n);
    Error *err = series_write(repo, io, cancel);
    if (!err_is(err, ERR_EXISTS)) return err;
    bool taken;
    Error *looked = has_name(repo, &io->id, io->name, &taken, cancel);
    if (looked || taken) return err_first(looked, err);
    err_free(err);
  }
}

Error *series_update(Repo *repo, Series *io, Cancel *cancel) {
  io->revision++;
  return series_write(repo, io, cancel);
}
