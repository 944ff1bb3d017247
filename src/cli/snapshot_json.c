#include "cli/snapshot_json.h"

#include "base/mem.h"
#include "base/str.h"
#include "cli/output.h"
#include "cli/workspace.h"

static json_t *labels_json(const Snapshot *s) {
  json_t *labels = json_object();
  for (size_t i = 0; i < s->labels_len; i++) {
    AUTO_FREE char *key = str_printable(bytes_str(s->labels[i].key));
    json_object_set_new(labels, key, output_json_name(bytes_str(s->labels[i].value)));
  }
  return labels;
}

void snapshot_json_add(json_t *doc, const Snapshot *s) {
  json_object_set_new(doc, "id", json_uuid(&s->id));
  output_json_set_name(doc, "source", bytes_str(s->source));
  json_object_set_new(doc, "engine", json_string(s->engine));
  json_object_set_new(doc, "host", json_text_or_null(s->host));
  json_object_set_new(doc, "time", json_time(s->time_ns));
  json_object_set_new(doc, "kind", json_string(snapshot_kind_name(s->kind)));
  json_object_set_new(doc, "parent", s->has_parent ? json_uuid(&s->parent) : json_null());
  json_object_set_new(doc, "damaged", json_boolean(s->damaged));
  json_object_set_new(doc, "partial", json_boolean(s->partial));
  json_object_set_new(doc, "description", json_text_or_null(s->description));
  json_object_set_new(doc, "labels", labels_json(s));
}
