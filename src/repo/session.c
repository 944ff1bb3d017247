#include "repo/session.h"

#include <stdio.h>

#include "base/timefmt.h"
#include "repo/json.h"
#include "repo/uuid.h"

static Error *put_record(Repo *repo, ObjectType type, const Session *session, const char *record, json_t *take_doc,
                         Cancel *cancel) {
  AUTO_JSON json_t *doc = take_doc;
  char name[96], id[UUID_TEXT_LEN];
  snprintf(name, sizeof name, "sessions/%s/%s", uuid_text(&session->id, id), record);
  json_set_u64(doc, "time_ns", sys_now_ns(repo->sys));
  AUTO_BUF Buf body = {0};
  json_dump_sorted(doc, &body);
  return repo_put_object(repo, type, &session->series, name, buf_bytes(&body), cancel);
}

Error *session_begin(Repo *repo, const Uuid *series, const char *host, Session *out, Cancel *cancel) {
  Session s = {.id = uuid_new(repo->sys),
               .series = *series,
               .snapshot = uuid_new(repo->sys),
               .started_ns = sys_now_ns(repo->sys)};
  char series_text[UUID_TEXT_LEN], snapshot_text[UUID_TEXT_LEN], time[36];
  uuid_text(series, series_text);
  snprintf(s.commit_key, sizeof s.commit_key, "snapshots/%s/%s-%s", series_text, time_format_key(s.started_ns, time),
           uuid_text(&s.snapshot, snapshot_text));
  json_t *doc = json_object();
  json_set_str(doc, "series", series_text);
  json_set_str(doc, "host", host);
  json_object_set_new(doc, "commit_keys", json_pack("[s]", s.commit_key));
  TRY(put_record(repo, OBJECT_SESSION, &s, "begin", doc, cancel));
  *out = s;
  return NULL;
}

Error *session_beat(Repo *repo, Session *session, Cancel *cancel) {
  char record[32];
  snprintf(record, sizeof record, "beat-%08u", ++session->beats);
  return put_record(repo, OBJECT_BEAT, session, record, json_object(), cancel);
}

Error *session_end(Repo *repo, const Session *session, const char *outcome, Cancel *cancel) {
  json_t *doc = json_object();
  json_set_str(doc, "outcome", outcome);
  return put_record(repo, OBJECT_SESSION_END, session, "end", doc, cancel);
}
